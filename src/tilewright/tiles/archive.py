"""Tile archives: what ``tile`` and ``pseudo`` write and training reads.

An archive (HDF5) holds ``images`` (tiles x rows x columns x 3, uint8), ``masks`` (tiles x rows x columns, a bit a
class, bit ``classes`` where the pixel does not count) and a table with one row a tile: slide, source, x, y (corner in
pixels of the scale), kind (grid, background: a grid tile without any class, object, scattered), tissue (share), mpp
(micrometres in a pixel of the tile, not a number where unknown), coverage (share of each class), labelled (whether each
class is completely annotated). Where a network learns of objects, it also holds ``labels`` (tiles x classes x rows x
columns, uint16, the objects of each class numbered within the tile) and ``shared`` (tiles x rows x columns, bit k where
objects of class k overlap).
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from tilewright.pixels.grid import Corner, Frame, Size, Window, mask_dtype
from tilewright.project.config.training import TileKind
from tilewright.project.orders import TileRow
from tilewright.runtime.atomic import atomic_path, require_space
from tilewright.runtime.errors import DataError, Problem
from tilewright.runtime.failures import NO_LOCKS, failure_of, remedy_for

if TYPE_CHECKING:
    from tilewright.pixels.rasters import Raster

UNWRITTEN = 32 << 20
"""Bytes that HDF5 may hold back until an archive is closed. It crashes where the disk is full by then."""
ROWS = 1024
UNLOCKED = False
"""Archives are private until they are renamed, and then never written: so they need no locks, which some network drives
do not give."""


class Labelled(NamedTuple):
    """The objects of a tile.

    Attributes:
        labels: of each class the object of each pixel, numbered from 1, uint16[classes, rows, columns]; 0: none. Where
            several overlap, the smallest one.
        shared: bit k where several objects of class k overlap, rows x columns.
    """

    labels: NDArray[np.uint16]
    shared: NDArray[Any]


class TilePlace(NamedTuple):
    """Where a tile is cut: its left and top in pixels of the scale, and why."""

    x: int
    y: int
    kind: TileKind


@dataclass(frozen=True)
class TileTable:
    """The tiles of archives, one row a tile.

    Attributes:
        archive: index into the archives that were opened.
        index: position in that archive.
        slide: name of the slide.
        source: source of the slide.
        group: group of its shard.
        role: train, external or pseudo.
        kind: grid, background, object or scattered.
        x: left of the tile, in pixels of the scale.
        y: top of the tile.
        mpp: micrometres in a pixel of the tile, not a number where unknown.
        coverage: tiles x classes, share of the tile that each class covers.
        labelled: tiles x classes, whether the class is completely annotated there.
    """

    archive: NDArray[np.int64]
    index: NDArray[np.int64]
    slide: NDArray[np.str_]
    source: NDArray[np.str_]
    group: NDArray[np.str_]
    role: NDArray[np.str_]
    kind: NDArray[np.str_]
    x: NDArray[np.int64]
    y: NDArray[np.int64]
    mpp: NDArray[np.float32]
    coverage: NDArray[np.float32]
    labelled: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.index)

    def select(self, which: NDArray[np.bool_]) -> "TileTable":
        """The rows for which ``which`` is true."""
        return TileTable(**{name: column[which] for name, column in vars(self).items()})


@dataclass(frozen=True)
class TrainingShard:
    """An archive to train or validate on.

    Attributes:
        archive: the file.
        group: group of the shard.
        role: train, external or pseudo.
        scaled: folder of the scaled slides that training tiles are read from; None: they are read as they were cut.
    """

    archive: Path
    group: str = ""
    role: str = "train"
    scaled: Path | None = None


def read_table(shards: Sequence[TrainingShard], classes: Sequence[str]) -> TileTable:
    """Read the tables of archives, in the order of the shards.

    Args:
        shards: the archives.
        classes: names of the classes, in the order of the bits.

    Raises:
        DataError: an archive is missing or damaged, or holds other classes.
    """
    parts: list[dict[str, NDArray[Any]]] = []
    for number, shard in enumerate(shards):
        with open_archive(shard.archive) as archive, reading(shard.archive):
            if (held := list(archive.attrs["classes"])) != list(classes):
                what = f"holds the classes {', '.join(held)}, not {', '.join(classes)}."
                raise DataError(Problem(str(shard.archive), what, "Delete the file and run the same command again."))
            count = len(archive["images"])
            parts.append(
                {
                    "archive": np.full(count, number, np.int64),
                    "index": np.arange(count, dtype=np.int64),
                    "group": np.full(count, shard.group),
                    "role": np.full(count, shard.role),
                    **{name: archive[name].asstr()[:].astype(str) for name in ("slide", "source", "kind")},
                    **{name: archive[name][:] for name in ("x", "y", "mpp", "coverage", "labelled")},
                }
            )
    return TileTable(**{name: np.concatenate([part[name] for part in parts]) for name in parts[0]})


def open_archive(path: Path) -> h5py.File:
    """Open an archive for reading.

    Raises:
        DataError: the archive is missing or damaged.
    """
    with reading(path):
        return h5py.File(path, "r", locking=UNLOCKED)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Name the archive where reading it fails, as where a checksum is wrong.

    Raises:
        DataError: the archive is missing or damaged, or the system does not give it.
    """
    try:
        yield
    except (OSError, KeyError) as error:
        remedy = remedy_for(error, "Delete the file and run the same command again.", path)
        raise DataError(Problem(str(path), f"cannot be read as a tile archive ({error}).", remedy)) from error


