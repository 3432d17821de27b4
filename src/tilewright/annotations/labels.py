"""Label images: a PNG or TIFF as large as the slide.

Values above 0 are objects; if there is one such value only, it is a mask.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterioWindow

from tilewright.annotations.model import Draft
from tilewright.annotations.traced import areas_of_objects, parts_of_runs
from tilewright.pixels.grid import BLOCK, Size, blocks
from tilewright.pixels.rasters import quiet
from tilewright.pixels.runs import Ints, Runs
from tilewright.runtime.errors import AnnotationError, Problem

REMEDY = (
    "Save a label image of the slide's size with one band of whole numbers: 0 is background, each object has a value."
)


def read_labels(path: Path, size: Size) -> Iterator[Draft]:
    """A draft for each object, without a label; the connected parts, if the image has one value besides 0.

    Raises:
        AnnotationError: the image cannot be read, is no label image, or is not as large as the slide.
    """
    row, start, stop, value = _runs(path, size)
    values, owner = np.unique(value, return_inverse=True)
    if len(values) == 1:
        for number, area in enumerate(parts_of_runs(Runs.of(row, start, stop, size.height, size.width)), start=1):
            yield Draft("", area, f"part {number}")
        return
    for one, area in zip(values.tolist(), areas_of_objects(row, start, stop, owner), strict=True):
        yield Draft("", area, f"value {one}")


def _runs(path: Path, size: Size) -> tuple[Ints, Ints, Ints, Ints]:
    """Row, first column, column after the last, and value of each run of equal pixels above 0; read strip by strip."""
    parts = [np.empty((4, 0), np.int64)]
    try:
        with quiet(), rasterio.open(path) as image:
            if problem := _mismatch(image, size):
                raise AnnotationError(Problem(str(path), problem, REMEDY))
            for strip in blocks(size, (size.width, BLOCK)):
                where = RasterioWindow(0, strip.y, strip.width, strip.height)
                parts.append(_runs_of_strip(image.read(1, window=where), strip.y))
    except RasterioError as error:
        raise AnnotationError(Problem(str(path), f"cannot be read as an image ({error}).", REMEDY)) from error
    row, start, stop, value = np.concatenate(parts, axis=1)
    return row, start, stop, value


def _runs_of_strip(pixels: NDArray[Any], top: int) -> Ints:
    """The same of some rows, int64[4, n]."""
    width = pixels.shape[1]
    begins = np.ones(pixels.shape, np.bool_)
    np.not_equal(pixels[:, 1:], pixels[:, :-1], out=begins[:, 1:])
    first = np.flatnonzero(begins)
    last = np.append(first[1:], pixels.size)
    value = pixels.reshape(-1)[first].astype(np.int64)
    row, start = np.divmod(first, width)
    return np.stack([row + top, start, last - row * width, value])[:, value > 0]


def _mismatch(image: Any, size: Size) -> str:
    if (image.width, image.height) != size:
        return f"is {image.width} x {image.height} pixels, but the slide is {size.width} x {size.height}."
    kind = image.dtypes[0]
    if image.count != 1 or np.dtype(kind).kind not in "iu":
        return f"has {image.count} bands of {kind}, so it is no label image."
    return ""
