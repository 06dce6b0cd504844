"""Suite `real`: drags between two real frames, so that the outcome is known; without any network, or whole edits with a model.

Rows without a network say what an edit starts from. `pixel_warp` is the fixed floor: pixels moved, the hole filled smoothly from around.
`start` is what `dragfield` starts from by default, `start_NAME` the same with one of its optional parts. Judged in four places:
  - uncovered ground: where the object was, and neither it nor what was moved lies now;
  - ground beside: the rest of what the edit may change, which should not have been touched at all;
  - the whole mask, and the object where it is now, which a shift alone can't make right: it has moved by itself.

`null` asks what is claimed where nothing is: discs at random places of pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..core.edits.dragfield import DragFieldSettings, open_mask
from ..core.field import DragField
from ..core.field.masks import disc, grow
from ..core.formats.picture_file import decode
from ..core.formats.real_motion import RealPair, read
from ..core.picture.cast_shadow import fit_cast_shadow
from ..core.picture.evidence import carry
from ..core.picture.preview import preview
from . import real_edits, real_points
from .tiny_autoencoder import TinyAutoencoder

Made = Callable[[RealPair, DragField], np.ndarray]
"""A picture float32 [H, W, 3] for a pair, judged inside of the mask alone."""
WORSE_BY = 0.3
"""dB beside the object by which a row has to be below `pixel_warp` to count as worse."""
BEST_DB = 50.0
FIGURES = ("uncovered_ground_db", "ground_beside_db", "whole_mask_db", "thing_db", "uncovered_texture", "seam_levels")
TEXTURE_SIGMA = 2.0
SEAM_PX = 2.0
PICTURES = (".jpg", ".jpeg", ".png", ".webp")


def no_edit(pair: RealPair, field: DragField) -> np.ndarray:
    """The picture as it was."""
    return pair.before


def pixel_warp(pair: RealPair, field: DragField) -> np.ndarray:
    """Pixels moved, the hole filled smoothly."""
    return preview(pair.before, field)


def start(pair: RealPair, field: DragField) -> np.ndarray:
    """What `dragfield` starts from."""
    return carry(pair.before, field, edges=DragFieldSettings().edges).image


def start_shadows(pair: RealPair, field: DragField) -> np.ndarray:
    """The same with the shadows that are detected."""
    reach = DragFieldSettings().margin * min(pair.size)
    return carry(pair.before, field, find_shadow=lambda image, alpha: fit_cast_shadow(image, alpha, reach)).image


def start_snapped(pair: RealPair, field: DragField) -> np.ndarray:
    """The same with edges snapped to the object."""
    return carry(pair.before, field, edges="snapped").image


METHODS: dict[str, Made] = {
    "no_edit": no_edit, "pixel_warp": pixel_warp, "start": start, "start_shadows": start_shadows, "start_snapped": start_snapped,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Places:
    """Where a pair is judged: bool [H, W] each."""

    mask: np.ndarray
    uncovered: np.ndarray
    beside: np.ndarray
    landed: np.ndarray
    valid: np.ndarray

    @classmethod
    def of(cls, pair: RealPair, field: DragField) -> Places:
        mask = open_mask(field, DragFieldSettings().margin * min(pair.size))
        moved = field.moved().numpy()
        either = pair.object_before | pair.object_after | moved
        return cls(
            mask, pair.object_before & ~pair.object_after & ~moved & pair.valid, mask & ~either & pair.valid,
            pair.object_after & pair.valid, pair.valid,
        )  # fmt: skip


def judge(pair: RealPair, places: Places, made: np.ndarray) -> dict[str, float | None]:
    """The figures of one picture for one pair; None where there is no such place."""
    made = np.where(places.mask[..., None], made, pair.before)
    ring = grow(pair.object_before, 16) & ~grow(pair.object_before, 4)
    around = _energy(pair.before, ring)
    texture = _energy(made, places.uncovered)
    return {
        "uncovered_ground_db": likeness_db(made, pair.after, places.uncovered),
        "ground_beside_db": likeness_db(made, pair.after, places.beside),
        "whole_mask_db": likeness_db(made, pair.after, places.mask & places.valid),
        "thing_db": likeness_db(made, pair.after, places.landed),
        "uncovered_texture": None if texture is None or not around else texture / around,
        "seam_levels": seam_levels(made, pair.before, places.mask),
    }


def seam_levels(made: np.ndarray, before: np.ndarray, mask: np.ndarray) -> float | None:
    """How far the result is from the picture just inside of where it is pasted, in levels of 255: the step that is seen there."""
    rim = mask & grow(~mask, SEAM_PX)
    return float(np.abs(made - before)[rim].mean() * 255) if rim.any() else None


def likeness_db(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> float | None:
    """PSNR of two pictures in [0, 1] inside of a mask, dB; None for an empty mask. At most BEST_DB: more says nothing of two frames."""
    if not where.any():
        return None
    return float(min(BEST_DB, -10 * np.log10(max(float(((a - b)[where] ** 2).mean()), 1e-10))))


def run(
    data: Path,
    methods: Sequence[str] = tuple(METHODS),
    *,
    autoencoder: Path | None = None,
    model: str | None = None,
    null: Path | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict:
    """Judge `methods` on every pair of a folder.

    autoencoder, model: for further rows, see real_edits.py; the folder of the one, the folder or "demo" for the other.
    null: a folder of pictures for the null test; None: the first frames of the pairs.
    -> {"suite", "pairs", "methods": {NAME: {FIGURE: mean, "worse_than_pixel_warp": share, "texture_in_range": share, "by_pair": {...}}},
    "points", "selection": see real_points.py, "null": {...}}. Raises: InstructionError for the folder, ValueError for an unknown method.
    """
    unknown = [name for name in methods if name not in METHODS]
    if unknown:
        raise ValueError(f"unknown methods {', '.join(unknown)}: use some of {', '.join(METHODS)}")
    pairs = read(data)
    known = dict(METHODS)
    if autoencoder is not None:
        known |= real_edits.by_autoencoder(TinyAutoencoder.load(autoencoder))
    if model is not None:
        known |= real_edits.by_model(model)
    methods = [*methods, *(name for name in known if name not in METHODS)]
    wanted = list(dict.fromkeys([*methods, "pixel_warp"]))
    found: dict[str, dict[str, dict[str, float | None]]] = {name: {} for name in wanted}
    for done, pair in enumerate(pairs):
        if progress is not None:
            progress(done, len(pairs), pair.name)
        field = DragField.from_drag(pair.drag())
        places = Places.of(pair, field)
        for name in wanted:
            found[name][pair.name] = judge(pair, places, known[name](pair, field))
    floor = found["pixel_warp"]
    return {
        "suite": "real",
        "pairs": len(pairs),
        "methods": {name: _summary(found[name], floor) for name in methods},
        "points": real_points.run(pairs),
        "selection": real_points.selection(_segmented(null) if null is not None else []),
        "null": null_test(_pictures(null) if null is not None else [(pair.name, pair.before) for pair in pairs]),
    }


def null_test(pictures: Sequence[tuple[str, np.ndarray]], discs: int = 8, seed: int = 0) -> dict[str, float]:
    """What is claimed of discs at random places, no object chosen: how many "have" a shadow. -> {"discs", "shadows"}."""
    rng, claimed, asked = np.random.default_rng(seed), 0, 0
    for _, picture in pictures:
        height, width = picture.shape[:2]
        radius = min(height, width) / 12
        for _ in range(discs):
            centre = rng.uniform(2 * radius, width - 2 * radius), rng.uniform(2 * radius, height - 2 * radius)
            alpha = disc((width, height), centre, radius).astype(np.float32)
            claimed += fit_cast_shadow(picture, alpha, DragFieldSettings().margin * min(height, width)) is not None
            asked += 1
    return {"discs": asked, "shadows": claimed / max(asked, 1)}


def sheet(data: Path, names: Sequence[str], methods: Sequence[str] = ("pixel_warp", "start"), side: int = 360) -> np.ndarray:
    """Pairs as rows: before, what each method makes, after; cut to what may change. -> uint8 [H, W, 3]."""
    rows = []
    for pair in (pair for pair in read(data) if pair.name in names):
        field = DragField.from_drag(pair.drag())
        mask = Places.of(pair, field).mask
        box = _box(grow(mask, 12))
        made = [np.where(mask[..., None], METHODS[name](pair, field), pair.before) for name in methods]
        tiles = [cv2.resize(picture[box], (side, side), interpolation=cv2.INTER_AREA) for picture in (pair.before, *made, pair.after)]
        rows.append(np.concatenate(tiles, axis=1))
    return np.rint(np.clip(np.concatenate(rows), 0, 1) * 255).astype(np.uint8)


def worst(report: dict, method: str = "start", count: int = 6) -> list[str]:
    """The pairs on which a row is farthest below `pixel_warp`'s best place, worst first."""
    by_pair = report["methods"][method]["by_pair"]
    return sorted(by_pair, key=lambda name: by_pair[name]["whole_mask_db"])[:count]


