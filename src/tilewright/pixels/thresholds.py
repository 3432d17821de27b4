"""Probabilities at their own scale to the pixels of the slide that reach a threshold, strip by strip."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.grid import Frame, Window
from tilewright.pixels.rasters import Raster
from tilewright.pixels.runs import Ints, Runs
from tilewright.pixels.strips import Strip

BAND_PIXELS = 1 << 21
STRIP = 128
Floats = NDArray[np.float64]


class Scored(NamedTuple):
    """A strip of a class: the pixels at or above the threshold, and their values, which are probabilities times 255.

    Attributes:
        strip: the pixels.
        values: sum, largest and number of the values of each run, float64[runs, 3].
    """

    strip: Strip
    values: Floats


def scored_strips(
    raster: Raster, frame: Frame, thresholds: Sequence[float], band_pixels: int = BAND_PIXELS
) -> Iterator[list[Scored]]:
    """The pixels of the slide that reach the threshold of each class: strips of ``STRIP`` rows, one ``Scored`` a class.

    A value ``v`` (0 to 255, interpolated in float32 where the scale is coarser than the slide) reaches the threshold
    ``t`` where ``v >= round(255 * t, 6)``; rounding makes ``t = b / 255`` mean exactly ``v >= b``.

    Args:
        raster: probabilities, uint8[classes, rows, columns].
        frame: their place and factor.
        thresholds: 0 to 1, one a class.
        band_pixels: pixels of the slide held at a time; bounds memory, does not change the result.
    """
    cuts = [round(255 * value, 6) for value in thresholds]
    columns = _taps(0, frame.width, frame.factor, raster.size.width)
    step = max(1, min(STRIP, band_pixels // frame.width))
    for top in range(0, frame.height, STRIP):
        bottom = min(top + STRIP, frame.height)
        parts: list[list[Scored]] = [[] for _ in cuts]
        for first in range(top, bottom, step):
            rows = _taps(first, min(first + step, bottom), frame.factor, raster.size.height)
            for band, values in _reached(raster, frame, cuts, rows, columns):
                parts[band].append(_scored(values >= np.float32(cuts[band]), values, first, frame))
        yield [_stacked(part, top, bottom, frame) for part in parts]


@dataclass(frozen=True)
class _Taps:
    """The two coarse cells between whose centres each fine pixel lies, and the share of the second one."""

    lower: Ints
    upper: Ints
    share: NDArray[np.float32]

    def since(self, first: int) -> "_Taps":
        return _Taps(self.lower - first, self.upper - first, self.share)

    def blend(self, cells: NDArray[np.float32]) -> NDArray[np.float32]:
        """Interpolate along the first axis: float32[cells, n] to float32[pixels, n]."""
        low = cells[self.lower]
        values: NDArray[np.float32] = low + self.share[:, np.newaxis] * (cells[self.upper] - low)
        return values


def _taps(start: int, stop: int, factor: float, cells: int) -> _Taps:
    """Bilinear interpolation with half-pixel centres; beyond the outermost centres the outermost cell goes on."""
    position = np.clip((np.arange(start, stop) + 0.5) / factor - 0.5, 0, cells - 1)
    lower = np.floor(position).astype(np.int64)
    return _Taps(lower, np.ceil(position).astype(np.int64), (position - lower).astype(np.float32))


def _reached(
    raster: Raster, frame: Frame, cuts: Sequence[float], rows: _Taps, columns: _Taps
) -> Iterator[tuple[int, NDArray[Any]]]:
    """The classes that may reach their cut in some rows, and their values at full size."""
    first, last = int(rows.lower[0]), int(rows.upper[-1])
    coarse = raster.read(Window(0, first, raster.size.width, last + 1 - first))
    for band, cut in enumerate(cuts):
        # An interpolated value exceeds its neighbours by a rounding error at most.
        if int(coarse[band].max()) + 1 > cut:
            values = coarse[band]
            if frame.factor != 1:
                across = columns.blend(values.astype(np.float32).T).T
                values = rows.since(first).blend(np.ascontiguousarray(across))
            yield band, values


def _scored(mask: NDArray[np.bool_], values: NDArray[Any], top: int, frame: Frame) -> Scored:
    part = Runs.from_mask(mask)
    runs = Runs(part.row + top, part.start, part.stop, frame.height, frame.width)
    found = np.empty((len(runs), 3))
    if len(runs):
        lengths = found[:, 2] = part.lengths()
        chosen, first = values[mask], np.cumsum(lengths) - lengths
        np.add.reduceat(chosen, first, dtype=np.float64, out=found[:, 0])
        found[:, 1] = np.maximum.reduceat(chosen, first)
    return Scored(Strip(top, top + len(mask), runs), found)


def _stacked(parts: Sequence[Scored], top: int, bottom: int, frame: Frame) -> Scored:
    runs = Runs.concatenate(((0, part.strip.runs) for part in parts), frame.height, frame.width)
    return Scored(Strip(top, bottom, runs), np.concatenate([np.empty((0, 3)), *(part.values for part in parts)]))
