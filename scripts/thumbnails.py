"""Draw the thumbnails of the demo workflows by running them: `COMFYUI_PATH=... python scripts/thumbnails.py [NAME...]`.

Each becomes example_workflows/NAME.jpg: before and after, with the drag drawn on both, as Drag Report shows them. Run it with the Python
that ComfyUI runs with, after the demo model or a workflow has changed.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "host"))

from server import failure, serving  # noqa: E402
from workflow_prompt import prompt_of  # noqa: E402


def main() -> None:
    names = sys.argv[1:] or sorted(path.stem for path in (ROOT / "example_workflows").glob("demo_*.json"))
    with tempfile.TemporaryDirectory() as folder, serving(os.environ["COMFYUI_PATH"], Path(folder) / "base") as server:
        object_info = server.get("/object_info")
        for name in names:
            path = ROOT / "example_workflows" / f"{name}.json"
            prompt = prompt_of(json.loads(path.read_text(encoding="utf-8")), object_info)
            history = server.run(prompt)
            if (wrong := failure(history)) is not None:
                raise SystemExit(f"{name}: {wrong['exception_message']}")
            report = next(history["outputs"][i] for i, node in prompt.items() if node["class_type"] == "DragfieldReport")
            Image.open(io.BytesIO(server.picture(report["images"][0]))).convert("RGB").save(path.with_suffix(".jpg"), quality=88)
            print(f"{name}: {report['text'][0]}", flush=True)


if __name__ == "__main__":
    main()
