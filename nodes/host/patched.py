"""What is on a MODEL besides its own weights: what a question about it should name."""

from __future__ import annotations

from collections import Counter
from typing import Any


def patched(patcher: Any) -> list[str]:
    """A sentence for each kind of what nodes in front have added to a MODEL; empty for one as it was loaded."""
    found = []
    if count := len(getattr(patcher, "patches", {}) or {}):
        found.append(f"{count} of its weights are patched (LoRA or merge)")
    if names := sorted(getattr(patcher, "object_patches", {}) or {}):
        found.append(f"replaced in it: {', '.join(names)}")
    options = patcher.model_options.get("transformer_options", {})
    parts: Counter[str] = Counter()
    for kind, patches in options.get("patches", {}).items():
        parts.update(f"{_maker(one)} ({kind})" for one in patches)
    for kind, by_block in options.get("patches_replace", {}).items():
        parts.update(f"{_maker(one)} ({kind}, replaced)" for one in by_block.values())
    for wrapped in (getattr(patcher, "wrappers", {}), options.get("wrappers", {})):
        for kind, by_key in wrapped.items():
            parts.update(f"{_maker(one)} ({kind} wrapper)" for wrappers in by_key.values() for one in wrappers)
    for name in ("model_function_wrapper", "sampler_cfg_function", "sampler_post_cfg_function", "sampler_pre_cfg_function"):
        functions = patcher.model_options.get(name) or ()
        parts.update(f"{_maker(one)} ({name})" for one in (functions if isinstance(functions, list) else [functions]) if one)
    if "optimized_attention_override" in options:
        parts[f"{_maker(options['optimized_attention_override'])} (attention)"] += 1
    if parts:
        named = (what + (f" x {count}" if count > 1 else "") for what, count in sorted(parts.items()))
        found.append(f"code in its calls: {', '.join(named)}")
    return found


def _maker(one: Any) -> str:
    """The module that a patch comes from: of a pack its folder's name, not where that lies."""
    module = getattr(one, "__module__", None) or type(one).__module__
    for separator in ("custom_nodes/", "custom_nodes\\", "custom_nodes."):
        if separator in module:
            module = module.split(separator)[-1]
    return module.replace("/", ".").replace("\\", ".")
