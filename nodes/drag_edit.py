"""Drag Edit: a whole edit in one node, with good defaults.

Without a trajectory it becomes a subgraph: crop, VAE Encode, FireFlow Invert, and itself with the trajectory. So ComfyUI's own cache keeps
the inversion, and another target, method or prompt of the edit inverts nothing again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import get_args

import numpy as np
import torch
from comfy_api.latest import io, ui

from ..core.edits.directdrag import PointEditSettings, directdrag
from ..core.edits.dragfield import DragFieldSettings, dragfield
from ..core.edits.dragflow import DragFlowSettings, dragflow
from ..core.edits.edit import Edit, straying_in_words
from ..core.edits.frames import MOST, frames
from ..core.edits.state import State
from ..core.instruction.operations import Drag
from ..core.picture.cutout import Edges
from ..core.picture.drawn_field import DrawnField
from ..core.picture.window import Window, crop, crop_drag, stitch, window_around
from . import models, wire
from .drag_edit_graph import inversion_graph
from .drag_edit_points import check_points_only, edit_settings, inversion_settings, open_to_points
from .gradient_mask import AROUND, RECTANGLES, editing_mask
from .guides import ReadoutHeadType
from .host.autoencoder import ComfyAutoencoder
from .host.comfy_flow import needs_level
from .host.conditioning import ComfyConditioning
from .host.node_text import show_text
from .host.out_of_memory import with_one_retry
from .host.progress import ComfyProgress
from .host.recognised_backbone import Backbone, backbone_for
from .host.tell_canvas import tell_window
from .presets import (
    CARRY,
    OWN,
    dragfield_settings,
    dragflow_preset,
    dragflow_settings,
    points_preset,
    preset_input,
    preset_problem,
    profile_in_words,
    tell_preset,
)
from .trajectory import Trajectory
from .types import CATEGORY, TrajectoryType, drag_or_field_input, negative_inputs

DRAGFIELD, DRAGFLOW, DIRECTDRAG = "dragfield", "dragflow", "directdrag"
PLACES = 8
"""Along the way, which the window of an animation has to hold: a turn's arc is nowhere far from them."""
EDITS: dict[str, Callable[..., Edit]] = {DRAGFIELD: dragfield, DRAGFLOW: dragflow, DIRECTDRAG: directdrag}


