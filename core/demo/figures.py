"""Figures with joints on natural grounds: a world that asks what drags on photographs ask.

A figure is a tree of parts: each is joined to its parent and turns about the joint, arms at shoulders and elbows, a head on a neck, a tail
segment by segment. Its parts overlap at their joints, so that a joint stays closed whatever its angle. Grounds have the texture of real
ones, with an edge between two materials; shadows are sheared, of contact, of two lights or absent; what stands farther up is farther away
and smaller; a post may stand in front; the whole may be soft in the distance, grainy and compressed. The same figure with one joint turned,
one part longer or moved as a whole is drawn again, which is the truth of that drag.

Convention: positions are (x, y) in units of 1/256 of the picture's side, origin top left, y down; angles in degrees, positive turns
clockwise on the screen, 0 points to the right. Pictures are float32 [size, size, 3] in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np

UNIT = 256.0
FINER = 3
"""Parts are drawn this many times as large, and averaged."""
Shadow = Literal["none", "contact", "sheared", "two"]
MATERIALS = {
    "grass": (0.34, 0.46, 0.22), "sand": (0.76, 0.67, 0.50), "bricks": (0.58, 0.33, 0.26), "stone": (0.52, 0.52, 0.53),
    "leaves": (0.24, 0.36, 0.17), "wood": (0.50, 0.36, 0.24), "wall": (0.68, 0.66, 0.60),
}  # fmt: skip
COATS = {
    "brown": (0.42, 0.27, 0.16), "grey": (0.47, 0.47, 0.49), "white": (0.90, 0.88, 0.84), "black": (0.13, 0.12, 0.13),
    "orange": (0.85, 0.47, 0.16), "blue": (0.22, 0.32, 0.62), "red": (0.72, 0.18, 0.16),
}  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A limb: from its joint, `length` long, `wide` at the joint and `narrow` at its end.

    parent: index of what it is joined to, -1 for the body's own place.  at: where on the parent, 0 its joint to 1 its end.  angle: against
    the parent's.  behind: drawn before its parent.
    """

    name: str
    parent: int
    at: float
    angle: float
    length: float
    wide: float
    narrow: float
    behind: bool = False


@dataclass(frozen=True)
class Figure:
    """parts: parents before children.  x, y: of the body's joint.  scale: how near it is."""

    parts: tuple[Part, ...]
    x: float
    y: float
    scale: float
    coat: str
    second: str
    striped: bool
    fur: float

    def under(self, part: int) -> frozenset[int]:
        """A part and all that hangs on it."""
        found = {part}
        for index, one in enumerate(self.parts):
            if one.parent in found:
                found.add(index)
        return frozenset(found)

    def placed(self) -> list[tuple[np.ndarray, np.ndarray, float]]:
        """Joint and end of each part [2], and its angle on the screen."""
        found: list[tuple[np.ndarray, np.ndarray, float]] = []
        for part in self.parts:
            if part.parent < 0:
                start, angle = np.array([self.x, self.y]), part.angle
            else:
                joint, end, above = found[part.parent]
                start, angle = joint + part.at * (end - joint), above + part.angle
            direction = np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
            found.append((start, start + self.scale * part.length * direction, angle))
        return found

    def with_part(self, index: int, **changes: float) -> Figure:
        parts = list(self.parts)
        parts[index] = replace(parts[index], **changes)
        return replace(self, parts=tuple(parts))


@dataclass(frozen=True)
class FigureScene:
    """A figure on its ground."""

    figure: Figure
    near: str
    far: str
    horizon: float
    tilt: float
    ground_seed: int
    shadow: Shadow
    lean: float
    """How far a sheared shadow falls to the side, in heights."""
    blur: float
    grain: float
    jpeg: int
    """Quality, 0 for none."""
    post: float | None
    """Where a post stands in front, x."""

    @property
    def caption(self) -> str:
        """In words: "a brown striped figure on grass before bricks"."""
        coat = f"{self.figure.coat} striped" if self.figure.striped else self.figure.coat
        return f"a {coat} figure on {self.near} before {self.far}"


