"""ComfyUI's CONDITIONING where core asks for a prompt: carried through core untouched, prepared for the model at each call.

What is in it is honoured as in ordinary sampling: areas, masks, strengths, time ranges, reference latents, ControlNets, the image and mask
of an inpainting model. Guidance is the engine's to set; `ComfyConditioning.guidance` says what the user asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import comfy.conds
import comfy.sampler_helpers
import comfy.samplers
import torch
from torch import Tensor

from ...core.model.backbone import Conditioning
from .out_of_place import usable

Native = Sequence[tuple[Tensor, dict[str, Any]]]


@dataclass(frozen=True, eq=False)
class ComfyConditioning:
    """A CONDITIONING in core's hands.

    positive: as nodes pass it.  negative, cfg: for models without distilled guidance (LongCat-Image, Chroma, undistilled FLUX.2); the
    velocity is then negative + cfg·(positive - negative). Features, keys and values are always those of `positive`.
    """

    positive: Native
    negative: Native | None = None
    cfg: float = 1.0

    def __post_init__(self) -> None:
        for name, entries in (("positive", self.positive), ("negative", self.negative)):
            if entries is not None and len(entries) == 0:
                raise ValueError(f"the {name} CONDITIONING is empty: connect a CLIP Text Encode node")

    @property
    def tokens(self) -> int:
        """As core's Conditioning has it."""
        return self.positive[0][0].shape[1]

    @property
    def guidance(self) -> float | None:
        """What a FluxGuidance node wrote; None where there was none."""
        return self.positive[0][1].get("guidance")


def as_native(cond: ComfyConditioning | Conditioning) -> ComfyConditioning:
    """A core Conditioning (txt, pooled) as native one; a ComfyConditioning as it is."""
    if isinstance(cond, ComfyConditioning):
        return cond
    return ComfyConditioning([(cond.txt, {} if cond.pooled is None else {"pooled_output": cond.pooled})])


def prepared(model: Any, entries: Native, z: Tensor, name: str) -> list[dict[str, Any]]:
    """The entries as `calc_cond_batch` takes them, for latents like z; nothing of `entries` is written to.

    Inference tensors are copied, so that a gradient can pass by them: call this outside of inference mode.
    """
    copied = [(usable(txt), {key: _usable(value) for key, value in extra.items()}) for txt, extra in entries]
    conds = {name: comfy.sampler_helpers.convert_cond(copied)}
    zeros = torch.zeros_like(z)
    return comfy.samplers.process_conds(model, zeros, conds, z.device, zeros)[name]


def with_guidance(conds: Sequence[dict[str, Any]], guidance: float | Tensor) -> list[dict[str, Any]]:
    """Prepared entries with another distilled guidance, one number or [B]."""
    value = torch.as_tensor(guidance, dtype=torch.float32).reshape(-1)
    return [{**cond, "model_conds": {**cond["model_conds"], "guidance": comfy.conds.CONDRegular(value)}} for cond in conds]


def _usable(value: Any) -> Any:
    return [usable(x) for x in value] if isinstance(value, list) else usable(value)