class DragEdit(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldEdit",
            display_name="Drag Edit",
            category=CATEGORY,
            description="Drag a part of a picture to where it shall be: inversion, drag, denoising and paste in one node. Every pixel "
            "outside "
            "of the mask stays as it was, and large pictures are worked on in a window around the drag.",
            search_aliases=["drag", "move object", "DragFlow", "DragGAN", "drag image", "move things", "rotate object", "reshape"],
            inputs=[
                io.Model.Input(
                    "model",
                    tooltip="FLUX, Qwen-Image, Z-Image, Krea 2, SD 3.5, or Stable Diffusion 1.x, 2.x or XL; dragfield takes any model that "
                    "ComfyUI samples as a flow. From any loader.",
                ),
                io.Vae.Input("vae"),
                io.Image.Input("image", tooltip="A batch is edited one by one."),
                drag_or_field_input(),
                io.Combo.Input(
                    "method",
                    options=list(EDITS),
                    tooltip="'dragfield' starts from the warped picture and takes seconds. 'dragflow' is the published optimisation. "
                    "'directdrag' drags points alone, the published one for Stable Diffusion.",
                ),
                io.Clip.Input("clip", optional=True, tooltip="Writes the prompts below. Not needed with positive."),
                io.String.Input(
                    "prompt", default="", multiline=True, tooltip="What the picture shows. Empty: the drag's own background prompt."
                ),
                io.String.Input(
                    "edit_prompt",
                    default="",
                    multiline=True,
                    tooltip="What the edited picture shows. Empty: the drag's own editing prompt, or prompt.",
                ),
                io.Int.Input("steps", default=25, min=1, max=1000, tooltip="Steps of the whole schedule."),
                io.Int.Input("skip", default=6, min=0, max=999, tooltip="How many of the noisiest steps are left out."),
                io.Int.Input(
                    "iterations",
                    default=OWN,
                    min=OWN,
                    max=1000,
                    tooltip="dragflow: how often the latent is moved, 70 as published. directdrag: rounds of three moves, 70 as published. "
                    "-1: the preset's own.",
                ),
                io.Float.Input(
                    "guidance",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.1,
                    tooltip="Distilled guidance of the edit. 0 takes what a FluxGuidance node wrote into the prompt, or 1 for dragfield, "
                    "3.5 for dragflow.",
                ),
                io.Float.Input(
                    "margin",
                    default=OWN,
                    min=OWN,
                    max=1.0,
                    step=0.01,
                    tooltip="Room around the drag for shadows and seams, as a part of the shorter side. -1: the preset's own, none as "
                    "published, 0.08 else.",
                ),
                io.Float.Input(
                    "fade", default=0.0, min=0.0, max=512.0, step=1.0, tooltip="Pixels over which the edit fades into the original."
                ),
                io.Int.Input(
                    "work_size",
                    default=1024,
                    min=64,
                    max=4096,
                    step=16,
                    tooltip="Longest side worked on. Larger pictures: a window around the drag.",
                ),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=True, tooltip="Of the fresh noise."),
                io.Conditioning.Input("positive", optional=True, tooltip="What the picture shows, instead of clip and prompt."),
                io.Conditioning.Input(
                    "edit_positive", optional=True, tooltip="What the edited picture shows, instead of clip and edit_prompt."
                ),
                TrajectoryType.Input(
                    "trajectory", optional=True, tooltip="An inversion of this very picture, to be used instead of inverting."
                ),
                io.Float.Input(
                    "warp",
                    default=OWN,
                    min=OWN,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="directdrag: which part of the way the latent is carried before it is optimised. -1: the preset's own, 0.15 as "
                    "published.",
                ),
                ReadoutHeadType.Input("head", optional=True, tooltip="directdrag: keeps the picture's looks. Trained for the model."),
                preset_input("dragflow: published for FLUX; directdrag: published for Stable Diffusion; dragfield has one way only."),
                io.Combo.Input(
                    "edges",
                    options=list(get_args(Edges)),
                    optional=True,
                    advanced=True,
                    tooltip="dragfield: move a region as it was 'drawn', or 'snapped' to the object in it: for outlines drawn by hand, "
                    "which hold some of the ground. A segmentation mask is best as it is.",
                ),
                *negative_inputs(optional=True),
                io.Boolean.Input(
                    "reference",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Models that edit pictures (FLUX.1 Kontext, FLUX.2, Qwen-Image-Edit): they see the picture, or the window of "
                    "it that is worked on, as their reference.",
                ),
                io.Int.Input(
                    "frames",
                    default=1,
                    min=1,
                    max=MOST,
                    optional=True,
                    tooltip="Pictures along the drag, the last of which is the edit. 1: the edit alone; more: an animation, for any node "
                    "that makes a video of a batch.",
                ),
            ],
            outputs=[
                io.Image.Output("edited", display_name="image"),
                io.Mask.Output("mask", tooltip="Where the picture was allowed to change, faded as the edit is."),
                TrajectoryType.Output("inverted", display_name="trajectory", tooltip="The inversion that was used."),
            ],
            # It shows what it made: nothing has to come after it.
            is_output_node=True,
            hidden=[io.Hidden.dynprompt, io.Hidden.unique_id],
            enable_expand=True,
        )

    @classmethod
    def validate_inputs(
        cls, drag: str | DrawnField | None = None, preset: str | None = None, iterations: int | None = None
    ) -> bool | str:
        if iterations == 0:
            return "0 iterations move nothing: use 1 or more (published: 70), or -1 for the preset's own"
        return preset_problem(preset, CARRY) or wire.drag_problem(drag)

    @classmethod
    def execute(
        cls, model, vae, image: torch.Tensor, drag: str | DrawnField, method: str, prompt: str, edit_prompt: str, steps: int, skip: int,
        iterations: int, guidance: float, margin: float, fade: float, work_size: int, seed: int, clip=None, positive=None,
        edit_positive=None, trajectory: Trajectory | None = None, warp: float = OWN, head=None, preset: str = "auto",
        edges: Edges = "drawn", negative=None, cfg: float = 1.0, reference: bool = False, frames: int = 1,
    ) -> io.NodeOutput:  # fmt: skip
        drawn = wire.read_field(drag, wire.image_size(image), picture=image[0] if method == DRAGFIELD else None)
        asked = drawn.drag
        # Refuses a MODEL that can't be dragged before anything is made ready for it.
        backbone = backbone_for(model)
        _check(backbone, drawn, method, head, trajectory)
        points, flow = method == DIRECTDRAG, backbone.flow
        chosen, known = points_preset(preset, model, flow=flow) if points else (dragflow_preset(preset, model, flow=flow), None)
        if drawn.made is not None and method == DRAGFLOW and chosen == "published":
            raise ValueError("the published DragFlow reads regions alone, no field from elsewhere: set preset to 'tuned'")
        # The window has to hold all that `dragfield` takes along, which it sees on the picture.
        around = open_to_points(asked) if points else _around(drawn, frames)
        window = window_around(around, asked, work_size)
        tell_window(window, asked.size)
        if cfg != 1.0 and negative is None and (clip is None or trajectory is not None):
            raise ValueError(f"cfg is {cfg:g}, and nothing says against what: connect negative, or clip, which then writes an empty one")
        if reference and not flow:
            raise ValueError("Stable Diffusion takes no reference: turn reference off, or use FLUX.1 Kontext, FLUX.2 or Qwen-Image-Edit")
        if reference and image.shape[0] > 1:
            raise ValueError(f"reference is one picture's, and here are {image.shape[0]}: turn reference off, or edit them one by one")
        if reference and trajectory is not None:
            raise ValueError(
                "reference is given before a picture is inverted, and this trajectory is inverted already: turn reference off, and put Set "
                "Reference Latent between the prompt and FireFlow Invert"
            )
        if trajectory is None:
            if positive is None and clip is None:
                raise ValueError("nothing says what the picture shows: connect clip (and write a prompt), or connect positive")
            node_id = cls.hidden.unique_id
            settings = inversion_settings(backbone, steps, skip, "none" if method == DRAGFIELD else "auto")
            # DirectDrag's own prompt on Stable Diffusion is the empty one.
            own = "" if points and not flow else asked.background_prompt
            graph, results = inversion_graph(
                node_id, cls.hidden.dynprompt.get_node(node_id)["inputs"], window, wire.image_size(image), settings,
                prompt.strip() or own, edit_prompt.strip() or ("" if points else asked.editing_prompt), chosen, reference,
            )  # fmt: skip
            return io.NodeOutput(*results, expand=graph)
        if trajectory.size != window.work or len(trajectory.branches) != image.shape[0]:
            found = f"{len(trajectory.branches)} pictures of {trajectory.size[0]} x {trajectory.size[1]} px"
            wanted = f"{image.shape[0]} of {window.work[0]} x {window.work[1]}"
            raise ValueError(
                f"the trajectory is of {found}, this edit works on {wanted}: invert the same part of the picture, or leave it away"
            )
        target = models.prompt_of(trajectory.prompt.positive if edit_positive is None else edit_positive, negative, cfg)
        if points:
            settings = edit_settings(known, trajectory, iterations, warp, guidance)
        elif method == DRAGFIELD:
            settings = replace(_dragfield_settings(dragfield_settings(model), margin, seed, guidance, target), edges=edges)
        else:
            settings = _dragflow_settings(dragflow_settings(chosen, model), iterations, margin, seed, guidance, target)
        if method != DRAGFIELD:
            pasted = "pasted back, which is not published" if chosen == "published" else ""
            tell_preset(cls, chosen, pasted, "" if points else profile_in_words(chosen, model))
        # As text, a drag becomes a field on each picture of its own.
        given = drawn.cropped(window).field if isinstance(drag, DrawnField) else None
        if points:
            how = {"cond": target, "head": None if head is None else head.to(backbone.device)}
        else:
            how = {"source": trajectory.prompt, "target": target, "field": given}
        progress = ComfyProgress(model, backbone=None if points else backbone)
        edit = partial(EDITS[method], **how)
        one = _Editor(backbone, ComfyAutoencoder(vae, model), progress, edit, settings, window, fade, frames, asked.free)
        small = crop_drag(asked, window)
        done = [
            with_one_retry(backbone, partial(one.edit, picture, small, state))
            for picture, state in zip(wire.pictures(image), trajectory.branches, strict=True)
        ]
        if said := straying_in_words(max(strayed for *_, strayed in done)):
            show_text(said, cls.hidden.unique_id)
        images = torch.cat([wire.image_of(picture) for picture, *_ in done])
        return io.NodeOutput(images, wire.mask_of(done[0][1]), trajectory, ui=ui.PreviewImage(images, cls=cls))


