"""The picture that a LoadImage will hand on, for the canvas: the very values, since ComfyUI's own LoadImage reads them.

ComfyUI's route /view sends files, or decodes them by itself: it knows no orientation, cuts 16-bit greys off at white, and a browser
decodes once more in its own way. What is drawn on one of those may lie elsewhere in the picture that is edited.
"""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import numpy as np
from aiohttp import web
from PIL import Image

ROUTE = "/dragfield/loaded"


def loaded_png(name: str, part: str = "image") -> bytes:
    """What LoadImage makes of an input file, as PNG.

    name: as its widget has it, "folder/photo.jpg [input]".  part: "image", the first picture, or "mask", its mask as grey.
    Raises ValueError for a name outside of ComfyUI's folders or another part; what LoadImage raises for what is no picture.
    """
    import folder_paths

    import nodes

    if part not in ("image", "mask"):
        raise ValueError(f"part is {part!r}: ask for 'image' or 'mask'")
    path = Path(folder_paths.get_annotated_filepath(name)).resolve()
    roots = (folder_paths.get_input_directory(), folder_paths.get_output_directory(), folder_paths.get_temp_directory())
    if not any(path.is_relative_to(Path(root).resolve()) for root in roots) or not path.is_file():
        raise ValueError(f"{name!r} is no file of ComfyUI's input, output or temp folder")
    image, mask = nodes.LoadImage().load_image(name)
    # Without transparency LoadImage hands on an empty mask of 64 x 64.
    fits = mask.shape[-2:] == image.shape[1:3]
    chosen = image[0] if part == "image" else mask[0] if fits else image[0, ..., 0] * 0
    pixels = np.clip(chosen.float().cpu().numpy() * 255 + 0.5, 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def add_route() -> None:
    """Answer GET /dragfield/loaded?name=…&part=…, where a server runs. A second call changes nothing."""
    from server import PromptServer

    server = getattr(PromptServer, "instance", None)
    if server is None or any(getattr(route, "path", None) == ROUTE for route in server.routes):
        return

    @server.routes.get(ROUTE)
    async def loaded(request: web.Request) -> web.Response:
        name, part = request.query.get("name", ""), request.query.get("part", "image")
        try:
            body = await asyncio.get_running_loop().run_in_executor(None, loaded_png, name, part)
        except Exception as error:  # whatever the decoders raise of a file that is no picture
            return web.Response(status=404, text=f"{type(error).__name__}: {error}")
        return web.Response(body=body, content_type="image/png", headers={"Cache-Control": "no-cache"})
