"""How an edit fits into a device's memory: what a gradient through a model takes, and what is given up when it is too much.

There is one account: what `activation_bytes` says is all that a call with a gradient takes beside the weights, what an ordinary one takes
included. A plan is chosen for which that fits, and no more than that is asked of ComfyUI.

With frozen layers and PyTorch's attention a block keeps about 14 (double) or 15 (single) token-by-width tensors for the backward pass,
measured on ComfyUI's own blocks. Three savings can be made, the cheapest first:

- *keys and values on the host*: a drag reads one entry of the bank, so this costs one copy; a denoising reads one a call, copied ahead.
- *checkpoints*: a block keeps its two streams and is computed again in the backward pass, a third more work for a seventh of the memory.
- *checkpoints on the host*: those streams wait in host memory too, and one block at a time is in full.

Feature maps are read in tiles under every plan (map_reading.py), which costs no time. What a loss holds then is a few maps for each tap:
those of the reference, shifted by every part of a token too, its own, and the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import comfy.model_management
import torch

KEPT_BY_DOUBLE = 14
KEPT_BY_SINGLE = 15
KEPT_BY_CHECKPOINT = 2
KEPT_BY_MAP = 12
"""Of a loss on one tap of a 2x2-patch model, at most: for a region that is nearly the whole picture, in maps of the network's dtype."""
SHARE = 0.9
"""Of the room there is, what an estimate may take: allocators lose some to fragments."""

Saving = Literal["auto", "off", "on"]
SAVINGS: tuple[Saving, ...] = ("auto", "off", "on")


@dataclass(frozen=True)
class Plan:
    """What is given up for memory."""

    bank_on_host: bool = False
    checkpoint: bool = False
    checkpoints_on_host: bool = False


PLANS = (Plan(), Plan(True), Plan(True, True), Plan(True, True, True))
"""From the fastest to the leanest."""


@dataclass(frozen=True)
class Walk:
    """One pass through a model.

    tokens: text and image (reference latents too), times the batch.  width: channels of a token.  double, single: blocks up to the last
    tap.  maps: taps that a loss reads.
    """

    tokens: int
    width: int
    double: int
    single: int
    dtype: torch.dtype
    maps: int = 0


def read_saving(value: str | bool | Plan) -> Saving | Plan:
    """What a node's save_memory widget says; it was a switch once, and graphs keep what it was set to. A plan is one already."""
    if isinstance(value, Plan):
        return value
    if isinstance(value, bool):
        return "on" if value else "auto"
    if value not in SAVINGS:
        raise ValueError(f"save_memory = {value!r} is unknown: use 'auto' (when memory is short), 'off' or 'on'")
    return value


def activation_bytes(walk: Walk, plan: Plan = PLANS[0]) -> int:
    """Bytes that a loss and autograd keep on the device for the backward pass of `walk`."""
    stream, read = walk.tokens * walk.width * walk.dtype.itemsize, KEPT_BY_MAP * walk.maps
    if not plan.checkpoint:
        return stream * (KEPT_BY_DOUBLE * walk.double + KEPT_BY_SINGLE * walk.single + read)
    kept = 0 if plan.checkpoints_on_host else KEPT_BY_CHECKPOINT * (walk.double + walk.single)
    return stream * (kept + max(KEPT_BY_DOUBLE, KEPT_BY_SINGLE) + read)


def choose(walk: Walk, room: int, bank_bytes: int = 0, saving: Saving = "auto") -> Plan:
    """The fastest plan for `walk` that fits.

    room: bytes that the device has for it, see `room_beside`.  bank_bytes: of keys and values that are on the device now, so not in `room`.
    saving: "off" gives nothing up, "on" has what costs the least time given up in any case.
    """
    if saving == "off":
        return PLANS[0]
    for plan in PLANS[2:] if saving == "on" else PLANS:
        freed = bank_bytes if plan.bank_on_host else 0
        if activation_bytes(walk, plan) <= SHARE * (room + freed):
            return plan
    return PLANS[-1]


def room_beside(patcher: Any) -> int:
    """Bytes of the MODEL's device that a call can have once the MODEL is there in full: free ones, and those of other models that ComfyUI
    can unload, less what it leaves alone in any case (--reserve-vram)."""
    device = patcher.load_device
    free = comfy.model_management.get_free_memory(device)
    if comfy.model_management.is_device_cpu(device):
        # There it is already, and unloading moves nothing away.
        return int(free)
    loaded = [entry for entry in comfy.model_management.current_loaded_models if entry.model is not None and entry.device == device]
    coming = patcher.model_size() + sum(one.model_size() for one in patcher.model_patches_models())
    reserved = comfy.model_management.extra_reserved_memory()
    return int(free + sum(entry.model_loaded_memory() for entry in loaded) - coming - reserved)
