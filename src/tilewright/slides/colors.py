"""Bands of any kind become RGB of 8 bits a channel."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from tilewright.slides.source import RGB, unclear
from tilewright.slides.tiff import EXTRA_SAMPLES, PHOTOMETRIC, Page

COLORS = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
WHITE_IS_ZERO, LAB = 0, (8, 9, 10)
MULTIPLIED_ALPHA = 1
Converter = Callable[[NDArray[Any]], RGB]


def converter(path: Path, datasets: Sequence[Any], page: Page | None = None) -> Converter:
    """How the bands of an open file (rows x columns x bands) become RGB.

    Args:
        path: the file, for messages.
        datasets: one dataset of rasterio, or three with one band each.
        page: the (first) page, of a TIFF.

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
    depth = 2 ** int(first.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", np.iinfo(first.dtypes[0]).bits)) - 1
    if kinds == [ColorInterp.palette]:
        return _from_palette(path, first, depth)
    if count == 1:
        inverted = photometric == WHITE_IS_ZERO
        return lambda pixels: np.repeat(_eight_bits(pixels, depth, inverted=inverted), 3, axis=2)
    if count == 3 and ColorInterp.alpha not in kinds:
        return lambda pixels: _eight_bits(pixels, depth)
    if count in (2, 4) and kinds[-1] == ColorInterp.alpha:
        multiplied = page is not None and page.first(EXTRA_SAMPLES, 0) == MULTIPLIED_ALPHA
        return lambda pixels: on_white(_eight_bits(pixels, depth), multiplied=multiplied)
    if count == 4 and kinds[:3] == COLORS:
        return lambda pixels: _eight_bits(pixels[..., :3], depth)
    raise unclear(path, what)


def _from_palette(path: Path, dataset: Any, depth: int) -> Converter:
    if depth > 255:
        raise unclear(path, "a palette of more than 256 colours")
    palette = np.zeros((256, 1, 4), np.uint8)
    for index, color in dataset.colormap(1).items():
        palette[index] = color
    opaque = on_white(palette)[:, 0]
    return lambda pixels: opaque[pixels[..., 0]]


def _eight_bits(pixels: NDArray[Any], depth: int, *, inverted: bool = False) -> NDArray[np.uint8]:
    """Pixels of any depth as 8 bits; ``depth`` is the largest value."""
    array = depth - pixels if inverted else pixels
    if depth != 255:
        array = (array.astype(np.float32) * np.float32(255 / depth) + np.float32(0.5)).astype(np.uint8)
    return np.ascontiguousarray(array)


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
