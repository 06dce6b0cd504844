"""What a piece of work costs: floating-point operations, peak memory, and the least operations a drag iteration can do.

FLOPs are torch's own count (two per multiply-add of every matrix product and attention, forward and backward). Memory is the
most that was held at a time beyond what was held before: on a GPU by the allocator's statistics, on a CPU by following every
tensor that an operation makes until its storage is freed (an operation's inner scratch space is not seen).
"""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count
from torch.utils.weak import WeakIdKeyDictionary

ATTENTION_BACKWARD = 2.5
"""Products in attention's backward pass, in units of its forward pass: five instead of two, one of them recomputed."""


def count_flops(work: Callable[[], object]) -> int:
    """FLOPs of work()."""
    aten = torch.ops.aten
    # Attention on a CPU, which torch's counter does not know.
    missing = {
        aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
        aten._scaled_dot_product_flash_attention_for_cpu_backward: (
            lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(grad, q, k, v)
        ),
    }
    with FlopCounterMode(display=False, custom_mapping=missing) as counter:
        work()
    return counter.get_total_flops()


def peak_memory(work: Callable[[], object], device: torch.device) -> int:
    """Most bytes that torch held during work() beyond what it held before."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with _HeldBytes() as held:
        work()
    return held.peak


class _HeldBytes(TorchDispatchMode):
    """Follows the storages that operations make; views share one, and in-place results are known already."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen = WeakIdKeyDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        for x in tree_leaves((args, kwargs)):
            # What comes from before this mode was entered is not ours to count.
            if isinstance(x, torch.Tensor) and x.untyped_storage() not in self._seen:
                self._seen[x.untyped_storage()] = 0
        result = func(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, torch.Tensor) and x.untyped_storage() not in self._seen:
                storage = x.untyped_storage()
                self._seen[storage] = storage.nbytes()
                self.now += storage.nbytes()
                weakref.finalize(storage, self._release, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return result

    def _release(self, size: int) -> None:
        self.now -= size


def minimum_flops(width: int, image: int, text: int, double_blocks: int, injected: int, latent_channels: int) -> int:
    """Fewest FLOPs of one drag iteration whose last tap is the output of the last double block (dragflow.md section 9.2).

    24·width² per token and block for linear layers, 4·N²·width for attention over N = image + text tokens; backward the same
    for the latent's gradient alone, attention 2.5-fold. Without: everything behind the last tap; recomputation; image keys
    and values of the `injected` blocks; the last block's text output (queries, output projection, MLP); what the first
    block's text gets as gradient before attention; anything that does not change between iterations.
    """
    both = image + text
    linear = 24 * width**2
    keys_values, queries_output_mlp = 4 * width**2, 20 * width**2
    image_forward = double_blocks * linear * image - injected * keys_values * image
    text_forward = double_blocks * linear * text - queries_output_mlp * text
    attention = 4 * width * both * ((double_blocks - 1) * both + image)
    entry = 2 * 4 * latent_channels * width * image
    # The first block's text comes from the prompt: no gradient wrt its queries, keys and values.
    text_backward = text_forward - 6 * width**2 * text if double_blocks > 1 else 0
    forward = image_forward + text_forward + attention + entry
    return round(forward + image_forward + text_backward + ATTENTION_BACKWARD * attention + entry)


def seconds_of(work: Callable[[], object], device: torch.device) -> float:
    """Wall time of work(), a GPU's own included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def take(steps: Any, count: int) -> None:
    """Run that many steps of a generator, or of what works like one, and close it."""
    for _ in range(count):
        next(steps)
    steps.close()
