"""Saved probabilities, of another run or another program, as members of ensembles.

What lies on disk is brought to the scale and the form of this project's own predictions. A file of tilewright says
where it lies; any other one covers the whole used part of its slide, at the factor that follows from the two sizes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.errors import RasterioIOError

from tilewright.inference.ensemble import Probabilities, read_probabilities
from tilewright.pixels.grid import WINDOW, Frame, Size, Window, blocks
from tilewright.pixels.rasters import Raster, create_raster, open_raster, quiet
from tilewright.project.orders import AdoptOrder, AdoptRow
from tilewright.project.places import image_file, probability_file
from tilewright.runtime.atomic import atomic_directory
from tilewright.runtime.errors import DataError, Problem, raise_all
from tilewright.runtime.progress import note, track

SLACK = 1.0
"""Pixels by which a size may differ from the slide's at a factor: programs round up, down or to the nearest."""


def adopt(order: AdoptOrder, *, scaled: Path, out: Path) -> None:
    """Bring the saved probabilities of a shard to a scale of this project.

    Args:
        order: the slides with their files, and the classes, in the order of the bands.
        scaled: the shard's folder of scaled images, at that scale.
        out: the folder to write: ``{slide}.tif``, uint8 as saved bytes, or half precision as saved floats.

    Raises:
        DataError: files that are missing, cannot be read, or do not fit their slides or the classes; all of them.
    """
    problems: list[Problem] = []
    with atomic_directory(out) as folder:
        for row in track(order.rows, "adopt"):
            try:
                with open_raster(image_file(scaled, row.slide)) as image:
                    frame = Frame.of(image)
                    with _opened(row, frame, order) as saved:
                        _write(saved, image, probability_file(folder, row.slide), order.classes)
            except DataError as error:
                problems += error.problems
        raise_all(DataError, problems)


class _Pixels(Protocol):
    """Something that gives windows of pixels, bands x rows x columns."""

    def read(self, window: Window) -> NDArray[Any]:
        """The pixels of a window."""


@dataclass(frozen=True)
class Saved:
    """Probabilities of a slide as they were saved.

    Attributes:
        size: width and height.
        dtype: uint8 (255 is 1), or a float from 0 to 1.
        tags: the frame that follows from the size.
        pixels: where they are read from.
        path: the file, for messages.
    """

    size: Size
    dtype: np.dtype[Any]
    tags: Mapping[str, str]
    pixels: _Pixels
    path: Path

    def read(self, window: Window) -> NDArray[Any]:
        """The pixels of a window that lies inside.

        Raises:
            DataError: floats that are no probabilities.
        """
        values = self.pixels.read(window)
        if self.dtype.kind == "f" and not ((values >= 0) & (values <= 1)).all():
            what = "holds values that are no probabilities from 0 to 1."
            raise DataError(Problem(str(self.path), what, "Save probabilities (sigmoid of logits), not logits."))
        return values


@contextmanager
def _opened(row: AdoptRow, frame: Frame, order: AdoptOrder) -> Iterator[Probabilities]:
    """The saved probabilities of a slide."""
    if row.file is None:
        what = f"there is no file of the slide {row.slide}."
        remedy = f"Looked for {row.slide}.tif, .tiff and .npy, here and in {order.shard}/."
        raise DataError(Problem(str(order.folder), what, remedy))
    if row.file.suffix == ".npy":
        yield _of_array(row.file, frame, order.classes)
        return
    try:
        with quiet(), rasterio.open(row.file) as dataset:
            if "frame" in dataset.tags():
                with open_raster(row.file, order.classes) as own:
                    _require_place(Frame.of(own), frame, row.file)
                    yield own
                return
            shape = (dataset.count, dataset.height, dataset.width)
            yield _saved(row.file, shape, np.dtype(dataset.dtypes[0]), Raster(dataset), frame, order.classes)
    except RasterioIOError as error:
        raise DataError(Problem(str(row.file), f"cannot be read ({error}).", "Save it again.")) from error


