"""Tiles of slides and rasters at any power of two, cut on request.

A tile is ``TILE`` cells square; a cell covers ``factor`` x ``factor`` pixels of the slide, counted from the corner of
its used part. Of a slide the cells are means over the level that fits; of other rasters the value at their centre.
Where a raster is so large that a coarse tile would read all of it, every ``STEP``-th value is kept beside, once.
"""

import ctypes
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tilewright.pixels.grid import WINDOW, Frame, Size, Window, blocks
from tilewright.pixels.interpolation import Taps
from tilewright.pixels.rasters import Raster, open_raster
from tilewright.scales.levels import FINER, Plane, planes_of
from tilewright.scales.resample import average_image, nearest
from tilewright.slides import RGB, Level, Slide

TILE = 256
STEP = 8
"""Pixels of a raster in one of a tile, along an edge, up to which it is read itself."""
COMPARED = 16.0
"""The largest factor up to which levels are compared with the slide: for larger ones much of it would be read."""
STRIP = 128
"""Rows of a raster that are read at a time where all of it is."""
SMALL = 2**24
"""Pixels up to which a raster is read whole at any time."""


class NotYet(Exception):
    """What was asked for is being made."""


def deepest(size: Size) -> int:
    """The zoom at which a cell is a pixel; at zoom 0 one tile holds the whole slide."""
    return max(0, math.ceil(math.log2(max(size) / TILE)))


def cells_of(size: Size, zoom: int, x: int, y: int) -> tuple[Window, float] | None:
    """The cells of a tile that lie in a slide, and their factor; None: there are none."""
    last = deepest(size)
    if not 0 <= zoom <= last or x < 0 or y < 0:
        return None
    factor = float(2 ** (last - zoom))
    whole = Frame(0, 0, *size, image=size, factor=factor).size
    cells = Window(x * TILE, y * TILE, TILE, TILE).clipped(whole)
    return (cells, factor) if cells.width and cells.height else None


def padded(pixels: NDArray[Any], fill: int = 0) -> NDArray[Any]:
    """A tile of full size, of one at the right or lower border."""
    down, right = TILE - pixels.shape[0], TILE - pixels.shape[1]
    if not down and not right:
        return pixels
    edges = [(0, down), (0, right), *[(0, 0)] * (pixels.ndim - 2)]
    return np.pad(pixels, edges, constant_values=fill)


class Planes:
    """What a slide is cut from: itself, its levels, and its scaled images where no level is near.

    Args:
        slide: the open slide.
        scaled: opens its scaled images.
    """

    def __init__(self, slide: Slide, scaled: Callable[[], Sequence[Raster]]) -> None:
        self._slide, self._scaled = slide, scaled
        self._planes: dict[float, Plane] = {}

    def cut(self, cells: Window, factor: float) -> RGB:
        """The colours of some cells.

        Raises:
            SlideError: the file is damaged there.
        """
        if factor not in self._planes:
            self._planes[factor] = self._plane(factor)
        return self._cut(self._planes[factor], cells, factor)

    def small(self, cells: Window, factor: float) -> RGB:
        """The same, by the coarsest level, which is believed, as far as there is one."""
        level = next(reversed(self._slide.levels()), None)
        if level is None or level.factor > factor * (1 + FINER):
            return self.cut(cells, factor)
        return self._cut(_level_plane(self._slide, level), cells, factor)

    def _cut(self, plane: Plane, cells: Window, factor: float) -> RGB:
        ratio = factor / plane.factor
        source = plane.under(cells, ratio)
        return average_image(plane.read(source), cells, ratio, source, plane.corner)

    def _plane(self, factor: float) -> Plane:
        """The level for a factor. Far ones are believed where a nearer one shows the same picture as the slide."""
        near = min(factor, COMPARED)
        if near not in self._planes:
            ((self._planes[near], _),) = planes_of(self._slide, [near])
        plane = self._planes[near]
        if factor > near and (plane.factor > 1 or not self._slide.levels()):
            fitting = [level for level in self._slide.levels() if plane.factor < level.factor <= factor * (1 + FINER)]
            plane = _level_plane(self._slide, fitting[-1]) if fitting else plane
        if factor / plane.factor > STEP:
            others = [_raster_plane(raster) for raster in self._scaled()]
            nearer = [one for one in others if plane.factor < one.factor <= factor]
            plane = max(nearer, key=lambda one: one.factor, default=plane)
        return plane


def _level_plane(slide: Slide, level: Level) -> Plane:
    def read(window: Window) -> RGB:
        try:
            return source.read(window)
        except Exception as error:  # every reader has errors of its own
            raise slide.unreadable(f"its level of {level.factor:g}, at x {window.x}, y {window.y}", error) from error

    source = level.open()
    edges = zip((level.x, level.y), slide.size, source.size, strict=True)
    size = Size(*(min(math.ceil(start + length / level.factor - FINER), own) for start, length, own in edges))
    return Plane(level.factor, size, source.block, read, (level.x, level.y))


