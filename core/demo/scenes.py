"""Procedural scenes in which the truth of any drag can be drawn: the same world with one object moved, turned or stretched.

A scene is a ground, a light, up to three objects and sometimes posts in front. Moving an object changes more than its own pixels: its
soft shadow falls away from the light and lies outside of its region, its shading and brightness depend on where it stands, and posts
occlude it. A warp of pixels alone can therefore never be the perfect editor.

Convention: positions are (x, y) in units of 1/256 of the picture's side, origin top left, y down; angles in degrees, positive turns
clockwise on the screen. `render(scene, size)` draws the same world at any size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np

UNIT = 256.0
"""Side of the picture in scene units."""

STRETCH_FROM = 0.3
"""Where on its own x axis, in radii, the rigid end of a stretched object begins."""
STEM_FROM = -0.35
"""Where the stem that is lengthened begins."""

COLOURS = {
    "red": (0.82, 0.16, 0.15), "orange": (0.93, 0.52, 0.12), "yellow": (0.93, 0.83, 0.22), "green": (0.13, 0.55, 0.27),
    "blue": (0.16, 0.33, 0.80), "purple": (0.52, 0.22, 0.67), "pink": (0.93, 0.55, 0.70), "white": (0.93, 0.93, 0.91),
    "black": (0.13, 0.13, 0.15), "cyan": (0.20, 0.72, 0.78),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "star", "hexagon", "cross", "bar", "drop")
PATTERNS = ("plain", "striped", "dotted", "halved")
GROUNDS = {
    "grass": (0.36, 0.58, 0.28), "sand": (0.80, 0.70, 0.50), "water": (0.32, 0.55, 0.72), "wood": (0.58, 0.41, 0.26),
    "stone": (0.56, 0.56, 0.58), "snow": (0.78, 0.80, 0.84),
}  # fmt: skip


@dataclass(frozen=True)
class SceneObject:
    """One object. `stretch` lengthens it along its own x axis: what lies beyond STRETCH_FROM moves by `stretch` units."""

    shape: str
    colour: str
    second: str
    pattern: str
    x: float
    y: float
    radius: float
    angle: float
    height: float
    """Height above the ground in units: how far its shadow falls from it."""
    stretch: float = 0.0

    @property
    def words(self) -> str:
        return f"{self.colour} {self.shape}" if self.pattern == "plain" else f"{self.colour} {self.pattern} {self.shape}"


@dataclass(frozen=True)
class Post:
    """A vertical pole that always stands in front of everything."""

    x: float
    width: float
    colour: str


@dataclass(frozen=True)
class Scene:
    ground: str
    ground_seed: int
    light: tuple[float, float]
    light_radius: float
    objects: tuple[SceneObject, ...]
    posts: tuple[Post, ...] = ()

    @property
    def caption(self) -> str:
        """The scene in words, the vocabulary of the demo model's prompts: "a red star, a blue striped bar on grass"."""
        names = ", ".join(("an " if obj.words[0] in "aeiou" else "a ") + obj.words for obj in self.objects)
        behind = " behind a post" if self.posts else ""
        return f"{names} on {self.ground}{behind}" if names else f"empty {self.ground}{behind}"

    def with_object(self, index: int, **changes) -> Scene:
        """The same scene with object `index` changed: the truth of a drag."""
        objects = list(self.objects)
        objects[index] = replace(objects[index], **changes)
        return replace(self, objects=tuple(objects))

    def without_object(self, index: int) -> Scene:
        """The clean plate: the same scene without object `index` and without its shadow."""
        return replace(self, objects=self.objects[:index] + self.objects[index + 1 :])


def sample_scene(rng: np.random.Generator, objects: int | None = None) -> Scene:
    """Draw a scene. Objects do not overlap; the first is drawn first. `objects` fixes their number (0 to 3; fewer when crowded)."""
    light = (float(rng.uniform(-40, 296)), float(rng.uniform(-60, 120)))
    wanted = objects if objects is not None else int(rng.choice([0, 1, 2, 3], p=[0.05, 0.42, 0.33, 0.2]))
    placed: list[SceneObject] = []
    for _ in range(30):
        if len(placed) == wanted:
            break
        obj = sample_object(rng)
        if rng.random() < 0.15:
            obj = replace(obj, stretch=float(rng.uniform(-0.25, 1.4)) * obj.radius)
        if all(np.hypot(obj.x - o.x, obj.y - o.y) > 1.05 * (reach(obj) + reach(o)) for o in placed):
            placed.append(obj)
    posts: tuple[Post, ...] = ()
    if rng.random() < 0.2:
        posts = (Post(float(rng.uniform(20, 236)), float(rng.uniform(8, 16)), str(rng.choice(["white", "black", "orange"]))),)
    return Scene(
        ground=str(rng.choice(list(GROUNDS))), ground_seed=int(rng.integers(2**31)), light=light,
        light_radius=float(rng.uniform(180, 340)), objects=tuple(placed), posts=posts,
    )  # fmt: skip


