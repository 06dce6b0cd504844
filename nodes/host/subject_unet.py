"""Subject adapters in a ComfyUI UNet (Stable Diffusion 1.5, SDXL): a replacement of each cross-attention on a clone, in front of the output
projection, which calls whatever replacement was there before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from comfy.ldm.modules.attention import optimized_attention
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...core.adapters.contract import Injection, Injections
from ...core.model.blocks import Block
from .subject_weights import Carrying, injections_on
from .unet_layout import layout_of, unet_of

CALL = "dragfield_subject"
Place = tuple[str, int, int]
"""Where a transformer block is: part of the network, number in it, index in that."""


def is_unet(patcher: Any) -> bool:
    return isinstance(getattr(getattr(patcher, "model", None), "diffusion_model", None), UNetModel)


def unet_with_subjects(patcher: Any, injections: Sequence[Injection], weights: Sequence[Any] = ()) -> Any:
    """As `with_subjects`."""
    network, together = unet_of(patcher), injections_on(patcher.load_device, injections)
    places = layout_of(network).attentions
    attentions = {place: _attention(network, place) for place in places}
    together.check({("cross", n): (attentions[place].heads, attentions[place].dim_head) for place, n in places.items()})
    clone = patcher.clone()
    call = f"{CALL}_{number_in(clone)}"
    sampling = patcher.get_model_object("model_sampling")
    clone.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, call, _begins(together, sampling, call))
    wanted = frozenset().union(*(one.adapter.blocks for one in injections))
    for place, n in places.items():
        if ("cross", n) not in wanted:
            continue
        replaced = clone.model_options["transformer_options"].get("patches_replace", {}).get("attn2", {})
        before = replaced.get(place) or replaced.get(place[:2])
        clone.set_model_attn2_replace(_Answers(("cross", n), call, together, weights, before), *place)
    return clone


def number_in(patcher: Any) -> int:
    """How many Adapter Inject nodes this MODEL went through."""
    return sum(1 for key in patcher.wrappers.get(WrappersMP.DIFFUSION_MODEL, {}) if key.startswith(CALL))


def time_at(sampling: Any, sigma: float) -> float:
    """The time in [0, 1] of a noise level."""
    timestep = float(sampling.timestep(torch.tensor([sigma]))[0])
    return min(1.0, max(0.0, timestep / (len(sampling.sigmas) - 1)))


def _begins(injections: Injections, sampling: Any, call: str) -> Callable[..., Tensor]:
    def wrapper(executor: Callable[..., Tensor], x: Tensor, timesteps: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        t = min(1.0, max(0.0, float(timesteps.flatten()[0]) / (len(sampling.sigmas) - 1)))
        # The options are the last dict among what comes by position, unless they come by name.
        at = None if "transformer_options" in kwargs else max(i for i, value in enumerate(args) if isinstance(value, dict))
        options = kwargs["transformer_options"] if at is None else args[at]
        options = {**options, call: injections.begin(t, tuple(x.shape[-2:]), negative_rows(options, x.shape[0]), like=x)}
        if at is None:
            return executor(x, timesteps, *args, **{**kwargs, "transformer_options": options})
        return executor(x, timesteps, *args[:at], options, *args[at + 1 :], **kwargs)

    return wrapper


def negative_rows(options: dict[str, Any], batch: int) -> Tensor | None:
    """bool [B]: the rows of a batch that are sampled with the negative prompt (number 1 of the usual guider)."""
    kinds = options.get("cond_or_uncond")
    if not kinds or batch % len(kinds):
        return None
    return torch.tensor(kinds).eq(1).repeat_interleave(batch // len(kinds))


class _Answers(Carrying):
    def __init__(self, block: Block, call: str, injections: Injections, weights: Sequence[Any], before: Callable | None) -> None:
        super().__init__(injections, weights, before)
        self._block, self._call = block, call

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, extra: dict[str, Any]) -> Tensor:
        heads, subject = extra["n_heads"], extra.get(self._call)
        if self.before is not None:
            mixed = self.before(q, k, v, extra)
        else:
            mixed = optimized_attention(q, k, v, heads, attn_precision=extra.get("attn_precision"), transformer_options=extra)
        if subject is None:
            return mixed
        return subject.mix(self._block, q.unflatten(-1, (heads, -1)).transpose(1, 2), None, 0, mixed)


def _attention(network: Any, place: Place) -> Any:
    part, number, index = place
    block = network.middle_block if part == "middle" else getattr(network, f"{part}_blocks")[number]
    layers = [layer for layer in block if hasattr(layer, "transformer_blocks")]
    return layers[0].transformer_blocks[index].attn2
