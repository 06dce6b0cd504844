"""What whole edits have in common: the outcome, the inversion that they begin with, the model as a sampler, the way back to the picture.

Convention: image is [1, 3, H, W] in [0, 1], its sides multiples of the autoencoder's factor; masks are bool [H, W].
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..model.backbone import Autoencoder, Conditioning, FlowBackbone, NoiseBackbone
from ..optimise.point_drag import PointDragState
from ..optimise.region_drag import DragState
from ..picture.compose import paste_back
from ..progress import ALONE, RunContext
from ..sampling.ddim_inversion import DDIMInversion, DDIMSettings, invert_ddim
from ..sampling.inversion import Inversion, InversionSettings, invert
from ..sampling.sampler import is_flow
from .state import State

STRAYS = 0.25
"""From here on a round trip is said not to close. A guess: where it does it is below a tenth (docs/performance.md, "How few steps")."""

AnyInversion = Inversion | DDIMInversion
AnyBackbone = FlowBackbone | NoiseBackbone


@dataclass(frozen=True, eq=False)
class Edit:
    """The outcome of an edit.

    image: [1, 3, H, W] in [0, 1].  z: its latent before decoding.  mask: bool [H, W], where the picture was allowed to change.
    reconstruction: the undragged branch decoded.  inversion: to be handed to the next edit of this picture.
    drag: the last state of the optimisation, None where there was none.  nfe_forward, nfe_backward: network passes of this edit, an
    inversion that was handed in not counted.  seconds: wall time.  own_pixels: how much of the mask shows the picture's own pixels, pasted
    there or kept, in [0, 1]; what the model made alone is 0.  progress: how much of the drag's way it shows.
    dragged: the latent that frames beside it can go on from; None: there is none.  strayed: as `State.strayed`, 0 for nothing held.
    """

    image: Tensor
    z: Tensor
    mask: np.ndarray
    reconstruction: Tensor
    inversion: AnyInversion
    drag: DragState | PointDragState | None
    nfe_forward: int
    nfe_backward: int
    seconds: float
    own_pixels: float = 0.0
    progress: float = 1.0
    dragged: State | None = None
    strayed: float = 0.0


@dataclass(frozen=True, eq=False)
class Frame:
    """Which picture of an animation an edit shall be; by default the drag as a whole.

    progress: how much of the way is done, in (0, 1].  beside: a frame of the same drag that has been made, None for none.
    """

    progress: float = 1.0
    beside: Edit | None = None


WHOLE = Frame()


def check_picture(image: Tensor, factor: int) -> None:
    """Raises ValueError for what is not one picture whose sides are multiples of `factor`."""
    if image.ndim != 4 or image.shape[0] != 1 or image.shape[-2] % factor or image.shape[-1] % factor:
        raise ValueError(
            f"the picture has shape {list(image.shape)}; an edit takes [1, 3, H, W] with H and W multiples of {factor}: "
            "crop or pad it first, and edit a batch one by one"
        )


def inverted(
    backbone: AnyBackbone,
    autoencoder: Autoencoder,
    image: Tensor,
    source: Conditioning,
    settings: InversionSettings | DDIMSettings,
    given: AnyInversion | None = None,
    run: RunContext = ALONE,
) -> tuple[AnyInversion, int]:
    """The inversion to use and the network calls it cost now. Refuses one that was made with other settings or another size."""
    height, width = (side // autoencoder.factor for side in image.shape[-2:])
    if given is None:
        with torch.no_grad():
            z0 = autoencoder.encode(image)
        make = invert if is_flow(backbone) else invert_ddim
        made = make(backbone, z0, source, own_settings(backbone, settings), run=run)
        return made, made.nfe
    if given.settings != own_settings(backbone, settings):
        raise ValueError(f"the inversion was made with {given.settings}, this edit wants {settings}: invert again")
    if given.z.shape[-2:] != (height, width):
        factor = autoencoder.factor
        raise ValueError(
            f"the inversion is of a {given.z.shape[-1] * factor} x {given.z.shape[-2] * factor} px picture, this one is "
            f"{image.shape[-1]} x {image.shape[-2]} px: invert this picture"
        )
    return given, 0


def own_settings(backbone: AnyBackbone, settings: InversionSettings | DDIMSettings) -> InversionSettings | DDIMSettings:
    """Settings of an inversion for a backbone of either kind: a UNet is inverted by DDIM, as far as FireFlow would have gone."""
    if is_flow(backbone) or isinstance(settings, DDIMSettings):
        return settings
    if settings.skip >= settings.steps:
        raise ValueError(f"leaving out {settings.skip} of {settings.steps} steps leaves none: lower skip, or raise steps")
    return DDIMSettings(settings.steps, (settings.steps - settings.skip) / settings.steps)


@torch.no_grad()
def untouched(autoencoder: Autoencoder, image: Tensor, inversion: AnyInversion, spent: int, began: float) -> Edit:
    """The outcome of a drag that moves nothing: the picture itself."""
    nowhere = np.zeros(image.shape[-2:], bool)
    whole = autoencoder.decode(inversion.z0)
    return Edit(image.clone(), inversion.z0, nowhere, whole, inversion, None, spent, 0, time.perf_counter() - began)


@torch.no_grad()
def finished(
    autoencoder: Autoencoder, image: Tensor, state: State, mask: np.ndarray, settings, inversion: AnyInversion, spent: int, began: float,
    edited: Tensor | None = None, own_pixels: float = 0.0, *, frame: Frame = WHOLE, dragged: State | None = None,
    within: np.ndarray | None = None,
) -> Edit:  # fmt: skip
    """The outcome of a state that has become a picture. settings: `paste_back`, `feather`.  edited: None for the latent decoded.
    dragged: see `Edit`.  within: bool [H, W], outside of which the picture stays in any case.
    """
    edited = autoencoder.decode(state.z) if edited is None else edited
    if edited.shape[-2:] != image.shape[-2:]:
        edited = interpolate(edited, image.shape[-2:], mode="bilinear", align_corners=False)
    return Edit(
        image=paste_back(edited, image, mask, settings.feather, within) if settings.paste_back else edited, z=state.z, mask=mask,
        reconstruction=autoencoder.decode(state.inversion.path[-1]) if frame.beside is None else frame.beside.reconstruction,
        inversion=inversion, drag=state.drag,
        nfe_forward=spent + state.nfe_forward, nfe_backward=state.nfe_backward, seconds=time.perf_counter() - began, own_pixels=own_pixels,
        progress=frame.progress, dragged=dragged, strayed=0.0 if state.strayed is None else float(state.strayed),
    )  # fmt: skip


def straying_in_words(strayed: float) -> str:
    """What to say of an edit whose steps led away from the picture so far, as `State.strayed` has it; "" below `STRAYS`."""
    if strayed < STRAYS:
        return ""
    return (
        f"this model does not come back to the picture by itself: where nothing moves its steps led away by {strayed:.0%}, which was put "
        "right, but seams may show; more steps, less guidance or a higher skip help"
    )
