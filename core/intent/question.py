"""What is sent to a language model that sees pictures: a text, pictures, and the JSON that is wanted back.

Convention: pictures are uint8 [H, W, 3] RGB.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

SIDE = 768
"""Longest side in px of the pictures that are sent; a model's own limits are near it."""


@dataclass(frozen=True, eq=False)
class Question:
    """name: of the answer's schema.  schema: JSON Schema, strict.  sampling: what else the server is told, as temperature and seed.
    quality: of the JPEGs that are sent."""

    text: str
    pictures: tuple[np.ndarray, ...]
    name: str
    schema: dict[str, Any]
    sampling: Mapping[str, Any] = field(default_factory=dict)
    quality: int = 90


def shrunk(picture: np.ndarray) -> np.ndarray:
    """At most `SIDE` px on a side; smaller pictures as they are."""
    height, width = picture.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    if scale == 1.0:
        return np.ascontiguousarray(picture)
    return cv2.resize(picture, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA)


def as_data_url(picture: np.ndarray, quality: int = 90) -> str:
    """The picture as a JPEG in a data: URL."""
    done, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"a picture of shape {picture.shape} can't be written as JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
