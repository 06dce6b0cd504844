"""Keys and values remembered from an inversion and used again while editing (DragFlow section 3.3).

A `KVBank` records, per network call of the inversion, the outputs of the plain `to_k` and `to_v` layers of chosen
blocks, before key normalisation and before position encoding, and later gives them back to the same blocks in place
of their own. Backbones know none of this: they ask a session, once per call, for a `KVCall`, and each block asks
that call for its keys and values, handing over how to project them. A block whose keys and values are all remembered
is never projected, forward or backward.

    bank = KVBank(choose_blocks("non_ridge", backbone.double_blocks, backbone.single_blocks))
    fireflow(lambda z, t: backbone.velocity(z, t, cond, kv=capture), ...)    # capture = bank.capture()
    backbone.features(z, t, cond, taps=taps, kv=bank.hold())                 # every call reads the last entry
    fireflow(lambda z, t: backbone.velocity(z, t, cond, kv=replay), ...)     # replay = bank.replay("matched")

Convention: entries are numbered in the order of capture, so entry 0 is the cleanest; K and V are [B, tokens, width]; in
double blocks tokens are the image's, in single blocks text then image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from ..choices import check_choice
from .blocks import Block
from .blocks import choose_blocks as choose_blocks

KeysValues = tuple[Tensor, Tensor]
Project = Callable[[Tensor], KeysValues]
Pairing = Literal["matched", "lifo"]
Placement = Literal["device", "cpu"]
Rounds = Literal["all", "on_drag", "after_drag"]


class KVCall(Protocol):
    """The keys and values of one network call."""

    def keys_values(self, block: Block, hidden: Tensor, project: Project, text_tokens: int) -> KeysValues:
        """K, V [B, tokens, width] that `block` shall attend to, before normalisation and position encoding.

        hidden: [B, tokens, width], what the block would project.  project: its own to_k and to_v, for any run of
        tokens. text_tokens: how many of the tokens are text (0 in double blocks), text first.
        """
        ...


class KVSession(Protocol):
    """What a backbone is handed: asked once per network call, at time t, for that call's keys and values."""

    def begin(self, t: float) -> KVCall: ...


def paired_entry(call: int, captures: int, pairing: Pairing) -> int:
    """Which captured entry feeds sampling call `call` when sampling revisits the inversion's own times.

    call 0 is the first-order velocity (and the whole drag loop), call r + 1 the midpoint of round r. "lifo" is the
    published counter, one interval late; "matched" has exactly the midpoint's own time. Both give call 0 the last
    entry.
    """
    index = captures - 1 - call if pairing == "lifo" else captures - max(call, 1)
    return max(index, 0)


@dataclass(frozen=True, eq=False)
class Entry:
    """What one network call left: its time t in [0, 1] and, per block, K and V."""

    t: float
    blocks: dict[Block, KeysValues] = field(default_factory=dict)


class KVBank:
    """Keys and values of an inversion's network calls, for the blocks chosen.

    blocks: from `choose_blocks`.  text_in_single: whether single blocks remember text tokens too (as published; the
    text is then the source prompt's) or only image tokens.  dtype: to keep them in (None: as they come, needed for a
    bit-identical replay).  placement: "device" keeps them where they were made, "cpu" moves them to (pinned) host
    memory.
    """

    def __init__(
        self,
        blocks: Iterable[Block],
        *,
        text_in_single: bool = False,
        dtype: torch.dtype | None = None,
        placement: Placement = "device",
    ) -> None:
        check_choice("placement", placement, Placement)
        self.blocks = frozenset(blocks)
        self.text_in_single = text_in_single
        self.dtype = dtype
        self.placement = placement
        self.entries: list[Entry] = []

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        tensors = (x for entry in self.entries for pair in entry.blocks.values() for x in pair)
        return sum(x.numel() * x.element_size() for x in tensors)

    def capture(self) -> KVSession:
        """A session that appends one entry per network call and changes nothing."""
        return _Capture(self)

    def hold(self, entry: int = -1, *, eta: float = 0.0) -> KVSession:
        """A session that gives every call the same entry (the drag loop reads the last one captured)."""
        self._check(eta)
        if not -len(self.entries) <= entry < len(self.entries):
            raise ValueError(f"K/V entry {entry} does not exist: {len(self.entries)} calls were captured")
        return _Hold(self, entry, eta)

    def replay(
        self, pairing: Pairing = "matched", *, eta: float = 0.0, rounds: Rounds = "all", except_last: int = 0, where: Tensor | None = None
    ) -> KVSession:
        """A session for one sampling run from where the inversion ended, giving each call the entry that belongs to it.

        pairing: "matched" takes the entry nearest in time; "lifo" counts calls down, as published (see `paired_entry`).
        eta in [0, 1]: K <- eta·sg(K_own) + (1 - eta)·K_remembered, and V likewise; 0 replaces, 1 leaves values as
        they are. rounds: "on_drag" injects only into the first call (time of the drag), "after_drag" only into the
        others. except_last: leave the last k sampling calls alone.  where: bool [image tokens], those that are given what
        is remembered of them, the others keep their own; None: all.
        """
        self._check(eta)
        check_choice("pairing", pairing, Pairing)
        check_choice("rounds", rounds, Rounds)
        return _Replay(self, pairing, eta, rounds, except_last, where)

    def store(self, entry: Entry, block: Block, keys: Tensor, values: Tensor) -> None:
        """Keep K and V [B, tokens, width] of one block, of the tokens this bank remembers, in `entry`."""
        entry.blocks[block] = (self._keep(keys), self._keep(values))

    @torch.inference_mode(False)
    def _keep(self, x: Tensor) -> Tensor:
        # Outside of inference mode, should the inversion run in it: the drag has to differentiate past what is kept.
        kept = x.detach().to(dtype=self.dtype or x.dtype).clone(memory_format=torch.contiguous_format)
        if self.placement == "device" or kept.device.type == "cpu":
            return kept
        host = torch.empty(kept.shape, dtype=kept.dtype, pin_memory=kept.device.type == "cuda")
        return host.copy_(kept)

    def _check(self, eta: float) -> None:
        if not 0.0 <= eta <= 1.0:
            raise ValueError(f"eta = {eta} is outside [0, 1]: 0 replaces keys and values, 1 leaves them as they are")
        if not self.entries:
            raise ValueError("nothing was captured: run the inversion with kv=bank.capture() first")


