"""A contact sheet: rows of pictures under column titles, each row with a heading, each picture with a caption. Pillow only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

PAPER, INK, GREY, EDGE = (255, 255, 255), (24, 26, 31), (120, 126, 138), (226, 229, 234)
GUTTER, BORDER = 6, 24
TITLE, TEXT = 30, 15
"""Font sizes in px."""
LINE = 24
"""Height of a line of text."""


@dataclass(frozen=True, eq=False)
class Cell:
    """picture: uint8 [H, W, 3].  caption: one line under it."""

    picture: np.ndarray
    caption: str = ""


@dataclass(frozen=True, eq=False)
class Row:
    """heading: said in ink above the row.  note: in grey behind it.  cells: one for each column."""

    heading: str
    note: str
    cells: Sequence[Cell]


def contact_sheet(title: str, note: str, columns: Sequence[str], rows: Sequence[Row]) -> Image.Image:
    """Lay out `rows` under `columns`. All pictures have one size; text that is wider than its place is cut with an ellipsis.

    Raises ValueError if a row has not one cell for each column, or if pictures differ in size.
    """
    for row in rows:
        if len(row.cells) != len(columns):
            raise ValueError(f"row {row.heading!r} has {len(row.cells)} pictures for {len(columns)} columns: give one for each")
    shapes = {cell.picture.shape for row in rows for cell in row.cells}
    if len(shapes) != 1:
        raise ValueError(f"pictures of shapes {sorted(shapes)} do not fit one sheet: give at least one, and all of one size")
    ((height, width, _),) = shapes

    full = len(columns) * (width + GUTTER) - GUTTER
    head = BORDER + TITLE + 2 * LINE
    band = LINE + height + LINE + LINE // 2
    sheet = Image.new("RGB", (full + 2 * BORDER, head + LINE + len(rows) * band + BORDER - LINE // 2), PAPER)
    draw = ImageDraw.Draw(sheet)
    _text(draw, (BORDER, BORDER), title, full, INK, TITLE)
    _text(draw, (BORDER, BORDER + TITLE + LINE // 2), note, full, GREY)
    lefts = [BORDER + i * (width + GUTTER) for i in range(len(columns))]
    for left, name in zip(lefts, columns, strict=True):
        _text(draw, (left, head), name, width, INK)
    for i, row in enumerate(rows):
        top = head + LINE + i * band
        draw.line((BORDER, top, BORDER + full - 1, top), EDGE)
        used = _text(draw, (BORDER, top + 4), row.heading, full, INK)
        _text(draw, (BORDER + used + LINE // 2, top + 4), row.note, full - used - LINE // 2, GREY)
        for left, cell in zip(lefts, row.cells, strict=True):
            sheet.paste(Image.fromarray(cell.picture), (left, top + LINE))
            _text(draw, (left, top + LINE + height + 3), cell.caption, width, GREY)
    return sheet


def _text(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, room: float, colour: tuple[int, int, int], size: int = TEXT) -> int:
    """Write one line that is at most `room` px wide. -> its width in px."""
    font = _font(size)
    if font.getlength(text) > room:
        while text and font.getlength(text + "…") > room:
            text = text[:-1]
        text = text and text.rstrip(" ,") + "…"
    draw.text(at, text, fill=colour, font=font)
    return round(font.getlength(text))


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
