"""Reading features inside a ComfyUI model of a known family, and leaving it behind the last one.

Block outputs come through the block replacement that ComfyUI offers (`patches_replace["dit"]`, in front of whatever another pack put
there), or, in families whose blocks are not patched, through hooks; the two places inside a block through hooks on the layer that reads
them, taken off again on the way out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

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
        self._text_tokens = 0

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
                if self.family.patched and not hasattr(blocks.get(key), "reads"):
                    blocks[key] = self._block_reader(tap, blocks.get(key))
                if not self.family.patched and tap.point == "out":
                    hook = self.family.single(self.model)[tap.index].register_forward_hook(self._output_reader(tap))
                    hooks.callback(hook.remove)
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
            if tap.kind == "single":
                self._text_tokens = args["transformer_options"]["img_slice"][0]
            result = before(args, extra) if before is not None else extra["original_block"](args)
            if out in self.taps:
                self._keep(out, result["img"])
            return result

        block.reads = True
        return block

    def _output_reader(self, tap: Tap) -> Callable:
        def hook(_: nn.Module, __: tuple[Any, ...], output: Tensor) -> None:
            if tap not in self._found:
                self._keep(tap, output)

        return hook

    def _input_reader(self, tap: Tap) -> Callable:
        def hook(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            if tap not in self._found:
                self._keep(tap, args[0])

        return hook

    def _keep(self, tap: Tap, tokens: Tensor) -> None:
        count = self.grid[0] * self.grid[1]
        if not self.family.patched:
            self._text_tokens = self.family.first_of_picture(self.model, tokens.shape[1], count)
        first = self._text_tokens if tap.kind == "single" else 0
        image = tokens[:, first : first + count]
        last = tap == self.end
        # The next block adds to its input in place, which without a gradient is this very tensor.
        self._found[tap] = image if last or torch.is_grad_enabled() else image.clone()
        if last:
            raise Reached


def _unchanged(x: Tensor) -> Tensor:
    return x


_unchanged.frozen = True  # nothing in it for `differentiable` to hold still
