"""CLIP similarity: how alike two pictures are to OpenAI's CLIP, as DirectDrag reports it (ViT-B/32, facts in its section 4).

It sees what a picture shows rather than where: an object in the wrong place hardly counts, and the unchanged picture has 1.
"""

from __future__ import annotations

import numpy as np
from PIL import Image
from torch import nn

from ..adapters.vision import VisionEncoder
from ..picture.compose import tensor_of
from .judged import Judged


def clip_similarity(edit: Judged, encoder: VisionEncoder, side: int) -> float:
    """Cosine of the two pictures' embeddings, in [-1, 1]. side: of the encoder's square, px."""
    one, other = (encoder.embeds(tensor_of(cropped(picture, side))) for picture in (edit.before, edit.after))
    return float(nn.functional.cosine_similarity(one.float(), other.float()).mean())


def cropped(picture: np.ndarray, side: int) -> np.ndarray:
    """CLIP's own preparation: the shorter side to `side`, bicubic on 8 bits, then the square in the middle. -> float32 in [0, 1]."""
    image = Image.fromarray(np.rint(picture * 255).astype(np.uint8))
    scale = side / min(image.size)
    # The longer side is cut to whole pixels, as torchvision does.
    size = tuple(side if v == min(image.size) else int(v * scale) for v in image.size)
    image = image.resize(size, Image.Resampling.BICUBIC)
    x, y = (round((v - side) / 2) for v in size)
    return np.asarray(image.crop((x, y, x + side, y + side)), np.float32) / 255
