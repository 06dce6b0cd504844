"""PuLID's face encoder. InsightFace, onnxruntime, facexlib and timm are small stand-ins here, put into sys.modules, which are called as
the real ones and give what can be followed by eye; that they are really absent is tested where they are.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dragfield.core.adapters import face
from dragfield.core.adapters.face import ARCFACE, ENTERING, EVA, FACEXLIB, PACKAGES, UPRIGHT, FacePlaces, InstalledFaces
from dragfield.core.adapters.vision import CLIP

WIDTH, HEIGHT = 160, 200
PICTURE = torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
SCALE, OFFSET = 0.25, (20, 40)
"""Of the photo's middle face: a quarter of UPRIGHT's size, moved."""


class World:
    """What the stand-ins find, and what they were shown."""

    def __init__(self) -> None:
        self.faces = [(0, 0, 10, 10, 1.0), (20, 40, 140, 170, 2.0), (0, 0, 30, 20, 3.0)]
        self.points = [UPRIGHT * 0.05, UPRIGHT * SCALE + OFFSET]
        self.seen: dict[str, Any] = {}

    def modules(self) -> dict[str, ModuleType]:
        world = self

        class FaceAnalysis:
            def __init__(self, name: str, root: str, allowed_modules: list[str], providers: list[str]) -> None:
                assert (Path(root) / "models" / name / ARCFACE[0]).is_file() and set(allowed_modules) == {"detection", "recognition"}
                self.models = {"recognition": SimpleNamespace(get_feat=self.get_feat)}

            def prepare(self, ctx_id: int, det_size: tuple[int, int]) -> None:
                assert det_size == (640, 640)

            def get(self, img: np.ndarray) -> list[SimpleNamespace]:
                world.seen["photo"] = img
                return [SimpleNamespace(bbox=np.array(box), embedding=np.full(4, 10 * v)) for *box, v in world.faces]

            def get_feat(self, img: np.ndarray) -> np.ndarray:
                world.seen["upright"] = img
                return np.full((1, 4), 7.0)

        class Detector:
            def detect_faces(self, img: np.ndarray, conf_threshold: float) -> np.ndarray:
                rows = [np.r_[p.min(axis=0), p.max(axis=0), 0.99, p.ravel()] for p in world.points]
                return np.array(rows).reshape(-1, 15)

        def parser(given: Tensor) -> tuple[Tensor, ...]:
            """The left half is background, the right half skin."""
            labels = torch.zeros(1, 19, *given.shape[-2:])
            labels[:, 0, :, : given.shape[-1] // 2], labels[:, 1, :, given.shape[-1] // 2 :] = 1.0, 1.0
            return labels, labels, labels

        class Eva(nn.Module):
            """Every block adds one."""

            def __init__(self) -> None:
                super().__init__()
                self.one = nn.Parameter(torch.ones(()))
                self.blocks = nn.ModuleList(_AddsOne() for _ in range(24))

            def forward(self, x: Tensor) -> Tensor:
                world.seen["eva"] = x
                stream = torch.zeros(1, 3, 2)
                for block in self.blocks:
                    stream = block(stream)
                return torch.tensor([[3.0, 4.0]])

        def create_model(name: str, *, pretrained: bool, num_classes: int, pretrained_cfg_overlay: dict) -> Eva:
            assert (name, pretrained, num_classes) == ("eva02_large_patch14_clip_336", True, 768)
            assert Path(pretrained_cfg_overlay["file"]).is_file()
            return Eva()

        def module(name: str, **names: Any) -> ModuleType:
            made = ModuleType(name)
            vars(made).update(names)
            return made

        def weights(model_rootpath: str, name: str) -> None:
            assert (Path(model_rootpath) / name).is_file()

        def init_detection_model(model_name: str, half: bool, device: str, model_rootpath: str) -> Detector:
            assert weights(model_rootpath, FACEXLIB[0]) is None and model_name == "retinaface_resnet50"
            return Detector()

        def init_parsing_model(model_name: str, device: str, model_rootpath: str) -> Any:
            assert weights(model_rootpath, FACEXLIB[1]) is None and model_name == "bisenet"
            return parser

        return {
            "insightface": module("insightface"),
            "insightface.app": module("insightface.app", FaceAnalysis=FaceAnalysis),
            "onnxruntime": module("onnxruntime"),
            "facexlib": module("facexlib"),
            "facexlib.detection": module("facexlib.detection", init_detection_model=init_detection_model),
            "facexlib.parsing": module("facexlib.parsing", init_parsing_model=init_parsing_model),
            "timm": module("timm", create_model=create_model),
        }


class _AddsOne(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 1


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    for name, module in made.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    return made


@pytest.fixture
def places(tmp_path: Path) -> FacePlaces:
    """Empty files where the real ones would be."""
    made = FacePlaces(tmp_path / "insightface", tmp_path / "facexlib", tmp_path / "clip_vision")
    for folder, names in ((made.arcface, ARCFACE), (made.facexlib, FACEXLIB), (made.eva, EVA[1:])):
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).touch()
    return made


def test_the_identity_is_the_largest_faces_vector_as_it_comes_beside_clips_of_length_one(world: World, places: FacePlaces) -> None:
    vector, _ = InstalledFaces(places).face(PICTURE)
    torch.testing.assert_close(vector, torch.tensor([[20.0] * 4 + [0.6, 0.8]]))
    # What InsightFace is shown is BGR.
    np.testing.assert_array_equal(world.seen["photo"][3, 5], np.rint(PICTURE[0, :, 3, 5].flip(0).numpy() * 255))


def test_the_layers_are_those_that_enter_every_fourth_block(world: World, places: FacePlaces) -> None:
    _, layers = InstalledFaces(places).face(PICTURE)
    assert [float(x.mean()) for x in layers] == list(ENTERING) and layers[0].shape == (1, 3, 2)


def test_the_face_nearest_to_the_middle_is_brought_upright(world: World, places: FacePlaces) -> None:
    world.faces = []  # then ArcFace is asked about the upright face, too
    vector, _ = InstalledFaces(places).face(PICTURE)
    upright = world.seen["upright"]
    assert vector[0, 0] == 7.0 and upright.shape == (512, 512, 3)
    for x, y in ((100, 60), (300, 400), (4, 500)):
        photo = PICTURE[0, :, round(y * SCALE) + OFFSET[1], round(x * SCALE) + OFFSET[0]].flip(0) * 255
        np.testing.assert_allclose(upright[y, x], photo, atol=3)


def test_clip_is_shown_a_grey_face_on_white(world: World, places: FacePlaces) -> None:
    InstalledFaces(places).face(torch.tensor([0.8, 0.2, 0.4]).view(1, 3, 1, 1).expand(1, 3, HEIGHT, WIDTH))
    mean, std = (torch.tensor(c).view(3, 1, 1) for c in CLIP)
    seen = world.seen["eva"][0] * std + mean
    assert seen.shape == (3, 336, 336)
    assert torch.allclose(seen[:, :, 5], torch.ones(()), atol=1e-3)
    torch.testing.assert_close(seen[:, 150, 250], torch.full((3,), 0.8 * 0.299 + 0.2 * 0.587 + 0.4 * 0.114), atol=4e-3, rtol=0)


def test_a_photo_larger_than_the_detectors_like_is_made_smaller(world: World, places: FacePlaces) -> None:
    InstalledFaces(places).face(torch.rand(1, 3, 20, 2048))
    assert world.seen["photo"].shape == (10, 1024, 3)


def test_a_picture_without_a_face_is_one_sentence(world: World, places: FacePlaces) -> None:
    world.faces, world.points = [], []
    with pytest.raises(ValueError, match="no face was found in the picture: use one"):
        InstalledFaces(places).face(PICTURE)


def test_a_missing_file_is_named_with_its_place_and_nothing_else(world: World, places: FacePlaces) -> None:
    (places.facexlib / FACEXLIB[1]).unlink()
    with pytest.raises(ValueError) as refused:
        InstalledFaces(places)
    sentence = str(refused.value)
    assert sentence.endswith(f"not all is here: put parsing_bisenet.pth into {places.facexlib}")
    # Either of EVA-CLIP's two files will do.
    (places.eva / EVA[1]).rename(places.eva / EVA[0])
    (places.facexlib / FACEXLIB[1]).touch()
    assert InstalledFaces(places).places.missing() == ""


@pytest.mark.skipif(any(importlib.util.find_spec(name) for name in PACKAGES), reason="one of the packages is installed")
def test_without_the_packages_one_sentence_says_what_to_install_and_where_files_go(tmp_path: Path) -> None:
    with pytest.raises(ValueError) as refused:
        InstalledFaces(FacePlaces(tmp_path / "insightface", tmp_path / "facexlib", tmp_path / "clip_vision"))
    sentence = str(refused.value)
    assert "pip install insightface onnxruntime facexlib timm" in sentence and "\n" not in sentence
    for name in (*ARCFACE, *FACEXLIB, *EVA, str(tmp_path / "insightface" / "models" / "antelopev2"), str(tmp_path / "facexlib")):
        assert name in sentence


def test_the_parts_of_a_face_that_count_are_those_that_are_no_surroundings() -> None:
    # Skin, brows, eyes, glasses, nose, mouth, lips, hair.
    assert sorted(set(range(19)) - set(face.WHITE)) == [1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 17]
