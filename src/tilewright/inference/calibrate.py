"""Thresholds and least sizes fitted on out-of-fold slides.

For each slide and class the probabilities of positive and of negative pixels are counted in 256 bins. From the counts the
Dice at every threshold follows exactly, without reading the maps again.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tilewright.folds import read_folds
from tilewright.histograms import BINS, Histogram, Reliability, best_bin, bin_threshold, counts_at, dice_curve
from tilewright.inference.sizes import Sizes, candidates, object_sizes
from tilewright.rasters import blocks, open_raster
from tilewright.runtime.atomic import write_text
from tilewright.runtime.errors import DataError, Problem
from tilewright.runtime.progress import track
from tilewright.settings import CalibrateSettings
from tilewright.sheet import Row, read_sheet

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
        settings: classes, aim, fixed values.
        out: the JSON to write: thresholds, min_area, dice (fitted: of the same slides, hence optimistic; nested),
            reliability (expected calibration error; predicted, observed and pixels of each bin), slides.

    Raises:
        DataError: no training slide is labelled for a class.
    """
    rows = [row for row in read_sheet(sheet, [data, sheet.parent, Path()], None).rows if row.role == "train"]
    fold_of = {one.shard: one.fold for one in read_folds(folds)}
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
    write_text(out, json.dumps(content, indent=2) + "\n")


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


def _fit(slides: Sequence[_Slide], name: str, settings: CalibrateSettings) -> tuple[Choice, dict[str, float | None]]:
    """The choice for a class, and its Dice on the slides it is fitted on (fitted) and as of other folds (nested)."""
    spec, bit = settings.calibration, settings.classes.index(name)

    @cache
    def sizes(slide: _Slide, threshold: float) -> Sizes:
        # a class that is not asked for has no pixel at a threshold above 1
        thresholds = [threshold if place == bit else 2.0 for place in range(len(settings.classes))]
        return object_sizes(slide.probability, slide.mask, [bit], thresholds)[0]

    def thresholded(chosen: Sequence[_Slide]) -> int:
        if spec.threshold is not None:
            return max(1, math.ceil(spec.threshold * (BINS - 1) - 1e-6))
        return best_bin(dice_curve([slide.histogram for slide in chosen], spec.aim))

    def judged(chosen: Sequence[_Slide], others: Sequence[_Slide]) -> tuple[Choice, list[Counts]]:
        """Fit on some slides, and count on others."""
        index = thresholded(chosen)
        threshold = bin_threshold(index) if spec.threshold is None else spec.threshold
        if spec.min_area != "fit":
            return Choice(threshold, spec.min_area), [counts_at(slide.histogram, index) for slide in others]
        found = [sizes(slide, threshold) for slide in chosen]
        least = max(candidates(found), key=lambda area: dice_of([each.counts(area) for each in found], spec.aim))
        return Choice(threshold, least), [sizes(slide, threshold).counts(least) for slide in others]

    choice, counts = judged(slides, slides)
    nested = nested_counts(slides, lambda chosen, others: judged(chosen, others)[1])
    dice = {"fitted": round(dice_of(counts, spec.aim), 6)}
    return choice, {**dice, "nested": None if nested is None else round(dice_of(nested, spec.aim), 6)}


def nested_counts(
    slides: Sequence[_Slide], judged: Callable[[Sequence[_Slide], Sequence[_Slide]], list[Counts]]
) -> list[Counts] | None:
    """Counts of all slides, those of each fold with what is fitted on the others; None: there is one fold only."""
    folds = sorted({slide.fold for slide in slides}, key=str)
    if len(folds) < 2:
        return None
    parts = [
        ([slide for slide in slides if slide.fold != fold], [slide for slide in slides if slide.fold == fold])
        for fold in folds
    ]
    return [counts for others, own in parts for counts in judged(others, own)]


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
