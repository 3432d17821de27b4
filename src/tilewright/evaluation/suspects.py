"""How much networks that have not seen a slide contradict its outlines. Pure functions; areas in pixels of level 0.

An outline is contradicted by its place, where nothing is seen inside it while something that nobody has outlined is
seen beside it, and by its class, where another one is seen. Beliefs in classes are compared in units of what networks
believe of outlines that have that class (confident learning: Northcutt, Jiang and Chuang 2021), because a class that is
hard to see is not wrong for that. A predicted object that nobody has outlined is the more suspect the surer it is, of
whatever class, and the nearer it comes to the size of what is outlined.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.instances import Instances
from tilewright.pixels.runs import Ints
from tilewright.pixels.strips import Strip

KINDS = ("improbable", "shifted", "too large", "too small", "other class", "not outlined", "duplicate")
COUNTERPART = 0.1
"""Least intersection over union of an outline and the predicted object that it belongs to."""
LARGER = 1.5
"""From this ratio of areas on an outline is too large or too small; below it, it lies elsewhere."""
BESIDE = 0.3
"""From this share on, what is seen beside an outline without a counterpart tells that it lies elsewhere."""
DIRECTIONS = np.arange(8) * (np.pi / 4)
Floats = NDArray[np.float64]


VIEWS = 1 + len(DIRECTIONS)
"""An object where it is, and where it would be if it were moved in each direction."""


@dataclass(frozen=True)
class Looks:
    """What networks see at some objects.

    Attributes:
        seen: mean probability of each class inside, float64[n, classes].
        beside: largest share of unclaimed probability where the object would be if it were moved by its radius.
        right: columns of that move, float64[n].
        down: rows of it.
    """

    seen: Floats
    beside: Floats
    right: Floats
    down: Floats

    @classmethod
    def of(cls, beliefs: Floats, area: Ints) -> "Looks":
        """What is known once all rows of the objects have been seen.

        Args:
            beliefs: the sum of probabilities in each of the ``views``, float64[classes, VIEWS, n].
            area: pixels of each object, int64[n].
        """
        pixels = np.maximum(area, 1)
        shares = reduce(np.add, beliefs[:, 1:]) / pixels
        best = np.argmax(shares, axis=0)
        chosen = best, np.arange(len(area))
        right, down = (move[chosen] for move in _moves(area))
        return cls((beliefs[:, 0] / pixels).T, np.minimum(shares[chosen], 1), right, down)


def views(outlined: Instances, claimed: Strip) -> Instances:
    """The pixels in some rows that count for objects: VIEWS groups of as many objects, as of ``Instances.joined``.

    Args:
        outlined: the objects.
        claimed: all outlined and all ignored pixels of these rows.
    """
    line, size = claimed.runs.width + 1, claimed.runs.size
    top, bottom = claimed.top * line, claimed.bottom * line
    found = [outlined.between(top, bottom)]
    for right, down in zip(*_moves(outlined.area()), strict=True):
        right, down = right.astype(np.int64), down.astype(np.int64)
        away = down[outlined.owner] * line
        found.append(outlined.between(top - away, bottom - away).moved(right, down, size).outside(claimed.runs))
    return Instances.joined(found)


def _moves(area: Ints) -> tuple[Floats, Floats]:
    """Columns and rows by which objects of an area move in each direction, both float64[directions, n]."""
    radius = np.sqrt(np.maximum(area, 1) / np.pi)
    right, down = (np.rint(np.outer(side(DIRECTIONS), radius)) for side in (np.cos, np.sin))
    return right, down


def reach(width: Floats, height: Floats) -> Ints:
    """Rows that an object in a box may move by at most, int64[n]."""
    return np.ceil(np.sqrt((width + 2) * (height + 2) / np.pi)).astype(np.int64) + 1


def misplaced(seen: Floats, beside: Floats) -> Floats:
    """How much the place of each outline is contradicted, 0 to 1.

    Args:
        seen: as in ``Looks``, float64[n, classes].
        beside: as in ``Looks``, float64[n].
    """
    contradicted: Floats = np.clip(1 - seen.sum(axis=1) + beside, 0, 1)
    return contradicted


def misnamed(seen: Floats, own: Ints, usual: Floats) -> tuple[Floats, Ints]:
    """How much the class of each outline is contradicted, 0 to 1, and the class that is seen instead.

    Args:
        seen: mean probability of each class, float64[n, classes].
        own: the class of each outline, int64[n].
        usual: mean probability of each class inside of outlines that have it, float64[classes].
    """
    units = seen / np.maximum(usual, 1e-6)
    rows = np.arange(len(own))
    mine = units[rows, own]
    units[rows, own] = 0
    instead = units.argmax(axis=1)
    other = units[rows, instead]
    total = mine + other
    beyond = np.divide(other - mine, total, out=np.zeros(len(own)), where=total > 0)
    return np.maximum(beyond, 0), instead


def unclaimed(area: Ints, free: Ints, beliefs: Floats, usual: float) -> Floats:
    """How surely each predicted object is one that nobody has outlined, 0 to 1; 0 where half of it is claimed.

    Args:
        area: its pixels, int64[n].
        free: those that are neither outlined nor ignored, int64[n].
        beliefs: the sum of probabilities of each class over these, float64[classes, n].
        usual: area of a usual outline of the slide.
    """
    believing = np.minimum(reduce(np.add, beliefs), free)
    # the geometric mean of what is believed of its pixels and of how near its area comes to the usual one
    return np.where(2 * free >= area, np.sqrt(believing / np.maximum(area, max(usual, 1))), 0.0)


def shape_kinds(outlined: Ints, predicted: Ints, beside: Floats) -> Ints:
    """What is wrong with the places of outlines: places in ``KINDS``.

    Args:
        outlined: area of each, int64[n].
        predicted: area of its counterpart, int64[n]; 0: it has none.
        beside: as in ``Looks``.
    """
    names = {name: place for place, name in enumerate(KINDS)}
    has = predicted > 0
    return np.select(
        [has & (outlined >= LARGER * predicted), has & (predicted >= LARGER * outlined), has | (beside >= BESIDE)],
        [names["too large"], names["too small"], names["shifted"]],
        names["improbable"],
    )


@dataclass(frozen=True)
class Shared:
    """Pixels that outlines and predicted objects have in common.

    Attributes:
        outlined: number of the outline of each pair, int64[pairs].
        predicted: number of the predicted object.
        pixels: those that both have; a pair may stand there several times, for pixels of several strips.
    """

    outlined: Ints
    predicted: Ints
    pixels: Ints

    @classmethod
    def joined(cls, parts: "Sequence[Shared]") -> "Shared":
        """All pairs of several."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__annotations__))

    def take(self, chosen: NDArray[np.bool_]) -> "Shared":
        """Some of the pairs."""
        return Shared(self.outlined[chosen], self.predicted[chosen], self.pixels[chosen])


