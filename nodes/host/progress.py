"""ComfyUI's progress bar, latent preview and cancel button for core's edits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import comfy.model_management
import comfy.utils
import latent_preview
from torch import Tensor

from ...core.progress import Progress, RunContext


class Foretelling(Protocol):
    """A backbone that knows, from its last velocity, what the latent will become."""

    @property
    def predicted(self) -> Tensor | None: ...


class ComfyProgress:
    """Reports of a core run, and the end of it as ComfyUI ends any node.

        progress = ComfyProgress(patcher, backbone=backbone)
        dragflow(..., run=progress.run())

    The bar runs over the whole stage and starts again with the next one. The preview, in the method that the user chose, shows the picture
    that the latent will become, at no cost: `backbone` has it from the velocity of the step just done; while dragging, which asks for no
    velocity, the latent is shown less `noise`, what an undragged latent of the same time has beyond its picture's, z_t - z_0. Where neither
    is known the latent is shown as it is. node_id: of the node that shows it; None for the one being executed.
    """

    def __init__(self, patcher: Any, node_id: str | None = None, *, backbone: Foretelling | None = None) -> None:
        self._previewer = latent_preview.get_previewer(patcher.load_device, patcher.model.latent_format)
        self._node_id, self._backbone = node_id, backbone
        self._bar: comfy.utils.ProgressBar | None = None
        self._stage: str | None = None
        self.noise: Tensor | None = None

    def run(self, also: Callable[[Progress], None] | None = None) -> RunContext:
        """For a core run. also: who hears of it too."""

        def report(progress: Progress) -> None:
            self(progress)
            if also is not None:
                also(progress)

        return RunContext(report, self.stop_if_cancelled)

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

    def shown(self, progress: Progress) -> Tensor:
        """The latent to be drawn, [B, C, h, w]."""
        z = progress.z.detach()
        if progress.stage == "drag":
            return z if self.noise is None else z - self.noise.to(z.device)
        predicted = getattr(self._backbone, "predicted", None)
        return z if predicted is None or predicted.shape != z.shape else predicted

    def _picture(self, progress: Progress) -> tuple[str, Any, int] | None:
        if self._previewer is None or self._bar.hook is None:
            return None
        return self._previewer.decode_latent_to_preview_image("JPEG", self.shown(progress))
