"""Bends of a tile that no matrix describes: for pixels of the bent tile, where they lie in the tile as it was.

What they draw is what the transforms of albumentations of the same names draw, computed for the pixels of a crop alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Line = NDArray[np.float32]
Map = NDArray[np.float32]


@dataclass(frozen=True)
class Lens:
    """A barrel or a cushion: r moves to r (1 + k r² + k r⁴), r = 1/2 at the border of the tile.

    Attributes:
        strength: k.
    """

    strength: float

    def __call__(self, shape: tuple[int, int], rows: slice, columns: slice) -> tuple[Map, Map]:
        """Columns and rows in a tile of a shape, of all pixels of the crop."""
        height, width = shape
        # OpenCV, hence albumentations, takes the middle of a pixel for it here and its corner there
        x, y = (
            (_line(span) - np.float32((edge - 1) / 2)) / np.float32(edge)
            for span, edge in ((columns, width), (rows, height))
        )
        square = (y * y)[:, None] + (x * x)[None]
        grown = square * square
        grown += square
        # once for a square
        factors = {edge: grown * np.float32(self.strength * edge) + np.float32(edge) for edge in {width, height}}
        return factors[width] * x[None] + np.float32(width / 2), factors[height] * y[:, None] + np.float32(height / 2)


@dataclass(frozen=True)
class Grid:
    """Columns and rows of a grid become wider and narrower.

    Attributes:
        x: where each column of the bent tile lies.
        y: where each row does.
    """

    x: Line
    y: Line

    def __call__(self, _shape: tuple[int, int], rows: slice, columns: slice) -> tuple[Map, Map]:
        """Columns and rows in the tile, of all pixels of the crop."""
        x, y = self.x[columns], self.y[rows]
        return np.tile(x, (len(y), 1)), np.repeat(y[:, None], len(x), axis=1)


@dataclass(frozen=True)
class Elastic:
    """Noise, smoothed, moves every pixel.

    It is drawn at every fifth of ``sigma``, at which its smoothed form has no detail left, as strong as it is where
    each pixel has noise of its own.

    Attributes:
        noise: 2 x rows x columns, standard normal; ``coarse`` tells how many.
        alpha: largest noise, in pixels.
        sigma: standard deviation of the smoothing, in pixels.
    """

    noise: NDArray[np.float32]
    alpha: float
    sigma: float

    def __call__(self, shape: tuple[int, int], rows: slice, columns: slice) -> tuple[Map, Map]:
        """Columns and rows in a tile of a shape, of all pixels of the crop."""
        spacing = self.sigma / 5
        scale = self.alpha / spacing / _largest(2 * math.prod(shape))
        matrix = np.array([[1 / spacing, 0, columns.start / spacing], [0, 1 / spacing, rows.start / spacing]])
        size = (columns.stop - columns.start, rows.stop - rows.start)
        moved = []
        for noise, own in zip(self.noise, (_line(columns)[None], _line(rows)[:, None]), strict=True):
            smooth = cv2.GaussianBlur(noise * np.float32(scale), (0, 0), 5, borderType=cv2.BORDER_REFLECT_101)
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            shift = cv2.warpAffine(smooth, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)
            moved.append(np.asarray(shift + own, np.float32))
        return moved[0], moved[1]


Warp = Lens | Grid | Elastic


def coarse(shape: tuple[int, int], sigma: float) -> tuple[int, int, int]:
    """The shape of the noise of an elastic bend of a tile of so many rows and columns."""
    rows, columns = (math.ceil(5 * (edge - 1) / sigma) + 1 for edge in shape)
    return 2, rows, columns


def grid_line(edge: int, steps: Sequence[float]) -> Line:
    """Where the pixels of a line lie after each part of it has been made longer or shorter.

    Args:
        edge: its length, in pixels.
        steps: the factor of each of its equal parts and of what is left over by them; they are changed alike so that
            the line keeps its length.
    """
    part = edge // (len(steps) - 1)
    lengths = np.array([*([part] * (len(steps) - 1)), edge - part * (len(steps) - 1)])
    ends = np.cumsum(lengths * steps * (edge / (lengths * steps).sum()))
    places = [
        np.linspace(end - step, end, length)
        for end, step, length in zip(ends, np.diff(ends, prepend=0), lengths, strict=True)
    ]
    return np.concatenate(places).astype(np.float32)


def _line(span: slice) -> Line:
    return np.arange(span.start, span.stop, dtype=np.float32)


def _largest(count: int) -> float:
    """The largest of so many normal numbers, without their sign, in the mean (Gumbel)."""
    root = math.sqrt(2 * math.log(2 * count))
    return root - (math.log(math.log(2 * count)) + math.log(4 * math.pi)) / (2 * root) + 0.5772 / root
