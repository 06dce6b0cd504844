"""Draw the thumbnails of the example workflows: `COMFYUI_PATH=... python scripts/thumbnails.py [NAME...]`.

Those of the demo models become what they make, run here: before and after, with the drag drawn on both, as Drag Report shows them. The
others need files that only their user has, so theirs is the graph itself, drawn from the workflow. Run it with the Python that ComfyUI runs
with, after a demo model or a workflow has changed.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "host"))

from server import failure, serving  # noqa: E402
from workflow_prompt import prompt_of  # noqa: E402

BUNDLED = {"DragfieldLoadDemoModel", "DragfieldLoadDemoUNet"}
MOST_BYTES = 16_000
WIDTH, SCALE = 512, 3
"""px of a drawn graph, and how much larger it is drawn to be smooth."""
COLOURS = {"IMAGE": "#64b5f6", "MASK": "#81c784", "MODEL": "#b39ddb", "CLIP": "#ffd500", "VAE": "#ff6e6e", "CONDITIONING": "#ffa931"}


def main() -> None:
    paths = [ROOT / "example_workflows" / f"{name}.json" for name in sys.argv[1:]]
    paths = paths or sorted((ROOT / "example_workflows").glob("*.json"))
    workflows = {path: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    runs = {path: workflow for path, workflow in workflows.items() if BUNDLED & {node["type"] for node in workflow["nodes"]}}
    for path in workflows.keys() - runs.keys():
        save(drawn(workflows[path]), path)
    if not runs:
        return
    with tempfile.TemporaryDirectory() as folder, serving(os.environ["COMFYUI_PATH"], Path(folder) / "base") as server:
        object_info = server.get("/object_info")
        for path, workflow in runs.items():
            prompt = prompt_of(workflow, object_info)
            history = server.run(prompt)
            if (wrong := failure(history)) is not None:
                raise SystemExit(f"{path.stem}: {wrong['exception_message']}")
            report = next(history["outputs"][i] for i, node in prompt.items() if node["class_type"] == "DragfieldReport")
            save(Image.open(io.BytesIO(server.picture(report["images"][0]))), path)
            print(f"{path.stem}: {report['text'][0]}", flush=True)


def save(picture: Image.Image, path: Path) -> None:
    for quality in range(86, 30, -4):
        picture.convert("RGB").save(path.with_suffix(".jpg"), quality=quality, optimize=True)
        if path.with_suffix(".jpg").stat().st_size <= MOST_BYTES:
            return


def drawn(workflow: dict[str, Any]) -> Image.Image:
    """The graph as boxes with their names, and its links in ComfyUI's colours."""
    nodes = {node["id"]: node for node in workflow["nodes"] if node["type"] != "MarkdownNote"}
    x0, y0 = (min(node["pos"][axis] for node in nodes.values()) - 40 for axis in (0, 1))
    x1, y1 = (max(node["pos"][axis] + node["size"][axis] for node in nodes.values()) + 40 for axis in (0, 1))
    zoom = WIDTH * SCALE / (x1 - x0)
    picture = Image.new("RGB", (WIDTH * SCALE, round((y1 - y0 + 30) * zoom)), "#1a1c20")
    pen = ImageDraw.Draw(picture)

    def at(x: float, y: float) -> tuple[float, float]:
        return (x - x0) * zoom, (y - y0 + 30) * zoom

    for _, source, output, target, slot, kind in workflow["links"]:
        a, b = nodes[source], nodes[target]
        start = at(a["pos"][0] + a["size"][0], a["pos"][1] + 14 + 20 * output)
        end = at(b["pos"][0], b["pos"][1] + 14 + 20 * slot)
        pen.line(bent(start, end), fill=COLOURS.get(kind, "#8a8f98"), width=SCALE)
    font = ImageFont.load_default(11 * SCALE)
    for node in nodes.values():
        (left, top), (right, bottom) = at(node["pos"][0], node["pos"][1] - 30), at(*(node["pos"][i] + node["size"][i] for i in (0, 1)))
        ours = node["type"].startswith("Dragfield")
        pen.rounded_rectangle([left, top, right, bottom], 5 * SCALE, fill="#24405e" if ours else "#353941", outline="#4b5563")
        for i, line in enumerate(broken(node["type"].removeprefix("Dragfield"), (right - left) - 12 * SCALE, font)):
            if top + (16 + 13 * i) * SCALE < bottom:
                pen.text((left + 6 * SCALE, top + (4 + 13 * i) * SCALE), line, fill="#f2f3f5", font=font)
    return picture.resize((WIDTH, picture.height // SCALE), Image.Resampling.LANCZOS)


def bent(start: tuple[float, float], end: tuple[float, float], points: int = 24) -> list[tuple[float, float]]:
    """A link's curve, a cubic whose ends are level."""
    reach = 0.4 * abs(end[0] - start[0])
    curve = []
    for i in range(points + 1):
        t = i / points
        weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
        xs, ys = (start[0], start[0] + reach, end[0] - reach, end[0]), (start[1], start[1], end[1], end[1])
        curve.append((sum(w * x for w, x in zip(weights, xs, strict=True)), sum(w * y for w, y in zip(weights, ys, strict=True))))
    return curve


def broken(name: str, width: float, font: Any) -> list[str]:
    """A name of capitals in lines that fit."""
    words = re.sub(r"(?<=[a-z0-9_])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name).split()
    lines = [""]
    for word in words:
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


if __name__ == "__main__":
    main()
