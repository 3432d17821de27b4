"""The objects of tiles, drawn from the outlines of a slide: which object each pixel belongs to."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from tilewright.masks.edgestore import EdgeStore
from tilewright.masks.outlines import outline_batches
from tilewright.pixels.grid import Frame, Window, mask_dtype
from tilewright.pixels.runs import Ints, spread
from tilewright.pixels.scanline import Edges, Spans, covered
from tilewright.project.config import PixelRule
from tilewright.tiles.archive import Labelled

BLOCK = 1024
"""Edge of the blocks that outlines are looked up by, in pixels of the slide."""


class TileObjects:
    """Draws the objects of tiles; made by ``tile_objects``."""

    def __init__(self, store: EdgeStore, frame: Frame, classes: int, rule: PixelRule) -> None:
        self._store, self._frame, self._classes, self._rule = store, frame, classes, rule

    def of(self, window: Window) -> Labelled:
        """The objects of a tile; its pixels beyond the slide are of none.

        Args:
            window: the tile, in pixels of the scale.
        """
        edges, owner = self._store.near(self._seen(window))
        scaled = Edges(edges.points / self._frame.factor, edges.area)
        spans = covered(scaled, window, self._rule)
        shape = window.height, window.width
        labels, shared = np.zeros((self._classes, *shape), np.uint16), np.zeros(shape, mask_dtype(self._classes))
        for place in range(self._classes):
            own = spans.take(owner[spans.area] == place)
            pixel, label = _painted(own, window.width)
            labels[place].reshape(-1)[pixel] = label
            shared |= (np.bincount(pixel, minlength=shared.size) > 1).reshape(shape) * shared.dtype.type(1 << place)
        return Labelled(labels, shared)

    def _seen(self, window: Window) -> Window:
        """A tile in pixels of the slide, with a pixel more for what rounding takes away."""
        factor = self._frame.factor
        left, top = math.floor(window.x * factor) - 1, math.floor(window.y * factor) - 1
        width, height = (math.ceil(edge * factor) + 3 for edge in (window.width, window.height))
        return Window(left, top, width, height).clipped(self._frame.scaled(1.0).size)


@contextmanager
def tile_objects(
    outlines: Path, frame: Frame, classes: Sequence[str], rule: PixelRule, beside: Path
) -> Iterator[TileObjects]:
    """Open the outlines of a slide to draw the objects of its tiles; memory grows with neither.

    Args:
        outlines: the table that ``rasterize`` wrote.
        frame: of the scaled slide.
        classes: names of the classes; other outlines are left out.
        rule: which pixels an outline covers.
        beside: a folder with room for as much as the table has.
    """
    # the table counts from the corner of the used part
    corner = replace(frame, x=0, y=0)
    with TemporaryFile(dir=beside) as waiting:
        store = EdgeStore(waiting, corner, BLOCK)
        for table in outline_batches(outlines, ("class", "geometry")):
            for place, name in enumerate(classes):
                shapes = table["geometry"][table["class"] == name].to_numpy()
                store.add(shapes, np.full(len(shapes), place, np.int64))
        yield TileObjects(store, corner, len(classes), rule)


def _painted(spans: Spans, width: int) -> tuple[Ints, Ints]:
    """Pixels (row * width + column) and the label of each, the largest objects first, so that the smallest stays."""
    length = spans.stop - spans.start
    numbers, place = np.unique(spans.area, return_inverse=True)
    area = np.bincount(place, length, minlength=len(numbers))
    order = np.argsort(-area[place], kind="stable")
    first = (spans.row * width + spans.start)[order]
    return spread(first, first + length[order]), np.repeat(place[order] + 1, length[order])
