"""Drag Metrics: the metrics of the drag papers, any of them, on edits at hand, each beside its value for the unedited picture."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import folder_paths
import torch
from comfy_api.latest import io, ui

from ..core.demo.unet import WEIGHTS as DEMO_UNET
from ..core.intent.chat import OLLAMA
from ..core.metrics.backbones import Backbones
from ..core.metrics.dreamsim import LORA
from ..core.metrics.judge import Judge
from ..core.metrics.judged import Judged, made_mask, operations_of
from ..core.metrics.perceptual import packaged_heads
from ..core.metrics.table import METRICS, Metric, check_known
from ..core.picture.drawn_field import DrawnField
from . import wire
from .host.models_folder import folder_in_models
from .host.progress import ComfyProgress
from .host.room import device_with_room_for
from .host.subject_encoders import ComfyVision
from .host.user_settings import setting
from .metrics_table import Values, lines, means, table
from .types import CATEGORY, drag_or_field_input

FOLDER, KEY = "lpips", "dragfield lpips"
"""Where AlexNet's weights are looked for inside ComfyUI's models directory, and its name among ComfyUI's folders."""
DIFFUSERS, DEMO = "diffusers", "demo"
"""Where a folder for the mean distances is looked for, and the name of the bundled UNet."""
DREAMSIM = "dreamsim"
"""Where DreamSim's folder is looked for."""
NONE = "none"
REMEDIES = {
    "truth": "the picture as it should be: connect it to truth",
    "lpips": f"LPIPS: put AlexNet as torchvision saves it (alexnet-owt-7be5be79.pth) into models/{FOLDER} and choose it in lpips",
    "clip": "CLIP: load CLIP-ViT-B/32 with Load CLIP Vision and connect it to clip_vision",
    "dift": f"Stable Diffusion: name its folder, inside models/{DIFFUSERS}, in dift_folder",
    "dreamsim": f"DreamSim: name its folder, inside models/{DREAMSIM}, in dreamsim_folder",
    "judge": "a language model that sees pictures: write its name on your server in judge",
}
REMINDER = (
    "Compare with the unedited picture's values: likeness to the source is best without any edit, and what looks alike fools distances."
)
JUDGE_NOTE = "A judge's scores are one model's taste: compare them with its own of the unedited picture only."
DEMO_NOTE = "Distances by the bundled UNet can't be set beside published ones."


