"""Label images: a PNG or TIFF as large as the slide.

Values above 0 are objects; if there is one such value only, it is a mask. Or values are classes, as the config says.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioError
from rasterio.windows import Window as RasterioWindow

from tilewright.annotations.model import Draft, Finding
from tilewright.annotations.traced import areas_of_objects, parts_of_runs
from tilewright.pixels.components import components_of
from tilewright.pixels.grid import BLOCK, Size, blocks
from tilewright.pixels.rasters import quiet
from tilewright.pixels.runs import Ints, Runs
from tilewright.project.config import IGNORE
from tilewright.runtime.errors import AnnotationError, Problem, SlideError, listed
from tilewright.slides.tiff import PHOTOMETRIC, WHITE_IS_ZERO, Tiff

TIFFS = (".tif", ".tiff")
LABEL_IMAGES = (".png", *TIFFS)
"""How their names end."""
LEAST_NOISY, NOISY, SPECK = 4, 0.5, 6
"""Values, the share of them that lies in several parts, and the pixels of one, from and up to which they are noise."""
FULL = 0.9
"""Share of the pixels that have a value from which on an image is a picture."""
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


def read_labels(path: Path, size: Size, values: Mapping[int, str] = NO_VALUES) -> Iterator[Draft | Finding]:
    """A draft for each object; the connected parts, if the image has one value besides 0 or its values are classes.

    Args:
        path: the image.
        size: of the slide, in pixels.
        values: the label of each value that is a class; none: each value is an object, without a label.

    Raises:
        AnnotationError: the image cannot be read, is no label image, is not as large as the slide, has values that
            ``values`` does not name, or values without it that lie scattered as noise does.
    """
    if _is_inverted(path):
        yield Finding("noticed", str(path), "stores 0 as white; its values are turned round, as viewers show them.")
    runs = _runs(path, size, all_values=0 in values)
    if values:
        yield from _parts_of_classes(runs, path, size, values)
        return
    row, start, stop, value = runs[:, runs[3] > 0]
    found, owner = np.unique(value, return_inverse=True)
    if len(found) > 1 and (told := _noise(_values(row, start, stop, value), size)):
        raise AnnotationError(Problem(str(path), *told))
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
    unnamed = ~np.isin(value, [0, *values])
    if told := _noise(_values(*runs[:, unnamed]), size):
        raise AnnotationError(Problem(str(path), *told))
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
    return _values(*_runs(path, size))


def _values(row: Ints, start: Ints, stop: Ints, value: Ints) -> list[LabelValue]:
    """The pixels and parts of each value of some runs."""
    found, owner = np.unique(value, return_inverse=True)
    if not len(found):
        return []
    width = int(stop.max()) + 1
    # side by side with a gap between them, values that touch are taken apart
    apart = Runs.of(row, start + owner * width, stop + owner * width, int(row.max()) + 1, len(found) * width)
    pixels = np.bincount(owner, stop - start, len(found)).astype(np.int64)
    _, first = np.unique(components_of(apart), return_index=True)
    parts = np.bincount(apart.start[first] // width, minlength=len(found))
    return [LabelValue(*each) for each in zip(found.tolist(), pixels.tolist(), parts.tolist(), strict=True)]


def _noise(values: Sequence[LabelValue], size: Size) -> tuple[str, str] | None:
    """What is wrong with values that mean nothing, as most lie scattered in specks, and its remedy; None: nothing."""
    specks = [one for one in values if one.parts > 1 and one.pixels < SPECK * one.parts]
    if len(values) < LEAST_NOISY or len(specks) < NOISY * len(values):
        return None
    what = f"has {len(values)} values of which {len(specks)} lie scattered in specks, as no objects do."
    if sum(one.pixels for one in values) > FULL * size.width * size.height:
        return what, f"Is it the image itself, or another picture? {REMEDY}"
    return what, "Was the mask compressed as JPEG, scaled or smoothed? Save it as it was drawn, as PNG, without these."


def _runs(path: Path, size: Size, *, all_values: bool = False) -> Ints:
    """Row, first column, column after the last, and value of each run of equal pixels, int64[4, n]; by strips.

    Runs of 0 are left out, unless all values are asked for. What a TIFF stores with 0 as white is turned round.
    """
    parts = [np.empty((4, 0), np.int64)]
    try:
        with quiet(), rasterio.open(path) as image:
            if problem := _mismatch(image, size) or _pages(path):
                raise AnnotationError(Problem(str(path), problem, REMEDY))
            inverted = _is_inverted(path)
            for strip in blocks(size, (size.width, BLOCK)):
                where = RasterioWindow(0, strip.y, strip.width, strip.height)
                pixels = _whole(image.read(1, window=where), path)
                runs = _runs_of_strip(_turned(pixels, image) if inverted else pixels, strip.y)
                parts.append(runs if all_values else runs[:, runs[3] != 0])
    except RasterioError as error:
        raise AnnotationError(Problem(str(path), f"cannot be read as an image ({error}).", REMEDY)) from error
    return np.concatenate(parts, axis=1)


def _is_inverted(path: Path) -> bool:
    """Whether an image stores 0 as white."""
    with suppress(SlideError, OSError):
        return path.suffix.lower() in TIFFS and Tiff(path).pages[0].first(PHOTOMETRIC, -1) == WHITE_IS_ZERO
    return False


def _turned(pixels: NDArray[Any], image: Any) -> NDArray[Any]:
    """Values of which the largest is black and 0 is white, so that black is 0; real and signed ones stay."""
    if pixels.dtype.kind != "u":
        return pixels
    bits = int(image.tags(1, ns="IMAGE_STRUCTURE").get("NBITS", pixels.dtype.itemsize * 8))
    turned: NDArray[Any] = pixels.dtype.type(2**bits - 1) - pixels
    return turned


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
    return np.stack([row + top, start, last - row * width, value])


def _pages(path: Path) -> str:
    """What is wrong with a TIFF of several images, of which only the first would be read."""
    if path.suffix.lower() not in TIFFS:
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