def sample_figure_scene(rng: np.random.Generator) -> FigureScene:
    """Draw a scene."""
    horizon = float(rng.uniform(90, 150))
    feet = float(rng.uniform(horizon + 50, 236))
    scale = perspective(feet, horizon)
    near, far = rng.choice(list(MATERIALS), 2, replace=False)
    coat, second = rng.choice(list(COATS), 2, replace=False)
    parts = sample_parts(rng)
    height = max(0.0, *(part.length for part in parts if part.name.startswith("leg")))
    figure = Figure(
        parts, float(rng.uniform(80, 176)), feet - scale * height, scale, str(coat), str(second), bool(rng.random() < 0.35),
        float(rng.choice([0.0, 0.0, 1.0, 2.0])),
    )  # fmt: skip
    return FigureScene(
        figure, str(near), str(far), horizon, float(rng.uniform(-6, 6)), int(rng.integers(2**31)),
        rng.choice(["none", "contact", "sheared", "two"], p=[0.25, 0.25, 0.35, 0.15]), float(rng.uniform(-0.9, 0.9)),
        float(rng.choice([0.0, 1.0, 2.5])), float(rng.choice([0.0, 0.01, 0.025])), int(rng.choice([0, 0, 90, 75])),
        float(rng.uniform(20, 236)) if rng.random() < 0.15 else None,
    )  # fmt: skip


def sample_parts(rng: np.random.Generator) -> tuple[Part, ...]:
    """One of two kinds of figure: upright with arms, or on four legs with a tail."""

    def angle(mean: float, spread: float) -> float:
        return float(mean + rng.uniform(-spread, spread))

    if rng.random() < 0.5:
        return (
            Part("body", -1, 0.0, angle(-90, 8), 44, 13, 16),
            Part("neck", 0, 1.0, angle(0, 10), 10, 6, 6, True),
            Part("head", 1, 1.0, angle(0, 14), 12, 13, 11),
            Part("arm", 0, 0.9, angle(150, 35), 24, 7, 5),
            Part("forearm", 3, 1.0, angle(-20, 40), 22, 5, 4),
            Part("arm", 0, 0.9, angle(-150, 35), 24, 7, 5, True),
            Part("forearm", 5, 1.0, angle(20, 40), 22, 5, 4, True),
            Part("leg", 0, 0.02, angle(172, 8), 52, 8, 5, True),
            Part("leg", 0, 0.02, angle(188, 8), 52, 8, 5),
        )
    tail = [
        # The first at the body's joint, each other one at the end of the one before.
        Part("tail", *((0, 0.0, angle(200, 25)) if i == 0 else (7 + i, 1.0, angle(12, 12))), 12, 4.5 - i, 3.5 - i, True)
        for i in range(3)
    ]
    return (
        Part("body", -1, 0.0, angle(-2, 6), 62, 16, 17),
        Part("neck", 0, 0.95, angle(-50, 15), 22, 9, 8),
        Part("head", 1, 1.0, angle(40, 20), 20, 9, 6),
        Part("leg", 0, 0.06, angle(92, 8), 38, 7, 4, True),
        Part("leg", 0, 0.14, angle(88, 8), 38, 7, 4),
        Part("leg", 0, 0.88, angle(92, 8), 38, 7, 4, True),
        Part("leg", 0, 0.94, angle(88, 8), 38, 7, 4),
        Part("ear", 2, 0.15, angle(-80, 15), 9, 4, 2),
        *tail,
    )


def perspective(feet: float, horizon: float) -> float:
    """How large what stands at `feet` is: nothing at the horizon, full size near the lower edge."""
    return 0.35 + 0.75 * (feet - horizon) / (UNIT - horizon)


def render_figure(scene: FigureScene, size: int, without: frozenset[int] = frozenset()) -> np.ndarray:
    """The picture. without: parts that are left out."""
    layers = _layers(scene.figure, size, without)
    picture = ground_of(scene.near, scene.far, scene.horizon, scene.tilt, scene.ground_seed, scene.blur, size).copy()
    whole = _over_all(layers)
    picture *= (1 - _shadow(scene, whole, size))[..., None]
    for alpha, colour in layers:
        picture += alpha[..., None] * (colour - picture)
    if scene.post is not None:
        alpha = _bar(scene.post, size)[..., None]
        picture += alpha * (np.array([0.32, 0.30, 0.28]) - picture)
    grain = np.random.default_rng(scene.ground_seed + 1).standard_normal((size, size, 1)).astype(np.float32)
    picture = np.clip(picture + scene.grain * grain, 0, 1).astype(np.float32)
    if scene.jpeg:
        coded = cv2.imencode(".jpg", np.rint(picture[..., ::-1] * 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, scene.jpeg])[1]
        picture = cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1].astype(np.float32) / 255
    return picture


