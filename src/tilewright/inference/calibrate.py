"""Thresholds and least sizes fitted on out-of-fold slides.

For each slide and class the probabilities of positive and of negative pixels are counted in 256 bins. From the counts the
Dice at every threshold follows exactly, without reading the maps again.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tilewright.inference.sizes import candidates, object_sizes
from tilewright.pixels.grid import blocks
from tilewright.pixels.histograms import BINS, Histogram, Reliability, best_bin, bin_threshold, counts_at, dice_curve
from tilewright.pixels.rasters import open_raster
from tilewright.project.config import Calibration
from tilewright.project.rows import Row, open_sheet
from tilewright.project.settings import CalibrateSettings
from tilewright.runtime.documents import write_document
from tilewright.runtime.errors import DataError, Problem
from tilewright.runtime.progress import track
from tilewright.tiles.split import agreed_folds

WINDOW = 2048
Counts = tuple[int, int, int]


def calibrate(
    *,
    sheet: Path,
    data: Path,
    folds: Path,
    probabilities: Path,
    scaled: Path,
    masks: Path,
    settings: CalibrateSettings,
    out: Path,
) -> None:
    """Choose a threshold and a least size for each class on the training slides, each predicted by the fold that did not see it.

    The nested Dice is the honest one: the slides of a fold are judged with what is fitted on those of the other folds.

    Args:
        sheet: the slide sheet.
        data: folder in which images are looked for first.
        folds: ``folds.csv``.
        probabilities: folder of the ensemble, ``{shard}/{slide}.tif``.
        scaled: folder of the ensemble's scale, ``{shard}/{slide}.mask.tif``.
        masks: folder of the true masks, ``{shard}/{slide}.tif``.
        settings: classes, aim, fixed values, and how groups are divided.
        out: the JSON to write: thresholds, min_area, dice (fitted: of the same slides, hence optimistic; nested),
            reliability (expected calibration error; predicted, observed and pixels of each bin), slides.

    Raises:
        DataError: no training slide is labelled for a class, or the folds are not those of sheet and config.
    """
    listed = open_sheet(sheet, data).rows
    fold_of = {one.shard: one.fold for one in agreed_folds(folds, listed, settings.folds)}
    rows = [row for row in listed if row.role == "train"]
    found: dict[str, list[_Slide]] = {name: [] for name in settings.classes}
    for row in track(rows, "calibrate"):
        probability = probabilities / row.shard / f"{row.slide}.tif"
        mask = masks / row.shard / f"{row.slide}.tif"
        histograms = slide_histograms(row, probability, scaled / row.shard / f"{row.slide}.mask.tif", settings.classes)
        for name, histogram in histograms.items():
            found[name].append(_Slide(fold_of[row.shard], histogram, probability, mask))
    if missing := [name for name, slides in found.items() if not slides]:
        what = f"no training slide is labelled for {', '.join(missing)}."
        raise DataError(Problem(str(sheet), what, "Correct the column labelled, or fix the threshold in the config."))
    fitted = {name: _fit(slides, name, settings) for name, slides in found.items()}
    content = {
        "format": 2,
        "thresholds": {name: choice.threshold for name, (choice, _) in fitted.items()},
        "min_area": {name: choice.min_area for name, (choice, _) in fitted.items()},
        "dice": {name: dice for name, (_, dice) in fitted.items()},
        "reliability": {name: _reliability([slide.histogram for slide in slides]) for name, slides in found.items()},
        "slides": [row.slide for row in rows],
    }
    write_document(out, content)


@dataclass(frozen=True, eq=False)
class _Slide:
    """A slide that is labelled for a class: its fold, its probabilities counted, and where they and the truth are."""

    fold: int | None
    histogram: Histogram
    probability: Path
    mask: Path


@dataclass(frozen=True)
class Choice:
    """What is fitted: a threshold (0 to 1) and a least size (pixels of the slide)."""

    threshold: float
    min_area: int


class _Fitter:
    """Fits the threshold and the least size of a class, and counts pixels with them.

    Args:
        spec: the aim, and what is fixed.
        bit: the class, as band of the probabilities and bit of the masks.
        classes: number of classes.
    """

    def __init__(self, spec: Calibration, bit: int, classes: int) -> None:
        self._spec = spec
        # a class that is not asked for has no pixel at a threshold above 1
        self._sizes = cache(lambda slide, threshold: object_sizes(
            slide.probability, slide.mask, [bit], [threshold if place == bit else 2.0 for place in range(classes)]
        )[0])  # fmt: skip

    def fit(self, slides: Sequence[_Slide]) -> Choice:
        """What is best on some slides."""
        threshold = self._spec.threshold
        if threshold is None:
            threshold = bin_threshold(best_bin(dice_curve([slide.histogram for slide in slides], self._spec.aim)))
        if self._spec.min_area != "fit":
            return Choice(threshold, self._spec.min_area)
        sizes = [self._sizes(slide, threshold) for slide in slides]
        return Choice(
            threshold, max(candidates(sizes), key=lambda area: self.dice([each.counts(area) for each in sizes]))
        )

    def counts(self, slides: Sequence[_Slide], choice: Choice) -> list[Counts]:
        """The counts of each slide; least sizes that are not fitted are left out of account."""
        if self._spec.min_area == "fit":
            return [self._sizes(slide, choice.threshold).counts(choice.min_area) for slide in slides]
        first = max(1, math.ceil(choice.threshold * (BINS - 1) - 1e-6))
        return [counts_at(slide.histogram, first) for slide in slides]

    def nested(self, slides: Sequence[_Slide]) -> list[Counts]:
        """The counts of each slide with what is best on those of the other folds; none where there is one fold only."""
        counts: list[Counts] = []
        for fold in {slide.fold: None for slide in slides}:
            others = [slide for slide in slides if slide.fold != fold]
            if others:
                counts += self.counts([slide for slide in slides if slide.fold == fold], self.fit(others))
        return counts

    def dice(self, counts: Sequence[Counts]) -> float:
        """Dice of slides as the aim has it."""
        return dice_of(counts, self._spec.aim)


def _fit(slides: Sequence[_Slide], name: str, settings: CalibrateSettings) -> tuple[Choice, dict[str, float | None]]:
    """The choice for a class, and its Dice on the slides that it is fitted on (fitted) and with that of other folds (nested)."""
    fitter = _Fitter(settings.calibration, settings.classes.index(name), len(settings.classes))
    choice, nested = fitter.fit(slides), fitter.nested(slides)
    fitted = round(fitter.dice(fitter.counts(slides, choice)), 6)
    return choice, {"fitted": fitted, "nested": round(fitter.dice(nested), 6) if nested else None}


def dice_of(counts: Sequence[Counts], aim: str) -> float:
    """Dice of slides, pooled or their mean; nothing to find and nothing found is 1.

    Args:
        counts: of each slide the pixels that are rightly taken, taken, and of the class.
        aim: pooled or slide.
    """
    table = np.array(counts, np.int64)
    if aim == "pooled":
        table = table.sum(axis=0, keepdims=True)
    total = table[:, 1] + table[:, 2]
    return float(np.divide(2 * table[:, 0], total, out=np.ones(len(table)), where=total > 0).mean())


def slide_histograms(row: Row, probability: Path, mask: Path, classes: list[str]) -> dict[str, Histogram]:
    """Count the probabilities of a slide, for the classes that are labelled in it; ignored pixels do not count."""
    counts = {name: np.zeros((2, BINS), np.int64) for name in classes if row.labelled is None or name in row.labelled}
    with open_raster(probability) as values, open_raster(mask) as bits:
        for window in blocks(values.size, WINDOW):
            pixels, truth = values.read(window), bits.read(window)[0]
            valid = ((truth >> len(classes)) & 1) == 0
            for name, count in counts.items():
                bit = classes.index(name)
                both = pixels[bit][valid].astype(np.int64) + BINS * ((truth[valid] >> bit) & 1).astype(np.int64)
                count += np.bincount(both, minlength=2 * BINS).reshape(2, BINS)
    return {name: Histogram(positive=count[1], negative=count[0]) for name, count in counts.items()}


def _reliability(histograms: Sequence[Histogram]) -> Mapping[str, Any]:
    found = Reliability.of(histograms)
    return {
        "error": round(found.error, 6), "predicted": np.round(found.predicted, 6).tolist(),
        "observed": np.round(found.observed, 6).tolist(), "pixels": found.pixels.tolist(),
    }  # fmt: skip
