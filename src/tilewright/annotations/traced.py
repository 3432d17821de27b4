"""From pixels to outlines along pixel edges, so that drawing them by the centre rule gives the same pixels back."""

from collections.abc import Iterator, Sequence

import numpy as np
from shapely import MultiPolygon, Polygon

from tilewright.annotations.model import Area
from tilewright.pixels.components import components_of
from tilewright.pixels.runs import Ints, Runs
from tilewright.pixels.tracing import trace


def areas_of_masks(masks: Sequence[Runs]) -> Iterator[Area]:
    """The outline of each of some masks, which may overlap and have pixels, in pixels of their image."""
    if masks:
        row, start, stop = (
            np.concatenate([getattr(mask, name) for mask in masks]) for name in ("row", "start", "stop")
        )
        yield from areas_of_objects(row, start, stop, np.repeat(np.arange(len(masks)), [len(mask) for mask in masks]))


def parts_of_runs(runs: Runs) -> Iterator[Area]:
    """The outline of each connected part of a mask (pixels that share a corner are connected), by first pixel."""
    return areas_of_objects(runs.row, runs.start, runs.stop, components_of(runs))


def areas_of_objects(row: Ints, start: Ints, stop: Ints, owner: Ints) -> Iterator[Area]:
    """The outline of each object of row runs; objects may touch or overlap.

    Args:
        row: row of each run, int64[n].
        start: its first column.
        stop: the column after its last.
        owner: its object, from 0 to the largest without gaps.
    """
    count = int(owner.max(initial=-1)) + 1
    left, right = np.full(count, np.iinfo(np.int64).max), np.zeros(count, np.int64)
    np.minimum.at(left, owner, start)
    np.maximum.at(right, owner, stop)
    # side by side with a gap between them, objects that touch are traced apart
    place = np.cumsum(right - left + 1) - (right - left + 1)
    moved = place - left
    width = int((right - left + 1).sum())
    runs = Runs.of(row, start + moved[owner], stop + moved[owner], int(row.max(initial=-1)) + 1, width)
    objects = np.searchsorted(place, runs.start, side="right") - 1
    for geometry, shift in zip(trace(runs, objects), moved.tolist(), strict=True):
        parts = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
        polygons = [_polygon(rings, shift) for rings in parts]
        yield polygons[0] if len(polygons) == 1 else MultiPolygon(polygons)


def _polygon(rings: list[list[list[int]]], shift: int) -> Polygon:
    shell, *holes = ([(x - shift, y) for x, y in ring] for ring in rings)
    return Polygon(shell, holes)
