"""Rows of suite `real` that need a network: an autoencoder alone, or a whole model.

With an autoencoder: what it costs to encode what an edit starts from (`encoded`), and to carry the latent's cells instead of the picture's
pixels (`latent_warp`). With a model: whole edits, `dragfield` and `dragflow`, as `dragfield edit` makes them, with an empty prompt.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..core.edits.warm_start import warp_latent
from ..core.field import DragField
from ..core.formats.real_motion import RealPair
from ..core.instruction import DragInstruction
from ..core.model.backbone import Autoencoder
from ..core.picture.evidence import carry
from ..core.picture.working_size import to_picture, to_tensor, working_size

Made = Callable[[RealPair, DragField], np.ndarray]
BUNDLED = "demo"
"""What names the bundled model instead of a folder."""


def by_autoencoder(autoencoder: Autoencoder) -> dict[str, Made]:
    """Rows of an autoencoder alone. Pictures are padded to whole latent cells by repeating their last pixels."""
    return {"encoded": partial(_encoded, autoencoder), "latent_warp": partial(_latent_warp, autoencoder)}


def by_model(model: str, longest: int = 512) -> dict[str, Made]:
    """Rows of whole edits. model: a folder in diffusers' layout, or "demo".  longest: side worked at, px."""
    from ..core.backbones.flux_folder import encode_prompts, load_models
    from ..core.demo.dragflow_settings import DRAGFIELD, DRAGFLOW
    from ..core.demo.flux import WEIGHTS
    from ..core.edits.dragfield import DragFieldSettings, dragfield
    from ..core.edits.dragflow import PUBLISHED, dragflow

    bundled = model == BUNDLED
    folder = WEIGHTS if bundled else Path(model)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    (prompt,) = encode_prompts(folder, [""], device, dtype)
    backbone, autoencoder = load_models(folder, device, dtype)

    def edited(run: Callable, settings: object, pair: RealPair, field: DragField) -> np.ndarray:
        picture = _picture(pair.before)
        size = working_size(picture.size, 256 if bundled else longest)
        drag = DragInstruction.from_drag(pair.drag()).rasterise(*size)
        edit = run(backbone, autoencoder, to_tensor(picture, size).to(device), drag, prompt, settings=settings)
        return np.asarray(to_picture(edit.image, picture, edit.mask if settings.paste_back else None), np.float32) / 255

    ours = DRAGFIELD if bundled else DragFieldSettings()
    # As published, but with masks at the working size: the pictures are scaled before.
    theirs = DRAGFLOW if bundled else replace(PUBLISHED, masks_at="working")
    return {"dragfield": partial(edited, dragfield, ours), "dragflow": partial(edited, dragflow, theirs)}


def _encoded(autoencoder: Autoencoder, pair: RealPair, field: DragField) -> np.ndarray:
    evidence = carry(pair.before, field).image
    return _decoded(autoencoder, autoencoder.encode(_padded(evidence, autoencoder.factor)), evidence.shape)


def _latent_warp(autoencoder: Autoencoder, pair: RealPair, field: DragField) -> np.ndarray:
    padded = _padded(pair.before, autoencoder.factor)
    z = autoencoder.encode(padded)
    # The field of a picture that ends with whole cells.
    height, width = padded.shape[-2:]
    drag = pair.drag()
    grown = replace(drag, size=(width, height), regions=tuple(replace(r, mask=_grown(r.mask, (height, width))) for r in drag.regions))
    warped = warp_latent(z, 0.0, DragField.from_drag(grown), z0=z)
    return _decoded(autoencoder, warped, pair.before.shape)


def _padded(image: np.ndarray, factor: int) -> Tensor:
    height, width = image.shape[:2]
    edges = ((0, -height % factor), (0, -width % factor), (0, 0))
    return torch.from_numpy(np.pad(image, edges, mode="edge")).permute(2, 0, 1)[None]


def _grown(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.pad(mask, ((0, shape[0] - mask.shape[0]), (0, shape[1] - mask.shape[1])))


def _decoded(autoencoder: Autoencoder, z: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    return autoencoder.decode(z)[0, :, : shape[0], : shape[1]].permute(1, 2, 0).float().cpu().numpy()


def _picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(image * 255).astype(np.uint8))
