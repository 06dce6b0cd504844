"""Latent Warp: a latent carried along by the drag, at whatever noise level it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from comfy_api.latest import io
from torch import Tensor

from ..core.edits.directdrag import DirectDragSettings
from ..core.edits.point_edit import carried
from ..core.edits.presets import CHOICES
from ..core.edits.state import State
from ..core.edits.warm_start import warp_latent
from ..core.field import FieldSettings
from ..core.field.drag_field import Deformation
from ..core.field.masks import to_latent
from ..core.picture.drawn_field import DrawnField
from ..core.sampling.ddim_inversion import DDIMInversion
from ..core.sampling.inversion import Inversion
from . import models, wire
from .gradient_mask import AROUND, MARGIN, editing_mask
from .presets import CARRY, points_preset, preset_problem
from .soft_mask import freedom
from .trajectory import NoNoise, Trajectory
from .types import CATEGORY, TrajectoryType, deformation_input, drag_or_field_input

STATE = io.MatchType.Template("state", [io.Latent, TrajectoryType])
PIXELS_PER_CELL = 8
FIELD = "field"


class LatentWarp(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldLatentWarp",
            display_name="Latent Warp",
            category=CATEGORY,
            description="Carry a latent's cells along by the drag. What is left behind gets the mean of its surroundings and fresh noise "
            "of the same level. Works on a trajectory from FireFlow Invert or DDIM Invert, and on any LATENT.",
            search_aliases=["warp latent", "latent copy paste", "RegionDrag", "FastDrag", "move latent"],
            inputs=[
                io.MatchType.Input("state", template=STATE, tooltip="A trajectory, or any LATENT."),
                drag_or_field_input(),
                io.Float.Input(
                    "start_at",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Trajectory: the time to start from, 1 noisiest; the nearest one of the inversion is taken.",
                ),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=True, tooltip="Of the fresh noise."),
                deformation_input(),
                io.Mask.Input(
                    "mask", optional=True, tooltip="Where the latent may change. Without it: what moves, what it leaves, and a margin."
                ),
                io.Model.Input(
                    "model", optional=True, tooltip="LATENT with noise in it: the MODEL that it is for, which knows the noise's size."
                ),
                io.Float.Input(
                    "noise_level",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    advanced=True,
                    tooltip="LATENT: how much noise is in it; 0 for a clean one.",
                ),
                io.Float.Input(
                    "ratio", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="Which part of the way. DirectDrag goes 0.15 of it."
                ),
                io.Combo.Input(
                    "points",
                    options=[FIELD, *CHOICES],
                    advanced=True,
                    tooltip="How handle points carry the latent. 'field': what is close around them, in whole cells. Or as Point Drag "
                    "Optimizer does by its preset: the whole picture, the farther from a handle the less ('tuned'; 'published': in "
                    "whole cells). 'auto' is published, and for the bundled models, with model connected, discs around the handles.",
                ),
                io.Image.Input(
                    "image", optional=True, tooltip="points 'field': the picture; handle points then take along what they belong to on it."
                ),
            ],
            outputs=[
                io.MatchType.Output(STATE, "warped", tooltip="Of the type that came in."),
                io.Noise.Output("noise", tooltip="Of a trajectory: makes any sampler start at the warped state."),
                io.Sigmas.Output("sigmas", tooltip="Of a trajectory: from its time to 0."),
            ],
        )

    @classmethod
    def validate_inputs(cls, drag: str | DrawnField | None = None, points: str | None = None) -> bool | str:
        return preset_problem(points, FIELD, CARRY) or wire.drag_problem(drag)

    @classmethod
    def execute(
        cls, state: Any, drag: str | DrawnField, start_at: float, seed: int, deformation: Deformation, mask: torch.Tensor | None = None,
        model=None, noise_level: float = 0.0, ratio: float = 1.0, points: str = FIELD, image: torch.Tensor | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        settings = None if points == FIELD else points_preset(points, model, flow=False)[1]
        how = _Warp(seed, FieldSettings(deformation), ratio, settings, None if image is None else image[0])
        if isinstance(state, Trajectory):
            inversion = state.branches[0].inversion
            index = min(range(len(inversion.times) - 1), key=lambda i: abs(inversion.level(i) - start_at))
            at = [_State.of(branch.inversion, index) for branch in state.branches]
            latents, area, kept = how(at, drag, state.size, mask)
            cells = to_latent(area, state.cells)
            moved = [_moved(branch, index, z, cells, kept) for branch, z in zip(state.branches, latents, strict=True)]
            warped = state.moved_to(moved, area)
            return io.NodeOutput(warped, warped.noise(), warped.sigmas())
        if noise_level > 0 and model is None:
            raise ValueError(
                f"a LATENT with noise of level {noise_level:g} needs the MODEL too, which knows how large noise is in its latents"
            )
        latents = list(state["samples"].split(1)) if model is None else models.model_latents(model, state)
        factor = PIXELS_PER_CELL if model is None else models.pixels_per_cell(model)
        size = tuple(side * factor for side in latents[0].shape[:-3:-1])
        # What of a noisy LATENT is no noise, nobody knows.
        states, _, _ = how([_State(z, noise_level, None if noise_level else z) for z in latents], drag, size, mask)
        samples = torch.cat(states) if model is None else models.vae_latents(model, states)
        return io.NodeOutput({**state, "samples": samples}, NoNoise(), torch.tensor([noise_level, 0.0]))


@dataclass(frozen=True, eq=False)
class _State:
    """z: [1, C, h, w] at time t of a flow.  z0: the picture's latent, None where it is not known."""

    z: Tensor
    t: float
    z0: Tensor | None

    @classmethod
    def of(cls, inversion: Inversion | DDIMInversion, index: int) -> _State:
        """The undragged picture at one of its inversion's times."""
        return cls(inversion.to_flow(inversion.path[index], index), inversion.level(index), inversion.z0)


