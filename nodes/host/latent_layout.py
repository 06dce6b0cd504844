"""Latents with a time axis, [B, C, T, h, w], as the latents of pictures that core works on, [B, C, h, w]."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def has_time_axis(patcher: Any) -> bool:
    """Whether a MODEL's latents have one (Qwen-Image, Krea 2, Wan)."""
    return patcher.get_model_object("latent_format").latent_dimensions == 3


def with_time_axis(z: Tensor) -> Tensor:
    """[B, C, h, w] -> [B, C, 1, h, w]."""
    return z[:, :, None]


def without_time_axis(z: Tensor) -> Tensor:
    """[B, C, 1, h, w] -> [B, C, h, w]; others as they are. Raises ValueError for more than one time."""
    if z.ndim != 5:
        return z
    if z.shape[2] != 1:
        raise ValueError(f"the latent has {z.shape[2]} frames, and an edit takes pictures: give one frame (VAE Encode of one image)")
    return z[:, :, 0]
