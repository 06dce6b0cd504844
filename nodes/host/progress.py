"""ComfyUI's progress bar, latent preview and cancel button for core's edits."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.utils
import latent_preview

from ...core.progress import Progress


class ComfyProgress:
    """A core `Report`, and a `should_stop` that ends the edit as ComfyUI ends any node.

        progress = ComfyProgress(patcher)
        dragflow(..., report=progress, should_stop=progress.stop_if_cancelled)

    The bar runs over the whole stage and starts again with the next one. The preview shows the latent itself, in the method that the user
    chose. node_id: of the node that shows it; None for the one being executed.
    """

    def __init__(self, patcher: Any, node_id: str | None = None) -> None:
        self._previewer = latent_preview.get_previewer(patcher.load_device, patcher.model.latent_format)
        self._node_id = node_id
        self._bar: comfy.utils.ProgressBar | None = None
        self._stage: str | None = None

    def __call__(self, progress: Progress) -> None:
        self.stop_if_cancelled()
        if progress.stage != self._stage:
            self._stage, self._bar = progress.stage, comfy.utils.ProgressBar(progress.total, node_id=self._node_id)
        self._bar.update_absolute(progress.done, progress.total, self._picture(progress))

    @staticmethod
    def stop_if_cancelled() -> bool:
        """Raises ComfyUI's own interrupt when the user cancelled; otherwise False."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        return False

    def _picture(self, progress: Progress) -> tuple[str, Any, int] | None:
        if self._previewer is None or self._bar.hook is None:
            return None
        return self._previewer.decode_latent_to_preview_image("JPEG", progress.z.detach())
