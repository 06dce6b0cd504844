"""A MODEL and its prompts as the nodes hand them to core: backbone, guidance, latents in and out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..core.edits.state import State
from . import wire
from .host.conditioning import ComfyConditioning
from .host.latent_layout import has_time_axis, with_time_axis, without_time_axis
from .trajectory import Trajectory


def prompt_of(positive: Any, negative: Any = None, cfg: float = 1.0) -> ComfyConditioning:
    return ComfyConditioning(positive, negative, cfg)


def chosen_guidance(asked: float, prompt: ComfyConditioning, default: float) -> float:
    """What the node's widget asks for; 0 leaves it to the prompt's FluxGuidance, and then to the default."""
    if asked > 0:
        return asked
    return default if prompt.guidance is None else float(prompt.guidance)


def model_latents(model: Any, latent: dict[str, Any]) -> list[Tensor]:
    """A LATENT's pictures one by one as the MODEL sees them: float32 [1, C, h, w] on its device. The LATENT is not written to."""
    samples = latent["samples"]
    timed = has_time_axis(model)
    if samples.ndim != 4 + timed:
        raise ValueError(
            f"the latent has the shape {list(samples.shape)}; of this MODEL an edit takes pictures, [batch, channels, "
            f"{'1, ' * timed}height, width]: use the VAE that belongs to the MODEL"
        )
    with torch.inference_mode(False):
        own = samples.detach().to(model.load_device, torch.float32, copy=True)
        z = without_time_axis(model.get_model_object("latent_format").process_in(own))
    return list(z.split(1))


def vae_latents(model: Any, states: list[Tensor]) -> Tensor:
    """The MODEL's latents as a LATENT's samples [B, C, h, w], on the CPU."""
    z = torch.cat(states).detach().clone()
    return model.get_model_object("latent_format").process_out(with_time_axis(z) if has_time_axis(model) else z).cpu()


def pixels_per_cell(model: Any) -> int:
    return model.get_model_object("latent_format").spacial_downscale_ratio


def check_same_latents(model: Any, trajectory: Trajectory) -> None:
    """Refuse a trajectory that another kind of MODEL made."""
    wanted, found = model.get_model_object("latent_format").latent_channels, trajectory.branches[0].z.shape[1]
    if wanted != found:
        raise ValueError(
            f"the trajectory has latents of {found} channels, this MODEL takes {wanted}: invert with the MODEL that you edit with"
        )


def ready(backbone: Any, state: State) -> State:
    """The state with its inversion's keys and values where the backbone's calls read them."""
    inversion = state.inversion
    if not inversion.flow:
        return state
    cold = state.cold
    state = replace(state, inversion=replace(inversion, bank=backbone.keep(inversion.bank)))
    return replace(state, z=state.undragged) if cold else state


def inverted_pictures(image: Tensor, trajectory: Trajectory) -> list[Tensor]:
    """The pictures [1, 3, H, W] that a trajectory's latents were. Refuses others by their size or number."""
    if wire.image_size(image) != trajectory.size or len(image) != len(trajectory.branches):
        (width, height), (w, h) = wire.image_size(image), trajectory.size
        raise ValueError(
            f"the image is {len(image)} of {width} x {height} px, the trajectory of {len(trajectory.branches)} of {w} x {h}: connect what "
            "was encoded and inverted"
        )
    return list(wire.pictures(image))