def _around(drawn: DrawnField, frames: int) -> np.ndarray:
    """Where regions may change the picture, on all of their way if that is shown. bool [H, W]"""
    places = min(frames, PLACES)
    parts = [drawn.until(number / places) for number in range(1, places + 1)]
    return np.logical_or.reduce([editing_mask(part, shape) for part in parts for shape in (RECTANGLES, AROUND)])


def _check(backbone: Backbone, drawn: DrawnField, method: str, head, trajectory: Trajectory | None) -> None:
    """Refuse, in one sentence each, what does not go together."""
    if method != DRAGFIELD:
        needs_level(backbone, 2, f"the method '{method}'", ("the method 'dragfield', which needs none of that",))
    if method == DIRECTDRAG:
        check_points_only(drawn.drag)
    elif head is not None:
        raise ValueError(f"a readout head guides 'directdrag' alone, the method is '{method}': disconnect the head, or change the method")
    if trajectory is not None and trajectory.flow != backbone.flow:
        raise ValueError("the trajectory is of another kind of MODEL: use DDIM Invert for Stable Diffusion, FireFlow Invert for FLUX")


def _dragfield_settings(
    own: DragFieldSettings, margin: float, seed: int, guidance: float, target: ComfyConditioning
) -> DragFieldSettings:
    chosen = models.chosen_guidance(guidance, target, own.guidance)
    return replace(own, guidance=chosen, margin=own.margin if margin < 0 else margin, seed=seed, paste_back=False)


