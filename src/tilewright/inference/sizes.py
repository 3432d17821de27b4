"""Sizes of the predicted objects of slides with known truth, from which the best least size follows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tilewright.pixels.components import ComponentTracker
from tilewright.pixels.grid import Frame, Window
from tilewright.pixels.rasters import Raster, open_raster
from tilewright.pixels.runs import Ints, Runs, difference, overlaps
from tilewright.pixels.strips import Strip
from tilewright.pixels.thresholds import scored_strips
from tilewright.project.config.results import Enlarging

CANDIDATES = 64
# pixels of a run that count, and those of them that are of the class
OVERLAP = np.dtype([("area", np.int64), ("hits", np.int64)])


@dataclass(frozen=True)
class Sizes:
    """The predicted objects of a slide and class, in pixels of the slide.

    Attributes:
        area: of each object, int64[n]; ignored pixels do not count.
        hits: pixels of each that are of the class, int64[n].
        truth: pixels of the class.
    """

    area: Ints
    hits: Ints
    truth: int

    def counts(self, least: int) -> tuple[int, int, int]:
        """Pixels that are rightly taken, taken, and of the class, when objects from ``least`` pixels on are taken."""
        kept = self.area >= least
        return int(self.hits[kept].sum()), int(self.area[kept].sum()), self.truth


def object_sizes(
    probability: Path, mask: Path, classes: Sequence[str], name: str, threshold: float, enlarge: Enlarging = "bilinear"
) -> Sizes:
    """The sizes of the objects of a slide and class.

    Args:
        probability: the slide's probabilities, one band a class.
        mask: its true mask at full size.
        classes: names of all classes.
        name: the class.
        threshold: of the class.
        enlarge: how probabilities are brought to the size of the slide.
    """
    bit = classes.index(name)
    # a class that is not asked for has no pixel at a threshold above 1
    thresholds = [threshold if place == bit else 2.0 for place in range(len(classes))]
    area, hits, total = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0
    with open_raster(probability, classes) as raster, open_raster(mask, classes) as truth:
        frame = Frame.of(raster)
        tracker = ComponentTracker(frame.height, frame.width, values=OVERLAP)
        for strip in scored_strips(raster, frame, thresholds, enlarge=enlarge):
            top, bottom, own = strip[bit].strip
            true, ignored = _runs(truth, top, bottom, [bit, len(classes)])
            expected = difference(true, ignored)
            total += expected.area()
            overlap = np.empty(len(own), OVERLAP)
            overlap["area"] = own.lengths() - _common(own, ignored)
            overlap["hits"] = _common(own, expected)
            closed = tracker.push(Strip(top, bottom, own), overlap)
            area.append(np.bincount(closed.owner, closed.values["area"]).astype(np.int64))
            hits.append(np.bincount(closed.owner, closed.values["hits"]).astype(np.int64))
    return Sizes(np.concatenate(area), np.concatenate(hits), total)


def candidates(sizes: Sequence[Sizes]) -> list[int]:
    """Least sizes worth trying: none, and just above quantiles of the objects' areas."""
    areas = np.concatenate([each.area for each in sizes])
    if not len(areas):
        return [0]
    return [
        0,
        *sorted({int(each) + 1 for each in np.quantile(areas, np.linspace(0, 0.95, CANDIDATES), method="lower")}),
    ]


def _runs(raster: Raster, top: int, bottom: int, bits: Sequence[int]) -> list[Runs]:
    """Some bits of rows of a mask, in its coordinates."""
    pixels = raster.read(Window(0, top, raster.size.width, bottom - top))[0]
    parts = [Runs.from_mask((pixels & raster.dtype.type(1 << bit)) != 0) for bit in bits]
    return [Runs(part.row + top, part.start, part.stop, raster.size.height, raster.size.width) for part in parts]


def _common(runs: Runs, others: Runs) -> Ints:
    """Pixels of each run that lie in another mask."""
    starts, stops = runs.intervals()
    other_starts, other_stops = others.intervals()
    one, other = overlaps(starts, stops, other_starts, other_stops)
    length = np.minimum(stops[one], other_stops[other]) - np.maximum(starts[one], other_starts[other])
    return np.bincount(one, length, minlength=len(runs)).astype(np.int64)
