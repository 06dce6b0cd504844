"""Pairs of pictures that show the same object, for readout training, from a folder of videos or frames (DirectDrag section 8.4).

A folder holds videos (mp4, mov, avi, mkv, webm, gif), or one folder of frames for each video, or the frames of a single video. Nothing is
read before it is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..picture.compose import tensor_of
from .readout_training import Pair

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".gif")


@dataclass(frozen=True)
class Video:
    """Frames of one video: picture files, or a video file and how many frames it has."""

    name: str
    frames: tuple[Path, ...] = ()
    file: Path | None = None
    count: int = 0

    def __len__(self) -> int:
        return len(self.frames) if self.file is None else self.count

    def frame(self, index: int) -> np.ndarray:
        """uint8 [H, W, 3], RGB. Raises ValueError for a file that cannot be decoded."""
        if self.file is None:
            image, what = cv2.imread(str(self.frames[index]), cv2.IMREAD_COLOR), self.frames[index]
        else:
            stream = cv2.VideoCapture(str(self.file))
            stream.set(cv2.CAP_PROP_POS_FRAMES, index)
            image, what = stream.read()[1], f"frame {index} of {self.file}"
            stream.release()
        if image is None:
            raise ValueError(f"{what} cannot be read as a picture: remove it from the training folder, or save it again")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def videos_in(folder: Path) -> tuple[Video, ...]:
    """The videos of a folder, each of at least 2 frames. Raises ValueError if there is none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: give one with videos, or with a folder of frames for each video")
    found = []
    for place in (folder, *sorted(p for p in folder.iterdir() if p.is_dir())):
        frames = tuple(sorted(p for p in place.iterdir() if p.suffix.lower() in PICTURES))
        if len(frames) > 1:
            found.append(Video(place.name, frames))
    for file in sorted(p for p in folder.iterdir() if p.suffix.lower() in VIDEOS):
        stream = cv2.VideoCapture(str(file))
        count = int(stream.get(cv2.CAP_PROP_FRAME_COUNT))
        stream.release()
        if count > 1:
            found.append(Video(file.name, file=file, count=count))
    if not found:
        raise ValueError(f"{folder} holds no video of at least 2 frames: put videos in it, or a folder of frames for each of them")
    return tuple(found)


def frame_pairs(folder: Path, size: int = 512, seed: int = 0) -> Iterator[Pair]:
    """Endless pairs of different frames of one video, cut to the same random square and resized to `size` px."""
    videos, rng = videos_in(folder), np.random.default_rng(seed)
    while True:
        video = videos[int(rng.integers(len(videos)))]
        first, second = rng.choice(len(video), 2, replace=False)
        pictures = [video.frame(int(first)), video.frame(int(second))]
        height, width = (min(p.shape[axis] for p in pictures) for axis in (0, 1))
        side = min(height, width)
        y, x = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        cut = (p[y : y + side, x : x + side] for p in pictures)
        yield tuple(tensor_of(cv2.resize(p, (size, size), interpolation=cv2.INTER_AREA) / 255) for p in cut)