def _moved(branch: State, index: int, z: Tensor, cells: Tensor, kept: Tensor | None) -> State:
    """The branch at another of its times with a flow's latent there."""
    if kept is not None and branch.kept is not None:
        kept = kept & branch.kept
    z, kept = branch.inversion.from_flow(z, index), branch.kept if kept is None else kept
    return branch.moved_to(z, index=index, first=index, mask=cells.to(z.device), kept=kept, held=None)


@dataclass(frozen=True)
class _Warp:
    """What the widgets say. points: how handle points carry; None: by the field, on `picture` if there is one."""

    seed: int
    field: FieldSettings
    ratio: float
    points: DirectDragSettings | None
    picture: Tensor | None = None

    def __call__(
        self, states: Sequence[_State], drag: str | DrawnField, size: wire.Size, mask: Tensor | None
    ) -> tuple[list[Tensor], np.ndarray, Tensor | None]:
        """The latents carried inside of the mask; the mask, bool [H, W]; and the cells left alone, bool [h, w], None where points move."""
        drawn = wire.read_field(drag, size, self.field, self.picture)
        if self.points is None:
            return self._by_field(states, drawn, mask)
        preset, asked = self.points, drawn.drag
        handles = preset.handles(asked)
        free, area = freedom(asked, handles, mask, tuple(states[0].z.shape[-2:]), preset.soft_mask)
        warp = replace(preset.warp, ratio=self.ratio)

        def moved(state: _State) -> Tensor:
            signal = None if state.z0 is None else (1 - state.t) * state.z0
            return carried(state.z, handles, warp, free, preset.warp_within, signal=signal, rounded=preset.rounded)

        return self._inside(area, states, moved), area, None

    def _by_field(self, states: Sequence[_State], drawn: DrawnField, mask: Tensor | None) -> tuple[list[Tensor], np.ndarray, Tensor]:
        field = drawn.field
        area = editing_mask(drawn, AROUND, MARGIN) if mask is None else wire.bool_mask(mask, drawn.drag.size)
        kept = field.kept(self.ratio, (states[0].z.shape[-1], states[0].z.shape[-2]))

        def moved(state: _State) -> Tensor:
            return warp_latent(state.z, state.t, field, z0=state.z0, progress=self.ratio, seed=self.seed)

        return self._inside(area, states, moved), area, kept

    @staticmethod
    def _inside(area: np.ndarray, states: Sequence[_State], moved: Callable[[_State], Tensor]) -> list[Tensor]:
        cells = to_latent(area, states[0].z.shape[-2:])
        return [torch.where(cells.to(state.z.device), moved(state), state.z) for state in states]
