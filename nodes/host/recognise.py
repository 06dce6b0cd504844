"""Which MODELs can be dragged: the FLUX family as ComfyUI itself runs it. Everything else is refused in one sentence."""

from __future__ import annotations

from typing import Any

import comfy.ldm.chroma.model
import comfy.ldm.chroma_radiance.model
import comfy.ldm.flux.model
import comfy.model_sampling
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.patcher_extension import WrappersMP
from torch import nn

FAMILY = (
    "use FLUX.1 (dev, schnell, Kontext, Fill; fp8 and GGUF files too), FLUX.2, Chroma, or one that is free for commercial work: "
    "FLUX.2-klein-4B, LongCat-Image"
)
COMPILED = "torch.compile"
"""Key of the wrapper that ComfyUI's own compile node installs."""


def flux_of(patcher: Any) -> nn.Module:
    """The diffusion model of a MODEL, `comfy.ldm.flux.model.Flux` or `comfy.ldm.chroma.model.Chroma`.

    Raises ValueError, saying what to use instead.
    """
    model = getattr(getattr(patcher, "model", None), "diffusion_model", None)
    if model is None:
        raise ValueError(f"a {type(patcher).__name__} is no MODEL: connect the MODEL output of a model loader")
    names = " ".join(f"{kind.__module__}.{kind.__name__}" for kind in type(model).__mro__).lower()
    if "nunchaku" in names or "comfyfluxwrapper" in names:
        raise ValueError(
            "this MODEL is a nunchaku one, which has no block patches and no gradients: load the same model as an fp8 or GGUF file"
        )
    if _compiled(patcher, model):
        raise ValueError(
            "this MODEL is compiled, and compiled blocks can't be read or differentiated: connect the MODEL from before the compile node"
        )
    if not isinstance(model, comfy.ldm.flux.model.Flux | comfy.ldm.chroma.model.Chroma):
        kind, instead = type(model).__name__, _instead(model)
        raise ValueError(f"a {kind} model can't be dragged here, because it has {_missing(model)}: {instead}{FAMILY}")
    if isinstance(model, comfy.ldm.chroma_radiance.model.ChromaRadiance):
        raise ValueError(f"Chroma Radiance can't be dragged, because it has no latent, it works on pixels: {FAMILY}")
    sampling = patcher.get_model_object("model_sampling")
    if not isinstance(sampling, comfy.model_sampling.CONST):
        raise ValueError(
            f"this MODEL was patched to sample as {type(sampling).__mro__[1].__name__}, which is not the flow that inversion walks: "
            "remove the ModelSampling node in front, or use one for flow models (ModelSamplingFlux)"
        )
    return model


def _compiled(patcher: Any, model: nn.Module) -> bool:
    wrapped = COMPILED in patcher.wrappers.get(WrappersMP.APPLY_MODEL, {})
    swapped = any(hasattr(value, "_orig_mod") for value in patcher.object_patches.values())
    inside = any(hasattr(part, "_orig_mod") or part._compiled_call_impl is not None for part in model.modules())
    return wrapped or swapped or inside


def _instead(model: nn.Module) -> str:
    """The nodes that do take it, in front of what else there is to do."""
    if not isinstance(model, UNetModel):
        return ""
    return "begin with DDIM Invert, from which Point Drag Optimizer and Region Affine Drag Optimizer go on, or "


def _missing(model: nn.Module) -> str:
    if hasattr(model, "joint_blocks"):
        # SD3 and its kin: ComfyUI calls neither attention patches nor DIFFUSION_MODEL wrappers in them.
        return "no attention patches in ComfyUI, through which an edit reads and replaces keys and values"
    if hasattr(model, "transformer_blocks") and hasattr(model, "pe_embedder"):
        # Qwen-Image: its blocks have all patches.
        return "latents with a time axis, [B, C, T, h, w], where an edit takes pictures"
    if not hasattr(model, "double_blocks") or not hasattr(model, "single_blocks"):
        return "no double and single stream blocks, whose features and keys and values an edit reads"
    return "FLUX-like blocks but a forward of its own, without the latent's two-dimensional tokens that an edit reads"