def part_mask(scene: FigureScene, parts: frozenset[int], size: int) -> np.ndarray:
    """Where some parts are to be seen. bool [size, size]."""
    seen = np.zeros((size, size), np.float32)
    for index, (alpha, _) in zip(_order(scene.figure), _layers(scene.figure, size, frozenset()), strict=True):
        seen = np.where(alpha > 0.5, float(index in parts), seen)
    if scene.post is not None:
        seen[_bar(scene.post, size) > 0.5] = 0
    return seen > 0.5


def _order(figure: Figure) -> list[int]:
    return sorted(range(len(figure.parts)), key=lambda i: (not figure.parts[i].behind, i))


def _layers(figure: Figure, size: int, without: frozenset[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Alpha and colour of each part that is drawn, from behind to front."""
    unit, placed, layers = size / UNIT, figure.placed(), []
    y, x = np.mgrid[:size, :size].astype(np.float32) / np.float32(unit)
    rough = np.random.default_rng(7).standard_normal((size, size)).astype(np.float32) if figure.fur else None
    for index in _order(figure):
        if index in without:
            continue
        part, (joint, end, angle) = figure.parts[index], placed[index]
        along = np.array([np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))])
        alpha = _capsule(joint, end, figure.scale * part.wide, figure.scale * part.narrow, size)
        if rough is not None:
            # Hairs: the outline is pushed in and out along the part.
            soft = cv2.GaussianBlur(alpha, (0, 0), 0.8 * figure.fur * unit)
            alpha = np.clip((soft + 0.35 * soft * (1 - soft) * 4 * rough - 0.25) * 2, 0, 1).astype(np.float32)
        across = (-(x - joint[0]) * along[1] + (y - joint[1]) * along[0]) / max(figure.scale * part.wide, 1e-3)
        base = np.array(COATS[figure.coat], np.float32)
        colour = np.broadcast_to(base, (size, size, 3)).copy()
        if figure.striped:
            bands = ((x - joint[0]) * along[0] + (y - joint[1]) * along[1]) / figure.scale
            colour = np.where((bands % 9 < 3)[..., None], np.array(COATS[figure.second], np.float32), colour)
        colour *= (1.05 - 0.3 * np.clip(across * np.sign(along[0] + 1e-6), -1, 1) ** 1)[..., None]
        layers.append((alpha, np.clip(colour, 0, 1)))
    return layers


def _capsule(joint: np.ndarray, end: np.ndarray, wide: float, narrow: float, size: int) -> np.ndarray:
    """How much of each pixel a limb covers. float32 [size, size]."""
    fine = size * FINER
    scale = fine / UNIT
    canvas = np.zeros((fine, fine), np.uint8)
    direction = end - joint
    side = np.array([-direction[1], direction[0]]) / max(float(np.hypot(*direction)), 1e-6)
    corners = [joint + wide * side, end + narrow * side, end - narrow * side, joint - wide * side]
    cv2.fillPoly(canvas, [np.rint(np.array(corners) * scale).astype(np.int32)], 255)
    for centre, radius in ((joint, wide), (end, narrow)):
        cv2.circle(canvas, tuple(int(v) for v in np.rint(centre * scale)), max(1, round(radius * scale)), 255, -1)
    return cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _over_all(layers: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    whole = np.zeros_like(layers[0][0])
    for alpha, _ in layers:
        whole = np.maximum(whole, alpha)
    return whole


def _shadow(scene: FigureScene, whole: np.ndarray, size: int) -> np.ndarray:
    """How much light the figure takes from the ground. float32 [size, size] in [0, 1)."""
    taken, unit = np.zeros_like(whole), size / UNIT
    rows = np.flatnonzero((whole > 0.5).any(axis=1))
    if scene.shadow == "none" or not len(rows):
        return taken
    feet = float(rows[-1])
    leans = {"contact": (0.0,), "sheared": (scene.lean,), "two": (scene.lean, -0.7 * scene.lean)}[scene.shadow]
    flat, softness, strength = (0.06, 2.5, 0.5) if scene.shadow == "contact" else (0.38, 1.6, 0.45 / len(leans) + 0.1)
    for lean in leans:
        # A height h above the feet falls to (x - lean·h, feet - flat·h).
        shear = np.float32([[1, lean, -lean * feet], [0, flat, feet * (1 - flat)]])
        fallen = cv2.warpAffine(whole, shear, (size, size))
        taken = np.maximum(taken, strength * cv2.GaussianBlur(fallen, (0, 0), softness * unit))
    return taken


def _bar(x: float, size: int) -> np.ndarray:
    scale = size / UNIT
    edges = np.clip(5 - np.abs(np.arange(size) / scale - x), 0, 1).astype(np.float32)
    return np.broadcast_to(edges, (size, size)).copy()


@lru_cache(maxsize=64)
def ground_of(near: str, far: str, horizon: float, tilt: float, seed: int, blur: float, size: int) -> np.ndarray:
    """Two materials with an edge between them; the far one may be out of focus. float32 [size, size, 3], not to be written to."""
    rng = np.random.default_rng(seed)
    below, above = (_material(name, rng, size) for name in (near, far))
    if blur:
        above = cv2.GaussianBlur(above, (0, 0), blur * size / UNIT)
    y, x = np.mgrid[:size, :size] * UNIT / size
    edge = np.clip((y - horizon - np.tan(np.deg2rad(tilt)) * (x - UNIT / 2)) * size / UNIT + 0.5, 0, 1)[..., None]
    light = 1 + 0.12 * np.cos(np.deg2rad(rng.uniform(0, 360)) + x / UNIT * 2)[..., None]
    return np.clip((above + edge * (below - above)) * light, 0, 1).astype(np.float32)


def _material(name: str, rng: np.random.Generator, size: int) -> np.ndarray:
    base = np.array(MATERIALS[name], np.float32)
    stretch = {"grass": (1.0, 4.0), "wood": (6.0, 0.6), "leaves": (1.5, 1.5)}.get(name, (1.0, 1.0))
    grain = _pink(rng, size, stretch, 0.8 if name in ("grass", "leaves") else 1.2)
    picture = base * (1 + {"leaves": 0.5, "grass": 0.35, "stone": 0.22, "bricks": 0.15}.get(name, 0.12) * grain[..., None])
    if name == "bricks":
        y, x = np.mgrid[:size, :size] * UNIT / size
        mortar = (y % 12 < 1.6) | ((x + 12 * (y // 12 % 2)) % 24 < 1.6)
        shade = 1 + 0.14 * rng.standard_normal((64, 64))[(y // 12).astype(int) % 64, ((x + 12 * (y // 12 % 2)) // 24).astype(int) % 64]
        picture = np.where(mortar[..., None], np.array([0.62, 0.59, 0.54]), picture * shade[..., None])
    if name == "wood":
        y = np.mgrid[:size, :size][0] * UNIT / size
        picture = picture * np.where(y % 26 < 1.2, 0.6, 1)[..., None]
    return np.clip(picture, 0, 1).astype(np.float32)


def _pink(rng: np.random.Generator, size: int, stretch: tuple[float, float], power: float) -> np.ndarray:
    """Noise whose amplitude falls with frequency to `power`, as that of natural textures does; unit variance."""
    fy, fx = np.fft.fftfreq(size)[:, None] * stretch[1] ** -0.5, np.fft.rfftfreq(size)[None] * stretch[0] ** -0.5
    frequency = np.hypot(fx * stretch[0], fy * stretch[1])
    frequency[0, 0] = 1
    spectrum = (rng.standard_normal(frequency.shape) + 1j * rng.standard_normal(frequency.shape)) / np.maximum(frequency, 2 / size) ** power
    noise = np.fft.irfft2(spectrum, (size, size))
    return ((noise - noise.mean()) / noise.std()).astype(np.float32)
