"""`dragfield edit --method directdrag`: points on the bundled UNet and on a Stable Diffusion folder, as published and as tuned."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

typer = pytest.importorskip("typer")
from typer.testing import CliRunner, Result  # noqa: E402

from dragfield.cli.app import app  # noqa: E402
from dragfield.core.backbones.unet_folder import encode_unet_prompts, load_unet_models  # noqa: E402
from dragfield.core.demo.unet import WEIGHTS  # noqa: E402
from dragfield.core.edits.directdrag import PUBLISHED, directdrag  # noqa: E402
from dragfield.core.instruction import DragInstruction  # noqa: E402
from dragfield.core.picture.working_size import to_tensor  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
from test_unet_folder import sd_folder  # noqa: E402, F401

POINTS = {"kind": "points", "pairs": [[[0.3, 0.5], [0.5, 0.5]]]}
REGION = {"kind": "region", "task": "relocation", "region": [[[[0.2, 0.2], [0.5, 0.2], [0.5, 0.6], [0.2, 0.6]]]], "target": [0.7, 0.5]}


def edited(tmp_path: Path, *arguments: object, operation: dict = POINTS, size: tuple[int, int] = (128, 96)) -> tuple[Result, Path]:
    picture, drag, output = tmp_path / "picture.png", tmp_path / "drag.json", tmp_path / "edit.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(picture)
    drag.write_text(json.dumps({"version": 1, "operations": [operation], "prompts": {"background": "a red star"}}))
    order = ["edit", picture, "--instruction", drag, "--method", "directdrag", "--device", "cpu", "--output", output, *arguments]
    return CliRunner().invoke(app, [str(one) for one in order]), output


@pytest.mark.skipif(not (WEIGHTS / "unet").is_dir(), reason="the bundled UNet is not here")
def test_the_bundled_model_takes_its_own_settings_and_leaves_the_rest_bit_for_bit(tmp_path: Path) -> None:
    result, output = edited(tmp_path)
    assert result.exit_code == 0, result.output
    assert "preset tuned; " in result.stdout and "px left" in result.stdout
    changed = (np.asarray(Image.open(output)) != np.asarray(Image.open(tmp_path / "picture.png"))).any(axis=-1)
    assert changed[40:56, 35:70].mean() > 0.5 and not changed[:, 120:].any()


def test_a_model_of_ones_own_is_dragged_as_published_at_any_size(tmp_path: Path, sd_folder: Path) -> None:  # noqa: F811
    result, output = edited(tmp_path, "--model", sd_folder, "--no-lora", size=(133, 99))
    assert result.exit_code == 0, result.output
    assert "preset published, but for the readout guidance" in result.stdout and "; the single-image LoRA; " in result.stdout
    picture, drag = Image.open(tmp_path / "picture.png"), DragInstruction.from_json((tmp_path / "drag.json").read_text())
    backbone, autoencoder = load_unet_models(sd_folder)
    (nothing,) = encode_unet_prompts(sd_folder, [""])
    wanted = directdrag(backbone, autoencoder, to_tensor(picture, picture.size), drag.rasterise(133, 99), nothing, PUBLISHED)
    pixels = (wanted.image[0].permute(1, 2, 0) * 255).clamp(0, 255).to(torch.uint8).numpy()
    assert np.array_equal(np.asarray(Image.open(output)), pixels)


def test_published_learns_the_picture_first_and_tuned_only_if_asked(tmp_path: Path, sd_folder: Path, monkeypatch) -> None:  # noqa: F811
    from dragfield.core.edits import frames
    from dragfield.core.training import lora

    learnt, train = [], lora.train_lora

    def watched(backbone, module, z0, cond, settings, **more):
        learnt.append(settings)
        return train(backbone, module, z0, cond, settings, **more)

    def at_once(*arguments, **more):
        raise ValueError("enough")

    monkeypatch.setattr(lora, "train_lora", watched)
    monkeypatch.setattr(frames, "frames", at_once)
    for arguments in (["--preset", "published"], ["--preset", "tuned"], ["--preset", "tuned", "--lora"]):
        assert "enough" in edited(tmp_path, "--model", sd_folder, *arguments)[0].stderr
    assert [(one.rank, one.steps, one.batch, one.whole) for one in learnt] == [(16, 70, 4, False), (16, 70, 4, True)]


@pytest.mark.parametrize(
    ("arguments", "operation", "words"),
    [
        ([], REGION, "this drag moves 1 region(s), and DirectDrag moves points only"),
        (["--lean"], POINTS, "--lean is of the methods for FLUX"),
        (["--method", "dragfield", "--no-lora"], POINTS, "--readout, --lora and --no-lora are directdrag's"),
        (["--readout", "nowhere.pt"], POINTS, "no readout head at nowhere.pt"),
        (["--model", "nowhere"], POINTS, "nowhere has no vae/config.json"),
    ],
)
def test_a_mistake_is_one_sentence(arguments: list, operation: dict, words: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dragfield.cli.console.err.soft_wrap", True)
    result, output = edited(tmp_path, *arguments, operation=operation)
    assert result.exit_code == 2 and words in result.stderr and result.stderr.count("\n") == 1 and not output.exists()
