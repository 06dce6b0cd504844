"""What ComfyUI's own sampling makes of a model, to hold a backbone against."""

from __future__ import annotations

import comfy.samplers
import torch

T = 0.6


class Once(comfy.samplers.Sampler):
    """Calls the guided denoiser once and gives its velocity."""

    def sample(self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None, disable_pbar=False):
        x = noise
        return (x - model_wrap(x, sigmas[:1].expand(len(x)), **extra_args)) / sigmas[0]


def sampled_velocity(patcher, z, positive, negative=None, cfg=1.0):
    """What ComfyUI's own guider makes of the same prompts at the same latent [B, C, h, w], whatever layout the model has."""
    timed = patcher.model.latent_format.latent_dimensions == 3
    z = z[:, :, None] if timed else z
    guider = comfy.samplers.CFGGuider(patcher)
    guider.set_conds(positive, negative or positive)
    guider.set_cfg(cfg)
    found = {}

    class Keep(Once):
        def sample(self, *args, **kwargs):
            found["v"] = super().sample(*args, **kwargs)
            return found["v"]

    with torch.inference_mode():
        guider.sample(z, torch.zeros_like(z), Keep(), torch.tensor([T, 0.0]))
    return found["v"][:, :, 0].clone() if timed else found["v"].clone()


def off(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())
