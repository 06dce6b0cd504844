"""Pickles read as data: containers, strings, numbers and numpy arrays, and no code of anybody's.

A pickle is a program, and DragBench ships its drags as pickles. Here it may build lists, tuples, dicts, strings,
bytes and numbers; the few names that numpy writes for arrays lead to the small recorders below, never to numpy's own
constructors, and any other name is refused. The program is first read through without running it, which settles that
no length or memo index is larger than the file explains and that tuples cannot nest until hashing one exhausts the
stack: what each operation takes and leaves is followed, and how deep tuples lie in it at most.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from typing import Any

import numpy as np

from ..instruction.checks import MAX_PIXELS
from ..instruction.guarded_json import InstructionError

_NUMPY = {(module, name): role for role, name, modules in (
    ("make", "_reconstruct", ("numpy.core.multiarray", "numpy._core.multiarray")),
    ("scalar", "scalar", ("numpy.core.multiarray", "numpy._core.multiarray")),
    ("buffer", "_frombuffer", ("numpy.core.numeric", "numpy._core.numeric")),
    ("dtype", "dtype", ("numpy",)),
    ("type", "ndarray", ("numpy",)),
    ("encode", "encode", ("_codecs",)),
) for module in modules}
_TYPES = frozenset("b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8".split())
_REFUSED = frozenset(
    "PERSID BINPERSID EXT1 EXT2 EXT4 INST OBJ NEWOBJ NEWOBJ_EX NEXT_BUFFER READONLY_BUFFER EMPTY_SET FROZENSET".split()
)
MAX_TUPLES = 3000
"""Tuples of one pickle; every point of a drag is one, and few things else."""
MAX_NESTED = 100
"""Tuples within tuples."""


def load_plain(data: bytes, what: str, tuples: int = MAX_TUPLES) -> Any:
    """The object of a pickle that holds plain data only; tuples come as lists, arrays as numpy arrays. tuples: at most so many.

    Raises: InstructionError for anything else: other classes or functions, damaged or bloated pickles.
    """
    found, nested = 0, _Nesting()
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            found += "TUPLE" in opcode.name
            if opcode.name in _REFUSED:
                raise InstructionError(f"{what} uses the pickle operation {opcode.name}; only plain data is read, "
                                       "convert it to JSON")
            if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > count or found > tuples:
                raise InstructionError(f"{what} is a pickle larger or deeper than a drag; convert it to JSON")
            if nested.after(opcode, argument) > MAX_NESTED:
                raise InstructionError(f"{what} is a pickle larger or deeper than a drag; convert it to JSON")
        return _finish(_Reader(io.BytesIO(data), what).load(), what, {})
    except InstructionError:
        raise
    except Exception as error:
        raise InstructionError(f"{what} is a damaged pickle ({type(error).__name__}); convert it to JSON") from None


class _Nesting:
    """How deep tuples lie in each object on a pickle's stack, at most: a tuple one deeper than the deepest of what it is made of, anything
    else as deep as what it is made of."""

    def __init__(self) -> None:
        self._stack: list[int | None] = []
        """None is a mark."""
        self._memo: dict[int, int] = {}

    def after(self, opcode: pickletools.OpcodeInfo, argument: Any) -> int:
        """Follow one operation. -> the depth of what it leaves on top. Raises: IndexError and the like where it takes what is not there."""
        name, stack = opcode.name, self._stack
        if name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memo[len(self._memo) if argument is None else int(argument)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[int(argument)])
        elif name == "MARK":
            stack.append(None)
        elif name == "POP":
            stack.pop()
        elif name == "DUP":
            stack.append(stack[-1])
        else:
            self._other(opcode)
        return stack[-1] or 0 if stack else 0

    def _other(self, opcode: pickletools.OpcodeInfo) -> None:
        stack, before, taken = self._stack, list(opcode.stack_before), [0]
        if pickletools.markobject in before:
            while (depth := stack.pop()) is not None:
                taken.append(depth)
            before = before[: before.index(pickletools.markobject)]
        taken += [stack.pop() for _ in before]
        depth = max(taken) + ("TUPLE" in opcode.name)
        stack += [depth] * len(opcode.stack_after)


class _Reader(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, what: str) -> None:
        super().__init__(file, encoding="latin1")
        self._what = what

    def find_class(self, module: str, name: str) -> Any:
        role = _NUMPY.get((module, name))
        if role is None:
            raise InstructionError(f"{self._what} calls {module[:40]}.{name[:40]}; only plain data and arrays "
                                   "are read, convert it to JSON")
        # A new function each time: what a pickle may do to one is forgotten with it.
        return {
            "type": "ndarray",
            "make": lambda *_: _Array(),
            "dtype": lambda code, *_: _Type(code),
            "scalar": lambda kind, raw: _Array((), kind, raw),
            "buffer": lambda raw, kind, shape, order: _Array(shape, kind, raw, order == "F"),
            "encode": lambda text, _: text.encode("latin1"),
        }[role]


class _Type:
    """What the pickle says of a dtype: its code, such as u1, and its byte order."""

    __slots__ = ("code", "order")

    def __init__(self, code: object) -> None:
        self.code, self.order = code, "|"

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]


class _Array:
    """What the pickle says of an array or scalar, until its numbers are read from `raw`."""

    __slots__ = ("shape", "kind", "raw", "fortran")

    def __init__(self, shape: object = None, kind: object = None, raw: object = None, fortran: object = False) -> None:
        self.shape, self.kind, self.raw, self.fortran = shape, kind, raw, fortran

    def __setstate__(self, state: tuple) -> None:
        _, self.shape, self.kind, self.fortran, self.raw = state

    def numbers(self, what: str) -> Any:
        if not isinstance(self.kind, _Type) or self.kind.code not in _TYPES or self.kind.order not in ("<", ">", "|"):
            raise InstructionError(f"{what} holds an array that is not of numbers; convert it to JSON")
        order = {"|": "="}.get(self.kind.order, self.kind.order)
        shape = tuple(int(n) for n in self.shape)
        if any(n < 0 for n in shape) or math.prod(shape) > MAX_PIXELS:
            raise InstructionError(f"{what} holds an array of shape {shape[:4]}; at most {MAX_PIXELS:,} numbers are "
                                   "read, make it smaller")
        array = np.frombuffer(self.raw, np.dtype(self.kind.code).newbyteorder(order))
        array = array.reshape(shape, order="F" if self.fortran else "C")
        return array if shape else array[()]


def _finish(value: Any, what: str, done: dict[int, Any], depth: int = 0) -> Any:
    """Recorders become numpy values; everything else must already be plain. What is shared is finished once."""
    if depth > 6:
        raise InstructionError(f"{what} nests containers more than 6 deep; convert it to JSON")
    if id(value) in done:
        return done[id(value)]
    if isinstance(value, _Array):
        plain = value.numbers(what)
    elif isinstance(value, dict):
        plain = {k: _finish(v, what, done, depth + 1) for k, v in value.items()}
    elif isinstance(value, list | tuple):
        plain = [_finish(v, what, done, depth + 1) for v in value]
    elif value is None or isinstance(value, bool | int | float | str | bytes):
        plain = value
    else:
        raise InstructionError(f"{what} holds {type(value).__name__}, not plain data; convert it to JSON")
    done[id(value)] = plain
    return plain
