"""Which MODELs can be dragged, and how far: what ComfyUI samples as a flow, and further what is of a known family. Else, why not."""

from __future__ import annotations

from typing import Any

import comfy.ldm.chroma_radiance.model
import comfy.model_sampling
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.patcher_extension import WrappersMP
from torch import nn

from .families import Family, family_of

FLUX = (
    "use FLUX.1 (dev, schnell, Kontext, Fill; fp8 and GGUF files too), FLUX.2, Chroma, or one that is free for commercial work: "
    "FLUX.2-klein-4B, LongCat-Image"
)
COMPILED = "torch.compile"
"""Key of the wrapper that ComfyUI's own compile node installs."""
NAMES = {
    "NextDiT": "Z-Image (Lumina 2)", "QwenImageTransformer2DModel": "Qwen-Image", "OpenAISignatureMMDITWrapper": "SD 3.5",
    "Chroma": "Chroma",
    "HiDreamImageTransformer2DModel": "HiDream", "OmniGen2Transformer2DModel": "OmniGen 2", "SingleStreamDiT": "Krea 2", "Anima": "Anima",
    "WanModel": "Wan", "MMDiT": "AuraFlow", "HunyuanVideo": "Hunyuan", "Flux": "FLUX", "UNetModel": "Stable Diffusion",
    "ChromaRadiance": "Chroma Radiance", "Kandinsky5": "Kandinsky 5", "ErnieImageModel": "Ernie Image",
}  # fmt: skip
"""What people call a diffusion model's class."""


def name_of(patcher: Any) -> str:
    """What people call a MODEL, else its class."""
    model = getattr(getattr(patcher, "model", None), "diffusion_model", None)
    for kind in type(model).__mro__:
        if kind.__name__ in NAMES:
            return NAMES[kind.__name__]
    return f"this model ({type(model).__name__})"


def flow_of(patcher: Any) -> nn.Module:
    """The diffusion model of a MODEL that ComfyUI samples as a flow, of whatever class.

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
    if isinstance(model, UNetModel):
        raise ValueError(
            "a Stable Diffusion model is no flow: begin with DDIM Invert, from which Point Drag Optimizer and Region Affine Drag Optimizer "
            f"go on, or {FLUX}"
        )
    if isinstance(model, comfy.ldm.chroma_radiance.model.ChromaRadiance):
        raise ValueError(f"Chroma Radiance can't be dragged, because it has no latent, it works on pixels: {FLUX}")
    sampling = patcher.get_model_object("model_sampling")
    if not isinstance(sampling, comfy.model_sampling.CONST):
        raise ValueError(
            f"{name_of(patcher)} is sampled as {_kind(sampling)}, which is not the flow that inversion walks: remove the ModelSampling "
            f"node in front, use one for flow models (ModelSamplingFlux, ModelSamplingAuraFlow), or {FLUX}"
        )
    return model


def is_known(patcher: Any) -> bool:
    """Whether a MODEL's blocks are of a known family, so that features, keys and values can be reached too."""
    return family_of(getattr(getattr(patcher, "model", None), "diffusion_model", None)) is not None


def known(patcher: Any) -> tuple[nn.Module, Family]:
    """The diffusion model of a MODEL whose blocks are known, and its family. Raises ValueError, saying what to use instead."""
    model = flow_of(patcher)
    family = family_of(model)
    if family is None:
        raise ValueError(
            f"{name_of(patcher)} gives its velocity here, not what happens inside of its blocks: use Drag Edit's method 'dragfield', or "
            f"{FLUX}"
        )
    return model, family


def flux_of(patcher: Any) -> nn.Module:
    """The diffusion model of a MODEL with FLUX's blocks, for which subject adapters are made. Raises ValueError for another."""
    model, family = known(patcher)
    if family.name != "FLUX":
        raise ValueError(f"subject adapters are made for FLUX and Stable Diffusion, and this MODEL is {name_of(patcher)}: {FLUX}")
    return model


def _compiled(patcher: Any, model: nn.Module) -> bool:
    wrapped = COMPILED in patcher.wrappers.get(WrappersMP.APPLY_MODEL, {})
    swapped = any(hasattr(value, "_orig_mod") for value in patcher.object_patches.values())
    inside = any(hasattr(part, "_orig_mod") or part._compiled_call_impl is not None for part in model.modules())
    return wrapped or swapped or inside


def _kind(sampling: Any) -> str:
    """How a MODEL is sampled, in words."""
    kinds = {"EPS": "a noise prediction", "V_PREDICTION": "a v prediction", "EDM": "EDM", "X0": "a prediction of the picture"}
    return next((kinds[kind.__name__] for kind in type(sampling).__mro__ if kind.__name__ in kinds), type(sampling).__mro__[1].__name__)
