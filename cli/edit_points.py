"""`dragfield edit --method directdrag`: points alone, by the bundled UNet or a Stable Diffusion folder in diffusers layout."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from .console import choose_device, progress_bar

if TYPE_CHECKING:
    from PIL import Image

    from ..core.edits.edit import Edit
    from ..core.edits.presets import Preset
    from ..core.instruction import DragInstruction

HEAD = "readout.safetensors"
"""The bundled model's own readout head, in its folder."""


def edit_points(
    picture: Image.Image, drag: DragInstruction, model: Path | None, preset: Preset, longest: int | None, device: str, dtype: str,
    readout: Path | None, lora: bool | None, count: int = 1,
) -> tuple[list[Edit], str]:
    """Drag the points of a drag. readout: a head for the model.  lora: learn the picture first; None: where that is published.  count: of
    frames.

    -> the frames in order, the last of which is the edit, and what of the preset it does without, in words, "" for nothing. Raises
    ValueError before a model is read, for a drag that moves regions or a readout head that is none.
    """
    import torch

    from ..core.backbones.unet_folder import encode_unet_prompts, load_unet_models
    from ..core.demo.method_settings import method_settings
    from ..core.demo.unet import WEIGHTS
    from ..core.edits.frames import frames
    from ..core.edits.point_edit import points_of
    from ..core.model.readout import load_readout
    from ..core.picture.working_size import to_tensor, working_size
    from ..core.progress import RunContext
    from ..core.training.lora import LoraSettings, applied, train_lora

    published = preset == "published"
    run_drag, settings = method_settings("directdrag", preset, bundled=model is None)
    size = picture.size if published and not longest else working_size(picture.size, longest or (256 if model is None else 1024))
    placed = drag.rasterise(*size)
    points_of(placed)
    where = choose_device(device)
    kind = getattr(torch, dtype) if dtype != "auto" else torch.bfloat16 if where.startswith("cuda") else torch.float32
    folder = model or WEIGHTS
    path = readout or (WEIGHTS / HEAD if model is None else None)
    head = None if path is None else load_readout(path).to(where)
    learns = published if lora is None else lora
    with progress_bar() as progress, ExitStack() as stack:
        progress(0, 1, "reading the model")
        (cond,) = encode_unet_prompts(folder, ["" if published else drag.background_prompt], where, kind)
        backbone, autoencoder = load_unet_models(folder, where, kind)
        image = to_tensor(picture, size).to(where)
        if learns:
            with torch.no_grad():
                z0 = autoencoder.encode(image)
            how = LoraSettings(whole=not published)
            learnt = train_lora(
                backbone, backbone.model, z0, cond, how, report=lambda done, of, _: progress(done, of, "learning the picture")
            )
            stack.enter_context(applied(backbone.model, learnt))
        run = RunContext(lambda at: progress(at.done, at.total, at.stage))
        edits = list(frames(run_drag, count, backbone, autoencoder, image, placed, cond, settings, head=head, run=run))
    lacks = [] if head is not None else ["the readout guidance: give a head for this model as --readout"]
    lacks += ["the single-image LoRA"] if published and not learns else []
    lacks += [f"the picture's own size: --longest {longest} makes it smaller before"] if published and longest else []
    return edits[::-1], "; ".join(lacks)
