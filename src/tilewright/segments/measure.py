"""What each class amounts to on each slide: pixels, share of the tissue, objects and their density.

In: ``{slide}.mask.tif`` and ``{slide}.objects.parquet`` of ``segment``, ``{slide}.tissue.tif`` of ``downscale``. Out: a
csv that spreadsheets and statistics open, with a row for each ensemble, slide and class. What is not known is empty.
"""

import csv
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.grid import WINDOW, Frame, blocks
from tilewright.pixels.rasters import open_raster
from tilewright.project.orders import MeasureOrder
from tilewright.project.places import Places, tissue_file
from tilewright.runtime.atomic import atomic_path
from tilewright.runtime.progress import track
from tilewright.segments.predictions import Amount, open_prediction

COLUMNS = (
    "ensemble", "shard", "slide", "class", "objects", "area_px", "area_um2", "tissue_mm2", "tissue_share", "per_mm2",
)  # fmt: skip


def measure(order: MeasureOrder, *, results: Path, out: Path) -> None:
    """Write what each class amounts to on every segmented slide; a slide without objects has rows of 0.

    ``area_px`` counts pixels of the slide at full size, ``tissue_share`` is that area over the area of the tissue, and
    ``per_mm2`` the objects in a square millimetre of tissue. Objects count wherever they lie, so that a share may
    exceed 1 where a class reaches beyond the tissue.

    Args:
        order: the classes, and the slides and the scale of each ensemble.
        results: the folder of all results, with segments and scaled slides.
        out: the csv to write; appears whole or not at all.

    Raises:
        DataError: a mask, a table or the tissue of a slide is missing or damaged.
    """
    places = Places(str(results))
    tissue = cache(tissue_pixels)
    with atomic_path(out) as private, private.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for ensemble, rows in sorted(order.rows.items()):
            for row in track(rows, f"measure {ensemble}"):
                prediction = open_prediction(Path(places.segments(ensemble, row.shard)), row.slide, order.classes)
                covered = tissue(tissue_file(Path(places.scaled(order.scales[ensemble], row.shard)), row.slide))
                for name, amount in prediction.amounts().items():
                    numbers = _numbers(amount, covered, prediction.frame.mpp)
                    writer.writerow((ensemble, row.shard, row.slide, name, *numbers))


def tissue_pixels(path: Path) -> float:
    """Pixels of the slide under tissue.

    A cell of the tissue stands for the pixels that it covers; one at the border covers those that the slide has.

    Args:
        path: the tissue of a slide at a scale.
    """
    with open_raster(path) as raster:
        frame, found = Frame.of(raster), 0.0
        widths = _lengths(raster.size.width, frame.width, frame.factor)
        heights = _lengths(raster.size.height, frame.height, frame.factor)
        for window in blocks(raster.size, WINDOW):
            rows, columns = window.slices
            found += float(heights[rows] @ raster.read(window)[0] @ widths[columns])
    return found


def _lengths(cells: int, length: int, factor: float) -> NDArray[np.float64]:
    """Pixels of the slide that each of some cells in a row covers."""
    return np.diff(np.minimum(factor * np.arange(cells + 1), length))


def _numbers(amount: Amount, tissue: float, mpp: float | None) -> tuple[int | str, ...]:
    """The columns of a class.

    Args:
        amount: its objects and their pixels.
        tissue: pixels of the slide under tissue.
        mpp: micrometres in a pixel of the slide; None: unknown.
    """
    area = None if mpp is None else amount.pixels * mpp**2
    ground = None if mpp is None else tissue * mpp**2 / 1e6
    share = amount.pixels / tissue if tissue else None
    density = amount.objects / ground if ground else None
    return amount.objects, amount.pixels, _text(area), _text(ground), _text(share), _text(density)


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
