"""The contact sheet: the pictures of all slides on one page, for a browser, and in one picture."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

import cv2
import numpy as np

from tilewright.slides import RGB

OTHER = "#909090"
"""Colour of outlines whose label belongs to no class."""
LARGEST, SMALLEST, MOST = 320, 64, 2**25
"""Edge of a cell in pixels, where there are few slides and where there are many; pixels of a whole sheet, about."""
CAPTION = 20
WHITE, BLACK, RED = (255, 255, 255), (34, 34, 34), (198, 40, 40)
STYLE = """
body { font: 15px system-ui, sans-serif; margin: 24px; color: #222; background: #fafafa }
main { display: flex; flex-wrap: wrap; gap: 20px; align-items: flex-start }
figure { margin: 0; padding: 10px; width: 400px; background: #fff; border: 1px solid #ddd }
figure.odd { border: 2px solid #c62828 }
img { display: block; max-width: 100%; max-height: 400px; margin: 0 auto 8px }
b { font-family: ui-monospace, monospace }
p { margin: 4px 0 } p.odd { color: #c62828 }
i { display: inline-block; width: 14px; height: 14px; margin: 0 6px 0 14px; vertical-align: -2px }
"""


@dataclass(frozen=True)
class Card:
    """A slide on the page.

    Attributes:
        slide: its name.
        told: role, size, size of a pixel, outlines.
        file: name of its picture; empty: it cannot be read.
        small: the picture, at most as large as a cell.
        problems: what the check has found of it.
    """

    slide: str
    told: str
    file: str
    small: RGB
    problems: Sequence[str]


def cell_edge(slides: int) -> int:
    """Edge in pixels of the cell of each slide in the picture of so many."""
    return int(np.clip(math.sqrt(MOST / max(1, slides)), SMALLEST, LARGEST))


def fitted(pixels: RGB, edge: int) -> RGB:
    """A picture reduced to an edge at most."""
    scale = edge / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    height, width = (max(1, round(length * scale)) for length in pixels.shape[:2])
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def contact_sheet(cards: Sequence[Card]) -> RGB:
    """All slides in one picture, row by row, each above its name; those with problems have a red frame."""
    edge = cell_edge(len(cards))
    columns = max(1, math.ceil(math.sqrt(len(cards))))
    step, high = edge + 8, edge + 8 + CAPTION
    sheet = np.full((max(1, math.ceil(len(cards) / columns)) * high, columns * step, 3), WHITE, np.uint8)
    for place, card in enumerate(cards):
        left, top = place % columns * step + 4, place // columns * high + 4
        height, width = card.small.shape[:2]
        sheet[top : top + height, left : left + width] = card.small
        color = RED if card.problems else BLACK
        cv2.rectangle(sheet, (left - 1, top - 1), (left + width, top + height), color, 2 if card.problems else 1)
        cell = sheet[top + edge :, left : left + edge]
        cv2.putText(cell, card.slide, (0, CAPTION - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.42, color, 1, cv2.LINE_AA)
    return sheet


def page(cards: Sequence[Card], colors: Mapping[str, str]) -> Iterator[str]:
    """The page, piece by piece, which needs nothing but the pictures beside it."""
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Slides</title><style>{STYLE}</style>\n'
    yield f"<h1>{len(cards)} slides</h1><p>Classes:"
    yield from (f'<i style="background: {color}"></i>{escape(name)}' for name, color in colors.items())
    yield f'<i style="background: {OTHER}"></i>other labels</p>\n<main>\n'
    for card in cards:
        odd = ' class="odd"' if card.problems else ""
        yield f'<figure{odd} id="{escape(card.slide)}">'
        if card.file:
            file = escape(card.file)
            yield f'<a href="{file}"><img src="{file}" alt="{escape(card.slide)}"></a>'
        yield f"<p><b>{escape(card.slide)}</b> {escape(card.told)}</p>"
        yield from (f'<p class="odd">{escape(problem)}</p>' for problem in card.problems)
        yield "</figure>\n"
    yield "</main></html>\n"
