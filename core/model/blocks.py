"""Which transformer blocks keys and values are injected into (DragFlow section 3.3, FreeFlux's layer analysis).

FLUX.1's 19 double and 38 single blocks fall into layers that look at content and layers that look at position; DragFlow
injects into the former. For a model of another depth a named choice becomes the blocks at the same relative depth.

Convention: a block is a pair such as ("double", 0); indices start at 0 within each kind.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from .taps import BlockKind

Block = tuple[BlockKind, int]

FLUX_DEPTH: dict[BlockKind, int] = {"double": 19, "single": 38}
FLUX_BLOCKS: dict[str, dict[BlockKind, tuple[int, ...]]] = {
    "non_ridge": {"double": (0, 7, 8, 9, 10, 18), "single": (6, 9, 18, 23, 26, 31, 37)},
    "position": {"double": (1, 2, 4), "single": (7, 11, 35, 36)},
    "all": {"double": tuple(range(19)), "single": tuple(range(38))},
    "none": {"double": (), "single": ()},
}


def choose_blocks(choice: str | Iterable[Block], double_blocks: int, single_blocks: int) -> frozenset[Block]:
    """Blocks of a model of that many double and single blocks.

    choice: "auto" ("non_ridge" for a model of FLUX.1's depth, else the last single block: on the demo model "non_ridge" and
        double 2 with single 3 drew the object back to its old place, the last single block did not), "non_ridge" (content
        layers, as published), "position", "all", "none", or explicit pairs.
    """
    depth: dict[BlockKind, int] = {"double": double_blocks, "single": single_blocks}
    if choice == "auto":
        if depth == FLUX_DEPTH:
            choice = "non_ridge"
        else:
            choice = [("single", single_blocks - 1)] if single_blocks else [("double", double_blocks - 1)]
    if isinstance(choice, str):
        if choice not in FLUX_BLOCKS:
            names = ", ".join(["auto", *FLUX_BLOCKS])
            raise ValueError(f"block choice {choice[:60]!r} is unknown: use {names}, or a list such as [('double', 0)]")
        if choice == "all":
            # Not by relative depth: a model deeper than FLUX.1 would keep gaps.
            return frozenset((kind, i) for kind, count in depth.items() for i in range(count))
        listed = FLUX_BLOCKS[choice].items()
        return frozenset((kind, _same_depth(i, kind, depth[kind])) for kind, ids in listed for i in ids if depth[kind])
    blocks = frozenset((kind, i) for kind, i in choice)
    for kind, i in blocks:
        if kind not in depth or not 0 <= i < depth[kind]:
            raise ValueError(
                f"block ({kind!r}, {i}) is not in this model: it has {double_blocks} double and {single_blocks} single "
                "blocks, counted from 0"
            )
    return blocks


def _same_depth(index: int, kind: BlockKind, depth: int) -> int:
    # Round half up: Python's round would send .5 to the even neighbour.
    return math.floor(index / (FLUX_DEPTH[kind] - 1) * (depth - 1) + 0.5)
