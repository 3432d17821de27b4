"""Tiles: squares cut from scaled slides, written to one archive a shard (``archives`` says what it holds)."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import h5py
import numpy as np
import shapely
from numpy.typing import DTypeLike

from tilewright.annotations.anatomy import structure
from tilewright.masks.outlines import IGNORE, read_outlines
from tilewright.pixels.grid import Frame, Window, grid, mask_dtype
from tilewright.pixels.rasters import Raster, open_raster
from tilewright.project.config import DEFAULT_LIMITS, Limits, TileSet
from tilewright.project.rows import Row, read_shard
from tilewright.project.settings import TileSettings
from tilewright.runtime.atomic import atomic_path, require_space
from tilewright.runtime.progress import track

Kind = Literal["grid", "background", "object"]
UNWRITTEN = 32 << 20
"""Bytes that HDF5 may hold back until an archive is closed. It crashes where the disk is full by then."""
ROWS = 1024


class TilePlace(NamedTuple):
    """Where a tile is cut: its left and top in pixels of the scale, and why."""

    x: int
    y: int
    kind: Kind


def tile(
    shard: str,
    *,
    sheet: Path,
    data: Path,
    scaled: Path,
    masks: Path,
    settings: TileSettings,
    out: Path,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """Cut the tiles of a shard into one archive.

    Args:
        shard: name of the shard.
        sheet: the slide sheet.
        data: folder in which images are looked for first.
        scaled: the shard's folder of scaled images, as ``downscale`` writes it.
        masks: the shard's folder of masks and outlines, as ``rasterize`` writes it.
        settings: the tile set and the classes.
        out: the archive to write.
        limits: the most vertices of an anatomy that are read; they refuse input and change no result.
    """
    with tile_archive(out, settings.classes, settings.tiles.size) as writer:
        for row in read_shard(sheet, data, shard):
            with (
                open_raster(scaled / f"{row.slide}.image.tif") as image,
                open_raster(scaled / f"{row.slide}.mask.tif") as mask,
                open_raster(scaled / f"{row.slide}.tissue.tif") as tissue,
            ):
                allowed = structure(row, settings.tiles.background_inside, Frame.of(image), limits)
                corners = list(grid_corners(row.slide, mask, tissue, settings.tiles, len(settings.classes), allowed))
                if settings.tiles.objects:
                    outlines = masks / f"{row.slide}.outlines.parquet"
                    corners += _object_corners(outlines, Frame.of(image), settings.tiles.size)
                for corner in track(corners, f"tiles of {row.slide}"):
                    writer.add(row, corner, image, mask, tissue)


@contextmanager
def tile_archive(out: Path, classes: Sequence[str], edge: int) -> Iterator["ArchiveWriter"]:
    """Write an archive, which appears whole or not at all.

    Args:
        out: the archive.
        classes: names of the classes.
        edge: edge of its tiles, in pixels.
    """
    with atomic_path(out) as private:
        require_space(private.parent, UNWRITTEN)
        with h5py.File(private, "w") as archive:
            writer = ArchiveWriter(archive, classes, edge)
            yield writer
            writer.finish()


def grid_corners(
    slide: str, mask: Raster, tissue: Raster, tiles: TileSet, classes: int, allowed: shapely.Geometry | None = None
) -> Iterator[TilePlace]:
    """Corners of the tiles of a grid that hold enough tissue.

    Args:
        slide: name of the slide.
        mask: bits of the classes.
        tissue: of the same size.
        tiles: the tile set.
        classes: number of classes.
        allowed: where the centres of tiles without any class lie, in pixels of the slide; None: anywhere.
    """
    edge, half, factor = tiles.size, tiles.size / 2, Frame.of(mask).factor
    for x, y in grid(mask.size, edge, tiles.overlap):
        window = Window(x, y, edge, edge).clipped(mask.size)
        if tissue.read(window).mean() < tiles.min_tissue:
            continue
        if (mask.read(window) & ((1 << classes) - 1)).any():
            yield TilePlace(x, y, "grid")
        elif _holds(allowed, (x + half) * factor, (y + half) * factor) and _keeps_background(slide, x, y, tiles):
            yield TilePlace(x, y, "background")


def _holds(area: shapely.Geometry | None, x: float, y: float) -> bool:
    return area is None or bool(shapely.contains_xy(area, x, y))


def _keeps_background(slide: str, x: int, y: int, tiles: TileSet) -> bool:
    """Decide by a hash of the place, so that the choice does not depend on other tiles."""
    word = hashlib.sha256(f"{tiles.seed} {slide} {x} {y}".encode()).digest()
    return int.from_bytes(word[:8]) < tiles.background * 2**64


def _object_corners(outlines: Path, frame: Frame, edge: int) -> list[TilePlace]:
    """One tile centred on every outline, pushed back inside the slide."""
    table = read_outlines(outlines, ("class", "x", "y"))
    table = table[table["class"] != IGNORE]

    def start(center: float, length: int) -> int:
        return min(max(round(center / frame.factor - edge / 2), 0), max(length - edge, 0))

    width, height = frame.size
    return [TilePlace(start(x, width), start(y, height), "object") for x, y in zip(table["x"], table["y"], strict=True)]


class ArchiveWriter:
    """Appends tiles to an archive, and rows to its table some at a time; made by ``tile_archive``."""

    def __init__(self, archive: h5py.File, classes: Sequence[str], edge: int) -> None:
        self.archive, self._classes, self._edge = archive, classes, edge
        bits, each = mask_dtype(len(classes)), (len(classes),)
        text = h5py.string_dtype()
        # tissue compresses by 4 %, which costs six times the time of writing and five times that of reading
        self._images = _growing(archive, "images", (edge, edge, 3), np.uint8, 1)
        self._masks = _growing(archive, "masks", (edge, edge), bits, 1, compression="lzf")
        self._table = {
            **{name: _growing(archive, name, (), text, ROWS) for name in ("slide", "source", "kind")},
            **{name: _growing(archive, name, (), np.int64, ROWS) for name in ("x", "y")},
            **{name: _growing(archive, name, (), np.float32, ROWS) for name in ("tissue", "mpp")},
            "coverage": _growing(archive, "coverage", each, np.float32, ROWS),
            "labelled": _growing(archive, "labelled", each, np.bool_, ROWS),
        }
        self._rows: list[dict[str, Any]] = []
        archive.attrs["classes"] = list(classes)

    def add(self, row: Row, corner: TilePlace, image: Raster, mask: Raster, tissue: Raster) -> None:
        """Append the tile of a slide at a corner; what lies beyond the slide is white and does not count."""
        require_space(Path(self.archive.filename).parent, UNWRITTEN)
        frame, window = Frame.of(image), Window(corner.x, corner.y, self._edge, self._edge)
        inside = window.clipped(image.size)
        pixels = np.full((self._edge, self._edge, 3), 255, np.uint8)
        pixels[: inside.height, : inside.width] = np.moveaxis(image.read(inside), 0, -1)
        bits = np.full((self._edge, self._edge), 1 << len(self._classes), self._masks.dtype)
        bits[: inside.height, : inside.width] = mask.read(inside)[0]
        _append(self._images, [pixels])
        _append(self._masks, [bits])
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
                "labelled": [row.labelled is None or name in row.labelled for name in self._classes],
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


def _growing(
    archive: h5py.File, name: str, shape: tuple[int, ...], kind: DTypeLike, together: int, **options: str
) -> h5py.Dataset:
    """An empty column of items of a shape, stored some together; numbers with checksums that are looked at when read."""
    sums = h5py.check_string_dtype(np.dtype(kind)) is None
    return archive.create_dataset(
        name, (0, *shape), kind, maxshape=(None, *shape), chunks=(together, *shape), fletcher32=sums, **options
    )


def _append(column: h5py.Dataset, items: Sequence[Any]) -> None:
    count = len(column)
    column.resize(count + len(items), axis=0)
    column[count:] = items
