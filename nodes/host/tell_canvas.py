"""What a run says to the canvas that feeds it, beyond ComfyUI's own progress: web/comfy/runs.mjs hears it.

Convention: a window is (left, top, width, height) as parts of the picture's sides.
"""

from __future__ import annotations

from comfy_execution.utils import get_executing_context
from server import PromptServer

from ...core.picture.window import Window

EVENT = "dragfield.run"


def tell_window(window: Window, size: tuple[int, int], node_id: str | None = None) -> None:
    """Which part of a picture of `size` (width, height) px is worked on, so that previews of the latent are drawn there."""
    width, height = size
    _tell(node_id, window=[window.x / width, window.y / height, window.width / width, window.height / height])


def tell_stage(stage: str, node_id: str | None = None) -> None:
    """What the steps that ComfyUI counts are."""
    _tell(node_id, stage=stage)


def _tell(node_id: str | None, **what: object) -> None:
    """node_id: None for the node that is being executed. Nothing happens where no server runs."""
    server = getattr(PromptServer, "instance", None)
    context = get_executing_context()
    node_id = context.node_id if node_id is None and context is not None else node_id
    if server is not None and node_id is not None and getattr(server, "client_id", None) is not None:
        server.send_sync(EVENT, {"node": node_id, **what}, server.client_id)
