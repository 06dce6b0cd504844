"""Every language says everything: the texts of the canvas, and names and descriptions of the nodes."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LANGUAGES = ("zh", "ja", "ko", "fr", "de", "es")


def texts(language: str) -> dict[str, str]:
    return json.loads((ROOT / "locales" / language / "main.json").read_text(encoding="utf-8"))["dragfield"]


def english_in_the_code() -> dict[str, str]:
    code = (ROOT / "web" / "drag" / "texts.mjs").read_text(encoding="utf-8")
    table = code[code.index("ENGLISH = Object.freeze({") : code.index("});")]
    return {json.loads(key): json.loads(text) for key, text in re.findall(r'^  ("[\w.]+"): (".*"),$', table, re.MULTILINE)}


def node_ids() -> set[str]:
    """Read from the sources: the nodes themselves need ComfyUI."""
    found = set()
    for file in (ROOT / "nodes").glob("*.py"):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "Schema":
                found |= {ast.literal_eval(one.value) for one in call.keywords if one.arg == "node_id"}
    return found


def test_english_is_the_same_in_the_code_and_for_the_server() -> None:
    assert len(english_in_the_code()) > 100
    assert texts("en") == english_in_the_code()


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_says_all_that_english_says_with_the_same_parameters(language: str) -> None:
    english, other = texts("en"), texts(language)
    assert list(other) == list(english)
    for key, text in other.items():
        assert text.strip()
        assert sorted(re.findall(r"\{\w+\}", text)) == sorted(re.findall(r"\{\w+\}", english[key])), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_names_and_describes_every_node_and_names_its_inputs_and_outputs(language: str) -> None:
    nodes = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
    assert set(nodes) == node_ids()
    schemas = json.loads((ROOT / "tests" / "host" / "node_schemas.json").read_text(encoding="utf-8"))
    for name, node in nodes.items():
        assert node["display_name"].strip() and node["description"].strip()
        inputs = {one[0] for group in ("required", "optional") for one in schemas[name]["inputs"].get(group, [])}
        assert set(node["inputs"]) == inputs, name
        assert set(node.get("outputs", {})) == {str(i) for i in range(len(schemas[name]["outputs"]))}, name
        assert all(one["name"].strip() for group in ("inputs", "outputs") for one in node.get(group, {}).values())


def test_every_text_that_the_canvas_asks_for_exists() -> None:
    code = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "web").rglob("*.mjs"))
    asked = set(re.findall(r'\bt\("([a-z]\w*\.[\w.]+)"', code)) | set(re.findall(r'\bkey: "([a-z]\w*\.[\w.]+)"', code))
    assert len(asked) > 30
    assert asked - set(texts("en")) == set()
