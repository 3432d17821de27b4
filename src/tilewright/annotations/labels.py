"""Label images: a PNG or TIFF as large as the slide, whose values above 0 are objects (or, if one value only, a mask)."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning, RasterioError

from tilewright.annotations.model import Draft
from tilewright.annotations.pixels import areas_of_labels, parts_of_runs
from tilewright.rasters import Size
from tilewright.runs import Runs
from tilewright.runtime.errors import AnnotationError, Problem

REMEDY = (
    "Save a label image of the slide's size with one band of whole numbers: 0 is background, each object has a value."
)


def read_labels(path: Path, size: Size) -> Iterator[Draft]:
    """A draft for each object, without a label; the connected parts, if the image has one value besides 0.

    Raises:
        AnnotationError: the image cannot be read, is no label image, or is not as large as the slide.
    """
    values, indices = np.unique(_pixels(path, size), return_inverse=True)
    first = int(values[0] <= 0)
    labels = (indices + (1 - first)).astype(np.int32).reshape(size.height, size.width)
    if len(values) - first == 1:
        for number, area in enumerate(parts_of_runs(Runs.from_mask(labels > 0)), start=1):
            yield Draft("", area, f"part {number}")
        return
    for index, area in areas_of_labels(labels):
        yield Draft("", area, f"value {values[index - 1 + first]}")


def _pixels(path: Path, size: Size) -> NDArray[Any]:
    """Rows x columns of the image's only band."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(path) as image:
                if problem := _mismatch(image, size):
                    raise AnnotationError(Problem(str(path), problem, REMEDY))
                pixels: NDArray[Any] = image.read(1)
                return pixels
    except RasterioError as error:
        raise AnnotationError(Problem(str(path), f"cannot be read as an image ({error}).", REMEDY)) from error


def _mismatch(image: Any, size: Size) -> str:
    if (image.width, image.height) != size:
        return f"is {image.width} x {image.height} pixels, but the slide is {size.width} x {size.height}."
    kind = image.dtypes[0]
    if image.count != 1 or np.dtype(kind).kind not in "iu":
        return f"has {image.count} bands of {kind}, so it is no label image."
    return ""
