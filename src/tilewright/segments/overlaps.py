"""Objects of several classes made disjoint, as competitions ask for."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from tilewright.pixels.components import groups
from tilewright.pixels.runs import Ints, Runs, overlaps
from tilewright.segments.predictions import Layer


def without_overlaps(layers: Sequence[Layer]) -> list[list[Runs]]:
    """The objects of each layer, where a pixel of several goes to the one with the highest confidence.

    Of equally confident objects the first takes the pixel, in the order of the layers. Objects that lose every pixel
    are left out.

    Args:
        layers: masks of the same size; the objects of one layer do not overlap.
    """
    confidence = np.concatenate([layer.confidence for layer in layers])
    by_rank = np.argsort(-confidence, kind="stable")
    starts, stops, rank = _winners(layers, np.argsort(by_rank))
    owner = by_rank[rank]
    height, width = layers[0].runs.height, layers[0].runs.width
    row, start = np.divmod(starts, width + 1)
    stop = start + stops - starts
    ends = np.cumsum([0, *(len(layer.confidence) for layer in layers)])
    result = []
    for first, last in pairwise(ends.tolist()):
        own = (first <= owner) & (owner < last)
        result.append(list(_split(row[own], start[own], stop[own], owner[own], height, width)))
    return result


def united(layers: Sequence[Layer]) -> Layer:
    """The objects of all layers as one layer; pixels of several go to one object, as of ``without_overlaps``."""
    confidence = np.concatenate([layer.confidence for layer in layers])
    by_rank = np.argsort(-confidence, kind="stable")
    starts, stops, rank = _winners(layers, np.argsort(by_rank))
    opens = np.ones(len(starts), np.bool_)
    opens[1:] = (starts[1:] != stops[:-1]) | (rank[1:] != rank[:-1])
    height, width = layers[0].runs.height, layers[0].runs.width
    row, start = np.divmod(starts[opens], width + 1)
    stop = start + stops[np.append(opens[1:], True)] - starts[opens] if len(opens) else start
    left, owner = np.unique(by_rank[rank[opens]], return_inverse=True)
    number = np.concatenate([layer.number for layer in layers])
    return Layer(Runs(row, start, stop, height, width), owner.astype(np.int64), number[left], confidence[left])


def _winners(layers: Sequence[Layer], rank: Ints) -> tuple[Ints, Ints, Ints]:
    """Intervals in which no object begins or ends, and the best rank among the objects that cover each.

    Args:
        layers: masks of the same size.
        rank: rank of each object, layer after layer; 0 is the best.

    Returns:
        First key, key after the last and rank, all int64, of the intervals that an object covers.
    """
    ends = np.unique(np.concatenate([end for layer in layers for end in layer.runs.intervals()]))
    starts, stops = ends[:-1], ends[1:]
    best = np.full(len(starts), len(rank))
    per_layer = np.split(rank, np.cumsum([len(layer.confidence) for layer in layers])[:-1])
    for ranks, layer in zip(per_layer, layers, strict=True):
        inside, run = overlaps(starts, stops, *layer.runs.intervals())
        best[inside] = np.minimum(best[inside], ranks[layer.owner[run]])
    taken = best < len(rank)
    return starts[taken], stops[taken], best[taken]


def _split(row: Ints, start: Ints, stop: Ints, owner: Ints, height: int, width: int) -> Iterator[Runs]:
    """One mask for each owner, by its number; the parts of a run are joined again."""
    if len(owner):
        order, first = groups(np.unique(owner, return_inverse=True)[1])
        for members in np.split(order, first[1:]):
            yield Runs.of(row[members], start[members], stop[members], height, width)
