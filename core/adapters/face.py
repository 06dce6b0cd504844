"""What PuLID reads of a face, by the programs that it was trained with, where they are installed; none of them comes with this library.

InsightFace's antelopev2 finds the largest face and gives ArcFace's vector. facexlib finds the face nearest to the centre, which is brought
upright, its skin and features made grey and all else white; EVA02-CLIP-L at 336 px, through timm, reads that. Each model is loaded, asked
once and freed before the next.

Convention: a picture is [1, 3, H, W] RGB in [0, 1]; what InsightFace and facexlib see is uint8 [H, W, 3] BGR; points are (x, y) px.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .vision import CLIP, IMAGENET, prepared

PACKAGES = ("insightface", "onnxruntime", "facexlib", "timm")
ARCFACE = ("scrfd_10g_bnkps.onnx", "glintr100.onnx")
FACEXLIB = ("detection_Resnet50_Final.pth", "parsing_bisenet.pth")
EVA = ("EVA02_CLIP_L_336_psz14_s6B.pt", "open_clip_model.safetensors")
"""The same weights as their authors and as timm publish them; either will do."""
LONGEST = 1024
"""Larger photos are made smaller, so that a close face still fits the detectors."""
UPRIGHT = np.array([[192.98138, 239.94708], [318.90277, 240.1936], [256.63416, 314.01935], [201.26117, 371.41043], [313.08905, 371.15118]])
"""Where eyes, nose and corners of the mouth are in a square of 512 px."""
SIDE, SURE = 512, 0.97
WHITE = (0, 7, 8, 9, 14, 15, 16, 18)
"""Labels of the parsing that are no face: background, ears and what hangs on them, neck, clothes, hat."""
ENTERING = (4, 8, 12, 16, 20)
EVA_SIDE, EVA_CHANNELS = 336, 768


@dataclass(frozen=True)
class FacePlaces:
    """Where the models' files are.

    insightface: the folder that holds models/antelopev2.  facexlib: of its two .pth files.  eva: of EVA02-CLIP-L's file.
    """

    insightface: Path
    facexlib: Path
    eva: Path

    def missing(self) -> str:
        """What is not there yet, packages and files, as an instruction; "" when all is. Nothing is ever fetched."""
        packages = [name for name in PACKAGES if not _imports(name)]
        files = [
            f"put {' and '.join(lacking)} into {folder}"
            for folder, names in ((self.arcface, ARCFACE), (self.facexlib, FACEXLIB))
            if (lacking := [name for name in names if not (folder / name).is_file()])
        ]
        if self.eva_file is None:
            files.append(f"put {' or '.join(EVA)} into {self.eva}")
        return ", ".join([f"pip install {' '.join(packages)}"] * bool(packages) + files)

    @property
    def arcface(self) -> Path:
        return self.insightface / "models" / "antelopev2"

    @property
    def eva_file(self) -> Path | None:
        return next((self.eva / name for name in EVA if (self.eva / name).is_file()), None)


class InstalledFaces:
    """A `FaceEncoder` (pulid.py). Raises ValueError, one sentence, when something isn't installed."""

    def __init__(self, places: FacePlaces, device: str = "cpu") -> None:
        if missing := places.missing():
            raise ValueError(f"PuLID-FLUX reads faces with InsightFace, facexlib and EVA-CLIP, and not all is here: {missing}")
        self.places, self.device = places, device

    @torch.no_grad()
    def face(self, picture: Tensor) -> tuple[Tensor, Sequence[Tensor]]:
        """See FaceEncoder. Raises ValueError for a picture without a face."""
        photo = _photo(picture)
        vector = _arcface(self.places, photo)
        upright = _upright(self.places, photo, self.device)
        if upright is None:
            raise ValueError("no face was found in the picture: use one in which a face is seen from the front and at least 100 px high")
        if vector is None:
            vector = _arcface(self.places, photo, upright)
        seen, layers = _eva(self.places, _plain(self.places, upright, self.device), self.device)
        return torch.cat([torch.from_numpy(vector).float()[None], seen], dim=1), layers


