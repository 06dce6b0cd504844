"""What all subject adapters together add to one network call, block by block; a backbone knows only this.

Convention: that of contract.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..model.blocks import Block


class SubjectCall:
    """What all adapters together add to one network call: a backbone calls `mix` inside a block's attention, `behind` after the block."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = tuple(parts)
        self._answers_behind: list[Tensor] = []
        self._block: Block | None = None

    def blocks(self) -> frozenset[Block]:
        return frozenset().union(*(part.keys_values for part in self._parts))

    def mix(self, block: Block, q: Tensor, scale: Tensor | None, text_rows: int, mixed: Tensor) -> Tensor:
        """mixed [B, rows, heads·d], the attention's output, with the answers added.

        q: [B, heads, rows, d], the queries of the same rows, of which the first `text_rows` are text.
        """
        self._answers_behind, self._block = [], block
        for part in self._parts:
            if block not in part.keys_values or part.adapter.place == "stream":
                continue
            first = 0 if part.adapter.text_rows and block[0] == "single" else text_rows
            answer = part.answer(block, q[:, :, first:], scale, text_rows - first)
            if part.adapter.place == "block":
                self._answers_behind.append(answer)
            else:
                mixed = torch.cat([mixed[:, :first], mixed[:, first:] + answer], dim=1) if first else mixed + answer
        return mixed

    def behind(self, stream: Tensor, text_rows: int = 0) -> Tensor:
        """The stream [B, n, width] behind the block whose attention was mixed last, with the answers that belong there.

        text_rows: how many of its rows, the first ones, are text; they get no answer.
        """
        answers, self._answers_behind = self._answers_behind, []
        image = stream[:, text_rows:]
        for answer in answers:
            image = image + answer[:, answer.shape[1] - image.shape[1] :]
        for part in self._parts:
            if part.adapter.place == "stream" and self._block in part.keys_values:
                image = image + part.of_stream(self._block, image)
        return torch.cat([stream[:, :text_rows], image], dim=1) if text_rows else image


class Part:
    """One injection in one call: its `SubjectAdapter`, its strength now, and the rest as in contract.py."""

    def __init__(
        self, adapter: Any, strength: float, keys_values: dict[Block, tuple[Tensor, Tensor]], grid: tuple[int, int], area: Tensor | None,
        negative: Tensor | None,
    ) -> None:  # fmt: skip
        self.adapter, self.strength, self.keys_values, self.grid, self.area = adapter, strength, keys_values, grid, area
        self.negative = negative
        # A double block, a single one and the halves of a UNet want it in other sizes, but each of them many times.
        self._areas: dict[tuple, Tensor] = {}

    def answer(self, block: Block, q: Tensor, scale: Tensor | None, text_rows: int) -> Tensor:
        keys, values = (self._rows(x.to(q.device, q.dtype), q.shape[0]) for x in self.keys_values[block])
        asked = self.adapter.query(block, q, scale)
        out = F.scaled_dot_product_attention(asked, keys, values)
        out = self.strength * out.transpose(1, 2).flatten(2)
        return out if self.area is None else out * self._weights(out, text_rows)

    def of_stream(self, block: Block, image: Tensor) -> Tensor:
        keys, values = (self._rows(x.to(image.device, image.dtype), image.shape[0]) for x in self.keys_values[block])
        out = F.scaled_dot_product_attention(self.adapter.query(block, image, None), keys, values)
        out = self.strength * self.adapter.finish(block, out.transpose(1, 2).flatten(2))
        return out if self.area is None else out * self._weights(out, 0)

    def _rows(self, x: Tensor, batch: int) -> Tensor:
        """Keys or values for each row of the batch; while an adapter is trained there are as many as rows already."""
        if not getattr(self.adapter, "negative_row", False):
            return x.expand(batch, -1, -1, -1)
        return x[:1].expand(batch, -1, -1, -1) if self.negative is None else x[self.negative.to(x.device, torch.long)]

    def _weights(self, out: Tensor, text_rows: int) -> Tensor:
        """[rows, 1]: the area at every image token; 1 for text, and for tokens behind the picture's own (reference pictures)."""
        key = out.shape[1], text_rows, out.device, out.dtype
        if key not in self._areas:
            rows, columns = self.grid
            while rows * columns > out.shape[1] - text_rows:
                rows, columns = -(-rows // 2), -(-columns // 2)
            area = F.interpolate(self.area[None, None].float(), size=(rows, columns), mode="area").flatten()
            weights = torch.ones(out.shape[1], 1)
            weights[text_rows : text_rows + rows * columns, 0] = area.to("cpu")
            self._areas[key] = weights.to(out.device, out.dtype)
        return self._areas[key]
