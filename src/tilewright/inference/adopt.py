"""Saved probabilities, of another run or another program, as members of ensembles.

What lies on disk is brought to the scale and the form of this project's own predictions. A file of tilewright says
where it lies; any other one covers the whole used part of its slide, at the factor that follows from the two sizes.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from tilewright.pixels.grid import BLOCK, WINDOW, Frame, Size, Window, blocks
from tilewright.pixels.interpolation import read_at
from tilewright.pixels.rasters import Raster, create_raster, masks_of, open_raster, open_tiff, read_tags
from tilewright.project.orders import AdoptOrder, AdoptRow
from tilewright.project.places import image_file, probability_file
from tilewright.runtime.atomic import atomic_directory
from tilewright.runtime.errors import DataError, Problem, raise_all
from tilewright.runtime.progress import note, track
from tilewright.scales.resample import average_bands, source_window

SLACK = 1.0
"""Pixels by which a size may differ from the slide's at a factor: programs round up, down or to the nearest."""
AGAIN = "Save or copy it again."


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
                with (
                    open_raster(image_file(scaled, row.slide)) as image,
                    _opened(row, Frame.of(image), order) as saved,
                ):
                    _write(saved, image, probability_file(folder, row.slide))
            except DataError as error:
                problems += error.problems
        raise_all(DataError, problems)


class _Pixels(Protocol):
    """What was saved, before anything of it is believed: a raster, or an array."""

    @property
    def size(self) -> Size:
        """Width and height."""

    @property
    def bands(self) -> int:
        """Number of bands."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a pixel."""

    @property
    def tags(self) -> Mapping[str, str]:
        """Texts by name; one of the name frame where tilewright wrote it."""

    def read(self, window: Window) -> NDArray[Any]:
        """The pixels of a window, bands x rows x columns."""


@dataclass(frozen=True)
class _Array:
    """An array on disk, bands x rows x columns."""

    array: NDArray[Any]

    @property
    def size(self) -> Size:
        return Size(self.array.shape[2], self.array.shape[1])

    @property
    def bands(self) -> int:
        return int(self.array.shape[0])

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    @property
    def tags(self) -> Mapping[str, str]:
        return {}

    def read(self, window: Window) -> NDArray[Any]:
        return np.asarray(self.array[(slice(None), *window.slices)])


@dataclass(frozen=True)
class Saved:
    """Probabilities of a slide as they were saved.

    Attributes:
        path: the file, for messages.
        pixels: uint8 (255 is 1), or floats from 0 to 1, a band a class; of this program also those of other targets.
        frame: where they lie.
        names: of the bands.
    """

    path: Path
    pixels: _Pixels
    frame: Frame
    names: list[str]

    @property
    def size(self) -> Size:
        """Width and height."""
        return self.pixels.size

    @property
    def tags(self) -> Mapping[str, str]:
        """The frame as text, as rasters have it."""
        return self.frame.tags()

    @property
    def is_exact(self) -> bool:
        """Whether they are floats."""
        return self.pixels.dtype.kind == "f"

    def read(self, window: Window) -> NDArray[Any]:
        """The pixels of a window; beyond the last row and column these go on.

        Raises:
            DataError: floats that are no probabilities.
        """
        x, y = min(window.x, self.size.width - 1), min(window.y, self.size.height - 1)
        inside = Window(x, y, window.x + window.width - x, window.y + window.height - y).clipped(self.size)
        values = self.pixels.read(inside)
        if self.is_exact and not ((values >= 0) & (values <= 1)).all():
            what = "holds values that are no probabilities from 0 to 1."
            raise DataError(Problem(str(self.path), what, "Save probabilities (sigmoid of logits), not logits."))
        if inside == window:
            return values
        rows, columns = np.arange(window.height) + window.y - y, np.arange(window.width) + window.x - x
        return values.take(rows, 1, mode="clip").take(columns, 2, mode="clip")


@contextmanager
def _opened(row: AdoptRow, frame: Frame, order: AdoptOrder) -> Iterator[Saved]:
    """The saved probabilities of a slide that lies in ``frame``."""
    path, classes = row.file, order.classes
    if path is None:
        what = f"there is no file of the slide {row.slide}."
        remedy = f"Looked for {row.slide}.tif, .tiff and .npy, here and in {order.shard}/."
        raise DataError(Problem(str(order.folder), what, remedy))
    if path.suffix == ".npy":
        yield _saved(path, _array(path, len(classes)), frame, classes)
        return
    opened = open_raster(path, remedy=AGAIN) if "frame" in read_tags(path, AGAIN) else open_tiff(path, AGAIN)
    with opened as raster:
        yield _saved(path, raster, frame, classes)


def _array(path: Path, classes: int) -> _Array:
    """The array of a ``.npy``: rows x columns, classes x rows x columns, or rows x columns x classes."""
    remedy = "Save a plain array with numpy.save: classes x rows x columns, or rows x columns x classes."
    try:
        array = open_memmap(path, mode="r")
    except (OSError, ValueError) as error:
        raise DataError(Problem(str(path), f"cannot be read ({error}).", remedy)) from error
    bands = array[np.newaxis] if array.ndim == 2 else array
    if bands.ndim != 3 or classes not in (bands.shape[0], bands.shape[2]):
        what = f"has the shape {array.shape}, and there are {classes} class(es)."
        raise DataError(Problem(str(path), what, remedy))
    return _Array(bands if bands.shape[0] == classes else np.moveaxis(bands, -1, 0))


