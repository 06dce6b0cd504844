"""Start a ComfyUI with this pack linked in: `make comfyui`.

COMFYUI_PATH names the ComfyUI to start. It runs with its own Python, .venv or venv in its folder, or COMFYUI_PYTHON. Without
COMFYUI_PATH, says how to get one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACK = "ComfyUI-Dragfield"
HOW = """\
COMFYUI_PATH does not name a ComfyUI. If you have one:

    make comfyui COMFYUI_PATH=/path/to/ComfyUI

If not, this is how to get one (https://docs.comfy.org/installation):

    git clone https://github.com/comfyanonymous/ComfyUI
    python3 -m venv ComfyUI/.venv
    ComfyUI/.venv/bin/pip install torch torchvision torchaudio      # add --index-url for your GPU
    ComfyUI/.venv/bin/pip install -r ComfyUI/requirements.txt -r requirements.txt
    make comfyui COMFYUI_PATH=ComfyUI
"""


def main() -> int:
    given = os.environ.get("COMFYUI_PATH", "")
    comfyui = Path(given).expanduser().resolve()
    if not given or not (comfyui / "main.py").exists():
        print(HOW)
        return 2
    python = interpreter(comfyui)
    if subprocess.run([python, "-c", "import cv2"], capture_output=True).returncode:
        print(f"OpenCV is missing in ComfyUI's Python. Install it:\n\n    {python} -m pip install -r {ROOT / 'requirements.txt'}\n")
        return 2
    link(comfyui / "custom_nodes" / PACK)
    print(f"Starting {comfyui} with {PACK}. Then: Workflow, Browse Templates, {PACK}, 0_start_here; press Run.\n", flush=True)
    return run([python, "main.py", *sys.argv[1:]], comfyui)


def run(command: list[str], folder: Path) -> int:
    """The exit status of a command that Ctrl-C ends."""
    with subprocess.Popen(command, cwd=folder) as process:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue  # it was told too, and ends by itself


def interpreter(comfyui: Path) -> str:
    """The Python that ComfyUI runs with; this one if its folder has none."""
    if os.environ.get("COMFYUI_PYTHON"):
        return os.environ["COMFYUI_PYTHON"]
    candidates = [comfyui / venv / place for venv in (".venv", "venv") for place in ("bin/python", "Scripts/python.exe")]
    return next((str(python) for python in candidates if python.exists()), sys.executable)


def link(pack: Path) -> None:
    """Put this checkout among the custom nodes, unless it is there already."""
    if pack.exists():
        if pack.resolve() != ROOT:
            print(f"{pack} is another copy of the pack and is used as it is; move it away to use {ROOT}.")
        return
    pack.parent.mkdir(exist_ok=True)
    pack.symlink_to(ROOT, target_is_directory=True)


if __name__ == "__main__":
    sys.exit(main())