def _summary(found: dict[str, dict[str, float | None]], floor: dict[str, dict[str, float | None]]) -> dict:
    means = {}
    for figure in FIGURES:
        values = [row[figure] for row in found.values() if row[figure] is not None]
        means[figure] = float(np.median(values) if figure == "uncovered_texture" else np.mean(values)) if values else None
    beside = [(row["ground_beside_db"], floor[name]["ground_beside_db"]) for name, row in found.items()]
    worse = [mine < theirs - WORSE_BY for mine, theirs in beside if mine is not None and theirs is not None]
    return {**means, "worse_than_pixel_warp": float(np.mean(worse)) if worse else 0.0, "by_pair": found}


def _energy(picture: np.ndarray, where: np.ndarray) -> float | None:
    """How much texture there is: mean square of what a blur takes away."""
    if where.sum() < 50:
        return None
    fine = picture - cv2.GaussianBlur(picture, (0, 0), TEXTURE_SIGMA)
    return float((fine[where] ** 2).mean())


def _box(mask: np.ndarray) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _pictures(folder: Path) -> list[tuple[str, np.ndarray]]:
    files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in PICTURES and not path.stem.endswith("_segments")]
    if not files:
        raise ValueError(f"{folder} holds no pictures; give a folder of JPEG, PNG or WebP files")
    return [(path.name, np.asarray(decode(path), np.float32) / 255) for path in files]


def _segmented(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pictures with labels of their regions beside them, in NAME_segments.png."""
    found = []
    for name, picture in _pictures(folder):
        labels = folder / f"{Path(name).stem}_segments.png"
        if labels.is_file():
            found.append((picture, np.asarray(decode(labels).convert("L"))))
    return found