def _arcface(places: FacePlaces, photo: np.ndarray, upright: np.ndarray | None = None) -> np.ndarray | None:
    """ArcFace's vector [512], as it comes, of the largest face of a photo or of one that is upright already; None without a face."""
    from insightface.app import FaceAnalysis

    # On the processor: it is one small call, and works with any build of onnxruntime.
    models = FaceAnalysis(
        name="antelopev2", root=str(places.insightface), allowed_modules=["detection", "recognition"], providers=["CPUExecutionProvider"]
    )
    models.prepare(ctx_id=-1, det_size=(640, 640))
    if upright is not None:
        return np.asarray(models.models["recognition"].get_feat(upright)).reshape(-1)
    faces = models.get(photo)
    if not faces:
        return None
    largest = max(faces, key=lambda face: (face.bbox[2] - face.bbox[0]) * (face.bbox[3] - face.bbox[1]))
    return np.asarray(largest.embedding).reshape(-1)


def _upright(places: FacePlaces, photo: np.ndarray, device: str) -> np.ndarray | None:
    """The face nearest to the photo's centre, turned and scaled onto UPRIGHT: uint8 [512, 512, 3] BGR; None without a face."""
    from facexlib.detection import init_detection_model

    detector = init_detection_model("retinaface_resnet50", half=False, device=device, model_rootpath=str(places.facexlib))
    # A row a face: box (x0, y0, x1, y1), how sure, five points (x, y).
    found = np.asarray(detector.detect_faces(photo, SURE)).reshape(-1, 15)
    if not len(found):
        return None
    height, width = photo.shape[:2]
    centres = (found[:, 0:2] + found[:, 2:4]) / 2
    points = found[np.linalg.norm(centres - (width / 2, height / 2), axis=1).argmin(), 5:].reshape(5, 2)
    onto = cv2.estimateAffinePartial2D(points, UPRIGHT, method=cv2.LMEDS)[0]
    if onto is None:
        return None
    return cv2.warpAffine(photo, onto, (SIDE, SIDE), borderMode=cv2.BORDER_CONSTANT, borderValue=(135, 133, 132))


def _plain(places: FacePlaces, upright: np.ndarray, device: str) -> Tensor:
    """The face in grey on white, [1, 3, 512, 512]: who it is, whatever is around and however it is lit."""
    from facexlib.parsing import init_parsing_model

    parser = init_parsing_model("bisenet", device=device, model_rootpath=str(places.facexlib))
    rgb = torch.from_numpy(np.ascontiguousarray(upright[..., ::-1])).to(device).permute(2, 0, 1)[None].float() / 255
    labels = parser(prepared(rgb, SIDE, IMAGENET))[0].argmax(dim=1, keepdim=True)
    grey = (rgb * torch.tensor([0.299, 0.587, 0.114], device=device).view(3, 1, 1)).sum(dim=1, keepdim=True)
    around = torch.isin(labels, torch.tensor(WHITE, device=device))
    return torch.where(around, torch.ones_like(rgb), grey.expand_as(rgb))


def _eva(places: FacePlaces, face: Tensor, device: str) -> tuple[Tensor, list[Tensor]]:
    """EVA02-CLIP-L's vector [1, 768] of length 1, and the streams [1, 577, 1024] that enter its blocks ENTERING."""
    import timm

    overlay = {"file": str(places.eva_file), "num_classes": EVA_CHANNELS}
    network: Any = timm.create_model(
        "eva02_large_patch14_clip_336", pretrained=True, num_classes=EVA_CHANNELS, pretrained_cfg_overlay=overlay
    )
    network = network.eval().to(device)
    entered: dict[int, Tensor] = {}

    def keep(at: int) -> Any:
        return lambda module, given: entered.__setitem__(at, given[0].float().cpu())

    for at in ENTERING:
        network.blocks[at].register_forward_pre_hook(keep(at))
    vector = network(prepared(face, EVA_SIDE, CLIP).to(next(network.parameters()).dtype)).float().cpu()
    return F.normalize(vector, dim=-1), [entered[at] for at in ENTERING]


def _photo(picture: Tensor) -> np.ndarray:
    rgb = picture[0].detach().float().clamp(0, 1).permute(1, 2, 0).cpu().numpy()
    bgr = np.ascontiguousarray(np.rint(rgb[..., ::-1] * 255).astype(np.uint8))
    scale = LONGEST / max(bgr.shape[:2])
    if scale >= 1:
        return bgr
    height, width = (max(1, round(side * scale)) for side in bgr.shape[:2])
    return cv2.resize(bgr, (width, height), interpolation=cv2.INTER_AREA)


def _imports(name: str) -> bool:
    try:
        importlib.import_module(name)
    except (ImportError, RuntimeError, OSError):  # the last two: there, but built for another torch or system
        return False
    return True
