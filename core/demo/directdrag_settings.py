"""What point drags are given on the demo models, in the benchmark and in the examples.

Core's defaults follow what was published for Stable Diffusion 1.5 at 512 px. These models are small and their pictures are of 256 px:

- the inversion stops half way: from the published three quarters the small UNet does not find colours again;
- the latent is carried all the way to the target, inside of the soft mask, and the optimiser corrects what that leaves. Dragged from its
  old place a thing leaves copies behind: the windows of a small model's features hold too little of it to take it along;
- windows of 34 px hold a thing of these scenes; 18 px hold its middle;
- steps go along the gradient and are scaled by the soft mask. Adam's first steps move every number of the latent alike, which breaks
  colours and ground;
- a handle is never taken for arrived: the feature of one place is there long before the thing is formed around it;
- the readout pulls at first about a quarter as hard as the drag (a head trained for 150 steps). It compares places, so it holds a thing at
  its old one; the published weight of 350 pulled harder than the drag.

Developed on three cases of seed 1.
"""

from __future__ import annotations

from dataclasses import replace

from ..appearance import ReadoutSettings
from ..ddim_inversion import DDIMSettings
from ..directdrag import DirectDragSettings
from ..directdrag_flow import FlowPointSettings
from ..inversion import InversionSettings
from ..latent_warp import LatentWarpSettings
from ..point_drag_settings import PointDragSettings

DRAG = PointDragSettings(rounds=5, rate_mode="normalised", rate=0.1, mask_on="step", radius=8, arrive_within=None, patience=None)

READOUT = ReadoutSettings(weight=64.0)

DIRECTDRAG = DirectDragSettings(inversion=DDIMSettings(strength=0.5), drag=DRAG, warp=LatentWarpSettings(ratio=1.0), readout=READOUT)
"""For demo-unet: 7 timesteps of 15 gradient steps each."""

DIRECTDRAG_FLOW = FlowPointSettings(
    inversion=InversionSettings(skip=10), drag=replace(DRAG, rounds=8), warp=LatentWarpSettings(ratio=1.0), readout=READOUT
)
"""For demo-flux: 3 times of 24 gradient steps each."""
