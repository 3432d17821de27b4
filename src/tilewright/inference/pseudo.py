"""Pseudo-labels: tiles of a test shard whose masks are what an ensemble is sure of.

Where the ensemble is sure neither that a class is there nor that it is not, the pixel does not count. The members are
those of one fold, which have not seen the slides of that fold: a model that is then trained on these tiles and
validated on that fold learns nothing of it from the labels.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilewright.annotations.anatomy import structure
from tilewright.inference.ensemble import WeightedMaps, weighted_maps
from tilewright.pixels.grid import WINDOW, Frame, Size, blocks, mask_dtype
from tilewright.pixels.rasters import create_raster, open_raster
from tilewright.project.config import DEFAULT_LIMITS, Limits, width_and_height
from tilewright.project.orders import PseudoOrder
from tilewright.project.places import image_file, probability_file, tissue_file
from tilewright.runtime.progress import track
from tilewright.tiles.archive import tile_archive
from tilewright.tiles.tile import grid_corners


def pseudo(
    order: PseudoOrder, *, members: Sequence[Path], scaled: Path, out: Path, limits: Limits = DEFAULT_LIMITS
) -> None:
    """Cut the pseudo-labelled tiles of a shard into one archive.

    Args:
        order: the slides, tile set, classes, members with their weights, and how sure they must be.
        members: the shard's folder of each member, in their order.
        scaled: the shard's folder of scaled images, at the scale of the tiles.
        out: the archive to write.
        limits: the most vertices of an anatomy that are read; they refuse input and change no result.
    """
    tiles = order.tiles
    with (
        tempfile.TemporaryDirectory() as private,
        tile_archive(out, order.classes, Size(*width_and_height(tiles.size))) as writer,
    ):
        sure = Path(private) / "sure.tif"
        for row in order.rows:
            maps = [
                probability_file(folder, row.slide, own.part)
                for folder, own in zip(members, order.members, strict=True)
            ]
            weights = [own.weight for own in order.members]
            with weighted_maps(maps, weights, order.classes) as mean:
                mark_sure(mean, image_file(scaled, row.slide), order.min_confidence, sure)
            with (
                open_raster(image_file(scaled, row.slide)) as image,
                open_raster(sure) as mask,
                open_raster(tissue_file(scaled, row.slide)) as tissue,
            ):
                allowed = structure(row.identity, row.anatomy, tiles.background_inside, Frame.of(image), limits)
                corners = grid_corners(row.slide, image, mask, tissue, tiles, len(order.classes), allowed)
                for corner in track(list(corners), f"pseudo-labelled tiles of {row.slide}"):
                    writer.add(row, corner, image, mask, tissue)


def mark_sure(mean: WeightedMaps, image: Path, min_confidence: float, out: Path) -> None:
    """Write the mask of what the mean of probability maps is sure of, at the scale of an image.

    Args:
        mean: the maps; interpolated where their scale is another.
        image: the image whose frame the mask has.
        min_confidence: least probability of a class that is there, or of its absence.
        out: the mask to write.
    """
    kind = mask_dtype(len(mean.classes))
    with (
        open_raster(image) as target,
        create_raster(out, target.size, dtype=kind, tags=Frame.of(target).tags(mean.classes)) as result,
    ):
        for window in blocks(target.size, WINDOW):
            bits = sure_bits(mean.read(target, window), min_confidence)
            if bits.any():
                result.write(bits[None].astype(kind), window.x, window.y)


def sure_bits(values: NDArray[np.float32], min_confidence: float) -> NDArray[np.int64]:
    """Bits of probabilities: those of classes that are surely there, or that of ignored pixels.

    Args:
        values: classes x rows x columns, 0 to 255.
        min_confidence: as for ``mark_sure``.
    """
    there, absent = values >= 255 * min_confidence, values <= 255 * (1 - min_confidence)
    places = np.arange(len(values)).reshape(-1, 1, 1)
    bits = (there.astype(np.int64) << places).sum(axis=0)
    return np.where((there | absent).all(axis=0), bits, 1 << len(values))