def sample_object(rng: np.random.Generator) -> SceneObject:
    """Draw one object that stands well inside the picture."""
    colours = rng.permutation(list(COLOURS))
    radius = float(rng.uniform(20, 38))
    return SceneObject(
        shape=str(rng.choice(SHAPES)), colour=str(colours[0]), second=str(colours[1]),
        pattern=str(rng.choice(PATTERNS, p=[0.4, 0.2, 0.2, 0.2])),
        x=float(rng.uniform(radius + 6, UNIT - radius - 6)), y=float(rng.uniform(radius + 6, UNIT - radius - 6)),
        radius=radius, angle=float(rng.uniform(0, 360)), height=float(rng.uniform(7, 15)),
    )  # fmt: skip


def reach(obj: SceneObject) -> float:
    """Largest distance of a point of the object from its centre, in units."""
    return obj.radius * 1.12 + abs(obj.stretch)


def render(scene: Scene, size: int = 256) -> np.ndarray:
    """Draw the scene: float32 [size, size, 3] RGB in [0, 1]. Deterministic; edges are antialiased."""
    image = _ground(scene.ground, scene.ground_seed, size).copy()
    for obj in scene.objects:
        _paint_object(image, obj, scene.light)
    image *= _light(scene.light, scene.light_radius, size)
    for post in scene.posts:
        _paint_post(image, post)
    return np.clip(image, 0.0, 1.0, out=image)


def object_mask(scene: Scene, index: int, size: int = 256) -> np.ndarray:
    """Where object `index` is visible: bool [size, size], posts in front cut out, its shadow not included."""
    x, y = _grid(size)
    mask = _coverage(_distance(scene.objects[index], *_to_local(scene.objects[index], x, y)), size) > 0.5
    for post in scene.posts:
        mask &= np.abs(x - post.x) > post.width / 2
    return mask


def _paint_object(image: np.ndarray, obj: SceneObject, light: tuple[float, float]) -> None:
    size = image.shape[0]
    away = np.array([obj.x - light[0], obj.y - light[1]], float)
    away /= max(float(np.hypot(*away)), 1e-6)
    margin = reach(obj) + obj.height + 12
    x0, x1 = (int(np.clip(v * size / UNIT, 0, size)) for v in (obj.x - margin, obj.x + margin))
    y0, y1 = (int(np.clip(v * size / UNIT, 0, size)) for v in (obj.y - margin, obj.y + margin))
    if x1 <= x0 or y1 <= y0:
        return
    gx, gy = _grid(size)
    x, y, patch = gx[y0:y1, x0:x1], gy[y0:y1, x0:x1], image[y0:y1, x0:x1]

    shadow = _distance(obj, *_to_local(obj, x - away[0] * obj.height, y - away[1] * obj.height))
    softness = 2.0 + 0.5 * obj.height
    patch *= 1.0 - 0.55 * _smoothstep(softness, -softness, shadow)[..., None]

    u, v = _to_local(obj, x, y)
    distance = _distance(obj, u, v)
    facing = -(away[0] * (x - obj.x) + away[1] * (y - obj.y)) / obj.radius
    shade = (0.92 + 0.16 * np.clip(facing, -1.2, 1.2)) * (0.72 + 0.28 * _smoothstep(0.0, -0.35 * obj.radius, distance))
    colour = _pattern(obj, u, v) * shade[..., None]
    alpha = _coverage(distance, size)[..., None]
    patch += alpha * (colour - patch)


