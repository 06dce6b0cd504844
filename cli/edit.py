"""`dragfield edit`: one drag on one picture, by a bundled model or a folder in diffusers layout: FLUX, or Stable Diffusion for points.

The picture may have any size: the edit is made at a size that suits the model, and what it changed is put back.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .console import choose_device, out, progress_bar

if TYPE_CHECKING:
    from PIL import Image

    from ..core.edits.dragfield import DragFieldSettings
    from ..core.edits.dragflow import DragFlowSettings
    from ..core.edits.edit import Edit
    from ..core.edits.presets import Preset
    from ..core.instruction import DragInstruction

NOT_PUBLISHED = (
    ", but for the subject adapter: the published code runs InstantCharacter at 1.5, and its paper measures inversions of photographs at "
    "LPIPS 0.173 with it and 0.283 without; in ComfyUI, Adapter Inject puts it in"
)
"""What the published preset does not mean here."""
PICTURES = (".png", ".jpg", ".jpeg", ".webp")


def edit(
    source: Annotated[Path | None, typer.Argument(help="A picture, or a sample folder of ReD Bench, Drag100 or DragBench.")] = None,
    instruction: Annotated[Path | None, typer.Option(help="The drag as JSON; a sample folder brings its own.")] = None,
    model: Annotated[Path | None, typer.Option(help="Folder in diffusers layout; else the bundled model.")] = None,
    method: Annotated[
        Literal["dragfield", "dragflow", "directdrag"],
        typer.Option(help="dragfield: ours. dragflow: published, regions on FLUX. directdrag: published, points on Stable Diffusion."),
    ] = "dragfield",
    preset: Annotated[
        Literal["published", "tuned", "auto", "reference", "principled"],
        typer.Option(help="dragflow, directdrag: as published, or our own; auto: our own on a bundled model, else published."),
    ] = "auto",
    profile: Annotated[
        Path | None, typer.Option(help="dragflow: what `dragfield check --find-settings` found for this model.")
    ] = None,
    longest: Annotated[
        int | None,
        typer.Option(help="Work at this longest side, px. If left out: 256 on the bundled model; no limit as published, 1024 else."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N; auto takes a GPU if there is one.")] = "auto",
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16"], typer.Option(help="auto: bfloat16 on a GPU, float32 else.")
    ] = "auto",
    lean: Annotated[bool, typer.Option("--lean", help="Less GPU memory for more time.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="dragfield: of the noise where the region was.")] = 0,
    readout: Annotated[
        Path | None, typer.Option(help="directdrag: the model's readout head, .safetensors or a published .pt; the bundled model has one.")
    ] = None,
    lora: Annotated[
        bool | None, typer.Option("--lora/--no-lora", help="directdrag: learn the picture first; if left out, as published only.")
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Pictures along the drag, the last of which is the edit: an animation.")] = 1,
    output: Annotated[
        Path | None,
        typer.Option(help="Where the result goes: output/edit.png; with --frames a folder or a name with %d; with --batch a folder."),
    ] = None,
    batch: Annotated[Path | None, typer.Option(help="Instead of a picture: a folder of NAME.json, each beside its picture.")] = None,
    engine: Annotated[Literal["local", "ray"], typer.Option(help="--batch: in this process, or spread over a Ray cluster.")] = "local",
    workers: Annotated[int, typer.Option(min=1, help="--engine ray: models at once.")] = 1,
    gpus: Annotated[
        float | None, typer.Option(min=0, help="--engine ray: GPUs of each, also a part of one; else 1 with --device cuda, 0 without.")
    ] = None,
    cluster: Annotated[str | None, typer.Option(help="--engine ray: address of the cluster, or 'auto'; else this machine alone.")] = None,
) -> None:
    """Drag a picture: move, turn or stretch a region, by an instruction. Or a folder of them."""
    if batch is not None:
        single = {"a picture": source, "--instruction": instruction, "--readout": readout, "--lora": lora, "--lean": lean or None}
        given = [name for name, value in single.items() if value is not None]
        if extra := given + ["--preset"] * (preset != "auto") + ["--frames"] * (frames > 1) + ["--profile"] * (profile is not None):
            raise ValueError(f"--batch edits a folder by a method's own settings; leave {', '.join(extra)} out")
        from .edit_batch import edit_batch

        spread = None if engine == "local" else (workers, gpus, cluster)
        edit_batch(batch, output or Path("output/edits"), method, model, seed, longest, device, dtype, spread)
        return
    if source is None:
        raise typer.BadParameter("there is nothing to edit; give a picture or a sample folder, or a folder of instructions by --batch")
    paths = paths_of(output or Path("output/edit.png" if frames == 1 else "output/edit"), frames)
    if method == "dragfield" and preset != "auto":
        raise ValueError(
            f"--preset {preset} is one of the published methods'; {method} has one way of its own, use --method dragflow or directdrag, or "
            "leave it out"
        )
    if method != "directdrag" and (readout is not None or lora is not None):
        raise ValueError(f"--readout, --lora and --no-lora are directdrag's; leave them out with {method}")
    if method == "directdrag" and lean:
        raise ValueError("--lean is of the methods for FLUX; leave it out with directdrag")
    if profile is not None and (method != "dragflow" or preset not in ("auto", "tuned")):
        raise ValueError(f"--profile {profile} is of the tuned dragflow; use it with --method dragflow and no other --preset")
    picture, drag = read(source, instruction)

    from ..core.check.profile import Profile, fingerprint
    from ..core.edits.presets import preset_named

    named = preset_named(preset, bundled=model is None or profile is not None)
    found = None if profile is None else Profile.read(profile)
    if method == "directdrag":
        from .edit_points import edit_points

        results, lacks = edit_points(picture, drag, model, named, longest, device, dtype, readout, lora, frames)
        write(results, picture, paths, method, truncated=named == "published", pasted=named != "published")
        result = results[-1]
        left = max(result.drag.distances) if result.drag else 0.0
        out.print(f"preset {named}{f', but for {lacks}' if lacks else ''}; {left:.1f} px left", markup=False)
        return

    import torch
    from PIL import Image

    from ..core.backbones.flux_folder import PUBLISHED_T5_TOKENS, T5_TOKENS, encode_prompts, load_models
    from ..core.demo.flux import WEIGHTS
    from ..core.edits.frames import frames as made_of
    from ..core.picture.working_size import to_tensor, working_size
    from ..core.progress import RunContext

    published = method == "dragflow" and named == "published"
    edit, settings = chosen(method, named, lean, seed, bundled=model is None)
    size = working_size(picture.size, longest or (256 if model is None else None if published else 1024))
    placed = drag.rasterise(*(picture.size if published and not longest else size))
    where = choose_device(device)
    kind = getattr(torch, dtype) if dtype != "auto" else torch.bfloat16 if where.startswith("cuda") else torch.float32
    folder = model or WEIGHTS
    with progress_bar() as progress:
        progress(0, 1, "reading the model")
        both = ("" if published else " ").join(filter(None, (drag.background_prompt, drag.editing_prompt)))
        tokens = PUBLISHED_T5_TOKENS if published else T5_TOKENS
        before, after = encode_prompts(folder, [drag.background_prompt, both], where, kind, t5_len=tokens)
        backbone, autoencoder = load_models(folder, where, kind, checkpoint_blocks=lean)
        if found is not None:
            if found.model != fingerprint(type(backbone.model).__name__, backbone.model.named_parameters()):
                raise ValueError(f"--profile {profile} was found on another model ({found.name}); run dragfield check on this one")
            settings = found.applied(settings)
        resampling = Image.Resampling.BICUBIC if published else Image.Resampling.LANCZOS
        image, run = to_tensor(picture, size, resampling).to(where), RunContext(lambda at: progress(at.done, at.total, at.stage))
        made = list(made_of(edit, frames, backbone, autoencoder, image, placed, before, after, settings, run=run))
    write(made[::-1], picture, paths, method, truncated=published, pasted=settings.paste_back)
    if method == "dragflow":
        by = "" if found is None else f", by its profile: {found.in_words()}"
        out.print(f"preset {named}{NOT_PUBLISHED if published else by}", markup=False)
    if published and longest:
        out.print(f"--longest {longest} makes the picture smaller before, which is not published", markup=False)


def paths_of(output: Path, frames: int) -> list[Path]:
    """Where each frame goes: `output` itself, or numbered in it. Raises ValueError for an output of another kind."""
    if frames == 1:
        if output.suffix.lower() not in PICTURES:
            raise ValueError(f"--output {output} is no picture; let it end in {', '.join(PICTURES)}")
        return [output]
    if not output.suffix:
        output = output / f"%0{len(str(frames))}d.png"
    if not re.fullmatch(r"[^%]*%\d*d[^%]*", output.name) or output.suffix.lower() not in PICTURES:
        raise ValueError(
            f"--output {output} has no place for {frames} frames; give a folder, or a picture's name with the frame's number in it, such "
            "as frames/%03d.png"
        )
    return [output.with_name(output.name % number) for number in range(1, frames + 1)]


def write(results: list[Edit], picture: Image.Image, paths: list[Path], method: str, *, truncated: bool, pasted: bool) -> None:
    """Save edits, in order, and say what they took. pasted: into the picture, which keeps all pixels elsewhere."""
    from ..core.edits.edit import straying_in_words
    from ..core.formats.picture_file import save
    from ..core.picture.working_size import to_picture

    paths[0].parent.mkdir(parents=True, exist_ok=True)
    for result, path in zip(results, paths, strict=True):
        exact = save(to_picture(result.image, picture, result.mask if pasted else None, truncated=truncated), path, like=picture)
    seconds, forward, backward = (sum(getattr(one, name) for one in results) for name in ("seconds", "nfe_forward", "nfe_backward"))
    height, width = result.image.shape[-2:]
    evaluations = f"{forward} forward and {backward} backward passes"
    out.print(f"{method}: {seconds:.1f} s, {evaluations} at {width} x {height} px", markup=False)
    if result.own_pixels:
        out.print(f"{result.own_pixels:.0%} of what could change shows the picture's own pixels, moved or kept", markup=False)
    if said := straying_in_words(max(result.strayed for result in results)):
        out.print(said, markup=False)
    lossy = "" if exact else f"; a {path.suffix} keeps no pixel exactly, let --output end in .png for a background that is bit for bit"
    what = f"result in {path}" if len(paths) == 1 else f"{len(paths)} frames in {paths[0]} to {path.name}"
    out.print(f"{what}{lossy}", markup=False)


def read(source: Path, instruction: Path | None) -> tuple[Image.Image, DragInstruction]:
    """The picture and the drag that were asked for. Raises: ValueError for what is not there or not right."""
    from ..core import formats
    from ..core.formats.picture_file import size_of
    from ..core.formats.sample import Sample, read_bytes
    from ..core.instruction import DragInstruction

    if source.is_dir():
        if instruction is not None:
            raise ValueError(f"{source} is a sample folder with its own instruction; leave --instruction out")
        sample = formats.read(source)
        return sample.image(), sample.instruction
    if not source.exists():
        raise ValueError(f"{source} does not exist; give a picture or a sample folder")
    if instruction is None:
        raise ValueError(f"{source} is a picture and needs a drag; add --instruction drag.json")
    sample = Sample(source.stem, source, size_of(source), DragInstruction.from_json(read_bytes(instruction)))
    return sample.image(), sample.instruction


def chosen(
    method: str, preset: Preset, lean: bool, seed: int, *, bundled: bool
) -> tuple[Callable[..., Edit], DragFlowSettings | DragFieldSettings]:
    """The method and its settings. `lean` keeps what attention saw in main memory."""
    from ..core.demo.method_settings import method_settings

    run, settings = method_settings(method, preset, bundled=bundled)
    settings = replace(settings, seed=seed)
    if lean:
        settings = replace(settings, inversion=replace(settings.inversion, kv_placement="cpu"))
    return run, settings
