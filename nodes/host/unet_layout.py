"""Where the parts that core names are in ComfyUI's UNet: up blocks, their ResNet blocks, the middle, self-attentions.

ComfyUI has one flat list of output blocks where diffusers has up blocks; one of those ends where the resolution changes, and with the list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.model_sampling
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import ResBlock, UNetModel, Upsample
from torch import nn

from ...core.model.blocks import Block
from ...core.model.noise_schedule import NoiseSchedule
from ...core.model.unet_taps import UNetTap

FAMILY = "use a Stable Diffusion 1.x, 2.x or SDXL model"


@dataclass(frozen=True, eq=False)
class Layout:
    """Of a UNet, in core's words.

    up: the output blocks of each up block.  attentions: place of a transformer block, (part, number, index in it), -> its number among the
    self-attentions, in order of execution.  decoder_attention: the first of them in an output block.
    """

    network: nn.Module
    up: tuple[tuple[nn.Module, ...], ...]
    attentions: dict[tuple[str, int, int], int]
    decoder_attention: int

    @property
    def up_resnets(self) -> tuple[int, ...]:
        return tuple(len(blocks) for blocks in self.up)

    def module_of(self, tap: UNetTap) -> nn.Module:
        """The layer whose output is the tap: hooks on whole output blocks would never be called."""
        if tap.kind == "up_resnet":
            return self._resnet(tap.index).out_layers
        return self.network.middle_block[-1] if tap.kind == "mid" else self.up[tap.index][-1][-1]

    def channels(self, tap: UNetTap) -> int:
        if tap.kind == "up_resnet":
            return self._resnet(tap.index).out_channels
        blocks = self.network.middle_block if tap.kind == "mid" else self.up[tap.index][-1]
        return next(layer for layer in reversed(list(blocks)) if isinstance(layer, ResBlock)).out_channels

    def block(self, extra: dict[str, Any]) -> Block | None:
        """The self-attention that an attention patch is told of."""
        number = self.attentions.get((*extra["block"][:2], extra["block_index"]))
        return None if number is None else ("self", number)

    def _resnet(self, index: int) -> nn.Module:
        blocks = [block for group in self.up for block in group]
        return blocks[index][0]


def layout_of(network: nn.Module) -> Layout:
    groups: list[list[nn.Module]] = [[]]
    for block in network.output_blocks:
        groups[-1].append(block)
        if isinstance(block[-1], Upsample):
            groups.append([])
    parts = [*(("input", i, block) for i, block in enumerate(network.input_blocks)), ("middle", 0, network.middle_block)]
    outside = _attentions(parts)
    inside = _attentions([("output", i, block) for i, block in enumerate(network.output_blocks)])
    attentions = {place: number for number, place in enumerate(outside + inside)}
    return Layout(network, tuple(tuple(group) for group in groups if group), attentions, len(outside))


def unet_of(patcher: Any) -> nn.Module:
    """The diffusion model of a MODEL, a `UNetModel`. Raises ValueError, saying what to use instead."""
    model = getattr(getattr(patcher, "model", None), "diffusion_model", None)
    if model is None:
        raise ValueError(f"a {type(patcher).__name__} is no MODEL: connect the MODEL output of a model loader")
    if not isinstance(model, UNetModel) or model.middle_block is None:
        flow = "for one of FLUX's family begin with FireFlow Invert, or " if hasattr(model, "double_blocks") else ""
        raise ValueError(f"a {type(model).__name__} model is no UNet that predicts noise: {flow}{FAMILY}")
    if model.in_channels != model.out_channels:
        raise ValueError(
            f"this UNet takes {model.in_channels} channels and gives {model.out_channels} (an inpainting or editing variant): {FAMILY}"
        )
    if any(hasattr(part, "_orig_mod") or part._compiled_call_impl is not None for part in model.modules()):
        raise ValueError("this MODEL is compiled, and compiled blocks can't be read: connect the MODEL from before the compile node")
    return model


def schedule_of(patcher: Any) -> tuple[NoiseSchedule, str]:
    """The noise schedule that a MODEL is sampled with, and what its network predicts.

    From its own table of sigmas, whatever betas or rescaling they came from. Raises ValueError for one without timesteps.
    """
    sampling = patcher.get_model_object("model_sampling")
    known = isinstance(sampling, comfy.model_sampling.EPS) and isinstance(sampling, comfy.model_sampling.ModelSamplingDiscrete)
    if not known or isinstance(sampling, comfy.model_sampling.EDM | comfy.model_sampling.X0):
        raise ValueError(
            f"this MODEL samples as {type(sampling).__mro__[1].__name__}, not along the timesteps that DDIM inversion walks: remove the "
            f"ModelSampling node in front, or {FAMILY}"
        )
    with torch.inference_mode(False):
        sigmas = sampling.sigmas.detach().cpu().double().clone()
        schedule = NoiseSchedule(1 / (1 + sigmas**2))
    return schedule, "v_prediction" if isinstance(sampling, comfy.model_sampling.V_PREDICTION) else "epsilon"


def _attentions(parts: list[tuple[str, int, nn.Module]]) -> list[tuple[str, int, int]]:
    return [
        (name, number, index)
        for name, number, block in parts
        for layer in block
        if hasattr(layer, "transformer_blocks")
        for index in range(len(layer.transformer_blocks))
    ]
