"""ComfyUI's main.py, with empty modules for what is not installed beside a CPU torch: `python serve.py COMFYUI_PATH ARGUMENTS...`

What a server test starts; a user starts ComfyUI itself (make comfyui).
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys
from pathlib import Path


def main() -> None:
    comfyui, *arguments = sys.argv[1:]
    # The conftest would make this process a test, were the variable set.
    os.environ.pop("COMFYUI_PATH", None)
    spec = importlib.util.spec_from_file_location("host_conftest", Path(__file__).with_name("conftest.py"))
    conftest = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conftest)
    device = conftest._card() if os.environ.get("COMFYUI_CARD") else None
    missing = [name for name in conftest.UNUSED if importlib.util.find_spec(name) is None]
    sys.meta_path.append(conftest._EmptyModules(missing))
    sys.path.insert(0, comfyui)
    sys.argv = [str(Path(comfyui) / "main.py"), *arguments]
    if device is not None:
        import comfy.options

        comfy.options.enable_args_parsing()
        conftest._compute_on(device)
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
