"""The picture of a Load Demo Scene before anything has run, for the canvas: drawn from the node's own settings, so that it is no guess."""

from __future__ import annotations

import asyncio
import io

import numpy as np
from aiohttp import web
from PIL import Image

from ...core.demo.cases import DemoCase, sample_case
from ...core.demo.figure_cases import FigureCase, sample_figure_case
from ...core.instruction.operations import Task

ROUTE = "/dragfield/scene"
TASKS: tuple[Task, ...] = ("relocation", "rotation", "deformation")
WORLDS = {"scenes": sample_case, "figures": sample_figure_case}


def drawn_case(seed: int, task: Task, size: int, world: str = "scenes") -> DemoCase | FigureCase:
    """The drag that Load Demo Scene draws. world: "scenes" of objects, or "figures" with limbs."""
    return WORLDS[world](np.random.default_rng([seed, 0]), task, size)


def scene_png(seed: int, task: Task, size: int, part: str = "image", world: str = "scenes") -> bytes:
    """The scene as PNG.  part: "image" or "truth".  Raises ValueError for what the node does not take either."""
    if part not in ("image", "truth") or task not in TASKS or world not in WORLDS or not 64 <= size <= 512 or seed < 0:
        raise ValueError(f"there is no {part} of a scene of {world!r} with seed {seed}, task {task!r} and size {size}")
    case = drawn_case(seed, task, size, world)
    picture = case.source if part == "image" else case.truth
    stream = io.BytesIO()
    Image.fromarray(np.clip(np.asarray(picture) * 255 + 0.5, 0, 255).astype(np.uint8)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def add_scene_route() -> None:
    """Answer GET /dragfield/scene?seed=…&task=…&size=…&part=…&world=…, where a server runs. A second call changes nothing."""
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    if server is None or any(getattr(route, "path", None) == ROUTE for route in server.routes):
        return

    @server.routes.get(ROUTE)
    async def scene(request: web.Request) -> web.Response:
        query = request.query
        try:
            asked = (int(query.get("seed", "")), query.get("task", ""), int(query.get("size", "")), query.get("part", "image"))
            asked += (query.get("world", "scenes"),)
            body = await asyncio.get_running_loop().run_in_executor(None, scene_png, *asked)
        except ValueError as error:
            return web.Response(status=404, text=str(error))
        return web.Response(body=body, content_type="image/png", headers={"Cache-Control": "max-age=3600"})
