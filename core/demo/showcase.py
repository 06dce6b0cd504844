"""What `make demo` shows: a few fresh drags by the bundled model, as a contact sheet, single pictures and numbers.

    output/demo/demo.png          one row a drag: the drag, where the picture may change, reconstruction, results, truth
    output/demo/1-relocation/     the single pictures of the first row, and so on
    output/demo/report.json       settings, measures, seconds and network passes

A picture is inverted once and edited twice: by `dragflow` and by `dragfield`.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from ..edits.dragfield import dragfield
from ..edits.dragflow import dragflow
from ..edits.edit import Edit
from ..field import DragField
from ..picture.compose import paste_back, picture_of, tensor_of
from ..picture.preview import SOURCE, TARGET, overlay, preview
from ..progress import Progress, RunContext
from ..sampling.inversion import invert, reconstruct
from .cases import DemoCase, sample_cases
from .dragflow_settings import DRAGFIELD as OURS
from .dragflow_settings import DRAGFLOW
from .flux import DemoFlux, load
from .measure import measure, psnr
from .scenes import UNIT
from .sheet import Cell, Row, contact_sheet
from .text import embed

SEED = 3
COLUMNS = {
    "drag": "input and drag", "mask": "gradient mask", "reconstruction": "reconstruction", "pixel_warp": "pixel warp, no model",
    "dragflow": "dragflow", "dragfield": "dragfield, ours", "truth": "truth",
}  # fmt: skip
THREADS = 2
"""The bundled model is too small to keep more cores busy; where they are shared or rationed, more threads only wait for each other."""
DRAGFIELD = replace(OURS, inversion=DRAGFLOW.inversion)


@dataclass(frozen=True, eq=False)
class Shown:
    """One case, edited and measured.  pictures: uint8 [H, W, 3] by file name.  record: its entry in the report."""

    case: DemoCase
    pictures: dict[str, np.ndarray]
    record: dict


def run(
    output: Path,
    progress: Callable[[int, int, str], None] | None = None,
    *,
    cases: int = 4,
    seed: int = SEED,
    model: DemoFlux | None = None,
) -> dict:
    """Edit `cases` drawn scenes of `seed` and write what came out to the folder `output`, which is made if need be.

    progress(done, total, what): told whenever something has been done.  model: None loads the bundled one.
    -> the report, as written to report.json: {"seed", "seconds", "settings", "cases": [...]}, see `rows`.
    Raises ValueError for less than one case, OSError where `output` cannot be written.
    """
    if cases < 1:
        raise ValueError(f"{cases} cases show nothing: use 1 or more (4 have every task in them)")
    began = time.perf_counter()
    output.mkdir(parents=True, exist_ok=True)
    model = model or load()
    shown = []
    for i, case in enumerate(sample_cases(cases, seed)):
        tell = _teller(progress, 4 * i, 4 * cases, f"{i + 1} {case.task}")
        with at_most(THREADS):
            shown.append(show(model, case, f"{i + 1}-{case.task}", tell))
        folder = output / shown[-1].record["name"]
        folder.mkdir(exist_ok=True)
        for name, picture in shown[-1].pictures.items():
            Image.fromarray(picture).save(folder / f"{name}.png")
    if progress is not None:
        progress(4 * cases, 4 * cases, "done")
    sheet = contact_sheet(
        "Dragfield: drags by the bundled model",
        "Blue: what is dragged. Orange: where to. px and °: how far the dragged object is from the truth. dB: likeness to the truth where "
        "the picture may change. Outside of the mask every pixel is the input's.",
        list(COLUMNS.values()), [Row(f"{i}   {describe(one.case)}", one.case.scene.caption, list(_cells(one)))
                                 for i, one in enumerate(shown, start=1)],
    )  # fmt: skip
    sheet.save(output / "demo.png")
    settings = {"dragflow": asdict(DRAGFLOW), "dragfield": asdict(DRAGFIELD)}
    report = {"seed": seed, "seconds": time.perf_counter() - began, "settings": settings, "cases": [one.record for one in shown]}
    (output / "report.json").write_text(json.dumps(report, indent=1, default=str) + "\n", encoding="utf-8")
    return report


def rows(report: dict) -> Iterator[dict]:
    """The report as a table: one row for each method on each case, its name first."""
    for case in report["cases"]:
        for method, figures in case["methods"].items():
            yield {"edit": f"{case['name']} {method}", **figures}


def show(model: DemoFlux, case: DemoCase, name: str, tell: Callable[[int, str], Callable[[Progress], None]]) -> Shown:
    """Edit one case by every method. tell(part, what) gives what is to be told the progress of that part, of four."""
    backbone, autoencoder = model.backbone, model.autoencoder
    image, cond = tensor_of(case.source), embed([case.drag.background_prompt])
    with torch.no_grad():
        began = time.perf_counter()
        inversion = invert(backbone, autoencoder.encode(image), cond, DRAGFLOW.inversion, run=RunContext(tell(0, "inversion")))
        inverting = time.perf_counter() - began
        tell(1, "reconstruction")
        # Denoised from the inverted latent itself: the free reconstruction, back along the path, would prove nothing.
        rebuilt = picture_of(autoencoder.decode(reconstruct(backbone, inversion, cond)[-1]))
        coded = picture_of(autoencoder.decode(inversion.z0))
        began = time.perf_counter()
        warped = preview(case.source, DragField.from_drag(case.drag, DRAGFIELD.field))
        warping = time.perf_counter() - began
        through = autoencoder.decode(autoencoder.encode(tensor_of(warped)))
    question = (backbone, autoencoder, image, case.drag, cond)
    published = dragflow(*question, settings=DRAGFLOW, inversion=inversion, run=RunContext(tell(2, "dragflow")))
    ours = dragfield(*question, settings=DRAGFIELD, inversion=inversion, run=RunContext(tell(3, "dragfield")))
    mask = published.mask | ours.mask

    # As in the benchmark, the warp passes through the autoencoder once, so that all results pay for it alike.
    made = {"pixel_warp": paste_back(through, image, mask), "dragflow": published.image, "dragfield": ours.image}
    results = {name: picture_of(image) for name, image in made.items()}
    spent = {"no_edit": _spent(), "pixel_warp": _spent(warping), "dragflow": _cost(published), "dragfield": _cost(ours)}
    measured = {method: measure(case, picture, mask) for method, picture in {"no_edit": case.source, **results}.items()}
    record = {
        "name": name, "task": case.task, "drag": describe(case), "prompt": case.scene.caption,
        "may_change": {"dragflow": float(published.mask.mean()), "dragfield": float(ours.mask.mean())},
        "inversion": {"seconds": inverting, "nfe_forward": inversion.nfe},
        "autoencoder_psnr_db": psnr(coded, case.source), "reconstruction_psnr_db": psnr(rebuilt, case.source),
        "methods": {method: {**asdict(found), **spent[method]} for method, found in measured.items()},
    }  # fmt: skip
    pictures = {
        "input": case.source, "drag": overlay(case.source, case.drag), "reconstruction": rebuilt, "preview": warped, **results,
        "truth": case.truth,
    }  # fmt: skip
    eight_bit = {key: np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8) for key, picture in pictures.items()}
    eight_bit["mask"] = shade(eight_bit["input"], published.mask, ours.mask)
    return Shown(case, eight_bit, record)


@contextmanager
def at_most(threads: int) -> Iterator[None]:
    """torch on no more than so many threads, for a while."""
    before = torch.get_num_threads()
    torch.set_num_threads(min(threads, before))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def describe(case: DemoCase) -> str:
    """The drag in a few words, such as "relocation, 62 px"."""
    if case.task == "rotation":
        return f"rotation, {abs(case.turn):.0f}° {'clockwise' if case.turn > 0 else 'counter-clockwise'}"
    return f"{case.task}, {math.hypot(*case.shift) * case.size / UNIT:.0f} px"


def shade(picture: np.ndarray, published: np.ndarray, ours: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3], faded to white outside of the gradient mask, both masks outlined: the published one blue, ours orange."""
    shaded = np.where(published[..., None], picture, picture // 4 + 191).astype(np.uint8)
    for mask, colour in ((published, SOURCE), (ours, TARGET)):
        edge = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8), borderValue=0)
        shaded[edge > 0] = colour
    return shaded


