"""A workflow as the frontend saves it, turned into the prompt that it would send: what a user's Run button does."""

from __future__ import annotations

from typing import Any

WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
NOTES = {"Note", "MarkdownNote"}


def prompt_of(workflow: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """The prompt, by node id.  object_info: the server's, which says what each node takes and in which order."""
    links = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] in NOTES:
            continue
        info = object_info[node["type"]]
        inputs = _widget_inputs(info, node["widgets_values"])
        inputs |= {entry["name"]: links[entry["link"]] for entry in node["inputs"] if entry["link"] is not None}
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def _widget_inputs(info: dict[str, Any], values: list[Any]) -> dict[str, Any]:
    left = list(values)
    found = {}
    for group in ("required", "optional"):
        for name in info["input_order"].get(group, []):
            kind, *rest = info["input"][group][name]
            options = rest[0] if rest else {}
            if (isinstance(kind, str) and kind not in WIDGETS) or options.get("forceInput"):
                continue
            found[name] = left.pop(0)
            if options.get("control_after_generate"):
                left.pop(0)
    if left:
        raise ValueError(f"the workflow holds {len(left)} values too many for {info['name']}: {left}")
    return found
