"""Out of memory: free everything, one more try in the leanest way there is, and then one sentence of advice."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Protocol, TypeVar

import comfy.model_management
import torch

SIGNS = ("out of memory", "can't allocate memory", "not enough memory")
"""What backends other than CUDA write into a RuntimeError."""

Result = TypeVar("Result")


class Sparing(Protocol):
    """A backbone that can do with less."""

    def spare(self) -> None:
        """Give up all that its plan allows, for the calls to come."""
        ...

    def advice(self) -> str:
        """What the user can lower, as the rest of a sentence."""
        ...


class OutOfMemory(MemoryError):
    """Neither way fitted; the message is for the user."""


def with_one_retry(backbone: Sparing, work: Callable[[], Result]) -> Result:
    """`work()`; when the device runs out of memory, everything is freed and it is done once more with a backbone that spares.

    work: starts from the beginning each time, so it makes its own K/V sessions. Raises OutOfMemory when that doesn't fit either.
    """
    try:
        return work()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    # Behind the except clause: only now the frames of the failed try, and the tensors in them, are gone.
    free_everything()
    backbone.spare()
    try:
        return work()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    free_everything()
    raise OutOfMemory(f"out of memory, in the leanest way too: {backbone.advice()}")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on whatever device."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in SIGNS)


def free_everything() -> None:
    """Have ComfyUI unload all models and give what is cached back; a MODEL in use is loaded again by its next call."""
    gc.collect()
    # A weight made in inference mode and moved out of it is of no use to anybody any more.
    with torch.inference_mode():
        comfy.model_management.unload_all_models()
        comfy.model_management.soft_empty_cache()
