"""Each family on a server: every node of its level, queued as a user queues it, leaves KSampler's picture as it was bit for bit."""

from __future__ import annotations

import importlib.util
import io
import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from any_flow import MODELS
from flux_models import MODELS as OF_FLUX
from PIL import Image

SIDE = 128
NODE = '''
import sys
sys.path.insert(0, {host!r})
import torch
from any_flow import Grey, conditioning, make
from flux_models import MODELS as OF_FLUX, make as make_flux


class SmallModel:
    INPUT_TYPES = classmethod(lambda cls: {{"required": {{"name": ("STRING", {{}})}}}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL", "VAE", "IMAGE"), "load", "test"

    def load(self, name):
        model = (make_flux if name in OF_FLUX else make)(name)
        latents = model.model.latent_format
        picture = torch.rand(1, {side}, {side}, 3, generator=torch.Generator().manual_seed(6))
        return model, Grey(latents.latent_dimensions == 3, latents.latent_channels, latents.spacial_downscale_ratio), picture


class Words:
    INPUT_TYPES = classmethod(lambda cls: {{"required": {{"again": ("INT", {{}})}}}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("CONDITIONING",), "say", "test"

    def say(self, again):
        return (conditioning(),)


NODE_CLASS_MAPPINGS = {{"SmallModel": SmallModel, "Words": Words}}
'''
"""A loader of the tests' own small models. Words are the same ones each time."""


def _module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"host_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


comfy = _module("server")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    base = tmp_path_factory.mktemp("families") / "base"
    (base / "custom_nodes").mkdir(parents=True)
    (base / "custom_nodes" / "small_models.py").write_text(NODE.format(host=str(Path(__file__).parent), side=SIDE), encoding="utf-8")
    with comfy.serving(os.environ["COMFYUI_PATH"], base) as running:
        yield running


@pytest.fixture(scope="module")
def object_info(server: Any) -> dict[str, Any]:
    return server.get("/object_info")


def drag_text(**operation: Any) -> str:
    return json.dumps({"version": 1, "operations": [operation]})


def prompt_of(object_info: dict[str, Any], name: str, again: int) -> dict[str, Any]:
    """The model, its picture and a KSampler; the first time (again = 0) with every node of its level beside them."""

    node = partial(comfy.node, object_info)
    model, words = ["model", 0], ["words", 0]
    prompt = {
        "model": node("SmallModel", name=name),
        "words": node("Words", again=again),
        "latent": node("VAEEncode", pixels=["model", 2], vae=["model", 1]),
        "sampled": node("KSampler", model=model, positive=words, negative=words, latent_image=["latent", 0], steps=2, denoise=0.5, seed=3),
        "seen": node("VAEDecode", samples=["sampled", 0], vae=["model", 1]),
        "sampler's": node("PreviewImage", images=["seen", 0]),
    }
    if again == 1:
        return prompt
    outline = [[[[0.2, 0.2], [0.5, 0.2], [0.5, 0.5], [0.2, 0.5]]]]
    square = drag_text(kind="region", task="relocation", region=outline, target=[0.6, 0.5])
    points = drag_text(kind="points", pairs=[[[0.3, 0.4], [0.5, 0.5]]])
    edit = {"model": model, "vae": ["model", 1], "image": ["model", 2], "positive": words, "steps": 4, "skip": 1}
    prompt |= {
        "inverted": node("DragfieldInvert", model=model, positive=words, latent=["latent", 0], steps=4, skip=1),
        "started": node("DragfieldWarmStart", model=model, vae=["model", 1], image=["model", 2], trajectory=["inverted", 0], drag=square),
        "warped": node("DragfieldLatentWarp", state=["inverted", 0], drag=square),
        "dragfield": node("DragfieldEdit", drag=square, method="dragfield", **edit),
        "report": node("DragfieldReport", before=["model", 2], after=["dragfield", 0], drag=square, mask=["dragfield", 1]),
    }
    ends = {"started": ["started", 0], "warped": ["warped", 0]}
    if name != "unknown":
        drag = {"model": model, "trajectory": ["inverted", 0], "preset": "tuned"}
        prompt |= {
            "region": node("DragfieldRegionOptimizer", **drag, drag=square, transport=1, intensify=1),
            "point": node("DragfieldPointOptimizer", **drag, drag=points, rounds=1, drag_steps=1),
            "soft": node("DragfieldAutoSoftMask", model=model, trajectory=["inverted", 0], drag=points),
            "dragflow": node("DragfieldEdit", drag=square, method="dragflow", iterations=2, **edit),
            "directdrag": node("DragfieldEdit", drag=points, method="directdrag", iterations=1, **edit),
        }
        ends |= {"region": ["region", 0], "point": ["point", 0]}
    for method in ("dragfield", "dragflow", "directdrag"):
        if method in prompt:
            prompt[f"{method} shown"] = node("PreviewImage", images=[method, 0])
    for end, link in ends.items():
        prompt |= {
            f"{end} denoised": node("DragfieldMaskedDenoise", model=model, trajectory=link),
            f"{end} decoded": node("VAEDecode", samples=[f"{end} denoised", 0], vae=["model", 1]),
            f"{end} shown": node("PreviewImage", images=[f"{end} decoded", 0]),
        }
    return prompt


def pixels(server: Any, output: dict[str, Any]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(server.picture(output["images"][0]))))


@pytest.mark.parametrize("name", [*OF_FLUX, *MODELS, "unknown"])
def test_every_node_of_its_level_runs_and_a_sampler_stays_what_it_was(server: Any, object_info: dict[str, Any], name: str) -> None:
    shown = []
    for again in (0, 1):
        history = server.run(prompt_of(object_info, name, again))
        assert (wrong := comfy.failure(history)) is None, wrong
        assert not again or "sampled" not in comfy.cached(history)
        shown.append(history["outputs"])
    before, after = (pixels(server, outputs["sampler's"]) for outputs in shown)
    assert np.array_equal(before, after)
    pictures = [pixels(server, output) for key, output in shown[0].items() if key.endswith(" shown")]
    assert len(pictures) == (3 if name == "unknown" else 7), sorted(shown[0])
    assert all(picture.shape == (SIDE, SIDE, 3) and picture.std() > 0 for picture in pictures)
    assert "background: untouched" in shown[0]["report"]["text"][0]
