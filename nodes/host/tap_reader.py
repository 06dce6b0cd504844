"""Reading features inside a ComfyUI model of a known family, and leaving it behind the last one.

Block outputs come through the block replacement that ComfyUI offers (`patches_replace["dit"]`, in front of whatever another pack put
there), or, in families without it, through hooks on the blocks; the two places inside a block through hooks on the layer that reads them.
All hooks are taken off again on the way out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from math import prod
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ...core.model.taps import POINTS, Tap, last_tap
from .families.contract import Family
from .replaced_forwards import replaced_forwards


class Reached(Exception):
    """Raised inside the model once the last tap is read; caught by whoever called the model."""


class TapReader:
    """taps: resolved ones.  grid: (rows, columns) of image tokens; further tokens behind them (reference latents) are left out."""

    def __init__(self, model: nn.Module, family: Family, taps: Sequence[Tap], grid: tuple[int, int]) -> None:
        self.model, self.family, self.taps, self.grid = model, family, taps, grid
        self.end = last_tap(taps)
        self._found: dict[Tap, Tensor] = {}
        self._first = 0

    @property
    def features(self) -> list[Tensor]:
        """[B, width, rows, columns] for each tap."""
        return [rearrange(self._found[tap], "b (h w) c -> b c h w", h=self.grid[0]) for tap in self.taps]

    @contextmanager
    def reading(self, transformer_options: dict[str, Any]) -> Iterator[None]:
        """While inside, a call of the model with these options (changed here) is read, and ends by raising `Reached`."""
        replace = transformer_options.setdefault("patches_replace", {})
        blocks = replace["dit"] = dict(replace.get("dit", {}))
        with ExitStack() as hooks:
            # In the order they are reached: two of one layer would otherwise be cut short by the one that ends the call.
            for tap in sorted(set(self.taps), key=lambda tap: POINTS.index(tap.point)):
                key = (f"{tap.kind}_block", tap.index)
                if not self.family.replaces:
                    for hook in self._block_hooks(tap):
                        hooks.callback(hook.remove)
                elif not hasattr(blocks.get(key), "reads"):
                    blocks[key] = self._block_reader(tap, blocks.get(key))
                if tap.point != "out":
                    hook = self.family.layer(self.model, tap).register_forward_pre_hook(self._input_reader(tap))
                    hooks.callback(hook.remove)
            if self.end.kind == "double" and self.end.point == "out":
                # Behind that block nobody reads the text any more, and the block works on it last.
                layers = self.family.of_text_alone(self.model, self.end.index)
                hooks.enter_context(replaced_forwards(layers, lambda _: _unchanged))
            yield

    def _block_reader(self, tap: Tap, before: Callable | None) -> Callable:
        out = Tap(tap.kind, tap.index, "out")

        def block(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
            self._begin(tap, args["transformer_options"], args["img"].shape[1])
            result = before(args, extra) if before is not None else extra["original_block"](args)
            if out in self.taps:
                self._keep(out, result["img"])
            return result

        block.reads = True
        return block

    def _block_hooks(self, tap: Tap) -> list[RemovableHandle]:
        block = (self.family.double if tap.kind == "double" else self.family.single)(self.model)[tap.index]

        def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._begin(tap, kwargs["transformer_options"], args[0].shape[1])

        def behind(_: nn.Module, __: tuple[Any, ...], output: Any) -> None:
            if tap not in self._found:
                self._keep(tap, self.family.picture(output))

        hooks = [block.register_forward_pre_hook(before, with_kwargs=True)]
        return [*hooks, block.register_forward_hook(behind)] if tap.point == "out" else hooks

    def _begin(self, tap: Tap, options: dict[str, Any], length: int) -> None:
        """A block is entered: where in its stream of `length` the picture begins."""
        single = tap.kind == "single"
        self._first = self.family.first_of_picture(self.model, options, length, prod(self.grid)) if single else 0

    def _input_reader(self, tap: Tap) -> Callable:
        def hook(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            if tap not in self._found:
                self._keep(tap, args[0])

        return hook

    def _keep(self, tap: Tap, tokens: Tensor) -> None:
        image = tokens[:, self._first : self._first + prod(self.grid)]
        last = tap == self.end
        # The next block adds to its input in place, which without a gradient is this very tensor.
        self._found[tap] = image if last or torch.is_grad_enabled() else image.clone()
        if last:
            raise Reached


def _unchanged(x: Tensor) -> Tensor:
    return x


_unchanged.frozen = True  # nothing in it for `differentiable` to hold still
