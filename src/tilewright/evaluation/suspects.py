"""How much networks that have not seen a slide contradict its outlines. Pure functions; areas in pixels of level 0.

An outline is contradicted by its place, where nothing is seen inside it while something that nobody has outlined is
seen beside it, and by its class, where another one is seen. Beliefs in classes are compared in units of what networks
believe of outlines that have that class (confident learning: Northcutt, Jiang and Chuang 2021), because a class that is
hard to see is not wrong for that. A predicted object that nobody has outlined is the more suspect the surer it is, of
whatever class, and the nearer it comes to the size of what is outlined.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilewright.evaluation.beliefs import believed
from tilewright.pixels.instances import Instances, intersections
from tilewright.pixels.rasters import Raster
from tilewright.pixels.runs import Ints, Runs

KINDS = ("improbable", "shifted", "too large", "too small", "other class", "not outlined", "duplicate")
COUNTERPART = 0.1
"""Least intersection over union of an outline and the predicted object that it belongs to."""
LARGER = 1.5
"""From this ratio of areas on an outline is too large or too small; below it, it lies elsewhere."""
BESIDE = 0.3
"""From this share on, what is seen beside an outline without a counterpart tells that it lies elsewhere."""
DIRECTIONS = np.arange(8) * (np.pi / 4)
Floats = NDArray[np.float64]


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


def look(raster: Raster, bands: list[int], outlined: Instances, claimed: Runs) -> Looks:
    """What networks see at outlined objects, and beside them.

    Args:
        raster: out-of-fold probabilities.
        bands: those of the classes.
        outlined: the objects.
        claimed: all outlined and all ignored pixels.
    """
    area = np.maximum(outlined.area(), 1)
    seen = believed(raster, outlined, bands) / area
    radius = np.sqrt(area / np.pi)
    shares, moves = [], [np.rint(np.outer(side(DIRECTIONS), radius)) for side in (np.cos, np.sin)]
    for right, down in zip(*moves, strict=True):
        moved = outlined.moved(right.astype(np.int64), down.astype(np.int64), claimed.size)
        shares.append(believed(raster, moved.outside(claimed), bands).sum(axis=0) / area)
    best = np.argmax(shares, axis=0)
    chosen = best, np.arange(len(area))
    return Looks(seen.T, np.minimum(np.stack(shares)[chosen], 1), moves[0][chosen], moves[1][chosen])


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


def unclaimed(raster: Raster, bands: list[int], predicted: Instances, claimed: Runs, usual: float) -> Floats:
    """How surely each predicted object is one that nobody has outlined, 0 to 1; 0 where half of it is claimed.

    Args:
        raster: out-of-fold probabilities.
        bands: those of the classes.
        predicted: the objects.
        claimed: all outlined and all ignored pixels.
        usual: area of a usual outline of the slide.
    """
    area = predicted.area()
    bare = predicted.outside(claimed)
    free = bare.area()
    believing = np.minimum(believed(raster, bare, bands).sum(axis=0), free)
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
class Counterparts:
    """The predicted object that each outline overlaps most.

    Attributes:
        object: its place, int64[n]; -1: none from ``COUNTERPART`` on.
        area: its pixels, int64[n]; 0: none.
        overlap: their intersection over union, float64[n]; 0: none.
    """

    object: Ints
    area: Ints
    overlap: Floats

    @classmethod
    def of(cls, outlined: Instances, predicted: Instances) -> "Counterparts":
        """Find them.

        Args:
            outlined: objects that may overlap.
            predicted: objects whose intervals are increasing and disjoint.
        """
        one, other, shared = intersections(outlined, predicted)
        areas, common = predicted.area(), shared.area()
        overlap = common / (outlined.area()[one] + areas[other] - common)
        order = np.argsort(overlap, kind="stable")
        order = order[overlap[order] >= COUNTERPART]
        found, best = np.full(outlined.count, -1), np.zeros(outlined.count)
        found[one[order]], best[one[order]] = other[order], overlap[order]  # the last one counts, which is the largest
        return cls(found, np.append(areas, 0)[found], best)
