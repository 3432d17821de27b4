"""Probabilities at their own scale to the pixels of the slide that reach a threshold, strip by strip."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.grid import Frame, Window
from tilewright.pixels.interpolation import CubicTaps, Taps
from tilewright.pixels.rasters import Raster
from tilewright.pixels.runs import Runs
from tilewright.pixels.strips import Strip

BAND_PIXELS = 1 << 21
STRIP = 128
ENLARGED: dict[str, tuple[type[Taps] | type[CubicTaps], float]] = {
    "bilinear": (Taps, 1.0),
    "bicubic": (CubicTaps, 1.45),
}
"""Ways to enlarge, and how many times the largest value around it a value is at most: weights of OpenCV's bicubic
interpolation that are above 0 sum to 1.19 along a line, those below 0 to -0.19."""
# what is known of the values of a run: probabilities times 255
SCORES = np.dtype([("sum", np.float64), ("largest", np.float64), ("count", np.float64)])


class Scored(NamedTuple):
    """A strip of a class: the pixels at or above the threshold, and their values, which are probabilities times 255.

    Attributes:
        strip: the pixels.
        values: sum, largest and number of the values of each run, ``SCORES``[runs].
        pixels: the rounded value of each pixel, run after run, uint8; empty where nobody asks for it.
    """

    strip: Strip
    values: NDArray[np.void]
    pixels: NDArray[np.uint8] = np.empty(0, np.uint8)


class Mix(NamedTuple):
    """A sum of bands, each with a weight, and the level (0 to 1) that it has to exceed."""

    weights: Mapping[int, float]
    level: float


def scored_strips(
    raster: Raster,
    frame: Frame,
    thresholds: Sequence[float],
    band_pixels: int = BAND_PIXELS,
    enlarge: str = "bilinear",
    mixes: Sequence[Mix] = (),
    with_pixels: bool = False,
) -> Iterator[list[Scored]]:
    """The pixels of the slide that reach the threshold of each class: strips of ``STRIP`` rows, one ``Scored`` a class.

    Then those that exceed the level of each mix.

    A value ``v`` (0 to 255, interpolated in float32 where the scale is coarser than the slide) reaches the threshold
    ``t`` where ``v >= round(255 * t, 6)``; rounding makes ``t = b / 255`` mean exactly ``v >= b``.

    Args:
        raster: probabilities, uint8[bands, rows, columns], those of the classes first.
        frame: their place and factor.
        thresholds: 0 to 1, one a class.
        band_pixels: pixels of the slide held at a time; bounds memory, does not change the result.
        enlarge: bilinear or bicubic, which stays within 0 and 255.
        mixes: sums of bands.
        with_pixels: give the value of each pixel of the classes, too.
    """
    wanted = [*(Mix({band: 1.0}, value) for band, value in enumerate(thresholds)), *mixes]
    cuts = [np.float32(round(255 * each.level, 6)) for each in wanted]
    taps, most = ENLARGED[enlarge]
    columns = taps.of(0, frame.width, raster.size.width, pixel=1, cell=frame.factor)
    step = max(1, min(STRIP, band_pixels // frame.width))
    for top in range(0, frame.height, STRIP):
        bottom = min(top + STRIP, frame.height)
        parts: list[list[Scored]] = [[] for _ in cuts]
        for first in range(top, bottom, step):
            last = min(first + step, bottom)
            rows = taps.of(first, last, raster.size.height, pixel=1, cell=frame.factor)
            for place, values in _reached(raster, frame, wanted, rows, columns, most):
                taken = values >= cuts[place] if place < len(thresholds) else values > cuts[place]
                kept = with_pixels and place < len(thresholds)
                parts[place].append(_scored(taken, values, first, frame, with_pixels=kept))
        yield [_stacked(part, top, bottom, frame) for part in parts]


def _reached(
    raster: Raster, frame: Frame, wanted: Sequence[Mix], rows: Taps | CubicTaps, columns: Taps | CubicTaps, most: float
) -> Iterator[tuple[int, NDArray[Any]]]:
    """What may reach its level in some rows, by its place, and its values at full size."""
    first, count = rows.span
    coarse = raster.read(Window(0, first, raster.size.width, count))
    for place, mix in enumerate(wanted):
        values = _summed(coarse, mix.weights)
        # 1 more, for rounding errors
        if (int(values.max()) + 1) * most > 255 * mix.level:
            if frame.factor != 1:
                across = columns.blend(values.astype(np.float32), axis=1)
                values = rows.since(first).blend(across, axis=0)
                if most > 1:
                    values = np.clip(values, 0, 255)
            yield place, values


def _summed(bands: NDArray[Any], weights: Mapping[int, float]) -> NDArray[Any]:
    """A sum of bands; of one alone, the band as it is."""
    if list(weights.values()) == [1.0]:
        return np.asarray(bands[next(iter(weights))])
    parts = [np.float32(weight) * bands[band] for band, weight in weights.items()]
    return np.maximum(sum(parts, np.zeros((), np.float32)), 0)


def _scored(mask: NDArray[np.bool_], values: NDArray[Any], top: int, frame: Frame, *, with_pixels: bool) -> Scored:
    part = Runs.from_mask(mask)
    runs = Runs(part.row + top, part.start, part.stop, frame.height, frame.width)
    found, pixels = np.empty(len(runs), SCORES), np.empty(0, np.uint8)
    if len(runs):
        lengths = found["count"] = part.lengths()
        chosen, first = values[mask], np.cumsum(lengths) - lengths
        found["sum"] = np.add.reduceat(chosen, first, dtype=np.float64)
        found["largest"] = np.maximum.reduceat(chosen, first)
        if with_pixels:
            pixels = np.rint(chosen).astype(np.uint8)
    return Scored(Strip(top, top + len(mask), runs), found, pixels)


def _stacked(parts: Sequence[Scored], top: int, bottom: int, frame: Frame) -> Scored:
    runs = Runs.concatenate(((0, part.strip.runs) for part in parts), frame.height, frame.width)
    values = np.concatenate([np.empty(0, SCORES), *(part.values for part in parts)])
    pixels = np.concatenate([np.empty(0, np.uint8), *(part.pixels for part in parts)])
    return Scored(Strip(top, bottom, runs), values, pixels)
