"""What `dragflow` is given on demo-flux, in the showcase and in the benchmark."""

from __future__ import annotations

from ..edits.dragfield import DragFieldSettings
from ..edits.dragflow import DragFlowSettings
from ..optimise.region_drag import RegionDragSettings
from ..sampling.inversion import InversionSettings

MARGIN = DragFieldSettings().margin
"""By how much every method's mask grows beyond the paper's rectangle, as a fraction of the picture: room for a shadow."""

DRAGFLOW = DragFlowSettings(
    inversion=InversionSettings(skip=10), drag=RegionDragSettings(rate=0.3, intensify_rate=0.2), mask_margin=MARGIN,
    shadows="detected",
)  # fmt: skip
"""All defaults, in the same mask as everybody, but for what this small model asks for. The drag is at t = 0.71 instead of 0.84: noisier,
the model now and then draws an object of the prompt into the vacated ground, or none at all. Its steps are six times as long as the
published ones are on FLUX: its latents bear it, and 70 short ones do not arrive. Its scenes cast shadows that repeat the outline of their
object, which is what `detected` looks for."""

DRAGFIELD = DragFieldSettings(shadows="detected")
"""All defaults, and the shadows of these scenes."""