def _saved(path: Path, pixels: _Pixels, frame: Frame, classes: Sequence[str]) -> Saved:
    """What was saved of the slide that lies in ``frame``.

    Raises:
        DataError: it does not fit the slide or the classes; everything that is wrong.
    """
    own = "frame" in pixels.tags
    placed = Frame.of(pixels) if own else _placed(pixels.size, frame)
    names = json.loads(pixels.tags.get("classes", "[]")) if own else classes
    fits = _misfits_of_bands(path, pixels, names if masks_of(names) == classes else classes)
    problems = [*fits, *_misfits_of_place(path, pixels.size, placed, frame)]
    if masks_of(names) != classes:
        what = f"holds the classes {', '.join(names) or 'of no name'}, not {', '.join(classes)}."
        problems.append(Problem(str(path), what, "Members of an ensemble find the same classes."))
    raise_all(DataError, problems)
    assert placed
    return Saved(path, pixels, placed, list(names))


def _misfits_of_bands(path: Path, pixels: _Pixels, classes: Sequence[str]) -> Iterator[Problem]:
    if pixels.bands != len(classes):
        what = f"has {pixels.bands} band(s), and there are {len(classes)} class(es)."
        yield Problem(str(path), what, f"Save a band for each of {', '.join(classes)}, in this order.")
    if pixels.dtype != np.uint8 and pixels.dtype.kind != "f":
        what, remedy = f"holds {pixels.dtype.name}.", "Save bytes (255 is a probability of 1), or floats from 0 to 1."
        yield Problem(str(path), what, remedy)


def _misfits_of_place(path: Path, size: Size, placed: Frame | None, frame: Frame) -> Iterator[Problem]:
    if placed is None:
        what = f"has {size.width} x {size.height} pixels, which is the slide ({_told(frame)}) at no factor."
        yield Problem(str(path), what, "Save the whole slide, without a border.")
    elif replace(placed, factor=frame.factor, mpp=frame.mpp) != frame:
        what = f"is of another part of an image: {_told(placed)}; the slide is {_told(frame)}."
        yield Problem(str(path), what, "Use the same image and region in both runs.")


def _told(frame: Frame) -> str:
    whole = f"{frame.width} x {frame.height}"
    place = f" at {frame.x}, {frame.y} of {frame.image.width} x {frame.image.height}"
    return whole if (frame.width, frame.height) == frame.image else whole + place


def _placed(size: Size, frame: Frame) -> Frame | None:
    """The frame of an image of a slide, of which its size alone is known; None: it has another shape.

    Where several factors give the size, it is the one that is needed, else a whole one: programs shrink by whole
    numbers.
    """
    if not all(size):
        return None
    slide = Size(frame.width, frame.height)
    exact = max(slide) / max(size)
    for factor in (frame.factor, float(max(round(exact), 1)), exact):
        if all(abs(length / factor - own) < SLACK for length, own in zip(slide, size, strict=True)):
            return frame.scaled(factor)
    return None


def _write(saved: Saved, image: Raster, out: Path) -> None:
    """Write probabilities in the frame of a scaled image."""
    wanted = Frame.of(image)
    shrink = wanted.factor / saved.frame.factor
    if shrink != 1:
        note(f"{out.stem}: saved at the factor {saved.frame.factor:g}, brought to {wanted.factor:g}")
    dtype, highest = np.dtype(np.float16 if saved.is_exact else np.uint8), 0.0
    with create_raster(out, image.size, bands=len(saved.names), dtype=dtype, tags=wanted.tags(saved.names)) as raster:
        for window in blocks(image.size, _edge(shrink)):
            values = _averaged(saved, shrink, window) if shrink >= 1 else read_at(saved, image, window)
            highest = max(highest, float(values.max()))
            raster.write(values if saved.is_exact else (values + np.float32(0.5)).astype(np.uint8), window.x, window.y)
    if not saved.is_exact and 0 < highest <= 1:
        note(f"{saved.path} holds no byte above 1, and 255 is a probability of 1: save masks as 0 and 255")


def _edge(shrink: float) -> int:
    """Edge of what is written at a time, in whole blocks, so that what is read for it stays small, too."""
    return max(1, int(WINDOW / max(shrink, 1.0)) // BLOCK) * BLOCK


def _averaged(saved: Saved, shrink: float, cells: Window) -> NDArray[np.float32]:
    """Means over the area of each cell of a coarser scale, or of the same."""
    # a size that was rounded down may lack what is under the last cell
    last = int((cells.x + cells.width - 1) * shrink), int((cells.y + cells.height - 1) * shrink)
    width, height = (max(length, place + 1) for length, place in zip(saved.size, last, strict=True))
    source = source_window(cells, shrink, Size(width, height))
    return average_bands(saved.read(source).astype(np.float32), cells, shrink, source)