def _to_local(obj: SceneObject, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scene position -> the object's own unstretched frame, in units of its radius."""
    a = np.deg2rad(obj.angle)
    c, s = np.cos(a), np.sin(a)
    u = (c * (x - obj.x) + s * (y - obj.y)) / obj.radius
    v = (-s * (x - obj.x) + c * (y - obj.y)) / obj.radius
    if obj.stretch:
        # Beyond STRETCH_FROM the object moves rigidly; the stem between STEM_FROM and there is lengthened evenly.
        start, end, delta = STEM_FROM, STRETCH_FROM, obj.stretch / obj.radius
        stem = start + (u - start) * (end - start) / (end + delta - start)
        u = np.where(u > end + delta, u - delta, np.where(u > start, stem, u))
    return u, v


def _distance(obj: SceneObject, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Signed distance to the outline in units, negative inside (exact enough for edges and soft shadows)."""
    r = np.hypot(u, v)
    shape = obj.shape
    if shape == "circle":
        d = r - 0.9
    elif shape == "square":
        d = _box(u, v, 0.74, 0.74) - 0.06
    elif shape == "bar":
        d = _box(u, v, 0.72, 0.16) - 0.22
    elif shape == "cross":
        d = np.minimum(_box(u, v, 0.85, 0.26), _box(u, v, 0.26, 0.85)) - 0.06
    elif shape == "triangle":
        d = _regular(u, v, 3, 0.52)
    elif shape == "hexagon":
        d = _regular(u, v, 6, 0.82)
    elif shape == "star":
        phi = np.arctan2(v, u) * 5
        d = (r - (0.74 + 0.26 * np.cos(phi))) * 0.75
    else:  # drop: round at one end, pointed at the other
        d = (np.hypot(u + 0.2, v) - np.clip(0.62 - 0.42 * np.clip(u, -0.2, 1.5) ** 2, 0.0, 1.0)) * 0.85
    return (d * obj.radius).astype(np.float32)


def _box(u: np.ndarray, v: np.ndarray, a: float, b: float) -> np.ndarray:
    qx, qy = np.abs(u) - a, np.abs(v) - b
    return np.hypot(np.maximum(qx, 0), np.maximum(qy, 0)) + np.minimum(np.maximum(qx, qy), 0)


def _regular(u: np.ndarray, v: np.ndarray, sides: int, inner: float) -> np.ndarray:
    angles = np.arange(sides) * 2 * np.pi / sides
    return np.max([np.cos(a) * u + np.sin(a) * v for a in angles], axis=0) - inner


def _pattern(obj: SceneObject, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    first, second = (np.array(COLOURS[c], np.float32) for c in (obj.colour, obj.second))
    if obj.pattern == "plain":
        return np.broadcast_to(first, (*u.shape, 3))
    sharp = obj.radius / 1.5
    if obj.pattern == "striped":
        wave = np.sin(u * 2 * np.pi / 0.62)
        mix = np.clip(wave * sharp * 0.25 + 0.5, 0, 1)
    elif obj.pattern == "dotted":
        cell = 0.62
        du, dv = ((w / cell) % 1.0 - 0.5 for w in (u, v))
        mix = np.clip((np.hypot(du, dv) * cell - 0.17) * -sharp + 0.5, 0, 1)
    else:
        mix = np.clip(v * sharp + 0.5, 0, 1)
    return first + mix[..., None].astype(np.float32) * (second - first)


def _paint_post(image: np.ndarray, post: Post) -> None:
    size = image.shape[0]
    x, _ = _grid(size)
    across = (x[:1] - post.x) / (post.width / 2)
    alpha = np.clip((1 - np.abs(across)) * post.width / 2 * size / UNIT + 0.5, 0, 1)[..., None]
    colour = np.array(COLOURS[post.colour], np.float32) * (0.95 - 0.35 * np.clip(across, -1, 1)[..., None] ** 2)
    image += alpha * (colour - image)


@lru_cache(maxsize=8)
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    axis = ((np.arange(size) + 0.5) * UNIT / size).astype(np.float32)
    x, y = np.meshgrid(axis, axis)
    return x, y


def _light(light: tuple[float, float], radius: float, size: int) -> np.ndarray:
    x, y = _grid(size)
    squared = ((x - light[0]) ** 2 + (y - light[1]) ** 2) / (radius * radius)
    return (0.55 + 0.60 * np.exp(-0.5 * squared))[..., None]


@lru_cache(maxsize=4)
def _ground(ground: str, seed: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x, y = _grid(size)
    base = np.array(GROUNDS[ground], np.float32) * rng.uniform(0.9, 1.08)
    clouds = _noise(rng, 5, size)
    if ground == "grass":
        value = 0.10 * clouds + 0.05 * _noise(rng, 32, size)
    elif ground == "snow":
        value = 0.07 * clouds + 0.015 * _noise(rng, 20, size)
    elif ground in ("sand", "water"):
        a, period = rng.uniform(-0.5, 0.5), rng.uniform(22, 34)
        phase = (x * np.sin(a) + y * np.cos(a)) / period + 0.5 * clouds
        value = 0.05 * clouds + (0.05 if ground == "sand" else 0.09) * np.sin(2 * np.pi * phase)
    elif ground == "wood":
        plank = rng.uniform(34, 52)
        along = (y + rng.uniform(0, plank)) / plank
        seam = np.abs(along - np.round(along)) * plank
        tone = rng.uniform(-0.09, 0.09, 16).astype(np.float32)[np.floor(along).astype(int) % 16]
        value = tone + 0.04 * clouds - 0.30 * np.exp(-0.5 * (seam / 1.3) ** 2)
    else:  # stone: square tiles
        tile = rng.uniform(36, 56)
        tx, ty = ((w + rng.uniform(0, tile)) / tile for w in (x, y))
        seam = np.minimum(np.abs(tx - np.round(tx)), np.abs(ty - np.round(ty))) * tile
        tone = rng.uniform(-0.06, 0.06, (16, 16)).astype(np.float32)
        value = tone[np.floor(ty).astype(int) % 16, np.floor(tx).astype(int) % 16] + 0.04 * clouds
        value = value - 0.28 * np.exp(-0.5 * (seam / 1.4) ** 2)
    return (base * (1 + value.astype(np.float32))[..., None]).astype(np.float32)


def _noise(rng: np.random.Generator, cells: int, size: int) -> np.ndarray:
    """Smooth noise in about [-1, 1] with `cells` cells along a side."""
    coarse = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


def _coverage(distance: np.ndarray, size: int) -> np.ndarray:
    return np.clip(0.5 - distance * size / UNIT, 0.0, 1.0)


def _smoothstep(edge0: float, edge1: float, value: np.ndarray) -> np.ndarray:
    t = np.clip((value - edge0) / (edge1 - edge0), 0.0, 1.0)
    return t * t * (3 - 2 * t)
