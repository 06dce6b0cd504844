"""Model Check: what the model at hand can do with the picture at hand, in sentences, before anybody waits for a drag."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, Literal, get_args

import torch
from comfy_api.latest import io, ui

from ..core.check import FOLLOWS, SIDES, Check, Profile, Tuned, check, sight_chart, tune
from . import models, wire
from .host.autoencoder import ComfyAutoencoder
from .host.bundled import is_bundled
from .host.comfy_transformer import ComfyTransformer
from .host.conditioning import ComfyConditioning
from .host.out_of_memory import with_one_retry
from .host.patched import patched
from .host.profiles import FOLDER, fingerprint_of, path_of
from .host.progress import ComfyProgress
from .host.recognise import name_of
from .host.recognised_backbone import Backbone, backbone_for
from .presets import own_dragflow
from .report_advice import NOTE
from .types import CATEGORY

Finding = Literal["off", "show", "save"]
FINDING: tuple[str, ...] = get_args(Finding)
SIDE = 512
CELL = 64
"""Sides are cut to multiples of it, which hold whole cells of every model."""


class ModelCheck(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldModelCheck",
            display_name="Model Check",
            category=CATEGORY,
            description="Measures on your model and picture whether the inversion comes back to the picture, whether gradients are right, "
            "in which blocks the model sees what has moved, which drags by features live on, and how long an edit will take.",
            search_aliases=["does it work", "benchmark model", "inversion quality", "which blocks", "diagnose", "test checkpoint"],
            inputs=[
                io.Model.Input("model", tooltip="The one to drag with."),
                io.Vae.Input("vae"),
                io.Image.Input("image", tooltip="A picture as you mean to edit. Of a large one, the middle is looked at."),
                io.Conditioning.Input("positive", tooltip="What the picture shows."),
                io.Boolean.Input(
                    "thorough", default=False, tooltip="Fewer steps too, keys and values block by block, the time of a larger picture."
                ),
                io.Float.Input(
                    "guidance",
                    default=3.5,
                    min=1.0,
                    max=30.0,
                    step=0.1,
                    advanced=True,
                    tooltip="Distilled guidance of the edits that you plan: the way back is walked under it too, by models that take it.",
                ),
                io.Combo.Input(
                    "find_settings",
                    options=list(FINDING),
                    advanced=True,
                    optional=True,
                    tooltip="Try some 15 settings of dragflow on drags made of this picture, which takes as long as 30 edits. 'save': the "
                    "best become this model's profile, by which 'tuned' goes from then on, and 'auto' with it.",
                ),
                io.Mask.Input("mask", optional=True, tooltip="An object in the picture, for drags that bring it back to its place."),
            ],
            outputs=[
                io.String.Output("text", tooltip="What was found, in words."),
                io.Image.Output("picture", tooltip="Blocks and levels of noise, the brighter the more is found again."),
                io.String.Output("numbers", tooltip="Everything as JSON."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, find_settings: str | None = None) -> bool | str:
        if find_settings is not None and find_settings not in FINDING:
            return f"find_settings is {find_settings!r}: use one of {', '.join(FINDING)}"
        return True

    @classmethod
    def execute(
        cls, model, vae, image: torch.Tensor, positive, thorough: bool, guidance: float, find_settings: Finding = "off", mask=None
    ) -> io.NodeOutput:
        width, height = (min(SIDE, side) // CELL * CELL for side in wire.image_size(image))
        if min(width, height) < 4 * CELL:
            raise ValueError(
                f"the picture has {' x '.join(map(str, wire.image_size(image)))} px, too few for a check: use at least {4 * CELL} on each "
                "side"
            )
        backbone = backbone_for(model)
        autoencoder, prompt = ComfyAutoencoder(vae, model), models.prompt_of(positive)
        y, x = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
        picture = image[:1, y : y + height, x : x + width, :3].movedim(-1, 1)
        if find_settings != "off" and backbone.level < 2:
            raise ValueError(f"{name_of(model)} gives no features here, so dragflow has no settings to find: set find_settings to 'off'")
        progress = ComfyProgress(model, cls.hidden.unique_id, backbone=backbone)
        what = partial(
            check, backbone, autoencoder, picture, prompt, thorough=thorough, guidance=guidance, sees=backbone.level >= 2,
            remembers=backbone.level >= 3, run=progress.run(),
        )  # fmt: skip
        with backbone.session():
            found, tuned = with_one_retry(backbone, what), None
            if find_settings != "off":
                shown = None if mask is None else wire.bool_mask(mask, wire.image_size(image))[y : y + height, x : x + width]
                trying = partial(
                    tune, backbone, autoencoder, picture, prompt, own_dragflow(model), sight=found.sight, mask=shown, run=progress.run()
                )
                tuned = with_one_retry(backbone, trying)
        runs, kind = "every method" if backbone.level >= 2 else "dragfield", "a flow" if backbone.flow else "by DDIM"
        first = f"{name_of(model)}, {kind}, in {str(backbone.dtype).removeprefix('torch.')}: {runs} can run."
        on_it, room = patched(model), room_lines(backbone, prompt, found)
        tried = [] if tuned is None else tuned.lines()
        if find_settings == "save":
            tried.append(saved(model, tuned))
        text = "\n".join([first, *map(sentence, on_it), *found.lines(), *room, *tried, *[NOTE] * is_bundled(model)])
        # Nothing was seen: a dark picture, so that what is linked to it runs.
        chart = torch.zeros(1, 64, 64, 3) if found.sight is None else wire.image_of(sight_chart(found.sight, found.taps))
        measured = found.numbers() | ({} if tuned is None else {"found_settings": tuned.numbers()})
        numbers = json.dumps({"model": name_of(model), "level": backbone.level, "patched": on_it, **measured})
        shown = ui.PreviewImage(chart, cls=cls).as_dict() | ui.PreviewText(text).as_dict()
        return io.NodeOutput(text, chart, numbers, ui=shown)


def saved(model: Any, tuned: Tuned) -> str:
    """Keep what was found as the MODEL's profile, if it is better than what it had. -> a sentence about it."""
    if tuned.after <= max(tuned.before, tuned.still + FOLLOWS):
        return "No profile was saved."
    profile = Profile.of(name_of(model), fingerprint_of(model), tuned.settings, tuned.after - tuned.before)
    profile.write(path_of(model))
    return (
        f"Saved as this model's profile ({profile.in_words()}), by which the preset 'tuned' goes from now on, and 'auto' with it; delete "
        f"user/{FOLDER.as_posix()}/{path_of(model).name} to be rid of it."
    )


def sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."


def room_lines(backbone: Backbone, prompt: ComfyConditioning, found: Check) -> list[str]:
    """What drag iterations hold on this device; nothing for a model that is not known well enough to be counted."""
    if not isinstance(backbone, ComfyTransformer):
        return []
    walks = {side: backbone.drag_walk((side // found.cell * backbone.patch,) * 2, prompt) for side in SIDES}
    return [f"Beside the model, an iteration of dragflow holds here about {'; '.join(backbone.budget.fitting(walks))}."]
