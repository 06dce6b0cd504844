"""A point drag of one state, on either kind of model: dragging and denoising in turn (DirectDrag section 1).

The walk ends where no more is dragged; what is left to denoise is `denoise`'s, or any sampler's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..choices import check_choices
from ..field.latent_warp import LatentWarpSettings
from ..instruction.operations import Drag
from ..optimise.guidance import Term
from ..optimise.handles import Clamp, Handles
from ..optimise.point_drag import gave_up, point_drag
from ..optimise.point_drag_settings import PointDragSettings
from ..optimise.soft_mask import SoftMaskSettings
from ..progress import ALONE, RunContext
from ..sampling.sampler import Sampler
from .denoise import denoise, undragged_path
from .guides import Guide
from .point_edit import carried, on_tokens, points_of
from .state import State, last


@dataclass(frozen=True, kw_only=True)
class PointWalkSettings:
    """How points are dragged at several times, whichever kind of model drags them.

    drag: the optimisation at one time.  drag_steps: at how many of the first times is dragged (DirectDrag: 7).
    soft_mask: None for none.  warp: the latent is carried a little of the way first; None for none.
    warp_within: with a soft mask, carry only where that is at least this much, in [0, 1]; 0 carries the whole latent (published), the
        picture's border included. A mask is one half at the ends of a drag: 0.2 is 25 px behind its handle where sigma is 30 px.
    follow_warp: look for the handles where the warp takes them, not where they were (published): a search reaches 24 px.
    path: what the undragged picture is at each time. "inversion" is the inversion's own latent, which costs nothing and ends exactly at the
        picture; "sample" denoises the inverted latent (published).
    mutual_from: of a UNet, once handles have arrived: the picture looks at the original "at_once", while that time is denoised, or from the
        "next" one on (published).
    rounded: points at cells of the published grid, and the published warp's place for them.  clamp: see `make_handles`.
    """

    drag: PointDragSettings = PointDragSettings()
    drag_steps: int = 7
    soft_mask: SoftMaskSettings | None = SoftMaskSettings()
    warp: LatentWarpSettings | None = LatentWarpSettings()
    warp_within: float = 0.2
    follow_warp: bool = True
    path: Literal["inversion", "sample"] = "inversion"
    mutual_from: Literal["at_once", "next"] = "at_once"
    rounded: bool = False
    clamp: Clamp = "none"

    def __post_init__(self) -> None:
        if self.drag_steps < 1:
            raise ValueError(f"a drag at {self.drag_steps} timesteps moves nothing: use 1 or more (published: 7)")
        check_choices(self)

    def handles(self, drag: Drag) -> Handles:
        """The drag's points on their grid. Refuses regions that move."""
        return points_of(drag, self.rounded, self.clamp)


def drag_points(
    sampler: Sampler,
    state: State,
    handles: Handles,
    settings: PointWalkSettings,
    run: RunContext = ALONE,
    *,
    guides: Sequence[Guide] = (),
    terms: Sequence[Term] = (),
) -> Iterator[State]:
    """Drag at the next `settings.drag_steps` times of `state`, denoising in between; fewer if the handles arrive or get stuck.

    state: its mask says how freely each cell may change. One that was moved before is not carried by the latent warp again.
    Yields the state after every gradient step and every step between; the last one may still be at the time of its last drag.
    """
    if sampler.flow:
        handles = on_tokens(handles, state.z.shape[-2:], sampler.backbone.patch)
    if max(handles.distances()) == 0:
        yield state
        return
    inversion, known = state.inversion, {"first path": state.inversion.path}
    z, cold = state.z, state.cold
    if settings.path == "sample" and not sampler.flow:
        state = undragged_path(sampler, state, state.denoising, run)
    if settings.warp is not None and cold:
        signal = sampler.signal(state.t) * inversion.z0
        z = carried(z, handles, settings.warp, state.mask, settings.warp_within, signal=signal, rounded=settings.rounded)
        handles = handles.carried(settings.warp.ratio) if settings.follow_warp else handles
    state = state.moved_to(z, drag=None)
    each = settings.drag.rounds * settings.drag.steps_per_round
    for turn in range(settings.drag_steps):
        run.check()
        if gave_up(state.drag, settings.drag):
            return
        begun = state
        for state in _dragged(sampler, begun, handles, settings, run, known, guides, terms):
            run.tell("drag", turn * each + state.drag.step, settings.drag_steps * each, state.z, state.drag)
            yield state
        run.check()
        if state is begun:
            # Stopped before the first iteration at this time.
            return
        handles = state.drag.handles
        over = state.drag.ended != ""
        if not over or settings.mutual_from == "next":
            state = last(between(sampler, state, run, until=state.index + 1), state)
            yield state
        if over:
            # Arrived or stuck: no more of it at later times either.
            return


def between(sampler: Sampler, state: State, run: RunContext = ALONE, *, until: int) -> Iterator[State]:
    """Denoise between two drags, to the time of index `until`: a UNet does not look at the original yet."""
    settings = state.denoising if sampler.flow else replace(state.denoising, attention=None)
    return denoise(sampler, state, run, settings=settings, until=until)


def _dragged(
    sampler: Sampler, state: State, handles: Handles, settings: PointWalkSettings, run: RunContext, known: dict[Any, Any],
    guides: Sequence[Guide], terms: Sequence[Term],
) -> Iterator[State]:  # fmt: skip
    made = [guide.term(sampler, state, known) for guide in guides]
    passes = sum(count for _, count in made)
    drags = replace(sampler, guidance=settings.drag.guidance) if sampler.flow else sampler
    for drag in point_drag(
        drags, state.z, state.t, handles, state.mask, settings.drag, reference=state.undragged,
        reference_next=state.inversion.path[state.index + 1], t_next=state.inversion.times[state.index + 1],
        terms=[*terms, *(term for term, _ in made)], idle=0 if state.drag is None else state.drag.idle, should_stop=run.should_stop,
    ):  # fmt: skip
        yield state.moved_to(drag.z, drag=drag, forward=passes + drag.nfe_forward, backward=drag.nfe_backward)
