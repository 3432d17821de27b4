"""How far those that predict a slide are apart: what their mean does not tell.

The spread of a pixel is the root of its variance, in the mean over classes: of a model, over its folds; of an ensemble,
the weighted mean of the variance within its members, and the variance between them (the law of total variance). Of
probabilities it is 0.5 at most. On disk it is a band of uint8, 255 being 0.5, or of float16.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.grid import Window
from tilewright.pixels.interpolation import read_at
from tilewright.pixels.rasters import Raster, read_tags
from tilewright.runtime.errors import DataError, Problem

SPREAD_LEVELS = 510
RELATIVE_TAG = "relative_spread"
"""Of a map of an ensemble: what ``JoinedSpread.relative`` says of the slide."""
POSSIBLE = 0.5
"""From this probability on, of 255, a class is possible: others are 0 on disk."""
Floats = NDArray[np.float32]


def read_spread(source: Raster, target: Raster, window: Window) -> Floats:
    """The spread in a window of a raster (rows x columns, 0 to 0.5); between scales it is interpolated."""
    levels = 1 if source.dtype.kind == "f" else SPREAD_LEVELS
    return np.asarray(read_at(source, target, window)[0] / np.float32(levels))


def relative_spread(path: Path) -> float:
    """How far those that predict a slide are apart, by what they predict, as the map of an ensemble says it.

    Raises:
        DataError: the map is missing, or says nothing.
    """
    tags = read_tags(path)
    if RELATIVE_TAG not in tags:
        raise DataError(Problem(str(path), "says no sum.", f"Delete {path.parent} and run the same command again."))
    return float(tags[RELATIVE_TAG])


@dataclass
class JoinedSpread:
    """Writes the spread of an ensemble beside its mean, window by window.

    Attributes:
        out: the raster of one band to write.
        within: of each member that counts, the spread of its folds; None: it has one.
        masks: how many bands of the members, from the first on, are masks of classes.
    """

    out: Raster
    within: Sequence[Raster | None]
    masks: int
    _between: Floats = field(default_factory=lambda: np.zeros((), np.float32))
    _spread: float = 0.0
    _predicted: float = 0.0

    def watched(self, parts: Iterable[tuple[np.float32, Floats]]) -> Iterator[tuple[np.float32, Floats]]:
        """The parts of a weighted mean as they come, share and values (bands x rows x columns, 0 to 255).

        Their variance is summed up on the way (West, 1979).
        """
        mean = self._between = np.zeros((), np.float32)
        weight = np.float32(0)
        for share, values in parts:
            yield share, values
            weight += share
            apart = values[: self.masks] - mean
            mean = mean + apart * (share / weight)
            self._between = self._between + share * apart * (values[: self.masks] - mean)

    def write(self, mean: Floats, shares: Sequence[np.float32], target: Raster, window: Window) -> None:
        """Write a window whose parts were watched.

        Args:
            mean: their mean, bands x rows x columns, 0 to 255.
            shares: what each member that counts does.
            target: the raster that the window counts in.
            window: its place.
        """
        variance = self._between.mean(axis=0) / np.float32(255**2)
        for share, own in zip(shares, self.within, strict=True):
            if own is not None:
                variance = variance + share * read_spread(own, target, window) ** 2
        spread = np.sqrt(variance)
        possible = mean[: self.masks].max(axis=0) >= POSSIBLE
        self._spread += float(spread[possible].sum(dtype=np.float64))
        self._predicted += float(mean[: self.masks, possible].sum(dtype=np.float64)) / 255 / self.masks
        levels = (spread * np.float32(SPREAD_LEVELS) + np.float32(0.5)).astype(np.uint8)
        if levels.any():
            self.out.write(levels, window.x, window.y)

    def relative(self) -> float:
        """The sum of the spread over that of the probability, where a class is possible; 0: nothing is predicted.

        Of slides it tells best which are wrong (docs/results.md): the mean alone is small where little is predicted.
        """
        return self._spread / self._predicted if self._predicted else 0.0
