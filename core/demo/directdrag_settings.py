"""What point drags are given on the demo models, in the benchmark and in the examples.

Core's defaults follow what was published for Stable Diffusion 1.5 at 512 px. These models are small and their pictures are of 256 px, with
things that stand by themselves:

- the inversion stops at a third: from the published three quarters the small UNet does not find colours and shapes again;
- the latent is carried all the way to the target, as discs that keep their shape and turn with their handles. The published warp moves
  what is beside a handle less than the handle, and squeezes an object of 60 px that is dragged as far into another. Dragged from its old
  place, without a warp, an object leaves copies behind: the windows of a small model's features hold too little of it to take it along;
- the optimiser corrects what that leaves, until the handles are found within 4 px of their targets. Where the warp has brought them that
  is often at once;
- windows of 34 px hold an object of these scenes, 18 px hold its middle; where handles turn about each other the windows turn too. Upright
  ones draw a turned object upright again;
- steps go along the gradient and are scaled by the soft mask. Adam's first steps move every number of the latent alike, which breaks
  colours and ground;
- the readout pulls about as hard as the drag, measured by their gradients: only their ratio counts where steps have one length, and with
  the published 350 little would be left of the drag. It pulls once a round: that keeps over half of what it does for likeness to the
  source and all of the likeness to the truth, in a quarter less time. A transformer's readout is read where the drag reads, so that
  nothing would be saved there.

Developed on cases of the seeds 1, 2 and 12000.
"""

from __future__ import annotations

from dataclasses import replace

from ..edits.directdrag import DirectDragSettings, FlowPointSettings
from ..field.latent_warp import LatentWarpSettings
from ..optimise.appearance import ReadoutSettings
from ..optimise.point_drag_settings import PointDragSettings
from ..sampling.ddim_inversion import DDIMSettings
from ..sampling.inversion import InversionSettings

DRAG = PointDragSettings(
    rounds=5, rate_mode="normalised", rate=0.1, mask_on="step", terms_on="round", radius=8, turned=True, patience=None
)  # fmt: skip

WARP = LatentWarpSettings(ratio=1.0, spread="bodies")

READOUT, READOUT_FLOW = ReadoutSettings(weight=64.0), ReadoutSettings(weight=8.0)

DIRECTDRAG = DirectDragSettings(inversion=DDIMSettings(strength=0.35), drag=DRAG, warp=WARP, warp_within=0.0, readout=READOUT)
"""For demo-unet: at most 7 timesteps of 15 gradient steps each."""

DIRECTDRAG_FLOW = FlowPointSettings(
    inversion=InversionSettings(skip=13), drag=replace(DRAG, rounds=8, terms_on="step"), warp=WARP, warp_within=0.0, readout=READOUT_FLOW
)
"""For demo-flux: at most 3 times of 24 gradient steps each."""
