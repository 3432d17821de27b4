"""The objects of a class, found while the strips of its pixels pass from top to bottom."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from tilewright.pixels.components import ComponentTracker
from tilewright.pixels.grid import Frame
from tilewright.pixels.holes import HoleFiller
from tilewright.pixels.measuring import Objects, measure
from tilewright.pixels.runs import Runs, intersection, union
from tilewright.pixels.seeds import Waiting, part_by_seeds
from tilewright.pixels.thresholds import SCORES, Mix, Scored
from tilewright.pixels.touching import split_touching
from tilewright.project.config.results import Seeds, Segmentation
from tilewright.project.project import Bounds

FARTHER = 4
"""Times that seeds reach as far where distances alone are told: they are the inmost half of objects."""


class Seeding(NamedTuple):
    """What the seeds of a class are.

    Attributes:
        mix: what they have to exceed.
        reach: the farthest that they reach, in pixels of the scale of the probabilities.
    """

    mix: Mix
    reach: int


def seedings(bands: Sequence[str], bounds: Mapping[str, Bounds], seeds: Seeds | None) -> dict[str, Seeding]:
    """The seeds of each class; none where nothing tells, or nothing is asked.

    Args:
        bands: names of the bands of a raster, as of ``band_names``.
        bounds: those of each class.
        seeds: how bands are weighed.
    """
    if seeds is None:
        return {}
    place = {name: number for number, name in enumerate(bands)}
    found = {}
    for name, own in bounds.items():
        touching, border, distance = (place.get(f"{name}:{target}") for target in ("touching", "border", "distance"))
        weights, reach = {place[name]: 1.0}, seeds.reach
        if touching is not None:
            weights[touching] = -seeds.touching
        if border is not None:
            weights[border] = -seeds.border if touching is not None else -2 * seeds.border
        if len(weights) == 1 and distance is not None:
            weights, reach = {distance: 1.0}, FARTHER * seeds.reach
        if weights.keys() != {place[name]}:
            found[name] = Seeding(Mix(weights, own.seed), reach)
    return found


class Found(NamedTuple):
    """What a strip brings.

    Attributes:
        added: pixels of the class that are new.
        removed: pixels that were added and belong to no object.
        objects: objects that can grow no more.
        settled: rows above this one do not change any more.
    """

    added: Runs
    removed: Runs
    objects: Objects
    settled: int


class ObjectFinder:
    """Finds the objects of a class: holes, components, cuts, filters.

    Args:
        frame: of the slide.
        bounds: threshold, least size and least confidence of the class.
        segmentation: what becomes an object.
        inside: where the centre of an object must lie; None: anywhere.
        seeding: what its seeds are; None: it has none.
    """

    def __init__(
        self,
        frame: Frame,
        bounds: Bounds,
        segmentation: Segmentation,
        inside: shapely.Geometry | None,
        seeding: Seeding | None = None,
    ) -> None:
        self._bounds, self._segmentation, self._inside = bounds, segmentation, inside
        self._least_confidence = max(bounds.min_confidence, segmentation.min_confidence)
        self._filler = HoleFiller(frame.height, frame.width, segmentation.fill_holes)
        self._tracker = ComponentTracker(frame.height, frame.width, values=SCORES)
        self._seeds, self._pixels = (Waiting(frame.height, frame.width) for _ in range(2))
        self._seeding, self._factor = seeding, frame.factor

    def push(self, scored: Scored, seeds: Runs | None = None) -> Found:
        """Add the next strip.

        Args:
            scored: the pixels of the class, with the value of each where there are seeds.
            seeds: pixels of seeds, if it has any.
        """
        strip, values, _ = self._filler.push(scored)
        closed, lines = self._tracker.push(strip, values), Runs.empty(strip.runs.height, strip.runs.width)
        if seeds is not None and self._seeding and self._segmentation.seeds:
            self._seeds.add(intersection(seeds, scored.strip.runs))
            self._pixels.add(scored.strip.runs, scored.pixels)
            least = self._segmentation.seeds.least * self._factor**2
            reach = math.ceil(self._seeding.reach * self._factor)
            own, pixels = self._seeds.take(closed.runs).runs, self._pixels.take(closed.runs)
            closed = part_by_seeds(closed, own, pixels, least, reach)
        elif self._segmentation.split:  # it knows masks, to which objects that share edges are one
            closed, lines = split_touching(closed, self._segmentation.split)
        objects = measure(closed, use_max=self._segmentation.confidence == "max")
        kept = self._is_kept(objects)
        removed = union(lines, closed.runs.take(~kept[closed.owner]))
        first_open = self._tracker.first_row_of_smaller(self._least_sure_area())
        return Found(strip.runs, removed, objects.take(kept), strip.bottom if first_open < 0 else first_open)

    def _is_kept(self, objects: Objects) -> NDArray[np.bool_]:
        spec = self._segmentation
        kept = (objects.area >= self._bounds.min_area) & (objects.confidence >= self._least_confidence)
        if spec.max_area is not None:
            kept &= objects.area <= spec.max_area
        return kept if self._inside is None else kept & shapely.contains_xy(self._inside, objects.x, objects.y)

    def _least_sure_area(self) -> float:
        """An open component of so many pixels stays as it is."""
        spec = self._segmentation
        filtered = self._seeding or spec.split or self._least_confidence or spec.max_area or self._inside is not None
        return math.inf if filtered else self._bounds.min_area
