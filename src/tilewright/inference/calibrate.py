"""Thresholds and least sizes fitted on out-of-fold slides.

For each slide and class the probabilities of positive and of negative pixels are counted in 256 bins. From the counts
the Dice at every threshold follows exactly, without reading the maps again.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from tilewright.inference.calibration import Fitted, write_calibration
from tilewright.inference.rules import FEW, Interval, fitted_threshold, threshold_interval
from tilewright.inference.sizes import candidates, object_sizes
from tilewright.pixels.grid import WINDOW, blocks
from tilewright.pixels.histograms import BINS, Histogram, Reliability, counts_at
from tilewright.pixels.rasters import open_raster
from tilewright.project.bundle import Score
from tilewright.project.orders import CalibrateOrder
from tilewright.project.places import mask_file, probability_file, scaled_mask_file
from tilewright.project.project import Bounds
from tilewright.runtime.errors import DataError, Problem
from tilewright.runtime.progress import note, track
from tilewright.tiles.split import require_folds

Counts = tuple[int, int, int]


def calibrate(order: CalibrateOrder, *, folds: Path, probabilities: Path, scaled: Path, masks: Path, out: Path) -> None:
    """Choose a threshold and a least size for each class on the training slides.

    Each slide is predicted by the fold that did not see it.

    The nested Dice is the honest one: the slides of a fold are judged with what is fitted on those of the other folds.

    Args:
        order: the slides and their folds; classes, aim, fixed values.
        folds: ``folds.csv``.
        probabilities: folder of the ensemble, ``{shard}/{slide}.tif``.
        scaled: folder of the ensemble's scale, ``{shard}/{slide}.mask.tif``.
        masks: folder of the true masks, ``{shard}/{slide}.tif``.
        out: the JSON to write: thresholds, min_area, dice (fitted: of the same slides, hence optimistic; nested),
            scores (the nested Dice by class and source, with the numbers of slides and groups), reliability (expected
            calibration error; predicted, observed and pixels of each bin), slides.

    Raises:
        DataError: no training slide is labelled for a class, or the folds are not those of sheet and config.
    """
    require_folds(folds, order.folds)
    stand = {one.shard: one for one in order.folds}
    found: dict[str, list[_Slide]] = {name: [] for name in order.classes}
    for row in track(order.rows, "calibrate"):
        probability = probability_file(probabilities / row.shard, row.slide)
        mask = mask_file(masks / row.shard, row.slide)
        truth = scaled_mask_file(scaled / row.shard, row.slide)
        histograms = slide_histograms(row.labelled, probability, truth, order.classes)
        for name, histogram in histograms.items():
            shard = stand[row.shard]
            found[name].append(_Slide(shard.fold, shard.group, row.source, histogram, probability, mask))
    if missing := [name for name, slides in found.items() if not slides]:
        what = f"no training slide is labelled for {', '.join(missing)}."
        remedy = "Correct the column labelled, or take the class out of the config."
        raise DataError(Problem("the slide sheet", what, remedy))
    fitted = {name: _fit(slides, name, order) for name, slides in found.items()}
    for name, one in fitted.items():
        if one.interval and one.groups < FEW:
            low, high = one.interval
            what = f"{name}: {one.groups} groups are few to fit a threshold on; for others the best would lie between"
            note(f"{what} {low:.2f} and {high:.2f}")
    write_calibration(fitted, [row.slide for row in order.rows], out)


@dataclass(frozen=True, eq=False)
class _Slide:
    """A slide that is labelled for a class.

    Attributes:
        fold: the fold that validates on it.
        group: its group.
        source: its source.
        histogram: its probabilities, counted.
        probability: where they are.
        mask: where the truth is.
    """

    fold: int | None
    group: str
    source: str
    histogram: Histogram
    probability: Path
    mask: Path


class _Fitter:
    """Fits the threshold and the least size of a class, and counts pixels with them.

    Args:
        order: the aim, what is fixed, and the classes.
        name: the class.
    """

    def __init__(self, order: CalibrateOrder, name: str) -> None:
        self._spec, self._fixed = order.calibration, order.calibration.fixed(name)
        self._sizes = cache(
            lambda slide, threshold: object_sizes(
                slide.probability, slide.mask, order.classes, name, threshold, order.enlarge
            )
        )

    def fit(self, slides: Sequence[_Slide]) -> Bounds:
        """What is best on some slides."""
        threshold = self._fixed
        if threshold is None:
            threshold = fitted_threshold(_by_group(slides), self._spec.aim, self._spec.rule)
        if self._spec.min_area != "fit":
            return Bounds(threshold, self._spec.min_area)
        sizes = [self._sizes(slide, threshold) for slide in slides]
        return Bounds(
            threshold, max(candidates(sizes), key=lambda area: self.dice([each.counts(area) for each in sizes]))
        )

    def interval(self, slides: Sequence[_Slide]) -> Interval | None:
        """Where the best threshold for other groups would lie; None where it is given, or there is one group only."""
        groups = _by_group(slides)
        return threshold_interval(groups, self._spec.aim) if self._fixed is None and len(groups) > 1 else None

    def counts(self, slides: Sequence[_Slide], bounds: Bounds) -> list[Counts]:
        """The counts of each slide; least sizes that are not fitted are left out of account."""
        if self._spec.min_area == "fit":
            return [self._sizes(slide, bounds.threshold).counts(bounds.min_area) for slide in slides]
        first = max(1, math.ceil(bounds.threshold * (BINS - 1) - 1e-6))
        return [counts_at(slide.histogram, first) for slide in slides]

    def nested(self, slides: Sequence[_Slide]) -> dict[_Slide, Counts]:
        """The counts of each slide with what is best on those of the other folds; none where there is one fold only."""
        counts: dict[_Slide, Counts] = {}
        for fold in {slide.fold: None for slide in slides}:
            own, others = ([slide for slide in slides if (slide.fold == fold) is same] for same in (True, False))
            if others:
                counts |= zip(own, self.counts(own, self.fit(others)), strict=True)
        return counts

    def dice(self, counts: Sequence[Counts]) -> float:
        """Dice of slides as the aim has it."""
        return dice_of(counts, self._spec.aim)


def _fit(slides: Sequence[_Slide], name: str, order: CalibrateOrder) -> Fitted:
    fitter = _Fitter(order, name)
    bounds = fitter.fit(slides)
    return Fitted(
        bounds,
        fitter.interval(slides),
        groups=len(_by_group(slides)),
        dice=round(fitter.dice(fitter.counts(slides, bounds)), 6),
        scores=list(_scores(slides, name, fitter)),
        reliability=Reliability.of([slide.histogram for slide in slides]),
    )


def _scores(slides: Sequence[_Slide], name: str, fitter: _Fitter) -> Iterator[Score]:
    """The nested Dice of all slides, then of those of each source."""
    nested = fitter.nested(slides)
    for source in (None, *sorted({slide.source for slide in slides})):
        some = [slide for slide in slides if source in (None, slide.source)]
        dice = round(fitter.dice([nested[slide] for slide in some]), 6) if nested else None
        groups = len({slide.group for slide in some})
        yield Score(class_name=name, source=source, dice=dice, slides=len(some), groups=groups)


def _by_group(slides: Sequence[_Slide]) -> list[list[Histogram]]:
    """The histograms of the slides of each group."""
    groups: dict[str, list[Histogram]] = {}
    for slide in slides:
        groups.setdefault(slide.group, []).append(slide.histogram)
    return list(groups.values())


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


def slide_histograms(
    labelled: Collection[str], probability: Path, mask: Path, classes: list[str]
) -> dict[str, Histogram]:
    """Count the probabilities of a slide, for the classes that are labelled in it; ignored pixels do not count."""
    counts = {name: np.zeros((2, BINS), np.int64) for name in classes if name in labelled}
    with open_raster(probability, classes) as values, open_raster(mask, classes) as bits:
        for window in blocks(values.size, WINDOW):
            pixels, truth = values.read(window), bits.read(window)[0]
            valid = ((truth >> len(classes)) & 1) == 0
            for name, count in counts.items():
                bit = classes.index(name)
                both = pixels[bit][valid].astype(np.int64) + BINS * ((truth[valid] >> bit) & 1).astype(np.int64)
                count += np.bincount(both, minlength=2 * BINS).reshape(2, BINS)
    return {name: Histogram(positive=count[1], negative=count[0]) for name, count in counts.items()}
