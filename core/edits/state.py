"""Where an edit of one picture is on its way: the value that the engines take and hand on.

    state = begin(inversion, mask=cells)
    *_, state = drag_region(sampler, state, field, settings)       # or drag_points, or warm_started
    *_, state = denoise(sampler, state)
    picture = autoencoder.decode(state.z)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from torch import Tensor

from ..choices import check_choices
from ..model.attention import Pairing, Rounds
from ..optimise.point_drag import PointDragState
from ..optimise.region_drag import DragState
from ..progress import Interrupted
from ..sampling.ddim_inversion import DDIMInversion
from ..sampling.inversion import Inversion
from .warm_start import WarmStart

Tokens = Literal["kept", "all"]
"""Into which ones the original's keys and values go."""


@dataclass(frozen=True)
class DenoiseSettings:
    """How a state becomes a picture. Each method has its own; they travel with the state.

    guidance: distilled guidance, of models that take it.
    attention: how it looks at the original's keys and values: "matched" at the same time, "lifo" paired as published for FLUX, None: not.
        A flow model is given what its inversion remembered; of a UNet the undragged latent is looked at beside each step.
    own_share: how much of its own keys and values it keeps, in [0, 1].
    rounds, except_last: of a flow's sampling calls, see `KVBank.replay`.
    inject_into: of a flow, the tokens of what no drag of a region moves, covers or leaves ("kept"), or "all".
    first: of a UNet, from which self-attention on, see `mutual_blocks`.
    hold: outside of the state's mask the latent is the inversion's after every step.
    """

    guidance: float = 3.5
    attention: Pairing | None = "matched"
    own_share: float = 0.0
    rounds: Rounds = "all"
    except_last: int = 0
    inject_into: Tokens = "kept"
    first: int | None = None
    hold: bool = True

    def __post_init__(self) -> None:
        check_choices(self)


@dataclass(frozen=True, eq=False)
class Held:
    """What is known of the result: evidence that cells are held to.

    cells: bool [h, w].  until: time of the flow above which they are held; below, they settle freely.
    detail: [1, 3, H, W], what the autoencoder loses of the evidence, where the result shows the picture's own; None: not to be put back.
    own: float32 [H, W] in [0, 1], how much of each pixel of the result that is.
    """

    warm: WarmStart
    cells: Tensor
    until: float
    detail: Tensor | None = None
    own: np.ndarray | None = None

    def detailed(self, edited: Tensor) -> Tensor:
        """The decoded result [1, 3, H, W] with the detail put back."""
        return edited if self.detail is None else (edited + self.detail.to(edited)).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class State:
    """One picture on its way.

    inversion: of the picture.  z: [1, C, h, w], its latent at `inversion.times[index]`.
    mask: [h, w], where the latent may change: bool, or float in [0, 1] for how freely; None: everywhere.
    kept: bool [h, w], cells that no drag of a region has moved, left or covered; None: all. Points don't tell.
    slope: what the last step ended with, see `Walk`.  held: None: nothing.  drag: the last state of what dragged.
    denoising: how it is to become a picture.  first: index where the edit began.
    nfe_forward, nfe_backward: network passes since the inversion.
    strayed: how far denoising steps have led away from the inversion's own way where they are held to it, see `denoise`; None: none has.
    """

    inversion: Inversion | DDIMInversion
    z: Tensor
    index: int = 0
    mask: Tensor | None = None
    kept: Tensor | None = None
    slope: Tensor | None = None
    held: Held | None = None
    drag: DragState | PointDragState | None = None
    denoising: DenoiseSettings = field(default_factory=DenoiseSettings)
    first: int = 0
    nfe_forward: int = 0
    nfe_backward: int = 0
    strayed: Tensor | None = None

    @property
    def t(self) -> float:
        return self.inversion.times[self.index]

    @property
    def undragged(self) -> Tensor:
        """The inversion's own latent at this time."""
        return self.inversion.path[self.index]

    @property
    def cold(self) -> bool:
        """Whether nothing has moved it yet."""
        return self.z is self.undragged

    @property
    def open(self) -> Tensor | None:
        """Cells that may change at all: bool [h, w], None for all."""
        return None if self.mask is None else (self.mask > 0).to(self.z.device)

    def noise(self) -> Tensor:
        """The noise that, mixed with the picture's latent at this time, gives z."""
        return self.inversion.noise(self.index, self.z)

    def moved_to(self, z: Tensor, *, forward: int = 0, backward: int = 0, **changes) -> State:
        """The same picture with another latent, for so many network passes."""
        return replace(
            self, z=z, nfe_forward=self.nfe_forward + forward, nfe_backward=self.nfe_backward + backward, **{"slope": None, **changes}
        )


def begin(inversion: Inversion | DDIMInversion, index: int = 0, **known) -> State:
    """The undragged picture at one of its inversion's times. known: of `State`."""
    return State(inversion, inversion.path[index], index, first=index, **known)


def last(states: Iterable[State], otherwise: State | None = None) -> State:
    """The last of a run's states, or `otherwise` where there is none. Raises Interrupted without that."""
    final = otherwise
    for final in states:  # noqa: B007
        pass
    if final is None:
        raise Interrupted("the edit was stopped before its first iteration")
    return final


def run_to_end(engine: Callable[..., Iterable[State]], *what: Any, **how: Any) -> State:
    """The last state of an engine called with these arguments. Raises Interrupted where there is none."""
    return last(engine(*what, **how))
