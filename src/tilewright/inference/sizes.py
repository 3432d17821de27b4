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

CANDIDATES = 64


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
        """Pixels that are rightly taken, taken, and of the class, when objects of ``least`` pixels and more are taken."""
        kept = self.area >= least
        return int(self.hits[kept].sum()), int(self.area[kept].sum()), self.truth


def object_sizes(probability: Path, mask: Path, bits: Sequence[int], thresholds: Sequence[float]) -> list[Sizes]:
    """The sizes of the objects of a slide, for each of some classes.

    Args:
        probability: the slide's probabilities, one band a class.
        mask: its true mask at full size.
        bits: the classes, as bands of the one and bits of the other.
        thresholds: of all classes.
    """
    with open_raster(probability) as raster, open_raster(mask) as truth:
        frame, ignored = Frame.of(raster), raster.bands
        trackers = [ComponentTracker(frame.height, frame.width, values=2) for _ in bits]
        found: list[list[tuple[Ints, Ints]]] = [[] for _ in bits]
        totals = [0] * len(bits)
        for strip in scored_strips(raster, frame, thresholds):
            top, bottom, _ = strip[0].strip
            *true, void = _runs(truth, top, bottom, [*bits, ignored])
            for place, bit in enumerate(bits):
                own, expected = strip[bit].strip.runs, difference(true[place], void)
                totals[place] += expected.area()
                values = np.stack([own.lengths() - _common(own, void), _common(own, expected)], axis=1)
                closed = trackers[place].push(Strip(top, bottom, own), values.astype(np.float64))
                counts = [np.bincount(closed.labels, column).astype(np.int64) for column in closed.values.T]
                found[place].append((counts[0], counts[1]))
    return [
        Sizes(np.concatenate([area for area, _ in parts]), np.concatenate([hits for _, hits in parts]), total)
        for parts, total in zip(found, totals, strict=True)
    ]


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
