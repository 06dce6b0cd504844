"""JSON from strangers: measured before it is parsed, and refused in one sentence.

`json.loads` alone lets through NaN, repeated keys, integers of a million digits and nesting that exhausts the stack.
The drag of a shared workflow is a string that anybody may have written, so all text passes here first.
`InstructionError` is the only exception that reading a drag raises.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

MAX_TEXT = 2_000_000
"""Characters (bytes, for bytes) of one JSON text. The largest valid instruction is shorter."""
MAX_DEPTH = 10
"""Brackets open at once; a vertex of an instruction sits at depth 7."""
MAX_DIGITS = 18

# A JSON string, closed or running to the end of a broken text; only what stands outside strings can nest.
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)


class InstructionError(ValueError):
    """What the user asked for cannot be done; one sentence says which value, what is allowed and how to fix it."""


def load_json(text: str | bytes, what: str = "the instruction") -> Any:
    """Parse JSON text.

    Beyond the JSON grammar it refuses text longer than `MAX_TEXT`, nesting deeper than `MAX_DEPTH`, NaN and infinities,
    repeated keys, integers of more than `MAX_DIGITS` digits and bytes that are not UTF-8; a byte order mark is skipped.

    Raises: InstructionError, with `what` as the subject of its sentence.
    """
    if not isinstance(text, str | bytes | bytearray):
        raise InstructionError(f"{what} is {show(text)}; give JSON text")
    if len(text) > MAX_TEXT:
        raise InstructionError(f"{what} is {len(text):,} characters long; at most {MAX_TEXT:,} are read, simplify it")
    if not isinstance(text, str):
        try:
            text = bytes(text).decode("utf-8")
        except UnicodeDecodeError as error:
            raise InstructionError(f"{what} is not UTF-8 text at byte {error.start}; save it as UTF-8") from None
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise InstructionError(f"{what} is empty text; draw a region or a point, or write JSON")
    if (depth := _depth(text)) > MAX_DEPTH:
        raise InstructionError(f"{what} nests {depth:,} brackets; at most {MAX_DEPTH} are needed, flatten it")
    try:
        return json.loads(text, object_pairs_hook=_object, parse_int=_integer, parse_constant=_constant)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InstructionError(f"{what} is not valid JSON ({error.msg} at {where}); correct it there") from None
    except InstructionError as error:
        raise InstructionError(f"{what} {error}") from None


def show(value: object) -> str:
    """A value as it may stand in an error sentence: short, printable, whatever it is."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and abs(value) >= 10**MAX_DIGITS:
        return f"an integer of more than {MAX_DIGITS} digits"
    if isinstance(value, int | float):
        return format(value)
    if isinstance(value, str):
        return repr(value if len(value) <= 40 else value[:37] + "...")
    if isinstance(value, list | tuple):
        if len(value) <= 4 and all(isinstance(v, int | float | str | None) for v in value):
            return "[" + ", ".join(map(show, value)) + "]"
        return f"a list of {len(value):,} items"
    if isinstance(value, dict):
        return "an object"
    return f"a Python {type(value).__name__}"


def _depth(text: str) -> int:
    bare = np.frombuffer(_STRING.sub("", text).encode("latin-1", "replace"), dtype=np.uint8)
    opening, closing = (bare == ord("[")) | (bare == ord("{")), (bare == ord("]")) | (bare == ord("}"))
    return int(np.cumsum(opening.astype(np.int64) - closing).max(initial=0))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InstructionError(f"gives the key {show(key)} twice in one object; keep one of them")
        found[key] = value
    return found


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS + 1:
        raise InstructionError(f"holds an integer of {len(digits):,} digits; at most {MAX_DIGITS} are read, shorten it")
    return int(digits)


def _constant(name: str) -> float:
    raise InstructionError(f"holds {name}, which is not a number of JSON; write a finite number")
