"""The objects of a slide at several levels, each beside the true object that it is: what objects are fitted on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from tilewright.annotations.anatomy import structure
from tilewright.inference.judging import Counts, KnownSlide
from tilewright.masks.drawn import DRAWN, true_instances
from tilewright.masks.outlines import recorded_outlines
from tilewright.pixels.finder import ObjectFinder, seedings
from tilewright.pixels.grid import Frame
from tilewright.pixels.instances import Instances, match, overlapping
from tilewright.pixels.measuring import Objects
from tilewright.pixels.rasters import Raster, open_raster
from tilewright.pixels.runs import Ints, Runs, difference, overlaps
from tilewright.pixels.strips import runs_of_bits
from tilewright.pixels.thresholds import scored_strips
from tilewright.project.config import Limits
from tilewright.project.orders import CalibrateOrder
from tilewright.project.project import Bounds

LEAST_OVERLAP = 0.5
"""From here on a true object has one predicted object at most, so that what is left out frees nothing for another."""
NEVER = 2.0
"""A threshold that no pixel reaches."""
Floats = NDArray[np.float64]


class Level(NamedTuple):
    """Where a grid is tried: the threshold of pixels, and what the seeds of objects exceed."""

    threshold: float
    seed: float


@dataclass(frozen=True, eq=False)
class Candidates:
    """The objects of a slide and class at a level, before the small and the unsure ones are left out.

    Attributes:
        area: pixels of each object, int64[n].
        confidence: of each, 0 to 1, float64[n].
        overlap: intersection over union of each with the true object that it is; 0: with none from ``LEAST_OVERLAP``
            on, float64[n].
        counts: those of which no more than half is ignored, bool[n].
        pixels: of each, without ignored ones, int64[n].
        hits: those of ``pixels`` that are of the class, int64[n].
        true_objects: number of true objects that count.
        true_pixels: pixels of the class.
    """

    area: Ints
    confidence: Floats
    overlap: Floats
    counts: NDArray[np.bool_]
    pixels: Ints
    hits: Ints
    true_objects: int
    true_pixels: int

    def kept(self, bounds: Bounds) -> NDArray[np.bool_]:
        """The objects that are large and sure enough, bool[n]."""
        kept: NDArray[np.bool_] = (self.area >= bounds.min_area) & (self.confidence >= bounds.min_confidence)
        return kept

    def pixel_counts(self, bounds: Bounds) -> Counts:
        """Pixels of the objects that are kept."""
        kept = self.kept(bounds)
        return int(self.hits[kept].sum()), int(self.pixels[kept].sum()), self.true_pixels


def slide_candidates(
    slide: KnownSlide, name: str, levels: Iterable[Level], order: CalibrateOrder, limits: Limits
) -> dict[Level, Candidates]:
    """Find the objects of a slide and class as ``segment`` would, and what is true of them, at each level.

    Args:
        slide: the slide.
        name: the class.
        levels: where to look.
        order: the classes, and how objects are made.
        limits: the most vertices of larger structures that are read.
    """
    spec, bit = order.objects, order.classes.index(name)
    assert spec, "only asked for where objects are the aim"
    (row,) = (each for each in spec.rows if each.slide == slide.name)
    true, ignored = runs_of_bits(slide.mask, [bit, len(order.classes)], order.classes)
    expected = difference(true, ignored)
    with open_raster(slide.probability, order.classes) as raster:
        frame = Frame.of(raster)
        truth = true_instances(recorded_outlines(slide.outlines, DRAWN), [name], frame, spec.pixel_rule)
        inside = structure(row.identity, row.anatomy, spec.segmentation.inside, frame, limits)
        found = {level: _objects(raster, name, level, order, inside) for level in levels}
    return {level: _compared(parts, truth, expected, ignored) for level, parts in found.items()}


def tells_seeds(slide: KnownSlide, name: str, order: CalibrateOrder) -> bool:
    """Whether the probabilities of a slide tell which pixels of a class are surely of one object alone."""
    assert order.objects, "only asked for where objects are the aim"
    with open_raster(slide.probability, order.classes) as raster:
        return bool(seedings(raster.classes, {name: Bounds(0.0, 0)}, order.objects.segmentation.seeds))


def _objects(
    raster: Raster, name: str, level: Level, order: CalibrateOrder, inside: shapely.Geometry | None
) -> list[Objects]:
    """The objects of a class at a level, strip by strip."""
    assert order.objects, "only asked for where objects are the aim"
    frame, spec, bounds = Frame.of(raster), order.objects.segmentation, Bounds(level.threshold, 0, seed=level.seed)
    seeding = seedings(raster.classes, {name: bounds}, spec.seeds).get(name)
    finder = ObjectFinder(frame, bounds, spec, inside, seeding)
    thresholds = [level.threshold if each == name else NEVER for each in order.classes]
    place = order.classes.index(name)
    strips = scored_strips(
        raster,
        frame,
        thresholds,
        enlarge=spec.enlarge,
        mixes=[seeding.mix] if seeding else [],
        with_pixels=seeding is not None,
    )
    return [finder.push(strip[place], strip[-1].strip.runs if seeding else None).objects for strip in strips]


def _compared(parts: Sequence[Objects], truth: Instances, expected: Runs, ignored: Runs) -> Candidates:
    """Objects beside the true ones.

    Args:
        parts: the objects, strip by strip.
        truth: the true objects.
        expected: pixels of the class that are not ignored.
        ignored: pixels that do not count.
    """
    found = _instances(parts)
    pairs = overlapping(truth, found, ignored)
    same = match(pairs, LEAST_OVERLAP).partner[pairs.predicted] == pairs.truth
    overlap = np.zeros(found.count)
    overlap[pairs.predicted[same]] = pairs.iou[same]
    return Candidates(
        area=np.concatenate([part.area for part in parts]),
        confidence=np.concatenate([part.confidence for part in parts]),
        overlap=overlap,
        counts=pairs.predicted_counts,
        pixels=pairs.predicted_area,
        hits=_common(found, expected),
        true_objects=int(np.count_nonzero(pairs.truth_counts)),
        true_pixels=expected.area(),
    )


def _instances(parts: Sequence[Objects]) -> Instances:
    """All objects, by their places in the concatenation of the parts."""
    before = np.cumsum([0, *(len(part) for part in parts)])
    keys = [part.runs.intervals() for part in parts]
    starts, stops = (np.concatenate(side) for side in zip(*keys, strict=True))
    owner = np.concatenate([part.owner + first for part, first in zip(parts, before, strict=False)])
    order = np.argsort(starts, kind="stable")
    return Instances(starts[order], stops[order], owner[order], int(before[-1]))


def _common(found: Instances, mask: Runs) -> Ints:
    """Pixels of each object that lie in a mask, int64[count]."""
    starts, stops = mask.intervals()
    one, other = overlaps(found.starts, found.stops, starts, stops)
    length = np.minimum(found.stops[one], stops[other]) - np.maximum(found.starts[one], starts[other])
    return np.bincount(found.owner[one], length, minlength=found.count).astype(np.int64)