class TileReader:
    """Reads tiles of an archive, which stays open.

    HDF5 computes the checksum of an image each time, which takes longer than all else of it: here the first time only.
    """

    def __init__(self, path: Path) -> None:
        self._path, archive = path, open_archive(path)
        with reading(path):
            self._images, self._masks = archive["images"], archive["masks"]
            self._labels, self._shared = archive.get("labels"), archive.get("shared")
            self._sound = np.zeros(len(self._images), np.bool_)
        self._plain = self._images.chunks == (1, *self._images.shape[1:]) and self._images.compression is None

    def read(self, index: int) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """Image (rows x columns x 3) and mask (rows x columns) of a tile.

        Raises:
            DataError: the archive is damaged.
        """
        with reading(self._path):
            if not (self._plain and self._sound[index]):
                image, self._sound[index] = self._images[index], True
            else:
                shape = self._images.shape[1:]
                _, data = self._images.id.read_direct_chunk((index, 0, 0, 0))
                image = np.frombuffer(data, np.uint8, math.prod(shape)).reshape(shape)
            return image, self._masks[index]

    def objects(self, index: int) -> Labelled | None:
        """The objects of a tile; None: the archive does not tell.

        Raises:
            DataError: the archive is damaged.
        """
        with reading(self._path):
            return None if self._labels is None else Labelled(self._labels[index], self._shared[index])


@contextmanager
def tile_archive(out: Path, classes: Sequence[str], size: Size, *, objects: bool = False) -> Iterator["ArchiveWriter"]:
    """Write an archive, which appears whole or not at all.

    Args:
        out: the archive.
        classes: names of the classes.
        size: of its tiles.
        objects: whether it holds the objects of each tile.
    """
    with atomic_path(out) as private:
        require_space(private.parent, UNWRITTEN)
        with _created(private) as archive:
            writer = ArchiveWriter(archive, classes, size, objects=objects)
            yield writer
            writer.finish()


def _created(private: Path) -> h5py.File:
    """A new file. Its locks stay where the environment asks for them (HDF5_USE_FILE_LOCKING).

    Raises:
        DataError: then the drive must give them.
    """
    try:
        return h5py.File(private, "w", locking=UNLOCKED)
    except OSError as error:
        failure = failure_of(error)
        if failure is None or failure.code not in NO_LOCKS:
            raise
        raise DataError(Problem(str(private.parent), f"cannot be written: {failure.why}.", failure.remedy)) from error


