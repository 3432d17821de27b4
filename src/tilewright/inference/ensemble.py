"""The weighted mean of probability maps, over models and folds."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.grid import Frame, Size, Window, blocks
from tilewright.pixels.rasters import Raster, create_raster, open_raster
from tilewright.project.rows import read_shard
from tilewright.project.settings import EnsembleSettings
from tilewright.runtime.atomic import atomic_directory
from tilewright.runtime.documents import read_document
from tilewright.runtime.errors import DataError, Problem

WINDOW = 2048


def ensemble(
    shard: str,
    *,
    sheet: Path,
    data: Path,
    members: Sequence[Path],
    weights: Path,
    settings: EnsembleSettings,
    out: Path,
) -> None:
    """Average the members' probabilities for every slide of a shard.

    Args:
        shard: name of the shard.
        sheet: the slide sheet.
        data: folder in which images are looked for first.
        members: the members' folders of the shard, ``.../{model}/fold{fold}/{shard}``; a model's weight is shared
            equally by its folds.
        weights: the JSON of ``weigh``; read where the settings say that weights are fitted.
        settings: weight of each model.
        out: the folder to write: ``{slide}.tif`` at the scale of the first member.

    Raises:
        DataError: members with different classes.
    """
    shares = member_weights(members, fitted_weights(weights) if settings.fit else settings.weights)
    with atomic_directory(out) as folder:
        for row in read_shard(sheet, data, shard):
            blend([member / f"{row.slide}.tif" for member in members], shares, folder / f"{row.slide}.tif")


def fitted_weights(path: Path) -> dict[str, float]:
    """The weights of models that ``weigh`` wrote.

    Raises:
        DataError: the file is missing or damaged.
    """
    weights: dict[str, float] = read_document(path)["weights"]
    return weights


def blend(paths: Sequence[Path], weights: Sequence[float], out: Path) -> None:
    """Write the weighted mean of probability maps of one slide.

    Args:
        paths: maps of the same place and classes; the first one gives the scale of the result, to which maps at other
            scales are interpolated.
        weights: weight of each map; they need not sum to 1.
        out: the map to write.
    """
    shares = np.array(weights, np.float32) / np.float32(sum(weights))
    with ExitStack() as stack:
        maps = [stack.enter_context(open_raster(path)) for path in paths]
        if len({each.tags["classes"] for each in maps}) > 1:
            raise DataError(Problem(str(paths[0]), "the members of the ensemble hold different classes."))
        first = maps[0]
        tags = {**Frame.of(first).tags(), "classes": first.tags["classes"]}
        with create_raster(out, first.size, bands=first.bands, tags=tags) as result:
            for window in blocks(first.size, WINDOW):
                parts = (share * read_at(each, first, window) for share, each in zip(shares, maps, strict=True))
                mean = sum(parts, np.zeros((), np.float32))
                if mean.any():
                    result.write((mean + np.float32(0.5)).astype(np.uint8), window.x, window.y)


def member_weights(members: Sequence[Path], weights: dict[str, float]) -> list[float]:
    """Weight of each member's folder, ``.../{model}/fold{fold}/{shard}``: its model's, shared by the folds."""
    models = [member.parent.parent.name for member in members]
    return [weights[model] / models.count(model) for model in models]


def read_at(source: Raster, target: Raster, window: Window) -> NDArray[np.float32]:
    """Values (bands x rows x columns, 0 to 255) of ``source`` in a window of ``target``, bilinear between scales."""
    ratio = Frame.of(target).factor / Frame.of(source).factor
    if ratio == 1:
        return source.read(window).astype(np.float32)
    places = [
        _places(start, count, ratio, limit)
        for start, count, limit in (
            (window.y, window.height, source.size.height),
            (window.x, window.width, source.size.width),
        )
    ]
    (rows, down), (columns, across) = places
    top, left = rows[0], columns[0]
    area = Window(int(left), int(top), int(columns[-1] - left) + 2, int(rows[-1] - top) + 2).clipped(Size(*source.size))
    pixels = source.read(area).astype(np.float32)
    pixels = _between(pixels, rows - top, down, axis=1)
    return _between(pixels, columns - left, across, axis=2)


def _places(start: int, count: int, ratio: float, limit: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Index of the pixel before each centre, and the share of the one after it."""
    centers = np.clip((np.arange(start, start + count) + 0.5) * ratio - 0.5, 0, limit - 1)
    before = np.floor(centers).astype(np.int64)
    return before, (centers - before).astype(np.float32)


def _between(
    pixels: NDArray[np.float32], before: NDArray[Any], share: NDArray[np.float32], axis: int
) -> NDArray[np.float32]:
    after = np.minimum(before + 1, pixels.shape[axis] - 1)
    part = share.reshape([-1 if place == axis else 1 for place in range(3)])
    low, high = pixels.take(before, axis), pixels.take(after, axis)
    return np.asarray(low + (high - low) * part, np.float32)
