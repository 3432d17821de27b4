"""The overlays of an ensemble: which slides they show, and the files of each."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tilewright.pixels.grid import Size
from tilewright.pixels.rasters import open_raster
from tilewright.project.config import ANY
from tilewright.project.orders import ReportOrder, ReportRow
from tilewright.project.places import Places, image_file, mask_file, segment_file
from tilewright.report.content import ROLES
from tilewright.report.linking import place_of
from tilewright.report.overlays import (
    PREDICTION,
    TRUTH,
    composite,
    legend,
    outline_layer,
    read_view,
    write_jpeg,
    write_png,
)
from tilewright.runtime.progress import track


@dataclass(frozen=True)
class Choice:
    """A slide to show; ``dice`` by class, empty where the truth is unknown."""

    row: ReportRow
    dice: dict[str, float]

    @property
    def overall(self) -> float:
        """Dice of all classes together, or their mean where not all are annotated."""
        return self.dice[ANY] if ANY in self.dice else sum(self.dice.values()) / len(self.dice)


def choose_slides(rows: Iterable[ReportRow], slides: pd.DataFrame, limit: int) -> list[Choice]:
    """The slides that overlays show: test slides first, the worst first; some of them without known truth.

    Args:
        rows: all slides.
        slides: columns slide, class, dice.
        limit: most slides.
    """
    scores: dict[str, dict[str, float]] = {}
    for slide, name, dice in zip(slides["slide"], slides["class"], slides["dice"], strict=True):
        scores.setdefault(slide, {})[name] = float(dice)
    choices = [Choice(row, scores.get(row.slide, {})) for row in rows if row.role != "external"]
    known = sorted((one for one in choices if one.dice), key=lambda one: (one.row.role != "test", one.overall))
    unknown = [one for one in choices if not one.dice and one.row.role == "test"]
    kept = known[: max(limit - min(len(unknown), limit // 4), 0)]
    return [*kept, *unknown[: limit - len(kept)]]


def draw_overlays(
    ensemble: str, order: ReportOrder, slides: pd.DataFrame, places: Places, folder: Path
) -> Iterator[dict[str, Any]]:
    """Draw the overlays of an ensemble and yield what the page says about them.

    Args:
        ensemble: its name.
        order: all slides, classes with their colours, and how many are shown.
        slides: columns slide, class, dice.
        places: where masks, segments and scaled images are.
        folder: the folder of the report; pictures lie in ``overlays/{ensemble}``.
    """
    target = folder / "overlays" / ensemble
    target.mkdir(parents=True)
    choices = choose_slides(order.rows, slides, order.report.overlays)
    for choice in track(choices, f"overlays of {ensemble}"):
        row = choice.row
        view = read_view(
            row,
            mask_file(Path(places.masks(row.shard)), row.slide) if choice.dice else None,
            segment_file(Path(places.segments(ensemble, row.shard)), row.slide),
            finest(places, {each.scale for each in order.ensembles.values()}, row),
            list(order.colors),
            order.report.max_edge,
            crop_to_bounds=order.crop_to_bounds,
        )
        size = Size(view.image.shape[1], view.image.shape[0])
        truth = outline_layer(view.truth, order.colors, TRUTH, size) if view.truth else None
        prediction = outline_layer(view.predicted, order.colors, PREDICTION, size)
        flat = composite(view.image, [layer for layer in (truth, prediction) if layer is not None])
        strip = legend(order.colors, size.width, truth=truth is not None)
        write_png(np.vstack([flat, strip]), target / f"{row.slide}.png", palette=True)
        write_jpeg(view.image, target / f"{row.slide}.plain.jpg")
        write_png(prediction, target / f"{row.slide}.prediction.png", palette=True)
        if truth is not None:
            write_png(truth, target / f"{row.slide}.truth.png", palette=True)
        yield {
            "slide": row.slide,
            "role": ROLES[row.role],
            "source": row.source,
            "dice": choice.dice,
            "overall": choice.overall if choice.dice else None,
            "width": size.width,
            "height": size.height,
            "base": f"overlays/{ensemble}/{row.slide}",
            "truth": truth is not None,
            "at": place_of(row.slide, ensemble),
            "missing": [name for name in order.colors if choice.dice and name not in choice.dice],
        }


def finest(places: Places, scales: Iterable[str], row: ReportRow) -> Path:
    """The largest of the scaled images of a slide."""
    images = (image_file(Path(places.scaled(scale, row.shard)), row.slide) for scale in scales)
    return max((path for path in images if path.is_file()), key=_pixels)


def _pixels(path: Path) -> int:
    with open_raster(path) as raster:
        return raster.size.width * raster.size.height
