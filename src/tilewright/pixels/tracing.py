"""Outlines along the edges of pixels, with holes, from row runs.

Pixel 0, 0 reaches from 0 to 1. Memory grows with the outlines, not with the pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tilewright.pixels.components import components_of, stacked
from tilewright.pixels.runs import Ints, Runs


def trace(runs: Runs, objects: Ints, x: int = 0, y: int = 0) -> Iterator[dict[str, Any]]:
    """The outline of each object: a Polygon, or a MultiPolygon where parts meet at a corner only.

    Every polygon is valid: a ring bounds one part whose pixels share edges on one side and one such part of the
    background on the other, so no ring touches itself. Exterior rings turn from +x to +y, holes the other way.

    Args:
        runs: the pixels of the objects.
        objects: the object of each run, int64[n], from 0 to the largest without gaps; objects may share edges.
        x: added to all columns.
        y: added to all rows.
    """
    runs, order, down = stacked(runs, objects)
    objects = objects[order]
    pieces = components_of(runs, connectivity=4)
    edges = _edges(runs, pieces)
    # Edges are sorted by row, so the first ring met of a piece is its exterior.
    rings: list[list[list[int]]] = [[] for _ in range(int(pieces.max(initial=-1)) + 1)]
    piece_of = edges.piece.tolist()
    for ring in _cycles(edges.following.tolist()):
        rings[piece_of[ring[0]]].append(ring)
    members: list[list[int]] = [[] for _ in range(int(objects.max(initial=-1)) + 1)]
    _, first = np.unique(pieces, return_index=True)
    for piece, owner in enumerate(objects[first].tolist()):
        members[owner].append(piece)
    for parts, above in zip(members, down.tolist(), strict=True):
        polygons = [[edges.ring(ring, x, y + above) for ring in rings[piece]] for piece in parts]
        if len(polygons) == 1:
            yield {"type": "Polygon", "coordinates": polygons[0]}
        else:
            yield {"type": "MultiPolygon", "coordinates": polygons}


@dataclass(frozen=True)
class _Edges:
    """Horizontal edges of outlines, directed so that the mask lies on the side of +y of an edge that runs to +x.

    Attributes:
        tail: column where each begins, int64[m].
        head: column where it ends, int64[m].
        row: the row line that it lies on, int64[m].
        piece: the part of the mask that it bounds, int64[m].
        following: the next horizontal edge of its ring, int64[m].
    """

    tail: Ints
    head: Ints
    row: Ints
    piece: Ints
    following: Ints

    def ring(self, edges: list[int], x: int, y: int) -> list[list[int]]:
        """Corners of the ring through ``edges``, closed."""
        corners = np.empty((len(edges), 2, 2), np.int64)
        corners[:, 0, 0], corners[:, 1, 0] = self.tail[edges] + x, self.head[edges] + x
        corners[..., 1] = self.row[edges, np.newaxis] + y
        points: list[list[int]] = corners.reshape(-1, 2).tolist()
        return [*points, points[0]]


def _edges(runs: Runs, pieces: Ints) -> _Edges:
    """The horizontal edges: the columns in which neighbouring rows differ, sorted by row and column."""
    # Of all ends of runs in the two rows at a line, sorted, every two bound an edge. It runs to +x under pixels of the
    # background and over pixels of the mask; where runs of both rows end together, it has no length.
    #
    #     ends         0   4   8     14  18      26
    #     row above    ########......############
    #     row below    ....##############........
    #     edges        <<<<    >>>>>>    <<<<<<<<
    starts, stops = runs.intervals()
    below = runs.width + 1
    ends = np.sort(np.concatenate([starts, stops, starts + below, stops + below])).reshape(-1, 2)
    left, right = ends[ends[:, 0] < ends[:, 1]].T
    owner = np.searchsorted(starts, left, side="right") - 1
    forward = (owner >= 0) & (left < stops[owner])
    owner = np.where(forward, owner, np.searchsorted(starts, left - below, side="right") - 1)
    row, first = np.divmod(left, below)
    last = first + (right - left)
    tail, head = np.where(forward, first, last), np.where(forward, last, first)
    piece = pieces[owner]
    return _Edges(tail, head, row, piece, _following(tail, head, row, piece, runs.height))


def _following(tail: Ints, head: Ints, row: Ints, piece: Ints, height: int) -> Ints:
    """The horizontal edge that comes after each: consecutive ends of edges in a column bound a vertical edge.

    Where two pixels meet at a corner only, two edges end at the same point P. The end that is sorted first belongs to
    the vertical edge above P, the other to the one below::

        two pieces:  a ring goes round its pixel     one piece:  a ring crosses, and goes round the background
            ######|                                      ######|
            ######|                                      ######|
            ------P                                      ------P------
                  P------                                      |######
                  |######                                      |######
    """
    count = len(tail)
    forward = np.tile(tail < head, 2)
    is_tail = np.arange(2 * count) < count
    begins_right = forward == is_tail
    corner = np.concatenate([tail, head]) * (height + 1) + np.tile(row, 2)
    order = np.argsort(corner * 2 + (begins_right ^ ~is_tail))
    shared = np.flatnonzero(corner[order[1:]] == corner[order[:-1]])
    owners = np.tile(piece, 2)[order]
    same = shared[owners[shared] == owners[shared + 1]]
    order[same], order[same + 1] = order[same + 1], order[same]
    partner = np.empty(2 * count, np.int64)
    partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
    return partner[count:]


def _cycles(following: list[int]) -> Iterator[list[int]]:
    """The cycles of a permutation, each from its smallest member, by that member."""
    seen = bytearray(len(following))
    for start in range(len(following)):
        if not seen[start]:
            cycle, place = [], start
            while not seen[place]:
                seen[place] = 1
                cycle.append(place)
                place = following[place]
            yield cycle
