"""Model Check on models of every level: it says what can run, and never more than it has measured."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from any_flow import conditioning, make
from drag_case import run
from test_any_flow import Grey

from dragfield.core.demo.cases import sample_cases
from dragfield.nodes.demo import LoadDemoModel, LoadDemoUNet
from dragfield.nodes.host.patched import patched
from dragfield.nodes.model_check import ModelCheck


@pytest.fixture(autouse=True)
def no_preview(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shown:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def as_dict(self) -> dict:
            return {}

    monkeypatch.setattr("dragfield.nodes.model_check.ui.PreviewImage", Shown)
    monkeypatch.setattr("dragfield.nodes.model_check.ui.PreviewText", Shown)


def checked(model: Any, vae: Any, positive: Any, image: torch.Tensor, **how: Any) -> tuple[str, torch.Tensor, dict]:
    with torch.inference_mode():
        text, chart, numbers = run(ModelCheck, model=model, vae=vae, positive=positive, image=image, **how)
    return text, chart, json.loads(numbers)


def scene() -> torch.Tensor:
    return torch.from_numpy(next(iter(sample_cases(1, 5))).source)[None]


@pytest.mark.parametrize(("loader", "kind"), [(LoadDemoModel, "a flow"), (LoadDemoUNet, "by DDIM")])
def test_the_bundled_models_close_and_see(loader: Any, kind: str) -> None:
    model, clip, vae = run(loader)
    words = clip.encode_from_tokens_scheduled(clip.tokenize("a red circle on grass"))
    text, chart, numbers = checked(model, vae, words, scene())
    assert kind in text and "every method can run" in text and "closes." in text and "drawn scenes only" in text
    assert chart.shape[0] == 1 and chart.shape[-1] == 3 and chart.max() <= 1
    sight = numbers["sight"]
    assert set(sight["own_taps"]) <= set(sight["taps"]) and len(sight["levels"]) == 4
    assert all(0 <= x <= 1 for row in sight["found"] for x in row)


@pytest.mark.parametrize("name", ["Qwen-Image", "Z-Image", "unknown"])
def test_any_flow_is_checked_as_far_as_it_is_known(name: str) -> None:
    image = torch.rand(1, 300, 280, 3, generator=torch.Generator().manual_seed(3))
    text, _, numbers = checked(make(name), Grey(name == "Qwen-Image"), conditioning(), image, thorough=True)
    assert numbers["size"] == [256, 256]
    assert {trip["steps"] for trip in numbers["round_trips"]} == {8, 15, 25}
    if name == "unknown":
        assert numbers["sight"] is None and "dragfield can run" in text and "blocks are not known here" in text
        assert not any(trip["attention"] for trip in numbers["round_trips"])
    else:
        assert numbers["sight"]["own_taps"] and any(trip["attention"] for trip in numbers["round_trips"])


def test_a_picture_that_is_too_small_is_refused_before_anything_runs() -> None:
    with pytest.raises(ValueError, match="300 x 200 px, too few for a check: use at least 256"):
        checked(make("unknown"), Grey(False), conditioning(), torch.zeros(1, 200, 300, 3))


def test_what_is_on_the_model_is_named() -> None:
    model, clip, vae = run(LoadDemoModel)
    assert patched(model) == []
    weight = next(name for name, p in model.model.named_parameters() if p.ndim == 2)
    shape = dict(model.model.named_parameters())[weight].shape
    model = model.clone()
    model.add_patches({weight: ("diff", (torch.zeros(shape),))}, 0.5)
    model.set_model_attn1_patch(a_patch_of_another_pack)
    model.set_model_sampler_post_cfg_function(lambda args: args["denoised"])
    weights, calls = patched(model)
    assert weights == "1 of its weights are patched (LoRA or merge)"
    assert "some_pack.nodes (attn1_patch)" in calls and "sampler_post_cfg_function" in calls and "/" not in calls
    words = clip.encode_from_tokens_scheduled(clip.tokenize("a red circle on grass"))
    text, _, numbers = checked(model, vae, words, scene())
    assert numbers["patched"] == [weights, calls] and "1 of its weights are patched" in text
    assert "The gradient is the slope of a loss" in text and numbers["slope_ratio"] == pytest.approx(1, abs=0.05)


def a_patch_of_another_pack(q, k, v, **_) -> dict:
    return {"q": q, "k": k, "v": v}


a_patch_of_another_pack.__module__ = "/home/somebody/ComfyUI/custom_nodes/some_pack/nodes"


def test_a_thorough_check_tells_memory_time_and_which_blocks_hold() -> None:
    model, clip, vae = run(LoadDemoModel)
    words = clip.encode_from_tokens_scheduled(clip.tokenize("a red circle on grass"))
    text, _, numbers = checked(model, vae, words, scene(), thorough=True)
    assert "Beside the model, an iteration of dragflow holds here about 512 px: " in text and "at full speed" in text
    assert numbers["larger"]["tokens"] == 1.5 * numbers["cost"]["tokens"] and "Checked at" in text
    names = [one["name"] for one in numbers["injected"]]
    assert names[0] == "none" and names[-2:] == ["default", "all"] and len(names) == 11
    seconds = numbers["edit_seconds"]
    assert seconds["512"]["dragfield"] < seconds["1024"]["dragfield"] < seconds["1024"]["dragflow"]


def test_a_model_whose_answer_is_not_finite_is_refused_with_what_to_do() -> None:
    model = make("Qwen-Image")
    with torch.no_grad():
        for parameter in model.model.diffusion_model.parameters():
            parameter.mul_(1e30 if parameter.ndim > 1 else 1)
    with pytest.raises(ValueError, match="answered with NaN or infinite values, .*: load it in bfloat16 or float32"):
        checked(model, Grey(True), conditioning(), torch.rand(1, 256, 256, 3))


def test_a_prompt_s_tokens_count_towards_what_is_foretold() -> None:
    model, clip, vae = run(LoadDemoModel)
    words = clip.encode_from_tokens_scheduled(clip.tokenize("a red circle on grass"))
    _, _, numbers = checked(model, vae, words, scene())
    assert numbers["cost"]["text"] == words[0][0].shape[1] > 0
