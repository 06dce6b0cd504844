"""What saved workflows rely on: ids, types, order and defaults of every node, as node_schemas.json holds them.

A workflow keeps the values of widgets by their order alone, so a new input goes to the end of its group, and nothing is ever renamed.
After a change that is meant, write the snapshot anew: DRAGFIELD_WRITE_SCHEMAS=1 and run this file.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

import dragfield

ROOT = Path(__file__).resolve().parents[2]
SNAPSHOT = Path(__file__).with_name("node_schemas.json")
WORDS = {"tooltip", "display_name"}
FILES = {("DragfieldLoadSubjectAdapter", "file"), ("DragfieldLoadReadoutHead", "file"), ("DragfieldMetrics", "lpips")}
"""Choices that are the files found."""


@pytest.fixture(scope="module")
def nodes() -> list[Any]:
    return asyncio.run(_nodes())


async def _nodes() -> list[Any]:
    return await (await dragfield.comfy_entrypoint()).get_node_list()


def schema_of(node: Any) -> dict[str, Any]:
    """What the frontend is told, without the words that may be improved at any time."""
    schema = node.GET_SCHEMA()
    info = schema.get_v1_info(node)

    def kept(name: str, spec: Any) -> dict[str, Any]:
        left_out = WORDS | ({"options"} if (schema.node_id, name) in FILES else set())
        return {key: value for key, value in (spec[1] if len(spec) > 1 else {}).items() if key not in left_out}

    inputs = {
        group: [[name, _kind(spec), kept(name, spec)] for name, spec in entries.items()]
        for group, entries in info.input.items()
    }  # fmt: skip
    return {"inputs": inputs, "outputs": list(zip(info.output, info.output_name, strict=True)), "output_node": info.output_node}


def _kind(spec: Any) -> Any:
    return spec[0] if isinstance(spec, tuple | list) else spec


def test_no_schema_has_changed_unnoticed(nodes: list[Any]) -> None:
    found = json.loads(json.dumps({node.GET_SCHEMA().node_id: schema_of(node) for node in nodes}, default=str))
    if os.environ.get("DRAGFIELD_WRITE_SCHEMAS"):
        SNAPSHOT.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    kept = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    assert sorted(found) == sorted(kept)
    for name in kept:
        assert found[name] == kept[name], name


def test_every_input_and_output_that_is_no_plain_model_or_picture_is_explained(nodes: list[Any]) -> None:
    plain = {"MODEL", "VAE", "CLIP", "IMAGE", "MASK", "NOISE", "SIGMAS", "SAMPLER", "STRING", "DRAGFIELD_TRAJECTORY", "DRAGFIELD_SUBJECT"}
    for node in nodes:
        schema = node.GET_SCHEMA()
        for item in schema.inputs:
            assert item.tooltip or item.get_io_type() in plain, (schema.node_id, item.id)


def test_every_node_has_a_help_page_that_names_its_inputs_and_outputs(nodes: list[Any]) -> None:
    for node in nodes:
        schema = node.GET_SCHEMA()
        page = (ROOT / "web" / "docs" / f"{schema.node_id}.md").read_text(encoding="utf-8")
        assert page.startswith(f"# {schema.display_name}\n")
        names = [item.id for item in schema.inputs] + [item.display_name or item.id for item in schema.outputs]
        assert [name for name in names if f"`{name}`" not in page] == [], schema.node_id


def test_no_other_page_lies_among_the_help_pages(nodes: list[Any]) -> None:
    assert {page.stem for page in (ROOT / "web" / "docs").glob("*.md")} == {node.GET_SCHEMA().node_id for node in nodes}
