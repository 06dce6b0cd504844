"""Model Check: what the model at hand can do with the picture at hand, in sentences, before anybody waits for a drag."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from comfy_api.latest import io, ui

from ..core.check import RoundTrip, Sight, autoencoder_psnr, round_trips, where_it_sees
from ..core.check.chart import sight_chart
from ..core.sampling.sampler import sampler_of
from . import models, wire
from .host.autoencoder import ComfyAutoencoder
from .host.bundled import is_bundled
from .host.progress import ComfyProgress
from .host.recognise import name_of
from .host.recognised_backbone import backbone_for
from .report_advice import NOTE
from .types import CATEGORY

QUICK, THOROUGH = (25,), (8, 15, 25)
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
            description="Measures on your model and picture whether the inversion comes back to the picture, and in which blocks the model "
            "sees what has moved, which drags by features live on.",
            search_aliases=["does it work", "benchmark model", "inversion quality", "which blocks", "diagnose", "test checkpoint"],
            inputs=[
                io.Model.Input("model", tooltip="The one to drag with."),
                io.Vae.Input("vae"),
                io.Image.Input("image", tooltip="A picture as you mean to edit. Of a large one, the middle is looked at."),
                io.Conditioning.Input("positive", tooltip="What the picture shows."),
                io.Boolean.Input("thorough", default=False, tooltip="Inversions of 8 and 15 steps too, not of 25 alone."),
                io.Float.Input(
                    "guidance",
                    default=3.5,
                    min=1.0,
                    max=30.0,
                    step=0.1,
                    advanced=True,
                    tooltip="Distilled guidance of the edits that you plan: the way back is walked under it too, by models that take it.",
                ),
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
    def execute(cls, model, vae, image: torch.Tensor, positive, thorough: bool, guidance: float) -> io.NodeOutput:
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
        run = ComfyProgress(model, cls.hidden.unique_id, backbone=backbone).run()
        guidances = tuple(dict.fromkeys((1.0, guidance)))
        with backbone.session():
            vae_db = autoencoder_psnr(autoencoder, picture)
            steps = THOROUGH if thorough else QUICK
            trips = round_trips(backbone, autoencoder, picture, prompt, steps=steps, guidances=guidances, run=run)
            sees = backbone.level >= 2
            sight = where_it_sees(backbone, autoencoder, picture, prompt, run=run) if sees else None
        taps = tuple(sampler_of(backbone, prompt).drag_taps) if sees else ()
        lines = [_model_line(model, backbone), *_trip_lines(vae_db, trips), *_sight_lines(sight, taps)]
        if is_bundled(model):
            lines.append(NOTE)
        text = "\n".join(lines)
        chart = torch.zeros(1, 64, 64, 3) if sight is None else wire.image_of(sight_chart(sight, taps))
        numbers = {"model": name_of(model), "level": backbone.level, "size": [width, height], "vae_db": vae_db}
        numbers |= {"round_trips": [asdict(trip) for trip in trips], "sight": None if sight is None else _numbers(sight, taps)}
        shown = ui.PreviewImage(chart, cls=cls).as_dict() | ui.PreviewText(text).as_dict()
        return io.NodeOutput(text, chart, json.dumps(numbers), ui=shown)


def _model_line(model: Any, backbone: Any) -> str:
    runs = "every method" if backbone.level >= 2 else "dragfield"
    kind = "a flow" if backbone.flow else "by DDIM"
    return f"{name_of(model)}, {kind}, in {str(backbone.dtype).removeprefix('torch.')}: {runs} can run."


def _trip_lines(vae_db: float, trips: list[RoundTrip]) -> list[str]:
    lines = [f"The VAE gives the picture back at {vae_db:.1f} dB; only what is pasted back is nearer."]
    for trip in trips:
        how = f"guidance {trip.guidance:g}" + (", keys and values injected" if trip.attention else "")
        closes = "closes" if trip.psnr >= vae_db else "loses more than the VAE does"
        lines.append(f"Inverted in {trip.steps} steps less {trip.skip}, and back under {how}: {trip.psnr:.1f} dB, {closes}.")
    best = max(trips, key=lambda trip: trip.psnr)
    if best.psnr < vae_db:
        lines.append("No way back closes: use more steps, or skip more of them; what the mask leaves open will differ from the picture.")
    return lines


def _sight_lines(sight: Sight | None, taps: tuple[Any, ...]) -> list[str]:
    if sight is None:
        return ["Its blocks are not known here, so dragflow and directdrag can't run; dragfield needs none of them."]
    own, (tap, level) = sight.of(taps), sight.best()
    column = int(own.argmax())
    lines = [
        f"Of the places of a shifted picture, its own taps ({', '.join(map(str, taps))}) find {own[column]:.0%} again at noise level "
        f"{sight.levels[column]:.2f}, the best block ({tap}) {sight.found.max():.0%} at {level:.2f}; by chance it would be "
        f"{sight.chance:.0%}."
    ]
    if own.max() < 2 * sight.chance:
        lines.append("Its own taps see next to nothing of this picture: try another with more in it, or use dragfield.")
    return lines


def _numbers(sight: Sight, taps: tuple[Any, ...]) -> dict[str, Any]:
    def rounded(x: np.ndarray) -> list:
        return np.round(x, 4).tolist()

    return {
        "taps": [str(tap) for tap in sight.taps], "own_taps": [str(tap) for tap in taps], "levels": [round(x, 4) for x in sight.levels],
        "found": rounded(sight.found), "off_tokens": rounded(sight.off), "chance": sight.chance,
    }  # fmt: skip