def _raster_plane(raster: Raster) -> Plane:
    def read(window: Window) -> RGB:
        return np.ascontiguousarray(np.moveaxis(raster.read(window), 0, -1))

    return Plane(Frame.of(raster).factor, raster.size, Size(WINDOW, WINDOW), read)


Extract = Callable[[], NDArray[Any]]
"""Gives some of the values of a raster, bands x rows x columns."""


class Extracts:
    """Every ``STEP``-th value of large rasters, and of those again, in files of a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, Lock()
        self._thread = ThreadPoolExecutor(1)
        self._made: dict[Any, Future[Any]] = {}

    def of(self, path: Path) -> list[Extract]:
        """The extracts of a raster, from fine to coarse.

        Raises:
            NotYet: they are being made.
            DataError: the raster is damaged.
        """
        found: list[Extract] = self.work(path, lambda: self._make(path))
        return found

    def work(self, key: Any, make: Callable[[], Any]) -> Any:
        """What is made once, in the background.

        Raises:
            NotYet: it is being made; and what goes wrong in making it.
        """
        with self._lock:
            if key not in self._made:
                self._made[key] = self._thread.submit(_tidily, make)
            future = self._made[key]
        if not future.done():
            raise NotYet
        if future.exception():  # the file may be mended before it is asked for again
            with self._lock:
                self._made.pop(key, None)
        return future.result()

    def clear(self) -> None:
        """Make nothing more."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _make(self, path: Path) -> list[Extract]:
        with NamedTemporaryFile(dir=self._folder, delete=False) as file, open_raster(path) as raster:
            columns = nearest(0, -(-raster.size.width // STEP), STEP, raster.size.width)
            for window in blocks(raster.size, (raster.size.width, STRIP)):
                rows = nearest(0, -(-window.height // STEP), STEP, window.height)
                kept = raster.read(window)[:, rows[:, np.newaxis], columns]
                file.write(np.moveaxis(kept, 1, 0).tobytes())
            shape, kind = (-(-raster.size.height // STEP), raster.bands, len(columns)), raster.dtype

        def mapped() -> NDArray[Any]:  # anew each time, as pages that were read count as memory of the process
            return np.moveaxis(np.memmap(file.name, kind, "r", shape=shape), 1, 0)

        found: list[Extract] = [mapped]
        last = mapped()
        while max(last.shape[1:]) > WINDOW:
            rows, columns = (nearest(0, -(-edge // STEP), STEP, edge) for edge in last.shape[1:])
            last = np.ascontiguousarray(last[:, rows[:, np.newaxis], columns])
            found.append(partial(np.asarray, last))
        return found


def _tidily(make: Callable[[], Any]) -> Any:
    """Make something, and give back the memory that it took meanwhile, where the system's library knows how."""
    try:
        return make()
    finally:
        pa.default_memory_pool().release_unused()
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def sample(raster: Raster, path: Path, cells: Window, factor: float, extracts: Extracts) -> NDArray[Any]:
    """The values of a raster at the centres of some cells, bands x rows x columns.

    Raises:
        NotYet: an extract is needed and is being made.
    """
    ratio = factor / Frame.of(raster).factor
    if ratio <= STEP or raster.size.width * raster.size.height <= SMALL:
        return _picked(raster.read, raster.size, cells, ratio)
    kept = extracts.of(path)
    level = min(len(kept), int(math.log(ratio, STEP) + 1e-9)) - 1
    array = kept[level]()

    def read(window: Window) -> NDArray[Any]:
        return np.array(array[(slice(None), *window.slices)])

    return _picked(read, Size(array.shape[2], array.shape[1]), cells, ratio / STEP ** (level + 1))


def _picked(read: Callable[[Window], NDArray[Any]], size: Size, cells: Window, ratio: float) -> NDArray[Any]:
    rows = nearest(cells.y, cells.height, ratio, size.height)
    columns = nearest(cells.x, cells.width, ratio, size.width)
    top, left = int(rows[0]), int(columns[0])
    pixels = read(Window(left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top))
    return pixels[:, (rows - top)[:, np.newaxis], columns - left]


def blended(raster: Raster, cells: Window, factor: float, band: int | None) -> NDArray[np.float32]:
    """A band of a raster, or the largest of all, between whose pixels cells lie that are finer; rows x columns."""
    scale = Frame.of(raster).factor
    rows = Taps.of(cells.y, cells.y + cells.height, raster.size.height, pixel=factor, cell=scale)
    columns = Taps.of(cells.x, cells.x + cells.width, raster.size.width, pixel=factor, cell=scale)
    (top, height), (left, width) = rows.span, columns.span
    pixels = raster.read(Window(left, top, width, height))
    values = (pixels.max(axis=0) if band is None else pixels[band]).astype(np.float32)
    return columns.since(left).blend(rows.since(top).blend(values, axis=0), axis=1)
