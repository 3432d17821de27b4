"""Tiles: rectangles cut from scaled slides, written to one archive a shard (``archive`` says what it holds)."""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import shapely

from tilewright.annotations.anatomy import structure
from tilewright.masks.outlines import recorded_outlines
from tilewright.pixels.grid import Frame, Size, Window, grid
from tilewright.pixels.rasters import Raster, open_raster
from tilewright.project.config import DEFAULT_LIMITS, IGNORE, Limits, TileSet, width_and_height
from tilewright.project.orders import TileOrder
from tilewright.project.places import image_file, outlines_file, scaled_mask_file, tissue_file
from tilewright.runtime.progress import note, track
from tilewright.tiles.archive import TilePlace, tile_archive
from tilewright.tiles.blank import is_blank
from tilewright.tiles.objects import TileObjects, tile_objects
from tilewright.tiles.scattered import scattered_corners


def tile(order: TileOrder, *, scaled: Path, masks: Path, out: Path, limits: Limits = DEFAULT_LIMITS) -> None:
    """Cut the tiles of a shard into one archive.

    Args:
        order: the slides, the tile set and the classes.
        scaled: the shard's folder of scaled images, as ``downscale`` writes it.
        masks: the shard's folder of masks and outlines, as ``rasterize`` writes it.
        out: the archive to write.
        limits: the most vertices of an anatomy that are read; they refuse input and change no result.
    """
    tiles = order.tiles
    size = Size(*width_and_height(tiles.size))
    with tile_archive(out, order.classes, size, objects=order.objects is not None) as writer:
        for row in order.rows:
            with (
                open_raster(image_file(scaled, row.slide)) as image,
                open_raster(scaled_mask_file(scaled, row.slide), order.classes) as mask,
                open_raster(tissue_file(scaled, row.slide)) as tissue,
                _objects(order, Frame.of(image), outlines_file(masks, row.slide), out.parent) as objects,
            ):
                frame = Frame.of(image)
                allowed = structure(row.identity, row.anatomy, tiles.background_inside, frame, limits)
                corners = list(grid_corners(row.slide, image, mask, tissue, tiles, len(order.classes), allowed))
                if tiles.objects:
                    corners += _object_corners(outlines_file(masks, row.slide), frame, size)
                if tiles.scattered:
                    scattered = list(scattered_corners(row.slide, mask, tissue, tiles, len(order.classes), allowed))
                    if len(scattered) < tiles.scattered:
                        note(f"{row.slide}: only {len(scattered)} of {tiles.scattered} scattered tiles have a place")
                    corners += scattered
                for corner in track(corners, f"tiles of {row.slide}"):
                    shown = objects.of(Window(corner.x, corner.y, *size)) if objects else None
                    writer.add(row, corner, image, mask, tissue, shown)


def _objects(
    order: TileOrder, frame: Frame, outlines: Path, beside: Path
) -> AbstractContextManager[TileObjects | None]:
    """What draws the objects of a slide's tiles, where a network learns of them."""
    if order.objects is None:
        return nullcontext()
    return tile_objects(outlines, frame, order.classes, order.objects, beside)


def grid_corners(
    slide: str,
    image: Raster,
    mask: Raster,
    tissue: Raster,
    tiles: TileSet,
    classes: int,
    allowed: shapely.Geometry | None = None,
) -> Iterator[TilePlace]:
    """Corners of the tiles of a grid that hold enough tissue, are not blank, and of which a pixel counts.

    Args:
        slide: name of the slide.
        image: its pixels.
        mask: bits of the classes, of the same size.
        tissue: of the same size.
        tiles: the tile set.
        classes: number of classes.
        allowed: where the centres of tiles without any class lie, in pixels of the slide; None: anywhere.
    """
    size, factor = Size(*width_and_height(tiles.size)), Frame.of(mask).factor
    for x, y in grid(mask.size, size, tiles.overlap):
        window = Window(x, y, *size).clipped(mask.size)
        if tissue.read(window).mean() < tiles.min_tissue:
            continue
        place, blank = f"{tiles.seed} {slide} {x} {y}", tiles.blank
        if blank and is_blank(image.read(window), blank) and not _is_kept(blank.keep, f"blank {place}"):
            continue
        bits = mask.read(window)
        if (bits >> classes & 1).all():
            continue
        if (bits & ((1 << classes) - 1)).any():
            yield TilePlace(x, y, "grid")
            continue
        center = ((x + size.width / 2) * factor, (y + size.height / 2) * factor)
        if _holds(allowed, *center) and _is_kept(tiles.background, place):
            yield TilePlace(x, y, "background")


def _holds(area: shapely.Geometry | None, x: float, y: float) -> bool:
    return area is None or bool(shapely.contains_xy(area, x, y))


def _is_kept(share: float, place: str) -> bool:
    """Decide by a hash of the place, so that the choice does not depend on other tiles."""
    return int.from_bytes(hashlib.sha256(place.encode()).digest()[:8]) < share * 2**64


def _object_corners(outlines: Path, frame: Frame, size: Size) -> list[TilePlace]:
    """One tile centred on every outline, pushed back inside the slide."""
    table = recorded_outlines(outlines, ("class", "x", "y"))
    table = table[table["class"] != IGNORE]

    def start(center: float, length: int, edge: int) -> int:
        return min(max(round(center / frame.factor - edge / 2), 0), max(length - edge, 0))

    (width, height), centers = frame.size, zip(table["x"], table["y"], strict=True)
    return [TilePlace(start(x, width, size.width), start(y, height, size.height), "object") for x, y in centers]