class DragMetrics(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DragfieldMetrics",
            display_name="Drag Metrics",
            category=CATEGORY,
            description="Takes the metrics by which drag papers compare edits, such as likeness of the background, image fidelity, mean "
            "distance or DAI, and the same of the unedited picture. Whether it arrived and what to change says Drag Report. Nothing is "
            "sent anywhere unless a judge is named.",
            search_aliases=[
                "evaluate edit", "LPIPS", "image fidelity", "mean distance", "DAI", "PSNR", "SSIM", "DreamSim", "GScore", "benchmark",
            ],
            inputs=[
                io.Image.Input("before", tooltip="The picture before the edit."),
                io.Image.Input("after", tooltip="The edited picture, or a batch of them: each is judged, and their mean given."),
                drag_or_field_input(),
                io.Mask.Input(
                    "mask", optional=True,
                    tooltip="Where the picture might change. Without it, the drag's own editable area, else made as published: the "
                    "smallest rectangle around each region and where it goes.",
                ),
                io.Image.Input("truth", optional=True, tooltip="The picture as it should be, where that is known (Load Demo Scene)."),
                io.String.Input(
                    "metrics", default="",
                    tooltip=f"Names separated by commas; empty takes all that can be taken. There are {', '.join(METRICS)}.",
                ),
                io.Combo.Input(
                    "lpips", options=[NONE, *lpips_files()],
                    tooltip=f"For if, if_bg, if_s2t, if_s2s: AlexNet as torchvision saves it, from models/{FOLDER}.",
                ),
                io.ClipVision.Input("clip_vision", optional=True, tooltip="For clip. Published: CLIP-ViT-B/32."),
                io.String.Input(
                    "prompt", default="", tooltip="What the picture shows, for md. Empty: what the drag says of the picture, if anything."
                ),
                io.Int.Input(
                    "seed", default=0, min=0, max=0x7FFFFFFF, control_after_generate=False,
                    tooltip="Of the noise in md, md1, md2. The same for every picture, so that no value depends on their order.",
                ),
                io.String.Input(
                    "dift_folder", default="", optional=True, advanced=True,
                    tooltip="For md, md1, md2: a folder in diffusers' layout inside models/diffusers. Published: Stable Diffusion 2.1. "
                    f"'{DEMO}' takes the bundled UNet.",
                ),
                io.String.Input(
                    "dreamsim_folder", default="", optional=True, advanced=True,
                    tooltip=f"For dreamsim: the folder that the library dreamsim fills for dino_vitb16, inside models/{DREAMSIM}.",
                ),
                io.String.Input(
                    "judge", default="", optional=True, advanced=True,
                    tooltip="For gscore, gscore_drag: a model that sees pictures, by its name on an OpenAI-compatible server, to which the "
                    "pictures are sent. Address and key are in ComfyUI's settings (Dragfield) or in DRAGFIELD_API_URL and "
                    f"DRAGFIELD_API_KEY; without them, Ollama at {OLLAMA}.",
                ),
                io.Int.Input(
                    "votes", default=1, min=1, max=20, optional=True, advanced=True,
                    tooltip="How often the judge is asked about each picture. Their mean is given; numbers has each vote with its words.",
                ),
            ],
            outputs=[
                io.String.Output("text", tooltip="A table: value, unedited picture's, unit, which is better. See Preview as Text."),
                io.String.Output("numbers", tooltip="Everything as JSON."),
                io.String.Output("table", tooltip="A line for each picture and metric, as CSV."),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def validate_inputs(
        cls, drag: str | DrawnField | None = None, metrics: str | None = None, lpips: str | None = None,
        dift_folder: str | None = "", dreamsim_folder: str | None = "", judge: str | None = "",
    ) -> bool | str:  # fmt: skip
        if (problem := wire.drag_problem(drag)) is not True:
            return problem
        try:
            if lpips is not None:
                _lpips_file(lpips)
            if dift_folder:
                _dift_folder(dift_folder)
            if dreamsim_folder:
                _dreamsim_folder(dreamsim_folder)
            if judge:
                _judge(judge, 1)
            if metrics is not None:
                # None is a link, whose value isn't known yet; what is connected isn't known here at all.
                words = {"dift": dift_folder, "dreamsim": dreamsim_folder, "judge": judge}
                there = {"lpips": lpips != NONE, "clip": True, "truth": True}
                there |= {name: word is None or word.strip() != "" for name, word in words.items()}
                metrics_to_take(metrics, there)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls, before: torch.Tensor, after: torch.Tensor, drag: str | DrawnField, metrics: str, lpips: str, prompt: str, seed: int,
        mask: torch.Tensor | None = None, truth: torch.Tensor | None = None, clip_vision=None, dift_folder: str = "",
        dreamsim_folder: str = "", judge: str = "", votes: int = 1,
    ) -> io.NodeOutput:  # fmt: skip
        size, count = wire.image_size(before), wire.count_of(before, edited=after, true=truth)
        asked = wire.read_field(drag, size).drag
        area, given = made_mask(asked, asked.editable if mask is None else wire.bool_mask(mask, size, above=0.0))
        if not area.any():
            raise ValueError("the mask is empty, so nothing of the picture might change: draw it, or leave mask unconnected")
        networks = {
            "lpips": _lpips_file(lpips), "dift": _dift_folder(dift_folder), "dreamsim": _dreamsim_folder(dreamsim_folder),
            "clip": clip_vision, "judge": _judge(judge, votes),
        }  # fmt: skip
        taken = metrics_to_take(metrics, {name: part is not None for name, part in {**networks, "truth": truth}.items()})
        words = prompt.strip() or asked.background_prompt

        def measured(i: int, result: torch.Tensor) -> tuple[Values, dict[str, Any]]:
            old, new = (wire.array_at(image, i) for image in (before, result))
            real = None if truth is None else wire.array_at(truth, i)
            edit, found = Judged(old, new, area, operations_of(asked), asked, real, words, seed), {}
            for metric in taken:
                ComfyProgress.stop_if_cancelled()
                found[metric.name] = metric.measure(edit, backbones)
            return found, edit.remarks

        with torch.inference_mode(False), torch.no_grad():
            backbones = _backbones({metric.needs for metric in taken}, networks)
            backbones.prepare([words])
            edited, remarks = (list(found) for found in zip(*(measured(i, after) for i in range(count)), strict=True))
            # Equal for all pictures where the one before and the truth are.
            sources = max(len(image) for image in (before, truth) if image is not None)
            unedited = [measured(i, before)[0] for i in range(sources)] * (count // sources)
        origin = "made as published" if not given else "the drag's own editable area" if mask is None else "the one connected"
        notes = [REMINDER, f"The mask, {origin}, covers {area.mean():.0%} of the picture."]
        notes += [DEMO_NOTE] * (backbones.dift == DEMO_UNET)
        if backbones.judge is not None:
            notes += [JUDGE_NOTE, *(f"The judge on picture {i}: {vote['words']}" for i, said in enumerate(remarks, 1)
                                    for vote in said["judge"]["votes"] if vote["words"])]  # fmt: skip
        text = "\n".join([*lines(taken, edited, unedited), *notes])
        numbers = {
            "pictures": edited, "unedited": unedited, "mean": means(taken, edited), "unedited_mean": means(taken, unedited),
            "metrics": {metric.name: {"better": metric.better, "unit": metric.unit} for metric in taken},
            "mask": {"given": given, "share": float(area.mean())}, "seed": seed, "prompt": words,
            **({"remarks": remarks} if any(remarks) else {}),
        }  # fmt: skip
        return io.NodeOutput(text, json.dumps(numbers), table(taken, edited, unedited), ui=ui.PreviewText(text))


def metrics_to_take(names: str, there: dict[str, bool]) -> list[Metric]:
    """The metrics of a list with commas; of an empty one, all that can be taken.

    there: what is connected, by its name in REMEDIES.  Raises: ValueError for an unknown metric and for one that lacks something.
    """
    listed = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    check_known(listed)
    if not listed:
        return [metric for metric in METRICS.values() if _lacks(metric, there) is None]
    for name in listed:
        if (lacking := _lacks(METRICS[name], there)) is not None:
            raise ValueError(f"metric {name} needs {REMEDIES[lacking]}, or leave the metric out")
    return [METRICS[name] for name in listed]


def lpips_files() -> list[str]:
    """Files that may be AlexNet's weights."""
    if KEY not in folder_paths.folder_names_and_paths:
        folder_paths.folder_names_and_paths[KEY] = ([f"{folder_paths.models_dir}/{FOLDER}"], {".safetensors", ".pth", ".pt"})
    return folder_paths.get_filename_list(KEY)


def _lacks(metric: Metric, there: dict[str, bool]) -> str | None:
    wanted = "truth" if metric.of_truth else metric.needs
    return None if not wanted or there[wanted] else wanted


def _backbones(needs: set[str], networks: dict[str, Any]) -> Backbones:
    """Those that are needed of what is there."""
    wanted = {name: part for name, part in networks.items() if name in needs}
    device = str(device_with_room_for(wanted["dift"] / "unet")) if "dift" in wanted else "cpu"
    if "clip" in wanted:
        wanted["clip"] = ComfyVision(wanted["clip"], "clip")
    made = Backbones(**wanted, device=device)
    if made.lpips is not None:
        # A few megabytes that are quickly read: better wrong now than after a large model.
        _ = made.lpips_network
    return made


def _judge(model: str, votes: int) -> Judge | None:
    if not model.strip():
        return None
    url = setting("Dragfield.Intent.Url", "DRAGFIELD_API_URL", OLLAMA)
    key = setting("Dragfield.Intent.Key", "DRAGFIELD_API_KEY")
    return Judge(url, model.strip(), votes, key=key, should_stop=ComfyProgress.stop_if_cancelled)


def _lpips_file(name: str) -> Path | None:
    if name == NONE:
        return None
    if name not in lpips_files():
        raise ValueError(f"there is no file {name[:60]!r} in models/{FOLDER}: put it there, or set lpips to '{NONE}'")
    if packaged_heads() is None:
        raise ValueError(f"LPIPS needs its heads, which torchmetrics brings: pip install torchmetrics, or set lpips to '{NONE}'")
    return Path(folder_paths.get_full_path_or_raise(KEY, name))


def _dift_folder(name: str) -> Path | None:
    if not name.strip():
        return None
    folder = DEMO_UNET if name.strip() == DEMO else folder_in_models(DIFFUSERS, name)
    if not (folder / "unet" / "config.json").is_file():
        raise ValueError(f"the folder {name[:60]!r} in models/{DIFFUSERS} has no unet/config.json: use one in diffusers' layout")
    if find_spec("diffusers") is None:
        raise ValueError("dift_folder needs the library diffusers: pip install diffusers, or leave it empty")
    return folder


def _dreamsim_folder(name: str) -> Path | None:
    if not name.strip():
        return None
    folder = folder_in_models(DREAMSIM, name)
    if not (folder / LORA / "adapter_config.json").is_file():
        raise ValueError(f"the folder {name[:60]!r} in models/{DREAMSIM} has no {LORA}: use one that the library dreamsim filled")
    return folder
