"""Subject adapters in a ComfyUI MODEL of the FLUX family: patches on a clone, no forward replaced (UNets: subject_unet.py).

Each network call finds out its time and grid in a DIFFUSION_MODEL wrapper and carries core's `SubjectCall` in its own options. In every
block an attn1_patch hands the queries on, an attn1_output_patch adds the answers, and where answers belong behind the block, a block
replacement in front of whatever else is there adds them. Several injections chain, and so do other packs' patches. The adapters' weights
hang on the attn1_patch, where ComfyUI looks for models to load (subject_weights.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import comfy.model_management
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...core.adapters.contract import Injection, Injections
from ...core.model.blocks import Block
from .out_of_place import usable
from .recognise import flux_of
from .subject_unet import CALL, is_unet, negative_rows, number_in, time_at, unet_with_subjects
from .subject_weights import Carrying, injections_on

QUERY = "dragfield_subject_query"


def with_subjects(patcher: Any, injections: Sequence[Injection], weights: Sequence[Any] = ()) -> Any:
    """A clone of the MODEL in which the adapters are at work, after those that it has already.

    weights: ModelPatchers of the adapters, which ComfyUI is to load with the MODEL.

    Raises: ValueError, one sentence, for a MODEL that is neither of the FLUX family nor a UNet, or that an adapter wasn't made for.
    """
    if is_unet(patcher):
        return unet_with_subjects(patcher, injections, weights)
    network = flux_of(patcher)
    together = injections_on(patcher.load_device, injections)
    blocks: list[Block] = [("double", i) for i in range(len(network.double_blocks))]
    blocks += [("single", i) for i in range(len(network.single_blocks))]
    together.check(dict.fromkeys(blocks, (network.num_heads, network.hidden_size // network.num_heads)))
    clone = patcher.clone()
    # Several Adapter Inject nodes in a row: each has a key of its own.
    number = number_in(clone)
    call, query = f"{CALL}_{number}", f"{QUERY}_{number}"
    clone.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, call, _begins(together, network.patch_size, call))
    clone.set_model_attn1_patch(_HandsOn(call, query, together, weights))
    clone.set_model_attn1_output_patch(_mixes(network, call, query))
    for block in sorted({b for one in injections if one.adapter.place != "attention" for b in one.adapter.blocks}):
        kind = f"{block[0]}_block"
        before = clone.model_options["transformer_options"].get("patches_replace", {}).get("dit", {}).get((kind, block[1]))
        clone.set_model_patch_replace(_AddsBehind(call, together, weights, before), "dit", kind, block[1])
    return clone


def time_of(patcher: Any, progress: float) -> float:
    """The time in [0, 1] at a part of the MODEL's schedule: 0 is its start, pure noise, 1 its end, the picture."""
    sampling = patcher.get_model_object("model_sampling")
    sigma = float(sampling.percent_to_sigma(progress))
    if is_unet(patcher):
        # Its sigmas go up to 14 and, at the very start, beyond all bounds.
        return time_at(sampling, min(sigma, float(sampling.sigma_max)))
    return min(1.0, max(0.0, sigma))


def _begins(injections: Injections, patch: int, call: str) -> Callable[..., Tensor]:
    def wrapper(executor: Callable[..., Tensor], x: Tensor, timestep: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        grid = tuple(-(-side // patch) for side in x.shape[-2:])
        # By position the options come at another place in each class of the family, and are the last dict everywhere.
        at = None if "transformer_options" in kwargs else max(i for i, value in enumerate(args) if isinstance(value, dict))
        options = kwargs["transformer_options"] if at is None else args[at]
        begun = injections.begin(float(timestep.flatten()[0]), grid, negative_rows(options, x.shape[0]), like=x)
        options = {**options, call: begun}
        if at is None:
            return executor(x, timestep, *args, **{**kwargs, "transformer_options": options})
        return executor(x, timestep, *args[:at], options, *args[at + 1 :], **kwargs)

    return wrapper


class _HandsOn(Carrying):
    def __init__(self, call: str, query: str, injections: Injections, weights: Sequence[Any]) -> None:
        super().__init__(injections, weights)
        self._call, self._query = call, query

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, extra_options: dict[str, Any], **_: Any) -> dict[str, Tensor]:
        if extra_options.get(self._call) is not None:
            # The block hands the same options to its output patch, and to nobody else.
            extra_options[self._query] = q
        return {}


def _mixes(network: Any, call: str, query: str) -> Callable[[Tensor, dict[str, Any]], Tensor]:
    def patch(mixed: Tensor, extra_options: dict[str, Any]) -> Tensor:
        subject, q = extra_options.get(call), extra_options.get(query)
        if subject is None or q is None:
            return mixed
        block = (extra_options["block_type"], extra_options["block_index"])
        return subject.mix(block, q, _query_scale(network, block, q), extra_options["img_slice"][0], mixed)

    return patch


class _AddsBehind(Carrying):
    def __init__(self, call: str, injections: Injections, weights: Sequence[Any], before: Callable | None) -> None:
        super().__init__(injections, weights, before)
        self._call = call

    def __call__(self, args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Tensor]:
        out = extra["original_block"](args) if self.before is None else self.before(args, extra)
        options = args["transformer_options"]
        subject = options.get(self._call)
        if subject is None:
            return out
        if "txt" in out:
            return {**out, "img": subject.behind(out["img"])}
        return {**out, "img": subject.behind(out["img"], text_rows=options["img_slice"][0])}


def _query_scale(network: Any, block: Block, like: Tensor) -> Tensor | None:
    """The weight of the block's own query normalisation."""
    if block[0] == "double":
        norm = network.double_blocks[block[1]].img_attn.norm.query_norm
    else:
        norm = network.single_blocks[block[1]].norm.query_norm
    weight = getattr(norm, "weight", None)
    # Without a cast it is the weight itself, which was loaded in inference mode.
    return None if weight is None else usable(comfy.model_management.cast_to(weight.detach(), like.dtype, like.device))
