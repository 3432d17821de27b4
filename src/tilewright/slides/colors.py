"""Bands of any kind become RGB of 8 bits a channel."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from tilewright.runtime.errors import Problem, SlideError
from tilewright.slides.source import RGB, Stored, unclear
from tilewright.slides.tiff import EXTRA_SAMPLES, PHOTOMETRIC, WHITE_IS_ZERO, Page
from tilewright.slides.white import NO_WHITE, White

COLORS = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
RGB_COLORS, YCBCR, LAB = 2, 6, (8, 9, 10)
MULTIPLIED_ALPHA = 1
Opener = Callable[[NDArray[Any]], RGB]


@dataclass(frozen=True)
class Converter:
    """How the bands of an open file become RGB.

    Attributes:
        to_rgb: gives it of rows x columns x bands.
        white: the value of white.
        told: whether it is known; else it is taken to be the largest of 16 bits.
        alpha: whether the last band is the alpha.
    """

    to_rgb: Opener
    white: int
    told: bool
    alpha: bool = False

    def stored(self, pixels: NDArray[Any]) -> Stored:
        """RGB of rows x columns x bands, and what they are in the file."""
        colors = pixels[..., :-1] if self.alpha else pixels
        opaque = float(pixels[..., -1].max(initial=0)) / self.white if self.alpha else 1.0
        return Stored(self.to_rgb(pixels), colors.max(axis=2), opaque)


def converter(path: Path, datasets: Sequence[Any], page: Page | None = None, white: White = NO_WHITE) -> Converter:
    """How the bands of an open file (rows x columns x bands) become RGB.

    Args:
        path: the file, for messages.
        datasets: one dataset of rasterio, or three with one band each.
        page: the (first) page, of a TIFF.
        white: what is known of the value of white.

    Raises:
        SlideError: the bands are neither grey nor colour, or the pixels no whole numbers of up to 16 bits.
    """
    first = datasets[0]
    count = sum(dataset.count for dataset in datasets)
    what = f"{count} bands of {first.dtypes[0]}, which are neither grey nor colour"
    if count > 4 or {dtype for dataset in datasets for dtype in dataset.dtypes} not in ({"uint8"}, {"uint16"}):
        raise unclear(path, what)
    kinds = [kind for dataset in datasets for kind in dataset.colorinterp]
    # of the TIFF's own tags, as GDAL's metadata of a damaged JPEG 2000 can take for ever to ask for
    photometric = page.first(PHOTOMETRIC, -1) if page else -1
    if photometric in LAB:
        raise unclear(path, "colours as CIELAB")
    bits = np.iinfo(first.dtypes[0]).bits
    used = int(first.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", bits))
    if kinds == [ColorInterp.palette]:
        return Converter(_from_palette(path, first, used), 255, told=True)
    depth, told = white.of(path, bits, used)
    alpha = kinds[-1] == ColorInterp.alpha
    make = partial(Converter, white=depth, told=told, alpha=alpha)
    if count == 1:
        inverted = photometric == WHITE_IS_ZERO
        return make(lambda pixels: np.repeat(eight_bits(pixels, depth, inverted=inverted), 3, axis=2))
    if count == 3 and ColorInterp.alpha not in kinds:
        return make(lambda pixels: eight_bits(pixels, depth))
    if count in (2, 4) and alpha:
        multiplied = page is not None and page.first(EXTRA_SAMPLES, 0) == MULTIPLIED_ALPHA
        return make(lambda pixels: on_white(eight_bits(pixels, depth), multiplied=multiplied))
    if count == 4 and kinds[:3] == COLORS:
        return make(lambda pixels: eight_bits(pixels[..., :3], depth))
    raise unclear(path, what)


def _from_palette(path: Path, dataset: Any, bits: int) -> Opener:
    if bits > 8:
        raise unclear(path, "a palette of more than 256 colours")
    palette = np.zeros((256, 1, 4), np.uint8)
    for index, color in dataset.colormap(1).items():
        palette[index] = color
    opaque = on_white(palette)[:, 0]
    return lambda pixels: opaque[pixels[..., 0]]


def eight_bits(pixels: NDArray[Any], white: int, *, inverted: bool = False) -> NDArray[np.uint8]:
    """Pixels of any depth as 8 bits; what is above white is white."""
    array = np.minimum(pixels, white) if white < np.iinfo(pixels.dtype).max else pixels
    array = white - array if inverted else array
    if white != 255:
        array = array.astype(np.float32) * np.float32(255 / white) + np.float32(0.5)
    return np.ascontiguousarray(array, np.uint8)


def from_ycbcr(pixels: NDArray[np.uint8]) -> RGB:
    """RGB of YCbCr as JPEG has it (rows x columns x 3), which a file says to be RGB already."""
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB), np.uint8)


def contradicted(path: Path, says: str, is_: str) -> SlideError:
    """The error for tiles of other colours than a file says, which cannot be undone."""
    what = f"its tiles are {is_} (by the head of their JPEG), and it says {says}: colours would come out wrong."
    return SlideError(Problem(str(path), what, "Export the image again, as a TIFF of RGB with LZW or deflate."))


def on_white(pixels: NDArray[np.uint8], *, multiplied: bool = False) -> RGB:
    """Grey or RGB with alpha (the last band) laid on white.

    Args:
        pixels: rows x columns x 2 or 4.
        multiplied: the colours are already multiplied by alpha.
    """
    alpha = pixels[..., -1:]
    color = np.repeat(pixels[..., :1], 3, axis=2) if pixels.shape[2] == 2 else pixels[..., :3]
    if alpha.min(initial=255) == 255:
        return np.ascontiguousarray(color)
    white = 255 * (255 - alpha.astype(np.uint16))
    mixed = (color.astype(np.uint16) * 255 if multiplied else color.astype(np.uint16) * alpha) + white.astype(np.uint32)
    return np.minimum((mixed + 127) // 255, 255).astype(np.uint8)