def _cells(one: Shown) -> Iterator[Cell]:
    record, found = one.record, one.record["methods"]
    share = record["may_change"]
    captions = {
        "drag": f"{found['no_edit']['psnr_truth_mask_db']:.1f} dB as it is",
        "mask": f"dragflow {share['dragflow']:.0%} (blue), ours {share['dragfield']:.0%}",
        "reconstruction": f"{record['reconstruction_psnr_db']:.1f} dB, autoencoder alone {record['autoencoder_psnr_db']:.1f}",
        "truth": "",
    }
    for column in COLUMNS:
        yield Cell(one.pictures[column], captions[column] if column in captions else _caption(found[column]))


def _caption(figures: dict) -> str:
    turn = figures["rotation_error_deg"]
    parts = [f"{figures['centroid_error_px']:.1f} px", turn is not None and f"{turn:.0f}°", f"{figures['psnr_truth_mask_db']:.1f} dB",
             figures["nfe_forward"] > 0 and f"{figures['seconds']:.1f} s"]  # fmt: skip
    return ", ".join(filter(None, parts))


def _teller(progress: Callable[[int, int, str], None] | None, first: int, total: int, what: str):
    """tell(part, stage): says that a part begins, and gives what is to be told its steps."""

    def tell(part: int, stage: str) -> Callable[[Progress], None]:
        def step(at: Progress) -> None:
            if progress is not None:
                progress(first + part, total, f"{what}: {stage} {at.stage} {at.done}/{at.total}")

        if progress is not None:
            progress(first + part, total, f"{what}: {stage}")
        return step

    return tell


def _cost(edit: Edit) -> dict:
    return _spent(edit.seconds, edit.nfe_forward, edit.nfe_backward)


def _spent(seconds: float = 0.0, forward: int = 0, backward: int = 0) -> dict:
    return {"seconds": seconds, "nfe_forward": forward, "nfe_backward": backward}
