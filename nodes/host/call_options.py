"""What a single call of a model adds to its own options: ComfyUI hands them to every wrapper and patch, and they end with the call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from comfy.ldm.modules.attention import attention_pytorch
from torch import Tensor

KEY = "dragfield"
OURS = f"{__package__}."
"""How the modules are named whose patches write nothing in place."""


def has_foreign_code(transformer_options: dict[str, Any], conds: Sequence[dict[str, Any]]) -> bool:
    """Whether other packs' patches or a ControlNet take part in the call, whose writing in place and whose weights nobody knows.

    Ask before anything of this call is added.
    """
    return not all(map(_is_ours, _patches(transformer_options))) or any("control" in c for c in conds)


def _patches(transformer_options: dict[str, Any]) -> Iterator[Any]:
    for patches in transformer_options.get("patches", {}).values():
        yield from patches
    for by_block in transformer_options.get("patches_replace", {}).values():
        yield from by_block.values()
    for by_key in transformer_options.get("wrappers", {}).values():
        for wrappers in by_key.values():
            yield from wrappers


def _is_ours(patch: Any) -> bool:
    # A subject adapter's patch may go on to another pack's.
    before = getattr(patch, "before", None)
    return str(getattr(patch, "__module__", "")).startswith(OURS) and (before is None or _is_ours(before))


def add_attention_patch(transformer_options: dict[str, Any], patch: Callable[..., dict[str, Any]]) -> None:
    """Let `patch` see the queries, keys and values of each block, behind all patches that are there."""
    transformer_options.setdefault("patches", {}).setdefault("attn1_patch", []).append(patch)


def pytorch_attention(_chosen: Callable, *args: Any, **kwargs: Any) -> Tensor:
    """An "optimized_attention_override": PyTorch's attention instead of one without a backward (sage, flash, int8)."""
    return attention_pytorch(*args, **kwargs)
