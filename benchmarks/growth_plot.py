"""Ratios of cost as a plot: a panel for each axis, time, FLOPs and memory in each, both axes logarithmic where they are numbers.

Plain SVG without a script or a font of its own; it follows the reader's light or dark theme, and marks differ in shape as well as colour.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

PANEL, GAP, TOP = (400, 210), (60, 66), 44
"""(width, height) px of a panel, px between panels, px above them."""
SERIES = {"seconds": "time", "flops": "FLOPs", "memory_bytes": "memory"}
TITLES = {"size": "picture's side, px", "dtype": "dtype of the weights", "model": "architecture", "operations": "regions dragged at once"}
STYLE = """
  text { font: 12px system-ui, sans-serif; fill: #24292f; }
  .title { font-weight: 600; }
  .grid { stroke: #8c959f; stroke-opacity: .35; fill: none; }
  .one { stroke-opacity: .9; }
  .line { fill: none; stroke-width: 1.5; stroke-opacity: .7; }
  .seconds { stroke: #0550ae; fill: #0550ae; } .flops { stroke: #9a3412; fill: #9a3412; }
  .memory_bytes { stroke: #116329; fill: #116329; }
  .line { fill: none; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .seconds { stroke: #79b8ff; fill: #79b8ff; } .flops { stroke: #ffa657; fill: #ffa657; }
    .memory_bytes { stroke: #7ee787; fill: #7ee787; }
    .line { fill: none; }
  }
"""

Rows = Sequence[Mapping[str, Any]]


def plot(axes: Mapping[str, Rows]) -> str:
    """axes: of each, rows with "value" and "ratio": {"seconds", "flops", "memory_bytes"}. -> SVG."""
    columns = min(2, len(axes))
    lines = math.ceil(len(axes) / columns)
    width, height = columns * (PANEL[0] + GAP[0]) + 10, TOP + lines * (PANEL[1] + GAP[1])
    body = [_legend()]
    for index, (axis, rows) in enumerate(axes.items()):
        x = GAP[0] + index % columns * (PANEL[0] + GAP[0])
        y = TOP + 18 + index // columns * (PANEL[1] + GAP[1])
        body.append(f'<g transform="translate({x} {y})">{_panel(axis, rows)}</g>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="Cost of a drag iteration as a ratio to the base">\n<style>{STYLE}</style>\n' + "\n".join(body) + "\n</svg>\n"
    )


def _panel(axis: str, rows: Rows) -> str:
    width, height = PANEL
    ratios = [row["ratio"][name] for row in rows for name in SERIES]
    low, high = math.floor(math.log2(min(ratios)) - 0.05), math.ceil(math.log2(max(ratios)) + 0.05)
    step = max(1, math.ceil((high - low) / 6))
    numbers = all(isinstance(row["value"], int | float) for row in rows)
    places = _places([row["value"] for row in rows], numbers, width)

    def level(ratio: float) -> float:
        return height * (1 - (math.log2(ratio) - low) / (high - low))

    parts = [_text(0, -8, TITLES.get(axis, axis), "start", "title")]
    for power in range(low - low % -step, high + 1, step):
        y, one = level(2.0**power), " one" if power == 0 else ""
        parts.append(f'<line class="grid{one}" x1="0" x2="{width}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(-8, y + 4, f"×{2**power}" if power >= 0 else f"×1/{2**-power}", "end"))
    parts += [_text(x, height + 18, str(row["value"]), "middle") for x, row in zip(places, rows, strict=True)]
    for shift, name in zip((-5, 0, 5), SERIES, strict=True):
        # Beside each other where they would hide each other: of words nothing else lies between.
        at = [(x + (0 if numbers else 2 * shift), level(row["ratio"][name])) for x, row in zip(places, rows, strict=True)]
        if numbers:
            parts.append(f'<polyline class="line {name}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in at)}"/>')
        told = [f"{SERIES[name]} ×{row['ratio'][name]:.3g}" for row in rows]
        parts += [_mark(name, x, y, words) for (x, y), words in zip(at, told, strict=True)]
    return "".join(parts)


def _places(values: Sequence[Any], numbers: bool, width: float) -> list[float]:
    if len(values) == 1:
        return [width / 2]
    at = [math.log2(value) for value in values] if numbers else list(range(len(values)))
    margin = 24 if numbers else width / len(values) / 2
    return [margin + (v - min(at)) / (max(at) - min(at)) * (width - 2 * margin) for v in at]


def _mark(name: str, x: float, y: float, words: str = "") -> str:
    """A circle for time, a square for FLOPs, a triangle for memory."""
    told = f"<title>{escape(words)}</title>" if words else ""
    if name == "seconds":
        return f'<circle class="{name}" cx="{x:.1f}" cy="{y:.1f}" r="4">{told}</circle>'
    if name == "flops":
        return f'<rect class="{name}" x="{x - 3.5:.1f}" y="{y - 3.5:.1f}" width="7" height="7">{told}</rect>'
    return f'<path class="{name}" d="M{x:.1f} {y - 5:.1f}l5 8.5h-10z">{told}</path>'


def _legend() -> str:
    parts = []
    for index, (name, words) in enumerate(SERIES.items()):
        x = GAP[0] + 90 * index
        parts += [_mark(name, x, 16), _text(x + 11, 20, words, "start")]
    return "".join(parts)


def _text(x: float, y: float, words: str, anchor: str, kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{f" class={kind!r}" if kind else ""}>{escape(words)}</text>'