@dataclass(frozen=True)
class Counterparts:
    """The predicted object that each outline overlaps most.

    Attributes:
        object: its number, int64[n]; -1: none from ``COUNTERPART`` on.
        area: its pixels, int64[n]; 0: none.
        overlap: their intersection over union, float64[n]; 0: none.
    """

    object: Ints
    area: Ints
    overlap: Floats

    @classmethod
    def of(cls, shared: Shared, outlined: Ints, predicted: Ints) -> "Counterparts":
        """Find them.

        Args:
            shared: pixels in common, with the places of outlines and objects as their numbers.
            outlined: pixels of each outline, int64[n].
            predicted: pixels of each predicted object, int64[m].
        """
        pairs, place = np.unique(shared.outlined * len(predicted) + shared.predicted, return_inverse=True)
        common = np.bincount(place, shared.pixels, minlength=len(pairs)).astype(np.int64)
        one, other = np.divmod(pairs, max(len(predicted), 1))
        overlap = common / (outlined[one] + predicted[other] - common)
        order = np.argsort(overlap, kind="stable")
        order = order[overlap[order] >= COUNTERPART]
        found, best = np.full(len(outlined), -1), np.zeros(len(outlined))
        found[one[order]], best[one[order]] = other[order], overlap[order]  # the last one counts, which is the largest
        return cls(found, np.append(predicted, 0)[found], best)
