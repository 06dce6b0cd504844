"""Gradient checkpoints that are correct: a block keeps what it was given and is computed again in the backward pass.

The usual way is silently wrong, because ComfyUI's blocks write to what they are given. Inside `unchanged_streams` they don't, and the
second run, which comes when every context round the call has closed, brings its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import save_on_cpu
from torch.utils.checkpoint import checkpoint

from .gradients import differentiable, weights_of
from .out_of_place import OutOfPlace
from .replaced_forwards import replaced_forwards


@contextmanager
def checkpointed(blocks: Iterable[nn.Module], *, on_host: bool = False, foreign: bool = False) -> Iterator[None]:
    """While inside, each block keeps only its inputs, on the device or in host memory, and is computed again in the backward pass.

    foreign: code that nobody knows runs in the blocks, so the second run is out of place as the first one has to be.
    """
    with replaced_forwards(blocks, partial(_recomputed_block, on_host=on_host, foreign=foreign)):
        yield


def _recomputed_block(block: nn.Module, on_host: bool, foreign: bool) -> Callable:
    forward, weights = block.forward, weights_of(block)

    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        # The model goes on writing the index of the block into this dict; the second run must read the first one's.
        kwargs["transformer_options"] = dict(kwargs["transformer_options"])
        # By name, they would be kept out of sight of whoever moves what is kept.
        streams = {name: value for name, value in kwargs.items() if isinstance(value, Tensor)}
        others = {name: value for name, value in kwargs.items() if name not in streams}

        def body(*values: Any) -> Any:
            # Run a second time when every context round the call has closed, on CUDA in another thread: it brings its own.
            with differentiable(weights), OutOfPlace() if foreign else nullcontext():
                named = dict(zip(streams, values[len(args) :], strict=True))
                return forward(*values[: len(args)], **named, **others)

        with save_on_cpu(pin_memory=torch.cuda.is_available()) if on_host else nullcontext():
            return checkpoint(body, *args, *streams.values(), use_reentrant=False, preserve_rng_state=False)

    return run
