"""Run tests/host and tests/browser against a real ComfyUI: `make test-comfyui`.

COMFYUI_PATH names the ComfyUI, COMFYUI_PYTHON its Python where that is not .venv or venv in its folder. Nothing is installed there: the
pack and what the tests need go into .venv-comfyui, which sees ComfyUI's packages too. The browser tests need a Chromium of the system, and
are skipped by name without one. Arguments are handed to pytest: make test-comfyui PYTEST_ARGS="tests/host -k memory".
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from comfyui import HOW, ROOT, interpreter

VENV = ROOT / ".venv-comfyui"
NEEDED = ("torch", "aiohttp", "comfyui_frontend_package")
"""What of ComfyUI's requirements tells that its Python is the right one."""
LOOK = f"""\
import importlib.util as u, sysconfig
print(', '.join(name for name in {NEEDED!r} if u.find_spec(name) is None))
print(sysconfig.get_path('purelib'), sysconfig.get_path('platlib'), sep='\\n')"""


def main() -> int:
    given = os.environ.get("COMFYUI_PATH", "")
    comfyui = Path(given).expanduser().resolve()
    if not given or not (comfyui / "main.py").exists():
        print(HOW.replace("make comfyui", "make test-comfyui"))
        return 2
    theirs = interpreter(comfyui)
    missing, *folders = subprocess.run([theirs, "-c", LOOK], capture_output=True, text=True, check=True).stdout.splitlines()
    if missing:
        print(f"{theirs} lacks {missing}, so ComfyUI can't run with it. Install its requirements, or name its Python by COMFYUI_PYTHON:\n")
        print(f"    {theirs} -m pip install -r {comfyui / 'requirements.txt'}\n")
        return 2
    python = prepared(theirs, folders)
    arguments = sys.argv[1:] or ["tests/host", "tests/browser"]
    environment = {**os.environ, "COMFYUI_PATH": str(comfyui)}
    return subprocess.run([python, "-m", "pytest", *arguments], cwd=ROOT, env=environment).returncode


def prepared(theirs: str, folders: list[str]) -> str:
    """A Python with the pack, the tests' packages and what lies in `folders`. Made again for another ComfyUI or another pyproject.toml."""
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = VENV / "made-for.txt"
    made_for = f"{theirs}\n{(ROOT / 'pyproject.toml').read_text(encoding='utf-8')}"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == made_for:
        return str(python)
    print(f"Installing into {VENV.name}; the first time this takes a minute.", flush=True)
    subprocess.run([theirs, "-m", "venv", "--clear", str(VENV)], check=True)
    purelib = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], capture_output=True, text=True, check=True
    ).stdout.strip()
    (Path(purelib) / "of_comfyui.pth").write_text("\n".join(dict.fromkeys(folders)) + "\n", encoding="utf-8")
    # pip sees ComfyUI's packages through that file and installs none of them again, its torch least of all.
    subprocess.run([python, "-m", "pip", "--disable-pip-version-check", "install", "-q", "-e", ".[comfyui]"], cwd=ROOT, check=True)
    stamp.write_text(made_for, encoding="utf-8")
    return str(python)


if __name__ == "__main__":
    sys.exit(main())
