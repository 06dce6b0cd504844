"""`dragfield check`: what a model can do with a picture, before anybody waits for a drag."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from .console import choose_device, out, progress_bar


def check(
    picture: Annotated[Path, typer.Argument(help="A picture as you mean to edit.")],
    model: Annotated[Path | None, typer.Option(help="Folder in diffusers layout: FLUX or Stable Diffusion; else the bundled FLUX.")] = None,
    prompt: Annotated[str, typer.Option(help="What the picture shows.")] = "",
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Fewer steps too, keys and values block by block, the time of a larger picture.")
    ] = False,
    guidance: Annotated[float, typer.Option(min=1.0, help="Distilled guidance of the edits that you plan.")] = 3.5,
    find_settings: Annotated[
        bool, typer.Option("--find-settings", help="Try settings of dragflow on drags made of the picture: as long as 30 edits.")
    ] = False,
    profile: Annotated[
        Path | None, typer.Option(help="Where what --find-settings found is kept, .json, for `dragfield edit --profile`.")
    ] = None,
    longest: Annotated[
        int | None, typer.Option(help="Work at this longest side, px. If left out: 256 on the bundled model, 512 else.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N; auto takes a GPU if there is one.")] = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="auto: bfloat16 on a GPU, float32 else.")
    ] = "auto",
    json_file: Annotated[Path | None, typer.Option("--json", help="Where the numbers go.")] = None,
    chart: Annotated[Path | None, typer.Option(help="Where a picture of the blocks goes, .png.")] = None,
) -> None:
    """Measure whether the inversion comes back to the picture, and in which blocks the model sees what has moved."""
    if not picture.is_file():
        raise ValueError(f"{picture} is no file; give a picture")
    if profile is not None and not find_settings:
        raise ValueError(f"--profile {profile} keeps what was found: add --find-settings")

    import torch

    from ..core.check import FOLLOWS, Profile, fingerprint, sight_chart, tune
    from ..core.check import check as check_model
    from ..core.demo.dragflow_settings import DRAGFLOW
    from ..core.demo.flux import WEIGHTS
    from ..core.edits.dragflow import DragFlowSettings
    from ..core.formats.picture_file import decode
    from ..core.picture.working_size import to_tensor, working_size
    from ..core.progress import RunContext

    image = decode(picture)
    size = working_size(image.size, longest or (256 if model is None else 512))
    where = choose_device(device)
    kind = getattr(torch, dtype) if dtype != "auto" else torch.bfloat16 if where.startswith("cuda") else torch.float32
    folder = model or WEIGHTS
    with progress_bar() as progress:
        progress(0, 1, "reading the model")
        if (folder / "unet").is_dir():
            from ..core.backbones.unet_folder import encode_unet_prompts, load_unet_models

            (cond,) = encode_unet_prompts(folder, [prompt], where, kind)
            backbone, autoencoder = load_unet_models(folder, where, kind)
        else:
            from ..core.backbones.flux_folder import encode_prompts, load_models

            (cond,) = encode_prompts(folder, [prompt], where, kind)
            backbone, autoencoder = load_models(folder, where, kind)
        run = RunContext(lambda at: progress(at.done, at.total, at.stage))
        found = check_model(backbone, autoencoder, to_tensor(image, size).to(where), cond, thorough=thorough, guidance=guidance, run=run)
        tuned = None
        if find_settings:
            own = DRAGFLOW if model is None else DragFlowSettings()
            tuned = tune(backbone, autoencoder, to_tensor(image, size).to(where), cond, own, sight=found.sight, run=run)
    for line in [*found.lines(), *([] if tuned is None else tuned.lines())]:
        out.print(line, markup=False)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        numbers = found.numbers() | ({} if tuned is None else {"found_settings": tuned.numbers()})
        json_file.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    if profile is not None:
        if tuned.after > max(tuned.before, tuned.still + FOLLOWS):
            network = backbone.model
            mark = fingerprint(type(network).__name__, network.named_parameters())
            kept = Profile.of(type(network).__name__, mark, tuned.settings, tuned.after - tuned.before)
            kept.write(profile)
            out.print(f"profile in {profile}: {kept.in_words()}", markup=False)
        else:
            out.print("no profile was written: nothing was better than what there is", markup=False)
    if chart is not None:
        from PIL import Image

        chart.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 * sight_chart(found.sight, found.taps)).round().astype("uint8")).save(chart)
