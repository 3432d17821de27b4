"""Bands of any kind become RGB of 8 bits a channel."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from tilewright.slides.source import RGB, unclear

COLORS = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
Converter = Callable[[NDArray[Any]], RGB]


def converter(path: Path, datasets: Sequence[Any], *, multiplied: bool = False) -> Converter:
    """How the bands of an open file (bands x rows x columns) become RGB.

    Args:
        path: the file, for messages.
        datasets: one dataset of rasterio, or three with one band each.
        multiplied: the colours are already multiplied by alpha.

    Raises:
        SlideError: the bands are neither grey nor colour, or the pixels no whole numbers of up to 16 bits.
    """
    first = datasets[0]
    bands = [
        (dataset.dtypes[index], dataset.colorinterp[index]) for dataset in datasets for index in range(dataset.count)
    ]
    kinds = [kind for _, kind in bands]
    structure = first.tags(ns="IMAGE_STRUCTURE")
    if {dtype for dtype, _ in bands} not in ({"uint8"}, {"uint16"}):
        raise unclear(path, f"{len(bands)} bands of {bands[0][0]}, which are neither grey nor colour")
    if structure.get("SOURCE_COLOR_SPACE") == "CIELAB":
        raise unclear(path, "colours as CIELAB")
    depth = 2 ** int(first.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", np.iinfo(bands[0][0]).bits)) - 1
    if kinds == [ColorInterp.palette]:
        return _from_palette(path, first, depth)
    if len(bands) == 1:
        inverted = structure.get("MINISWHITE") == "YES"
        return lambda pixels: np.repeat(_eight_bits(pixels, depth, inverted=inverted), 3, axis=2)
    if len(bands) == 3 and ColorInterp.alpha not in kinds:
        return lambda pixels: _eight_bits(pixels, depth)
    if len(bands) in (2, 4) and kinds[-1] == ColorInterp.alpha:
        return lambda pixels: on_white(_eight_bits(pixels, depth), multiplied=multiplied)
    if len(bands) == 4 and kinds[:3] == COLORS:
        return lambda pixels: _eight_bits(pixels[:3], depth)
    raise unclear(path, f"{len(bands)} bands of {bands[0][0]}, which are neither grey nor colour")


def _from_palette(path: Path, dataset: Any, depth: int) -> Converter:
    if depth > 255:
        raise unclear(path, "a palette of more than 256 colours")
    palette = np.zeros((256, 1, 4), np.uint8)
    for index, color in dataset.colormap(1).items():
        palette[index] = color
    opaque = on_white(palette)[:, 0]
    return lambda pixels: opaque[pixels[0]]


def _eight_bits(pixels: NDArray[Any], depth: int, *, inverted: bool = False) -> NDArray[np.uint8]:
    """Bands x rows x columns as rows x columns x bands; ``depth`` is the largest value."""
    array = np.moveaxis(pixels, 0, -1)
    if inverted:
        array = depth - array
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
