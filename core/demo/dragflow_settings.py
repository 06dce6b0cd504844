"""What `dragflow` is given on demo-flux, in the showcase and in the benchmark."""

from __future__ import annotations

from ..dragfield import DragFieldSettings
from ..edit import DragFlowSettings
from ..inversion import InversionSettings

MARGIN = DragFieldSettings().margin
"""By how much every method's mask grows beyond the paper's rectangle, as a fraction of the picture: room for a shadow."""

DRAGFLOW = DragFlowSettings(inversion=InversionSettings(skip=10), mask_margin=MARGIN)
"""All defaults, in the same mask as everybody, but for what this small model asks for. The drag is at t = 0.71 instead of 0.84: noisier,
the model now and then draws a thing of the prompt into the vacated ground, or none at all."""
