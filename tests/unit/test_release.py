"""After encoding, an adapter lets go of what only encoding needs, and works on."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import Tensor

from dragfield.core.adapters.flux_ip_adapter import InstantXAdapter, XLabsAdapter
from dragfield.core.adapters.instant_character import InstantCharacter
from dragfield.core.adapters.pulid import PulidFlux
from dragfield.core.adapters.release import released
from dragfield.core.demo.adapter import DemoAdapter

PICTURE = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Eyes:
    factor = 8

    def embeds(self, picture: Tensor) -> Tensor:
        return torch.ones(1, 5)

    def maps(self, picture: Tensor, layers: list[int]) -> list[Tensor]:
        return [torch.ones(1, 2, 4) for _ in layers]

    def face(self, picture: Tensor) -> tuple[Tensor, list[Tensor]]:
        return torch.ones(1, 5), [torch.ones(1, 2, 8)] * 5

    def encode(self, picture: Tensor) -> Tensor:
        return torch.ones(1, 16, 32, 32)


MAKE = {
    "XLabs": lambda: XLabsAdapter(5, 2, 6, 8, 3, 4),
    "InstantX": lambda: InstantXAdapter(5, 2, 6, 8, 3, 4),
    "InstantCharacter": lambda: InstantCharacter(8, 8, 2, 6, 8, 3, depth=1, layers=1, head=4, inner_head=4),
    "PuLID": lambda: PulidFlux(8, 5, 8, 12, 3, head=4, inner_head=4),
    "demo": DemoAdapter,
}


@pytest.mark.parametrize("name", MAKE)
@torch.no_grad()
def test_encoder_and_projector_are_gone_and_keys_and_values_are_the_same(name: str) -> None:
    torch.manual_seed(0)
    adapter = MAKE[name]().eval().requires_grad_(False)
    eyes = Eyes()
    subject = adapter.encode(PICTURE, dict.fromkeys(adapter.needs, eyes))
    expected = adapter.keys_values(subject, 0.3)
    whole = sum(p.numel() for p in adapter.parameters())
    steady = adapter.projector.cross_layer_blocks[0] if name == "InstantCharacter" else adapter.projector
    gone = [weakref.ref(eyes), weakref.ref(steady), weakref.ref(next(steady.parameters()))]
    light = released(adapter)
    assert sum(p.numel() for p in adapter.parameters()) == whole
    assert sum(p.numel() for p in light.parameters()) < whole
    subject.by_time.clear()
    del adapter, eyes, steady
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3
    for block, pair in light.keys_values(subject, 0.3).items():
        assert all(torch.equal(a, b) for a, b in zip(pair, expected[block], strict=True))


def test_an_adapter_that_names_nothing_stays_as_it_is() -> None:
    class Plain:
        kind = "plain"

    adapter = Plain()
    assert released(adapter) is adapter