def _dragflow_settings(
    own: DragFlowSettings, iterations: int, margin: float, seed: int, guidance: float, target: ComfyConditioning
) -> DragFlowSettings:
    """A preset's settings, but for what the widgets say. iterations: both phases together, shared as the preset shares them."""
    chosen = models.chosen_guidance(guidance, target, own.guidance)
    drag = replace(own.drag, guidance=chosen)
    if iterations > 0:
        transport = round(iterations * drag.transport_steps / (drag.transport_steps + drag.intensify_steps))
        drag = replace(drag, transport_steps=transport, intensify_steps=iterations - transport)
    around = {} if margin < 0 else {"mask_margin": margin, "shadow_reach": margin}
    return replace(own, guidance=chosen, drag=drag, seed=seed, paste_back=False, **around)


@dataclass(frozen=True, eq=False)
class _Editor:
    """Edits one picture after the other. method: of core, with all that does not depend on the picture.  free: see `Drag.free`."""

    backbone: Backbone
    autoencoder: ComfyAutoencoder
    progress: ComfyProgress
    method: Callable[..., Edit]
    settings: DragFieldSettings | DragFlowSettings | PointEditSettings
    window: Window
    fade: float
    count: int
    free: np.ndarray | None

    def edit(self, picture: torch.Tensor, drag: Drag, state: State) -> tuple[torch.Tensor, np.ndarray, float]:
        """One picture [1, 3, H, W] edited, [count, 3, H, W] along the drag, the weight float32 [H, W] of the edits in it, and how far they
        strayed, see `Edit`.

        drag: on what the window shows.
        """
        with self.backbone.session():
            inversion = models.ready(self.backbone, state).inversion
            self.progress.noise = inversion.to_flow(inversion.z, 0) - inversion.z0
            part = crop(picture, self.window).to(self.backbone.device)
            settings = replace(self.settings, inversion=inversion.settings)
            how = {"settings": settings, "inversion": inversion, "run": self.progress.run()}
            edits = list(frames(self.method, self.count, self.backbone, self.autoencoder, part, drag, **how))
            made = [stitch(picture, edit.image.to(picture.device), edit.mask, self.window, self.fade, self.free) for edit in edits]
            weight = np.maximum.reduce([weight for _, weight in made])
            return torch.cat([whole for whole, _ in reversed(made)]), weight, max(edit.strayed for edit in edits)
