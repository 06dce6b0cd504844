"""Subject adapters in a native UNet: the numbers of core's own backbone, in a KSampler and beside other packs' patches, and no trace."""

from __future__ import annotations

from typing import Any

import comfy.sample
import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from dragfield.core.adapters.contract import Injection, Injections, Subject
from dragfield.core.backbones.unet import DiffusersUNet
from dragfield.core.model.backbone import Conditioning
from dragfield.nodes.host.comfy_unet import ComfyUNet
from dragfield.nodes.host.demo_unet import make_unet
from dragfield.nodes.host.subject_patches import time_of, with_subjects
from dragfield.nodes.host.subject_unet import negative_rows

CONFIG = {
    "sample_size": 8, "in_channels": 4, "out_channels": 4, "block_out_channels": (64, 64, 128), "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 2, "cross_attention_dim": 12, "norm_num_groups": 32,
}  # fmt: skip
WIDTHS = (64, 64, 128, 64, 64, 64, 64)
"""Of the cross-attentions, down, middle, up; two heads each."""
Z = torch.randn(1, 4, 9, 12, generator=torch.Generator().manual_seed(2))
PROMPT = Conditioning(torch.randn(1, 5, 12, generator=torch.Generator().manual_seed(1)))


class Adapter:
    kind, needs, place, text_rows, depends_on_time, negative_row = "test", (), "attention", False, False, True
    shapes = {("cross", n): (2, width // 2) for n, width in enumerate(WIDTHS)}
    blocks = frozenset(shapes)

    def keys_values(self, subject: Subject, t: float) -> dict:
        generator = torch.Generator().manual_seed(5)
        return {
            block: tuple(torch.randn(2, *(heads, 3, width), generator=generator) for _ in range(2))
            for block, (heads, width) in self.shapes.items()
        }

    def query(self, block: tuple, q: Tensor, scale: Tensor | None) -> Tensor:
        return q


def injection(**other: Any) -> Injection:
    return Injection(Adapter(), Subject("test", {}), **other)


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {name: x.detach() for name, x in UNet2DConditionModel(**CONFIG).state_dict().items()}


@pytest.fixture
def core(weights: dict[str, Tensor]) -> DiffusersUNet:
    model = UNet2DConditionModel(**CONFIG)
    model.load_state_dict(weights)
    return DiffusersUNet(model)


@pytest.fixture
def native(weights: dict[str, Tensor]) -> Any:
    return make_unet(CONFIG, weights, torch.float32)


def sampled(model: Any, cfg: float = 3.0) -> Tensor:
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    positive, negative = [[PROMPT.txt, {}]], [[-PROMPT.txt, {}]]
    return comfy.sample.sample(
        model, noise, 2, cfg, "euler", "simple", positive, negative, torch.zeros_like(noise), disable_pbar=True, seed=1
    )


def test_native_and_diffusers_agree_with_two_adapters_one_of_them_in_an_area(core: DiffusersUNet, native: Any) -> None:
    area = torch.zeros(9, 12)
    area[:4] = 1.0
    ones = [injection(), injection(strength=0.5, area=area)]
    live = core.with_subjects(Injections(ones))
    host = ComfyUNet(with_subjects(with_subjects(native, ones[:1]), ones[1:]))
    with torch.no_grad():
        expected = live.noise(Z, 321, PROMPT)
        assert not torch.allclose(expected, core.noise(Z, 321, PROMPT))
        torch.testing.assert_close(host.noise(Z, 321, PROMPT).cpu(), expected, rtol=1e-4, atol=1e-4)


def test_a_ksampler_follows_the_adapter_and_the_model_it_was_put_on_is_bit_identical(native: Any) -> None:
    before = sampled(native)
    assert not torch.allclose(sampled(with_subjects(native, [injection()])), before)
    assert torch.equal(sampled(with_subjects(native, [injection(strength=0.0)])), before)
    assert torch.equal(sampled(native), before)


def test_a_replacement_that_was_there_before_still_answers(native: Any) -> None:
    asked = []

    def other(q: Tensor, k: Tensor, v: Tensor, extra: dict) -> Tensor:
        asked.append(extra["block"])
        return torch.zeros_like(q)

    patched = native.clone()
    patched.set_model_attn2_replace(other, "middle", 0)
    with torch.no_grad():
        ComfyUNet(with_subjects(patched, [injection()])).noise(Z, 321, PROMPT)
    assert asked == [("middle", 0)]


def test_it_works_in_its_part_of_the_schedule(native: Any) -> None:
    assert time_of(native, 0.0) == 1.0 and time_of(native, 1.0) == 0.0
    middle = time_of(native, 0.5)
    assert 0.4 < middle < 0.6
    late = ComfyUNet(with_subjects(native, [injection(start=middle)]))
    with torch.no_grad():
        assert torch.equal(late.noise(Z, 900, PROMPT), ComfyUNet(native).noise(Z, 900, PROMPT))
        assert not torch.equal(late.noise(Z, 100, PROMPT), ComfyUNet(native).noise(Z, 100, PROMPT))


def test_rows_of_the_negative_prompt_are_told_by_the_samplers_own_list() -> None:
    assert negative_rows({"cond_or_uncond": [1, 0]}, 4).tolist() == [True, True, False, False]
    assert negative_rows({}, 4) is None


def test_a_unet_that_it_was_not_made_for_is_refused(native: Any) -> None:
    wrong = Adapter()
    wrong.shapes = {("cross", 0): (2, 16)}
    with pytest.raises(ValueError, match="use the model that the adapter was made for"):
        with_subjects(native, [Injection(wrong, Subject("test", {}))])
