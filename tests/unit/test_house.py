"""The papers of the house agree with each other and with the tree: metadata, requirements, documents, Makefile."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

if sys.version_info >= (3, 11):
    import tomllib

    META = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
else:
    pytest.skip("tomllib needs Python 3.11", allow_module_level=True)

PROJECT, COMFY, SETUPTOOLS = META["project"], META["tool"]["comfy"], META["tool"]["setuptools"]
LAYERS = ("benchmarks", "cli", "core", "nodes")


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~;\[ ]", requirement)[0].lower() for requirement in requirements}


def test_requirements_txt_says_what_the_metadata_says() -> None:
    assert (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines() == PROJECT["dependencies"]


def test_no_requirement_names_torch_or_pins_an_upper_bound() -> None:
    everything = [*PROJECT["dependencies"], *(r for extra in PROJECT["optional-dependencies"].values() for r in extra)]
    assert not names(everything) & {"torch", "torchvision", "torchaudio"}
    assert not [requirement for requirement in everything if re.search(r"==|<|~=", requirement)]


def test_only_one_opencv_is_ever_asked_for() -> None:
    everything = [*PROJECT["dependencies"], *(r for extra in PROJECT["optional-dependencies"].values() for r in extra)]
    assert {name for name in names(everything) if "opencv" in name} == {"opencv-python-headless"}


def wanted_by(extra: str) -> set[str]:
    """All that an extra asks for, extras of our own opened."""
    found: set[str] = set()
    for requirement in PROJECT["optional-dependencies"][extra]:
        own = re.fullmatch(r"comfyui-dragfield\[(\w+)\]", requirement)
        found |= wanted_by(own[1]) if own else names([requirement])
    return found


def test_the_base_asks_for_opencv_alone_and_bench_for_all_that_an_evaluation_imports() -> None:
    assert names(PROJECT["dependencies"]) == {"opencv-python-headless"}
    imported: set[str] = set()
    for layer in ("core/metrics", "core/intent", "core/formats", "benchmarks", "cli"):
        for file in (ROOT / layer).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                modules += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
                imported |= {module.split(".")[0] for module in modules}
    packages = {"cv2": "opencv-python-headless", "PIL": "pillow"}
    foreign = {packages.get(name, name) for name in imported - set(sys.stdlib_module_names)}
    # torch has to be there already; ray, of which one engine alone asks, is the extra `cluster`.
    assert foreign - {"torch", "ray"} <= wanted_by("bench") | names(PROJECT["dependencies"])
    assert {"torchmetrics", "transformers", "diffusers"} <= wanted_by("bench") == wanted_by("eval") and "ray" in wanted_by("cluster")


def test_the_registry_finds_its_fields() -> None:
    assert (COMFY["PublisherId"], COMFY["DisplayName"]) == ("dragfield", "Dragfield")
    assert COMFY["requires-comfyui"] == ">=0.19.0"
    assert re.fullmatch(r"\d+\.\d+\.\d+", PROJECT["version"])
    assert PROJECT["license"] == "Apache-2.0"
    assert {"Repository", "Documentation", "Bug Tracker"} <= set(PROJECT["urls"])


def test_every_package_of_the_tree_is_installed_and_no_other() -> None:
    found = [file.parent.relative_to(ROOT) for layer in LAYERS for file in (ROOT / layer).rglob("__init__.py")]
    assert sorted(SETUPTOOLS["packages"]) == sorted(["dragfield", *(".".join(("dragfield", *f.parts)) for f in found)])


def test_every_module_lies_in_a_package() -> None:
    folders = {file.parent for layer in LAYERS for file in (ROOT / layer).rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_the_changelog_speaks_of_this_version() -> None:
    assert f"\n## {PROJECT['version']} " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_licence_is_the_one_named() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text and "Version 2.0, January 2004" in text and "END OF TERMS AND CONDITIONS" in text


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_documents_name_only_things_that_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make (\w+)", text, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith(("http", "#"))]
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_twice_installs_nothing(tmp_path: Path) -> None:
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / ".installed").touch()
    command = ["make", "--dry-run", "demo", "test", "lint", f"VENV={venv}"]
    plain = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    ran = subprocess.run(command, cwd=ROOT, env=plain, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert "pip" not in ran.stdout and "dragfield demo" in ran.stdout and "pytest" in ran.stdout
