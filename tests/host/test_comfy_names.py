"""Every name of ComfyUI that the node pack uses exists in this ComfyUI, also where no test happens to run the line."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "nodes").rglob("*.py"))
THEIRS = ("comfy", "comfy_api", "comfy_extras", "comfy_execution", "folder_paths", "latent_preview")


def names_used(source: str) -> Iterator[tuple[str, str]]:
    """(module, attribute chain) of everything from ComfyUI in a source file: imported from there, or reached through a module's name."""
    tree = ast.parse(source)
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names if alias.name.split(".")[0] in THEIRS}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module.split(".")[0] in THEIRS:
            yield from ((node.module, alias.name) for alias in node.names)
    for node in ast.walk(tree):
        chain = _chain(node)
        for module in modules:
            if chain.startswith(f"{module}."):
                yield module, chain.removeprefix(f"{module}.")


def exists(module: str, attributes: str) -> bool:
    found = importlib.import_module(module)
    for name in attributes.split("."):
        if not hasattr(found, name):
            try:
                found = importlib.import_module(f"{found.__name__}.{name}")
                continue
            except (AttributeError, ImportError):
                return False
        found = getattr(found, name)
        if not isinstance(found, type | type(importlib)):
            # What lies in an object or a function's result is beyond what can be looked up.
            return True
    return True


def _chain(node: ast.AST) -> str:
    """ "a.b.c" of such an expression; "" of any other."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) and parts else ""


@pytest.mark.parametrize("path", SOURCES, ids=[path.relative_to(ROOT).as_posix() for path in SOURCES])
def test_names_of_comfyui_exist(path: Path) -> None:
    missing = {pair for pair in names_used(path.read_text(encoding="utf-8")) if not exists(*pair)}
    assert not missing


def test_a_name_that_is_gone_is_noticed() -> None:
    source = """
import comfy.model_management
from comfy.samplers import Sampler, gone
def f():
    comfy.model_management.free_memory()
    comfy.model_management.gone.deeper()
    comfy.model_patcher.ModelPatcher.clone
"""
    used = set(names_used(source))
    assert used >= {("comfy.samplers", "gone"), ("comfy.model_management", "free_memory"), ("comfy.model_management", "gone.deeper")}
    assert {pair for pair in used if not exists(*pair)} == {
        ("comfy.samplers", "gone"), ("comfy.model_management", "gone"), ("comfy.model_management", "gone.deeper"),
    }  # fmt: skip
    assert exists("comfy", "model_patcher.ModelPatcher.clone") and not exists("comfy", "model_patcher.ModelPatcher.gone")
