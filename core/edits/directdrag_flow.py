"""DirectDrag's ideas on a flow-matching transformer: point supervision on its taps, soft mask, readout guidance, latent warp.

    edit = directdrag_flow(backbone, autoencoder, image, drag, prompt, head=head)

The inversion, the keys and values and the background's path are DragFlow's (inversion.py). The soft mask takes the place of the gradient
mask: inside of it the latent is held the less the nearer it is to a drag, outside it is the inversion's own after every step.

Convention: image is [1, 3, H, W] in [0, 1], its sides multiples of the autoencoder's factor; the drag is in its pixels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..field.latent_warp import LatentWarpSettings
from ..instruction.operations import Drag
from ..model.attention import KVSession
from ..model.backbone import Autoencoder, Conditioning, FlowBackbone
from ..model.readout import ReadoutHead
from ..optimise.appearance import ReadoutSettings, appearance_term, readout_of
from ..optimise.guidance import Term
from ..optimise.point_drag import PointDragState, point_drag
from ..optimise.point_drag_settings import PointDragSettings
from ..optimise.soft_mask import SoftMaskSettings, point_masks
from ..progress import Interrupted, Progress, Report, stop_if, tell
from ..sampling.inversion import Inversion, InversionSettings, velocity_of
from ..sampling.probes import FlowProbe
from ..sampling.solvers import fireflow_step, start
from .edit import Edit, inverted, pictured, untouched
from .point_edit import carried, latent_shape, on_tokens, points_of


@dataclass(frozen=True)
class FlowPointSettings:
    """How points are dragged on a flow model.

    inversion, guidance: as for DragFlow.  drag: the optimisation at one time; its mask term holds the latent itself, as a step of the flow
        would cost a second pass.  drag_steps: at how many of the first sampling times is dragged.
    soft_mask, warp, readout: None for none.  warp_within: see `DirectDragSettings`.
    kv: inject the inversion's keys and values, in the drag and in denoising.
    hold_background: outside of the mask's support the latent is the inversion's after every step.
    paste_back, feather: as for DragFlow.
    """

    inversion: InversionSettings = InversionSettings()
    drag: PointDragSettings = PointDragSettings(mask_on="latent")
    drag_steps: int = 3
    guidance: float = 1.0
    soft_mask: SoftMaskSettings | None = SoftMaskSettings()
    warp: LatentWarpSettings | None = LatentWarpSettings()
    warp_within: float = 0.2
    readout: ReadoutSettings | None = ReadoutSettings()
    kv: bool = True
    hold_background: bool = True
    paste_back: bool = True
    feather: float = 0.0

    def __post_init__(self) -> None:
        if self.drag_steps < 1:
            raise ValueError(f"a drag at {self.drag_steps} times moves nothing: use 1 or more")


def directdrag_flow(
    backbone: FlowBackbone,
    autoencoder: Autoencoder,
    image: Tensor,
    drag: Drag,
    cond: Conditioning,
    settings: FlowPointSettings = FlowPointSettings(),
    *,
    head: ReadoutHead | None = None,
    terms: Sequence[Term] = (),
    inversion: Inversion | None = None,
    report: Report | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Edit:
    """Edit `image` [1, 3, H, W] by the points of `drag`. Arguments as for `directdrag`; `cond` is the picture's prompt."""
    began = time.perf_counter()
    shape = latent_shape(autoencoder, image, drag)
    handles = on_tokens(points_of(drag), shape, backbone.patch)
    mask, support = point_masks(drag, handles, shape, settings.soft_mask)
    inversion, spent = inverted(backbone, autoencoder, image, cond, settings.inversion, inversion, report, should_stop)
    if max(handles.distances()) == 0:
        return untouched(autoencoder, image, inversion, spent, began)
    cells = None if mask is None or not settings.hold_background else (mask > 0).to(inversion.z.device)
    kv = inversion.bank.replay("matched") if settings.kv and inversion.bank.blocks else None
    z = inversion.z
    if settings.warp is not None:
        z = carried(z, handles, settings.warp, mask, settings.warp_within, signal=(1 - inversion.t) * inversion.z0)
        handles = handles.carried(settings.warp.ratio)

    forwards, backwards, state = spent, 0, None
    dragging, flow = True, start(z, inversion.times[0])
    for i, (t, to) in enumerate(zip(inversion.times, inversion.times[1:], strict=False)):
        stop_if(should_stop)
        if dragging and i < settings.drag_steps:
            guided, passes = _guidance(backbone, cond, inversion.path[i], flow.z, t, settings, head, kv)
            state = _dragged(
                backbone, flow.z, t, cond, handles, mask, settings, inversion.path[i], kv, [*terms, *guided], i, report, should_stop
            )
            handles, dragging = state.handles, state.ended == ""
            forwards, backwards = forwards + flow.nfe + passes + state.nfe_forward, backwards + state.nfe_backward
            # The velocity that the last step ended with belongs to the latent before this drag.
            flow = start(state.z, t)
        with torch.no_grad():
            flow = fireflow_step(velocity_of(backbone, cond, settings.guidance, kv), flow, to)
            if cells is not None:
                flow = type(flow)(flow.t, torch.where(cells, flow.z, inversion.path[i + 1]), flow.velocity, flow.nfe, flow.step)
        tell(report, Progress("denoise", i + 1, len(inversion.times) - 1, flow.z))
    return Edit(
        image=pictured(autoencoder, flow.z, image, support, settings.paste_back, settings.feather), z=flow.z, mask=support,
        reconstruction=autoencoder.decode(inversion.path[-1]), inversion=inversion, drag=state,
        nfe_forward=forwards + flow.nfe, nfe_backward=backwards, seconds=time.perf_counter() - began,
    )  # fmt: skip


def _dragged(
    backbone, z, t, cond, handles, mask, settings: FlowPointSettings, original, kv: KVSession | None, terms, turn: int, report, should_stop
) -> PointDragState:
    each, last = settings.drag.rounds * settings.drag.steps_per_round, None
    for last in point_drag(
        backbone, z, t, cond, handles, mask, settings.drag, reference=original, kv=kv, terms=terms, should_stop=should_stop
    ):
        tell(report, Progress("drag", turn * each + last.step, settings.drag_steps * each, last.z, last))
    stop_if(should_stop)
    if last is None:
        raise Interrupted("the edit was stopped before its first drag iteration")
    return last


def _guidance(
    backbone, cond, original: Tensor, z: Tensor, t: float, settings: FlowPointSettings, head: ReadoutHead | None, kv: KVSession | None
) -> tuple[list[Term], int]:
    """The readout's term at time t, if there is one, and the passes it took."""
    if settings.readout is None or head is None or settings.readout.weight == 0:
        return [], 0
    probe = FlowProbe(backbone, cond, settings.drag.guidance, kv)
    wanted = readout_of(probe, head, original, t, settings.readout)
    return [appearance_term(probe, head, z, t, wanted, settings.readout)], 1