def _of_array(path: Path, frame: Frame, classes: list[str]) -> Saved:
    """Probabilities of a ``.npy``: rows x columns, classes x rows x columns, or rows x columns x classes."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        remedy = "Save a plain array of numbers with numpy.save."
        raise DataError(Problem(str(path), f"cannot be read ({error}).", remedy)) from error
    if array.ndim == 2:
        array = array[np.newaxis]
    elif array.ndim == 3 and array.shape[0] != len(classes) and array.shape[2] == len(classes):
        array = np.moveaxis(array, -1, 0)
    if array.ndim != 3:
        raise DataError(Problem(str(path), f"has {array.ndim} axes.", "Save classes x rows x columns."))
    return _saved(path, array.shape, array.dtype, _Array(array), frame, classes)


@dataclass(frozen=True)
class _Array:
    """An array that is read by windows."""

    array: NDArray[Any]

    def read(self, window: Window) -> NDArray[Any]:
        return np.asarray(self.array[(slice(None), *window.slices)])


def _saved(
    path: Path, shape: tuple[int, ...], dtype: np.dtype[Any], pixels: _Pixels, frame: Frame, classes: list[str]
) -> Saved:
    """Probabilities of another program, where they fit the slide and the classes."""
    bands, height, width = shape
    problems = []
    if bands != len(classes):
        what = f"has {bands} band(s), and there are {len(classes)} classes."
        problems.append(Problem(str(path), what, f"Save a band for each of {', '.join(classes)}, in this order."))
    if dtype != np.uint8 and dtype.kind != "f":
        what, remedy = f"holds {dtype.name}.", "Save bytes (255 is a probability of 1), or floats from 0 to 1."
        problems.append(Problem(str(path), what, remedy))
    factor = _factor(frame, Size(width, height))
    if factor is None:
        what = f"has {width} x {height} pixels, which is the slide ({frame.width} x {frame.height}) at no factor."
        problems.append(Problem(str(path), what, "Save the whole slide, without a border."))
    raise_all(DataError, problems)
    assert factor
    return Saved(Size(width, height), dtype, frame.scaled(factor).tags(classes), pixels, path)


def _factor(frame: Frame, size: Size) -> float | None:
    """Pixels of the slide in one of an image of it, along an edge; None: it is not the same shape.

    Rounded to a whole number where that gives the size as well, as programs shrink by whole numbers.
    """
    longer = max(range(2), key=lambda axis: size[axis])
    exact = (frame.width, frame.height)[longer] / size[longer]
    for factor in (float(round(exact)), exact):
        whole = (frame.width, frame.height)
        if factor > 0 and all(abs(length / factor - own) < SLACK for length, own in zip(whole, size, strict=True)):
            return factor
    return None


def _require_place(own: Frame, frame: Frame, path: Path) -> None:
    """Make sure that probabilities of another run lie where the slide does."""
    place = (own.x, own.y, own.width, own.height, own.image)
    wanted = (frame.x, frame.y, frame.width, frame.height, frame.image)
    if place != wanted:
        what = f"is of another part of an image: {_told(own)}; the slide is {_told(frame)}."
        raise DataError(Problem(str(path), what, "Use the same image and region in both runs."))


def _told(frame: Frame) -> str:
    return (
        f"{frame.width} x {frame.height} pixels at {frame.x}, {frame.y} of {frame.image.width} x {frame.image.height}"
    )


def _write(saved: Probabilities, image: Raster, out: Path, classes: list[str]) -> None:
    """Write probabilities in the frame of a scaled image."""
    exact = saved.dtype.kind == "f"
    factor, wanted = Frame.of(saved).factor, Frame.of(image).factor
    if factor != wanted:
        note(f"{out.stem}: saved at the factor {factor:g}, brought to {wanted:g}")
    with create_raster(
        out, image.size, bands=len(classes), dtype="float16" if exact else "uint8", tags=Frame.of(image).tags(classes)
    ) as raster:
        for window in blocks(image.size, WINDOW):
            values = read_probabilities(saved, image, window)
            pixels = values / np.float32(255) if exact else (values + np.float32(0.5)).astype(np.uint8)
            raster.write(pixels, window.x, window.y)
