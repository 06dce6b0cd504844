"""A K/V bank that waits in host memory and is on the device when a block asks for it.

Copies run ahead of the network on a stream of their own: while a block computes, the keys and values of the next remembered one are on
their way, and after the last one those of the call that follows (sampling walks a bank from its last entry to its first). Beyond what a
session holds itself, one block's worth is on the device. core's sessions know nothing of it: they read an `Entry`, whose blocks arrive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch

from ...core.model.attention import Entry, KeysValues, KVBank
from ...core.model.blocks import Block

Arrival = Callable[[], KeysValues]
Send = Callable[[KeysValues], Arrival]


def move_to_host(bank: KVBank) -> None:
    """Put what the bank holds into host memory, for good. Values stay the same bits, and sessions made before go on."""
    for blocks in map(_held, bank.entries):
        for block, (keys, values) in blocks.items():
            blocks[block] = on_host(keys), on_host(values)


def device_bytes(bank: KVBank) -> int:
    """Bytes that the bank holds outside of host memory."""
    tensors = (x for blocks in map(_held, bank.entries) for pair in blocks.values() for x in pair)
    return sum(x.nbytes for x in tensors if x.device.type != "cpu")


def on_host(x: torch.Tensor) -> torch.Tensor:
    """x in host memory, pinned where it came from a GPU, so that it can go back while the GPU computes."""
    if x.device.type == "cpu":
        return x
    with torch.inference_mode(False):
        return torch.empty(x.shape, dtype=x.dtype, pin_memory=x.device.type == "cuda").copy_(x)


def sent_ahead(bank: KVBank, device: torch.device, send: Send | None = None) -> KVBank:
    """The same bank, read from `device`; the given one where nothing has to be copied. It shares the tensors.

    send: starts a copy and returns what waits for it.
    """
    if send is None:
        waiting = any(x.device.type == "cpu" for blocks in map(_held, bank.entries) for pair in blocks.values() for x in pair)
        if device.type == "cpu" or not waiting:
            return bank
        send = Courier(device)
    ahead = KVBank(bank.blocks, text_in_single=bank.text_in_single, dtype=bank.dtype, placement=bank.placement)
    before: SentBlocks | None = None
    for entry in bank.entries:
        before = SentBlocks(_held(entry), send, before)
        ahead.entries.append(Entry(entry.t, before))
    return ahead


def _held(entry: Entry) -> dict[Block, KeysValues]:
    """Where an entry's tensors are, without sending any."""
    return entry.blocks.held if isinstance(entry.blocks, SentBlocks) else entry.blocks


class Courier:
    """Copies to one device. On CUDA along a stream of its own; elsewhere a copy is there when it has been asked for."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, pair: KeysValues) -> Arrival:
        if self._stream is None:
            keys, values = (x.to(self.device) for x in pair)
            return lambda: (keys, values)
        with torch.cuda.stream(self._stream), torch.inference_mode(False):
            keys, values = (x.to(self.device, non_blocking=True) for x in pair)
            done = self._stream.record_event()

        def arrive() -> KeysValues:
            network = torch.cuda.current_stream(self.device)
            network.wait_event(done)
            for x in (keys, values):
                # Made on the other stream: its memory may not be used again there before the network is done with it.
                x.record_stream(network)
            return keys, values

        return arrive


class SentBlocks(Mapping[Block, KeysValues]):
    """An entry's blocks. Reading one sends the next; reading the last one sends the first one of the entry that sampling reads next."""

    def __init__(self, held: dict[Block, KeysValues], send: Send, following: SentBlocks | None) -> None:
        self.held, self.order, self._send, self.following = held, list(held), send, following
        self._sent: dict[Block, Arrival] = {}

    def __getitem__(self, block: Block) -> KeysValues:
        at = self.order.index(block) if block in self.held else None
        if at is None:
            raise KeyError(block)
        self.send(at)
        arrival = self._sent.pop(block)
        if at + 1 < len(self.order):
            self.send(at + 1)
        elif self.following is not None and self.following.order:
            self.following.send(0)
        return arrival()

    def send(self, at: int) -> None:
        """Start the copy of the block at place `at`, unless it is under way."""
        block = self.order[at]
        if block not in self._sent:
            self._sent[block] = self._send(self.held[block])

    def __contains__(self, block: object) -> bool:
        return block in self.held

    def __iter__(self) -> Iterator[Block]:
        return iter(self.order)

    def __len__(self) -> int:
        return len(self.order)