@dataclass(frozen=True, eq=False)
class _Capture:
    bank: KVBank

    def begin(self, t: float) -> KVCall:
        entry = Entry(float(t))
        self.bank.entries.append(entry)
        return _CaptureCall(self.bank, entry)


@dataclass(frozen=True, eq=False)
class _CaptureCall:
    bank: KVBank
    entry: Entry

    def keys_values(self, block: Block, hidden: Tensor, project: Project, text_tokens: int) -> KeysValues:
        if block not in self.bank.blocks:
            return project(hidden)
        text = 0 if self.bank.text_in_single else text_tokens
        keys, values = project(hidden[:, text:])
        self.bank.store(self.entry, block, keys, values)
        if text:
            # Split as a replay splits it: in half precision a product of fewer rows may round differently.
            text_keys, text_values = project(hidden[:, :text])
            keys, values = torch.cat([text_keys, keys], dim=1), torch.cat([text_values, values], dim=1)
        return keys, values


class _Hold:
    def __init__(self, bank: KVBank, entry: int, eta: float) -> None:
        # One call object for all: what it brought from host memory stays on the device over the whole loop.
        self._call = _InjectCall(bank, bank.entries[entry], eta)

    def begin(self, t: float) -> KVCall:
        return self._call


class _Replay:
    def __init__(
        self, bank: KVBank, pairing: Pairing, eta: float, rounds: Rounds, except_last: int, where: Tensor | None
    ) -> None:
        self.bank, self.pairing, self.eta, self.rounds, self.except_last = bank, pairing, eta, rounds, except_last
        self.where = where
        self.calls = 0

    def begin(self, t: float) -> KVCall:
        call, entries = self.calls, self.bank.entries
        self.calls += 1
        pointer = paired_entry(call, len(entries), "lifo")
        wanted = self.rounds == "all" or (call == 0) == (self.rounds == "on_drag")
        if not wanted or pointer < self.except_last:
            return OWN_KEYS_VALUES
        if self.pairing == "lifo":
            entry = entries[pointer]
        else:
            entry = min(entries, key=lambda entry: abs(entry.t - float(t)))
        return _InjectCall(self.bank, entry, self.eta, self.where)


class _InjectCall:
    def __init__(self, bank: KVBank, entry: Entry, eta: float, where: Tensor | None = None) -> None:
        self.bank, self.entry, self.eta, self.where = bank, entry, eta, where
        self._placed: dict[Block, KeysValues] = {}

    def keys_values(self, block: Block, hidden: Tensor, project: Project, text_tokens: int) -> KeysValues:
        if block not in self.entry.blocks:
            return project(hidden)
        text = 0 if self.bank.text_in_single else text_tokens
        keys, values = self._remembered(block, hidden[:, text:])
        if self.eta > 0.0:
            with torch.no_grad():
                own_keys, own_values = project(hidden[:, text:])
            keys = self.eta * own_keys + (1.0 - self.eta) * keys
            values = self.eta * own_values + (1.0 - self.eta) * values
        if self.where is not None:
            others = self._others(hidden.shape[1] - text_tokens, hidden.device) + text_tokens
            own_keys, own_values = project(hidden[:, others])
            keys, values = keys.index_copy(1, others - text, own_keys), values.index_copy(1, others - text, own_values)
        if text:
            text_keys, text_values = project(hidden[:, :text])
            keys, values = torch.cat([text_keys, keys], dim=1), torch.cat([text_values, values], dim=1)
        return keys, values

    def _others(self, tokens: int, device: torch.device) -> Tensor:
        """Indices, among the image tokens, of those that keep their own."""
        if self.where.numel() != tokens:
            raise ValueError(
                f"keys and values were asked for among {self.where.numel()} tokens, the picture has {tokens}: choose among its own"
            )
        return (~self.where.reshape(-1)).nonzero()[:, 0].to(device)

    def _remembered(self, block: Block, like: Tensor) -> KeysValues:
        if block not in self._placed:
            keys, values = (x.to(like.device, like.dtype, non_blocking=True) for x in self.entry.blocks[block])
            self._placed[block] = keys, values
        keys, values = self._placed[block]
        if keys.shape[1] != like.shape[1] or keys.shape[0] not in (1, like.shape[0]):
            raise ValueError(
                f"K/V of {block[0]} block {block[1]} were captured for [batch, tokens] = {list(keys.shape[:2])}, this call "
                f"has {list(like.shape[:2])}: invert the picture at the size and with the prompt length you edit with"
            )
        return keys.expand(like.shape[0], -1, -1), values.expand(like.shape[0], -1, -1)


class _Own:
    def keys_values(self, block: Block, hidden: Tensor, project: Project, text_tokens: int) -> KeysValues:
        return project(hidden)


OWN_KEYS_VALUES: KVCall = _Own()
