"""An import may only point down: cli > benchmarks > core, and nodes > nodes/host > core. Inside of core, one room stands on another.

Read from the source text.

Other programs count too: core knows nothing of ComfyUI, and imports diffusers and transformers inside functions only.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACK = "dragfield"

MAY_IMPORT = {
    "core": {"core"},
    "benchmarks": {"benchmarks", "core"},
    "cli": {"cli", "benchmarks", "core"},
    "nodes": {"nodes", "core"},
    "__init__": {"nodes"},
}
ROOMS = (
    "choices", "device", "instruction", "field", "picture", "self_drags", "progress", "model", "sampling", "optimise", "adapters",
    "backbones", "edits", "intent", "metrics", "check", "training", "formats", "demo",
)  # fmt: skip
"""What core consists of, from below: a room imports those before it. `core/backbones` opens models that `core/demo` trained, when asked."""
OPENS_WHEN_ASKED = {("backbones", "demo")}
COMFY = {
    "comfy", "comfy_api", "comfy_api_nodes", "comfy_config", "comfy_execution", "comfy_extras", "execution",
    "folder_paths", "latent_preview", "node_helpers", "nodes", "server",
}  # fmt: skip
COMFY_IN_NODES = {"comfy_api", "folder_paths"}
CORE_AT_IMPORT = {"torch", "numpy", "cv2", "einops", "PIL", "safetensors"}
BROKEN_WITHOUT_A_GPU_BUILD = {"torchvision", "torchaudio"}


@dataclass(frozen=True)
class Import:
    target: str
    line: int
    relative: bool
    deferred: bool
    """True inside a function or under TYPE_CHECKING: not run when the module is imported."""


def imports(path: str, source: str) -> Iterator[Import]:
    """Every module that `source` imports, by its absolute name; "" where a relative import climbs out of the pack."""
    here = (PACK, *PurePosixPath(path).parent.parts)

    def absolute(level: int, module: str) -> str:
        if level == 0:
            return module
        if level > len(here):
            return ""
        return ".".join((*here[: len(here) - level + 1], *filter(None, module.split("."))))

    def walk(node: ast.AST, deferred: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, False, deferred)
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node.level, node.module or "")
            for alias in node.names:
                # `from .. import nodes` names a module in its alias; `from ..core.field import warp` does not, but is
                # judged the same by its first parts.
                target = f"{base}.{alias.name}" if base and node.level else base
                yield Import(target, node.lineno, node.level > 0, deferred)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            name = getattr(node.func, "attr", getattr(node.func, "id", None))
            if name in ("import_module", "__import__") and isinstance(node.args[0].value, str):
                module = node.args[0].value
                level = len(module) - len(module.lstrip("."))
                yield Import(absolute(level, module[level:]), node.lineno, level > 0, deferred)
        inside = deferred or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        type_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside or (type_only and child in node.body))

    yield from walk(ast.parse(source, path), False)


def violations(path: str, source: str) -> list[str]:
    """What a pack file imports and must not, one sentence each."""
    parts = PurePosixPath(path).with_suffix("").parts
    layer, host = parts[0], parts[:2] == ("nodes", "host")
    if layer not in MAY_IMPORT:
        return [f"{path}: {layer} is no layer of the pack; the layers are {', '.join(MAY_IMPORT)}"]
    found = []
    for item in imports(path, source):
        top, _, rest = item.target.partition(".")
        say = f"{path}:{item.line}: {layer} imports {item.target or 'something outside the pack'}"
        if item.target == "":
            found.append(say)
        elif top == PACK and not item.relative:
            found.append(f"{say} by its absolute name; ComfyUI loads the pack under another name, so import relatively")
        elif top == PACK:
            if rest and (below := rest.split(".")[0]) in MAY_IMPORT and below not in MAY_IMPORT[layer]:
                found.append(f"{say}, which is not below it")
        elif top in {"core", "cli", "benchmarks"}:
            found.append(f"{say} as a top-level module; import relatively")
        elif top in BROKEN_WITHOUT_A_GPU_BUILD:
            found.append(f"{say}, which fails to import beside a CPU torch")
        elif top in COMFY and not (host or (layer in ("nodes", "__init__") and top in COMFY_IN_NODES)):
            found.append(f"{say}; only nodes/host knows ComfyUI's internals")
        elif layer == "core" and not item.deferred and top not in CORE_AT_IMPORT | sys.stdlib_module_names:
            found.append(f"{say} at import time; core needs only {', '.join(sorted(CORE_AT_IMPORT))}")
    return found


def rooms_above(path: str, source: str) -> list[str]:
    """What a file of core imports from a room that stands on its own, one sentence each."""
    room = PurePosixPath(path).with_suffix("").parts[1]
    if room == "__init__":
        return []
    if room not in ROOMS:
        return [f"{path}: {room} is no room of core; the rooms are {', '.join(ROOMS)}"]
    found = []
    for item in imports(path, source):
        parts = item.target.split(".")
        if parts[:2] != [PACK, "core"] or len(parts) < 3 or parts[2] not in ROOMS:
            continue
        if ROOMS.index(parts[2]) > ROOMS.index(room) and not (item.deferred and (room, parts[2]) in OPENS_WHEN_ASKED):
            found.append(f"{path}:{item.line}: {room} imports {parts[2]}, which stands on it")
    return found


def pack_files() -> list[str]:
    folders = [ROOT / layer for layer in MAY_IMPORT]
    files = [*ROOT.glob("*.py"), *(file for folder in folders for file in folder.rglob("*.py"))]
    return sorted(file.relative_to(ROOT).as_posix() for file in files)


@pytest.mark.parametrize("path", pack_files())
def test_imports_only_point_down(path: str) -> None:
    assert violations(path, (ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", [path for path in pack_files() if path.startswith("core/")])
def test_a_room_of_core_imports_what_it_stands_on(path: str) -> None:
    assert rooms_above(path, (ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("core/field/masks.py", "from ..picture import preview"),
        ("core/progress.py", "from .optimise.region_drag import DragState"),
        ("core/model/backbone.py", "from ..sampling.ddim import PICTURE"),
        ("core/training/frames.py", "def f():\n    from ..demo.cases import sample_case"),
        ("core/edits/dragfield.py", "from ..demo.dragflow_settings import MARGIN"),
        ("core/backbones/model_folder.py", "from ..demo.text import embed"),
        ("core/corridor.py", "import torch"),
    ],
)
def test_an_import_from_a_room_above_is_caught(path: str, source: str) -> None:
    assert len(rooms_above(path, source)) == 1


def test_the_whole_pack_is_read() -> None:
    assert {"__init__.py", "core/instruction/operations.py", "cli/__init__.py"} <= set(pack_files())


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("core/edit.py", "import comfy.model_management"),
        ("core/edit.py", "def f():\n    from comfy.ldm import flux"),
        ("core/edit.py", "import folder_paths"),
        ("core/edit.py", "import nodes"),
        ("core/edit.py", "from ..nodes import canvas"),
        ("core/edit.py", "from .. import nodes"),
        ("core/edit.py", "def f():\n    from ..cli import main"),
        ("core/demo/train.py", "from ...benchmarks import demo"),
        ("core/backbones/flux.py", "import diffusers"),
        ("core/backbones/flux.py", "from transformers import T5EncoderModel"),
        ("core/backbones/flux.py", "try:\n    import diffusers\nexcept ImportError:\n    diffusers = None"),
        ("core/backbones/flux.py", "class Flux:\n    import diffusers"),
        ("core/backbones/flux.py", "import importlib\nimportlib.import_module('diffusers')"),
        ("core/edit.py", "import rich"),
        ("core/edit.py", "import dragfield.core.field"),
        ("core/edit.py", "from dragfield.core import field"),
        ("core/edit.py", "import importlib\ndef f():\n    return importlib.import_module(\"dragfield.core\")"),
        ("core/edit.py", "from core import field"),
        ("core/edit.py", "from ... import server"),
        ("core/edit.py", "def f():\n    import torchvision"),
        ("nodes/points.py", "from torchaudio import load"),
        ("nodes/points.py", "import comfy.utils"),
        ("nodes/points.py", "from ..cli import main"),
        ("nodes/points.py", "from ..benchmarks import demo"),
        ("benchmarks/demo.py", "from ..cli import console"),
        ("benchmarks/demo.py", "from ..nodes import points"),
        ("cli/edit.py", "from ..nodes.host import model"),
        ("__init__.py", "from .cli import main"),
        ("helpers.py", "import os"),
    ],
)
def test_an_import_that_points_up_or_out_is_caught(path: str, source: str) -> None:
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("core/edit.py", "import torch\nimport cv2\nfrom PIL import Image\nfrom pathlib import Path"),
        ("core/edit.py", "from .field import DragField\nfrom . import masks"),
        ("core/demo/train.py", "from ..field import DragField\nfrom .. import solvers"),
        ("core/backbones/flux.py", "def load():\n    from diffusers import FluxTransformer2DModel"),
        ("core/backbones/flux.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import diffusers"),
        ("nodes/points.py", "from comfy_api.latest import io\nfrom ..core import field\nfrom .host import model"),
        ("nodes/host/model.py", "import comfy.model_management\nimport nodes\nfrom ...core import taps"),
        ("benchmarks/demo.py", "from ..core.edit import dragflow"),
        ("cli/bench.py", "import typer\ndef f():\n    from ..benchmarks import demo\n    from ..core import edit"),
        ("__init__.py", "async def comfy_entrypoint():\n    from .nodes import Dragfield\n    return Dragfield()"),
    ],
)
def test_an_import_that_points_down_passes(path: str, source: str) -> None:
    assert violations(path, source) == []


def test_importing_all_of_core_brings_in_no_comfy_and_no_diffusers() -> None:
    modules = [
        ".".join((PACK, *PurePosixPath(path).with_suffix("").parts)).removesuffix(".__init__")
        for path in pack_files()
        if path.startswith("core/") and not path.endswith("__main__.py")
    ]
    program = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'comfy', 'diffusers', 'transformers', 'typer'}))\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert (ran.returncode, ran.stdout.strip()) == (0, "[]"), ran.stderr