class ArchiveWriter:
    """Appends tiles to an archive, and rows to its table some at a time; made by ``tile_archive``."""

    def __init__(self, archive: h5py.File, classes: Sequence[str], size: Size, *, objects: bool) -> None:
        self.archive, self._classes, self._size = archive, classes, size
        bits, each = mask_dtype(len(classes)), (len(classes),)
        text = h5py.string_dtype()
        # tissue compresses by 4 %, which costs six times the time of writing and five times that of reading
        self._images = _growing(archive, "images", (size.height, size.width, 3), np.uint8, 1)
        self._masks = _growing(archive, "masks", (size.height, size.width), bits, 1, compression="lzf")
        if objects:
            shape = (len(classes), size.height, size.width)
            self._labels = _growing(archive, "labels", shape, np.uint16, 1, compression="lzf")
            self._shared = _growing(archive, "shared", shape[1:], bits, 1, compression="lzf")
        self._table = {
            **{name: _growing(archive, name, (), text, ROWS) for name in ("slide", "source", "kind")},
            **{name: _growing(archive, name, (), np.int64, ROWS) for name in ("x", "y")},
            **{name: _growing(archive, name, (), np.float32, ROWS) for name in ("tissue", "mpp")},
            "coverage": _growing(archive, "coverage", each, np.float32, ROWS),
            "labelled": _growing(archive, "labelled", each, np.bool_, ROWS),
        }
        self._rows: list[dict[str, Any]] = []
        archive.attrs["classes"] = list(classes)

    def add(
        self,
        row: TileRow,
        corner: TilePlace,
        image: "Raster",
        mask: "Raster",
        tissue: "Raster",
        objects: Labelled | None = None,
    ) -> None:
        """Append the tile of a slide at a corner; what lies beyond the slide is white and does not count."""
        require_space(Path(self.archive.filename).parent, UNWRITTEN)
        frame, place = Frame.of(image), Corner(corner.x, corner.y)
        inside = Window(*place, *self._size).clipped(image.size)
        pixels, bits = cut_tile(image, mask, place, self._size, len(self._classes))
        _append(self._images, [pixels])
        _append(self._masks, [bits])
        if objects:
            _append(self._labels, [objects.labels])
            _append(self._shared, [objects.shared])
        self._rows.append(
            {
                "slide": row.slide,
                "source": row.source,
                "kind": corner.kind,
                "x": corner.x,
                "y": corner.y,
                "tissue": tissue.read(inside).mean(),
                "mpp": frame.mpp * frame.factor if frame.mpp else math.nan,
                "coverage": [((bits >> bit) & 1).mean() for bit in range(len(self._classes))],
                "labelled": [name in row.labelled for name in self._classes],
            }
        )
        if len(self._rows) == ROWS:
            self.finish()

    def finish(self) -> None:
        """Write the rows that wait."""
        if self._rows:
            for name, column in self._table.items():
                _append(column, [row[name] for row in self._rows])
            self._rows.clear()


def cut_tile(
    image: "Raster", mask: "Raster", corner: Corner, size: Size, classes: int
) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """The tile of a slide at a corner; what lies beyond the slide is white and does not count.

    Args:
        image: the scaled slide.
        mask: its mask.
        corner: left and top, in pixels of the scale.
        size: of the tile.
        classes: number of classes.

    Returns:
        Image (rows x columns x 3) and mask (rows x columns).
    """
    inside = Window(*corner, *size).clipped(image.size)
    pixels = np.full((size.height, size.width, 3), 255, np.uint8)
    pixels[: inside.height, : inside.width] = np.moveaxis(image.read(inside), 0, -1)
    bits = np.full((size.height, size.width), 1 << classes, mask_dtype(classes))
    bits[: inside.height, : inside.width] = mask.read(inside)[0]
    return pixels, bits


def _growing(
    archive: h5py.File, name: str, shape: tuple[int, ...], kind: DTypeLike, together: int, **options: str
) -> h5py.Dataset:
    """An empty column of items of a shape, stored some together.

    Numbers with checksums that are looked at when read.
    """
    sums = h5py.check_string_dtype(np.dtype(kind)) is None
    return archive.create_dataset(
        name, (0, *shape), kind, maxshape=(None, *shape), chunks=(together, *shape), fletcher32=sums, **options
    )


def _append(column: h5py.Dataset, items: Sequence[Any]) -> None:
    count = len(column)
    column.resize(count + len(items), axis=0)
    column[count:] = items
