"""Label images: a PNG or TIFF as large as the slide.

Values above 0 are objects; if there is one such value only, it is a mask. Or values are classes, as the config says.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterioWindow

from tilewright.annotations.model import Draft
from tilewright.annotations.traced import areas_of_objects, parts_of_runs
from tilewright.pixels.components import components_of
from tilewright.pixels.grid import BLOCK, Size, blocks
from tilewright.pixels.rasters import quiet
from tilewright.pixels.runs import Ints, Runs
from tilewright.project.config import IGNORE
from tilewright.runtime.errors import AnnotationError, Problem, listed
from tilewright.slides.tiff import Tiff

LABEL_IMAGES = (".png", ".tif", ".tiff")
"""How their names end."""
NO_VALUES: Mapping[int, str] = MappingProxyType({})
REMEDY = (
    "Save a label image of the slide's size with one band of whole numbers: 0 is background, each object has a value."
)


@dataclass(frozen=True)
class LabelValue:
    """A value of a label image: its pixels, and its connected parts."""

    value: int
    pixels: int
    parts: int


def read_labels(path: Path, size: Size, values: Mapping[int, str] = NO_VALUES) -> Iterator[Draft]:
    """A draft for each object; the connected parts, if the image has one value besides 0 or its values are classes.

    Args:
        path: the image.
        size: of the slide, in pixels.
        values: the label of each value that is a class; none: each value is an object, without a label.

    Raises:
        AnnotationError: the image cannot be read, is no label image, is not as large as the slide, or has values that
            ``values`` does not name.
    """
    runs = _runs(path, size)
    if values:
        yield from _parts_of_classes(runs, path, size, values)
        return
    row, start, stop, value = runs[:, runs[3] > 0]
    found, owner = np.unique(value, return_inverse=True)
    if len(found) == 1:
        for number, area in enumerate(parts_of_runs(Runs.of(row, start, stop, size.height, size.width)), start=1):
            yield Draft("", area, f"part {number}")
        return
    for one, area in zip(found.tolist(), areas_of_objects(row, start, stop, owner), strict=True):
        yield Draft("", area, f"value {one}")


def _parts_of_classes(runs: Ints, path: Path, size: Size, values: Mapping[int, str]) -> Iterator[Draft]:
    """A draft for each connected part of each value, with the value's label."""
    row, start, stop, value = runs
    pixels = {one: int((stop - start)[value == one].sum()) for one in np.unique(value).tolist()}
    if others := [f"{one} ({count} px)" for one, count in pixels.items() if one and one not in values]:
        what = f"has values that annotations.values does not name: {listed(others)}."
        remedy = f'Name them there, or as "{IGNORE}" if their pixels do not count; 0 is background.'
        raise AnnotationError(Problem(str(path), what, remedy))
    for one, label in values.items():
        mine = value == one
        parts = Runs.of(row[mine], start[mine], stop[mine], size.height, size.width)
        for number, area in enumerate(parts_of_runs(parts) if mine.any() else (), start=1):
            yield Draft(label, area, f"value {one}, part {number}")


def values_of(path: Path, size: Size) -> list[LabelValue]:
    """What a label image holds besides 0, by value; errors as of ``read_labels``."""
    row, start, stop, value = _runs(path, size)
    found = []
    for one in np.unique(value[value != 0]).tolist():
        mine = value == one
        parts = components_of(Runs.of(row[mine], start[mine], stop[mine], size.height, size.width))
        found.append(LabelValue(one, int((stop - start)[mine].sum()), int(parts.max()) + 1))
    return found


def _runs(path: Path, size: Size) -> Ints:
    """Row, first column, column after the last, and value of each run of equal pixels, int64[4, n]; by strips.

    Runs of 0 are left out.
    """
    parts = [np.empty((4, 0), np.int64)]
    try:
        with quiet(), rasterio.open(path) as image:
            if problem := _mismatch(image, size) or _pages(path):
                raise AnnotationError(Problem(str(path), problem, REMEDY))
            for strip in blocks(size, (size.width, BLOCK)):
                where = RasterioWindow(0, strip.y, strip.width, strip.height)
                parts.append(_runs_of_strip(_whole(image.read(1, window=where), path), strip.y))
    except RasterioError as error:
        raise AnnotationError(Problem(str(path), f"cannot be read as an image ({error}).", REMEDY)) from error
    return np.concatenate(parts, axis=1)


def _whole(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    """The values, which programs such as ImageJ may have stored as real numbers."""
    if pixels.dtype.kind == "f" and not (np.isfinite(pixels) & (pixels == np.round(pixels))).all():
        raise AnnotationError(
            Problem(str(path), "has values that are no whole numbers, so it is no label image.", REMEDY)
        )
    return pixels


def _runs_of_strip(pixels: NDArray[Any], top: int) -> Ints:
    """The same of some rows, int64[4, n]."""
    width = pixels.shape[1]
    begins = np.ones(pixels.shape, np.bool_)
    np.not_equal(pixels[:, 1:], pixels[:, :-1], out=begins[:, 1:])
    first = np.flatnonzero(begins)
    last = np.append(first[1:], pixels.size)
    value = pixels.reshape(-1)[first].astype(np.int64)
    row, start = np.divmod(first, width)
    return np.stack([row + top, start, last - row * width, value])[:, value != 0]


def _pages(path: Path) -> str:
    """What is wrong with a TIFF of several images, of which only the first would be read."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return ""
    count = sum(page.whole for page in Tiff(path).pages)
    return f"has {count} pages, of which each could be meant." if count > 1 else ""


def _mismatch(image: Any, size: Size) -> str:
    if (image.width, image.height) != size:
        return f"is {image.width} x {image.height} pixels, but the slide is {size.width} x {size.height}."
    kind = image.dtypes[0]
    if image.count != 1 or np.dtype(kind).kind not in "iuf":
        return f"has {image.count} bands of {kind}, so it is no label image."
    return ""
