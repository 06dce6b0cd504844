"""In which blocks remembered keys and values hold the picture while it is sampled back under an edit's guidance (DragFlow section 3.3).

DragFlow injects into FLUX.1's content layers, which its authors found by looking. Here one inversion remembers all blocks, and neighbouring
ones are injected group by group.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..edits.edit import AnyBackbone
from ..model.attention import Entry, KVBank
from ..model.backbone import Autoencoder, Conditioning
from ..model.blocks import Block, choose_blocks
from ..picture.compose import picture_of
from ..picture.likeness import psnr
from ..progress import ALONE, RunContext
from ..sampling.inversion import InversionSettings, reconstruct
from ..sampling.sampler import is_flow
from .walk import walked

REMEMBER = InversionSettings(steps=8, skip=2, kv_blocks="all")
"""Few steps: all blocks together take much memory."""
GROUPS = 8


@dataclass(frozen=True)
class Injected:
    """blocks: injected into.  psnr: dB of what came back, against the picture as the autoencoder gives it.  nbytes: kept for it."""

    name: str
    blocks: tuple[Block, ...]
    psnr: float
    nbytes: int


@torch.no_grad()
def where_it_holds(
    backbone: AnyBackbone,
    autoencoder: Autoencoder,
    image: Tensor,
    cond: Conditioning,
    *,
    guidance: float = 3.5,
    inversion: InversionSettings = REMEMBER,
    groups: int = GROUPS,
    run: RunContext = ALONE,
) -> tuple[Injected, ...]:
    """Sample `image` [1, 3, H, W] back with no block injected, with each group of neighbours, with the default's blocks, and with all.

    Empty for a model that takes no guidance, of which the way back needs no holding, and for one whose keys and values are not had.
    """
    if not (is_flow(backbone) and getattr(backbone, "guidance_distilled", False) and backbone.double_blocks + backbone.single_blocks):
        return ()
    made = walked(backbone, autoencoder, image, cond, inversion, run)
    wanted = picture_of(autoencoder.decode(made.z0).clamp(0, 1))
    found = []
    for done, (name, blocks) in enumerate(choices := choices_of(backbone, groups)):
        run.check()
        bank = narrowed(made.bank, blocks)
        kv = bank.replay("matched") if blocks else None
        path = reconstruct(backbone, made, cond, guidance=guidance, kv=kv, run=run)
        db = psnr(picture_of(autoencoder.decode(path[-1]).clamp(0, 1)), wanted)
        found.append(Injected(name, tuple(sorted(blocks)), db, bank.nbytes))
        run.tell("check", done + 1, len(choices), path[-1])
    return tuple(found)


def choices_of(backbone: AnyBackbone, groups: int) -> list[tuple[str, frozenset[Block]]]:
    """Names and blocks to be tried: none, `groups` runs of neighbours, the default's, all."""
    order: list[Block] = [("double", i) for i in range(backbone.double_blocks)] + [("single", i) for i in range(backbone.single_blocks)]
    count = min(groups, len(order))
    runs = [order[len(order) * i // count : len(order) * (i + 1) // count] for i in range(count)]
    default = choose_blocks("auto", backbone.double_blocks, backbone.single_blocks)
    named = [(f"{_named(one[0])} to {_named(one[-1])}" if len(one) > 1 else _named(one[0]), frozenset(one)) for one in runs]
    return [("none", frozenset()), *named, ("default", default), ("all", frozenset(order))]


def narrowed(bank: KVBank, blocks: Iterable[Block]) -> KVBank:
    """The same memory of these blocks alone; the tensors are shared."""
    chosen = frozenset(blocks)
    narrow = KVBank(chosen, text_in_single=bank.text_in_single, dtype=bank.dtype, placement=bank.placement)
    narrow.entries = [Entry(entry.t, {block: kept for block, kept in entry.blocks.items() if block in chosen}) for entry in bank.entries]
    return narrow


def _named(block: Block) -> str:
    return f"{block[0]} {block[1]}"
