"""Pseudo-labels: tiles of a test shard whose masks are what an ensemble is sure of.

Where the ensemble is sure neither that a class is there nor that it is not, the pixel does not count. The members are those
of one fold, which have not seen the slides of that fold: a model that is then trained on these tiles and validated on that
fold learns nothing of it from the labels.
"""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilewright.annotations.anatomy import structure
from tilewright.inference.ensemble import member_weights, read_at
from tilewright.pixels.grid import Frame, blocks, mask_dtype
from tilewright.pixels.rasters import create_raster, open_raster
from tilewright.project.config import DEFAULT_LIMITS, Limits
from tilewright.project.rows import read_shard
from tilewright.project.settings import PseudoSettings
from tilewright.runtime.progress import track
from tilewright.tiles.tile import grid_corners, tile_archive

WINDOW = 2048


def pseudo(
    shard: str,
    *,
    sheet: Path,
    data: Path,
    members: Sequence[Path],
    scaled: Path,
    settings: PseudoSettings,
    out: Path,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """Cut the pseudo-labelled tiles of a shard into one archive.

    Args:
        shard: name of the shard.
        sheet: the slide sheet.
        data: folder in which images are looked for first.
        members: folders of the shard's probabilities, ``.../{model}/fold{fold}/{shard}``, all of one fold.
        scaled: the shard's folder of scaled images, at the scale of the tiles.
        settings: tile set, classes, weights of the models, and how sure they must be.
        out: the archive to write.
        limits: the most vertices of an anatomy that are read; they refuse input and change no result.
    """
    weights = member_weights(members, settings.weights)
    with (
        tempfile.TemporaryDirectory() as folder,
        tile_archive(out, settings.classes, settings.tiles.size) as writer,
    ):
        labels = Path(folder) / "labels.tif"
        for row in read_shard(sheet, data, shard):
            maps, image_path = [member / f"{row.slide}.tif" for member in members], scaled / f"{row.slide}.image.tif"
            label(maps, weights, image_path, settings.min_confidence, labels)
            with (
                open_raster(image_path) as image,
                open_raster(labels) as mask,
                open_raster(scaled / f"{row.slide}.tissue.tif") as tissue,
            ):
                allowed = structure(row, settings.tiles.background_inside, Frame.of(image), limits)
                corners = grid_corners(row.slide, mask, tissue, settings.tiles, len(settings.classes), allowed)
                for corner in track(list(corners), f"pseudo-labelled tiles of {row.slide}"):
                    writer.add(replace(row, labelled=None), corner, image, mask, tissue)


def label(maps: Sequence[Path], weights: Sequence[float], image: Path, min_confidence: float, out: Path) -> None:
    """Write the mask of what the mean of probability maps is sure of, at the scale of an image.

    Args:
        maps: uint8, one band a class; interpolated where their scale is another.
        weights: weight of each map; they need not sum to 1.
        image: the image whose frame the mask has.
        min_confidence: least probability of a class that is there, or of its absence.
        out: the mask to write.
    """
    shares = np.array(weights, np.float32) / np.float32(sum(weights))
    with ExitStack() as stack:
        sources = [stack.enter_context(open_raster(path)) for path in maps]
        target = stack.enter_context(open_raster(image))
        kind = mask_dtype(sources[0].bands)
        result = stack.enter_context(create_raster(out, target.size, dtype=kind, tags=Frame.of(target).tags()))
        for window in blocks(target.size, WINDOW):
            parts = (share * read_at(each, target, window) for share, each in zip(shares, sources, strict=True))
            bits = labels_of(sum(parts, np.zeros((), np.float32)), min_confidence)
            if bits.any():
                result.write(bits[None].astype(kind), window.x, window.y)


def labels_of(values: NDArray[np.float32], min_confidence: float) -> NDArray[np.int64]:
    """Bits of probabilities: those of classes that are surely there, or that of ignored pixels.

    Args:
        values: classes x rows x columns, 0 to 255.
        min_confidence: as for ``label``.
    """
    there, absent = values >= 255 * min_confidence, values <= 255 * (1 - min_confidence)
    places = np.arange(len(values)).reshape(-1, 1, 1)
    bits = (there.astype(np.int64) << places).sum(axis=0)
    return np.where((there | absent).all(axis=0), bits, 1 << len(values))
