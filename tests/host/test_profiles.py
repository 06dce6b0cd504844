"""A model's profile: saved by Model Check, found again by what the model is, taken by 'auto' and 'tuned', and by nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths
import pytest
import torch
from any_flow import conditioning, make
from test_any_flow import Grey
from test_model_check import checked, no_preview  # noqa: F401

from dragfield.core.check import Tuned
from dragfield.core.check.profile import Profile
from dragfield.core.edits.dragflow import PUBLISHED, DragFlowSettings
from dragfield.nodes.host.profiles import fingerprint_of, path_of, profile_of
from dragfield.nodes.model_check import ModelCheck
from dragfield.nodes.presets import dragflow_preset, dragflow_settings, profile_in_words


@pytest.fixture(autouse=True)
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(folder_paths, "get_user_directory", lambda: str(tmp_path))
    return tmp_path


def profile(model: Any, **changed: Any) -> Profile:
    drag = replace(DragFlowSettings().drag, rate=0.2, intensify_rate=0.1)
    return replace(Profile.of("FLUX", fingerprint_of(model), replace(DragFlowSettings(), drag=drag), 1.0), **changed)


def test_auto_is_tuned_by_the_profile_and_without_one_published(make_flux: Any) -> None:
    model = make_flux()
    assert profile_of(model) is None and dragflow_preset("auto", model, flow=True) == "published"
    profile(model).write(path_of(model))
    assert dragflow_preset("auto", model, flow=True) == "tuned" and dragflow_preset("published", model, flow=True) == "published"
    assert dragflow_settings("tuned", model).drag.rate == 0.2 and dragflow_settings("published", model) == PUBLISHED
    assert "this model's profile: rate 0.2 and 0.1" in profile_in_words("tuned", model) and profile_in_words("published", model) == ""
    path_of(model).unlink()
    assert dragflow_preset("auto", model, flow=True) == "published" and dragflow_settings("tuned", model) == DragFlowSettings()


def test_it_is_of_the_weights_whatever_lora_is_on_them_and_of_no_other_model(make_flux: Any, user_folder: Path) -> None:
    model = make_flux()
    name, weight = next((n, p) for n, p in model.model.named_parameters() if p.ndim == 2)
    with_lora = model.clone()
    with_lora.add_patches({name: ("diff", (torch.ones_like(weight),))}, 1.0)
    comfy.model_management.load_models_gpu([with_lora])
    loaded = fingerprint_of(with_lora)
    other = make_flux()
    with torch.no_grad():
        next(other.model.diffusion_model.parameters()).add_(1)
    assert loaded == fingerprint_of(make_flux()) != fingerprint_of(other)
    profile(model).write(path_of(model))
    assert profile_of(with_lora) is not None and profile_of(other) is None
    # Somebody else's file under this model's name.
    profile(other).write(path_of(model))
    assert profile_of(model) is None
    path_of(model).write_text("{")
    assert profile_of(model) is None
    assert all("/" not in path.name for path in user_folder.rglob("*.json"))


def test_model_check_saves_what_it_found_and_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = make("Qwen-Image"), []

    def found(backbone, autoencoder, image, cond, settings, *, sight, mask, run):
        asked.append((settings, sight is not None, None if mask is None else mask.shape))
        better = replace(settings, drag=replace(settings.drag, rate=0.3))
        return Tuned(better, 10.0, 12.0, after, ())

    monkeypatch.setattr("dragfield.nodes.model_check.tune", found)
    image, mask = torch.rand(1, 300, 280, 3, generator=torch.Generator().manual_seed(3)), torch.zeros(1, 300, 280)
    mask[:, 100:150, 100:150] = 1
    for after, saves in ((11.0, False), (14.0, True)):
        text, _, numbers = checked(model, Grey(True), conditioning(), image, find_settings="save", mask=mask)
        assert (profile_of(model) is not None) == saves == ("Saved as this model's profile (rate 0.3" in text)
        assert numbers["found_settings"]["after_db"] == after
    assert asked[-1] == (DragFlowSettings(), True, (256, 256)) and path_of(model).name in text
    text, _, _ = checked(model, Grey(True), conditioning(), image, find_settings="show")
    assert "Saved" not in text and asked[-1] == (DragFlowSettings(), True, None)


def test_a_model_without_features_is_refused_before_anything_runs() -> None:
    with pytest.raises(ValueError, match="gives no features here.*set find_settings to 'off'"):
        checked(make("unknown"), Grey(False), conditioning(), torch.rand(1, 256, 256, 3), find_settings="show")
    assert "use one of off, show, save" in ModelCheck.validate_inputs(find_settings="maybe")
