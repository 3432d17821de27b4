"""Thresholds and least sizes fitted on out-of-fold slides.

For each slide and class the probabilities of positive and of negative pixels are counted in 256 bins. From the counts
the Dice at every threshold follows exactly, without reading the maps again.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from tilewright.inference.calibration import Fitted, write_calibration
from tilewright.inference.judging import Counts, Fitter, Judged, KnownSlide, by_group, dice_of, nested
from tilewright.inference.objectfit import ObjectFitter
from tilewright.inference.rules import FEW, Interval, fitted_threshold, threshold_interval
from tilewright.inference.sizes import candidates, object_sizes
from tilewright.pixels.grid import WINDOW, blocks
from tilewright.pixels.histograms import BINS, Histogram, Reliability, counts_at
from tilewright.pixels.rasters import open_raster
from tilewright.project.bundle import Score
from tilewright.project.config import DEFAULT_LIMITS, Limits
from tilewright.project.orders import CalibrateOrder
from tilewright.project.places import mask_file, outlines_file, probability_file, scaled_mask_file
from tilewright.project.project import Bounds
from tilewright.runtime.errors import DataError, Problem
from tilewright.runtime.progress import note, track
from tilewright.tiles.split import require_folds


def calibrate(
    order: CalibrateOrder,
    *,
    folds: Path,
    probabilities: Path,
    scaled: Path,
    masks: Path,
    out: Path,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """Choose a threshold and a least size for each class on the training slides; for objects, a confidence as well.

    Each slide is predicted by the fold that did not see it.

    The nested scores are the honest ones: slides of a fold are judged with what is fitted on those of the other folds.

    Args:
        order: the slides and their folds; classes, aim, fixed values.
        folds: ``folds.csv``.
        probabilities: folder of the ensemble, ``{shard}/{slide}.tif``.
        scaled: folder of the ensemble's scale, ``{shard}/{slide}.mask.tif``.
        masks: folder of the true masks, ``{shard}/{slide}.tif``, and of their outlines, which are read where objects
            are the aim.
        out: the JSON to write: thresholds, min_area, dice (fitted: of the same slides, hence optimistic; nested),
            scores (the nested scores by class and source, with the numbers of slides and groups), reliability (expected
            calibration error; predicted, observed and pixels of each bin), slides; where objects are the aim also
            min_confidence, seed and objects (their F1, as dice).
        limits: the most vertices of larger structures that are read; they refuse input and change no result.

    Raises:
        DataError: no training slide is labelled for a class, or the folds are not those of sheet and config.
    """
    require_folds(folds, order.folds)
    stand = {one.shard: one for one in order.folds}
    found: dict[str, list[KnownSlide]] = {name: [] for name in order.classes}
    for row in track(order.rows, "calibrate"):
        probability = probability_file(probabilities / row.shard, row.slide)
        mask = mask_file(masks / row.shard, row.slide)
        truth = scaled_mask_file(scaled / row.shard, row.slide)
        histograms = slide_histograms(row.labelled, probability, truth, order.classes)
        for name, histogram in histograms.items():
            shard, outlines = stand[row.shard], outlines_file(masks / row.shard, row.slide)
            where = probability, mask, outlines
            found[name].append(KnownSlide(row.slide, shard.fold, shard.group, row.source, histogram, *where))
    if missing := [name for name, slides in found.items() if not slides]:
        what = f"no training slide is labelled for {', '.join(missing)}."
        remedy = "Correct the column labelled, or take the class out of the config."
        raise DataError(Problem("the slide sheet", what, remedy))
    fitted = {name: _fit(slides, name, order, limits) for name, slides in found.items()}
    for name, one in fitted.items():
        if one.groups < FEW and (one.interval or order.objects):
            note(_doubt(name, one))
    write_calibration(fitted, [row.slide for row in order.rows], out)


def _doubt(name: str, fitted: Fitted) -> str:
    """What to say of a class that is fitted on few groups."""
    what = f"{name}: {fitted.groups} groups are few to fit a threshold on"
    if fitted.interval is None:
        return f"{what}, or sizes and confidences of objects"
    low, high = fitted.interval
    return f"{what}; for others the best would lie between {low:.2f} and {high:.2f}"


class _DiceFitter:
    """Fits the threshold and the least size of a class for the Dice of pixels.

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

    def fit(self, slides: Sequence[KnownSlide]) -> Bounds:
        """What is best on some slides."""
        threshold = self._fixed
        if threshold is None:
            threshold = fitted_threshold(_histograms(slides), self._spec.aim, self._spec.rule)
        if self._spec.min_area != "fit":
            return Bounds(threshold, self._spec.min_area)
        sizes = [self._sizes(slide, threshold) for slide in slides]

        def dice(area: int) -> float:
            return dice_of([each.counts(area) for each in sizes], self._spec.aim)

        return Bounds(threshold, max(candidates(sizes), key=dice))

    def interval(self, slides: Sequence[KnownSlide]) -> Interval | None:
        """Where the best threshold for other groups would lie; None where it is given, or there is one group only."""
        groups = _histograms(slides)
        return threshold_interval(groups, self._spec.aim) if self._fixed is None and len(groups) > 1 else None

    def judge(self, bounds: Mapping[KnownSlide, Bounds]) -> Judged:
        """Dice of some slides with the bounds of each; least sizes that are not fitted are left out of account."""
        return Judged(dice_of([self._counts(slide, own) for slide, own in bounds.items()], self._spec.aim))

    def _counts(self, slide: KnownSlide, bounds: Bounds) -> Counts:
        if self._spec.min_area == "fit":
            return self._sizes(slide, bounds.threshold).counts(bounds.min_area)
        return counts_at(slide.histogram, max(1, math.ceil(bounds.threshold * (BINS - 1) - 1e-6)))


def _histograms(slides: Sequence[KnownSlide]) -> list[list[Histogram]]:
    """Those of the slides of each group."""
    return [[slide.histogram for slide in group] for group in by_group(slides)]


def _fit(slides: Sequence[KnownSlide], name: str, order: CalibrateOrder, limits: Limits) -> Fitted:
    fitter = ObjectFitter(order, name, limits) if order.objects else _DiceFitter(order, name)
    bounds = fitter.fit(slides)
    return Fitted(
        bounds,
        fitter.interval(slides),
        groups=len(by_group(slides)),
        judged=_rounded(fitter.judge(dict.fromkeys(slides, bounds))),
        scores=list(_scores(slides, name, fitter)),
        reliability=Reliability.of([slide.histogram for slide in slides]),
    )


def _scores(slides: Sequence[KnownSlide], name: str, fitter: Fitter) -> Iterator[Score]:
    """The nested scores of all slides, then of those of each source."""
    bounds = nested(fitter, slides)
    for source in (None, *sorted({slide.source for slide in slides})):
        some = [slide for slide in slides if source in (None, slide.source)]
        judged = _rounded(fitter.judge({slide: bounds[slide] for slide in some})) if bounds else Judged(None)
        groups = len({slide.group for slide in some})
        yield Score(class_name=name, source=source, **judged._asdict(), slides=len(some), groups=groups)


def _rounded(judged: Judged) -> Judged:
    return Judged(*(None if value is None else round(value, 6) for value in judged))


def slide_histograms(
    labelled: Collection[str], probability: Path, mask: Path, classes: list[str], edge: int = WINDOW
) -> dict[str, Histogram]:
    """Count the probabilities of a slide, for the classes that are labelled in it; ignored pixels do not count.

    Pixels of a window of an edge are held at a time, eight bytes for each, several times.
    """
    counts = {name: np.zeros((2, BINS), np.int64) for name in classes if name in labelled}
    with open_raster(probability, classes) as values, open_raster(mask, classes) as bits:
        for window in blocks(values.size, edge):
            pixels, truth = values.read(window), bits.read(window)[0]
            valid = ((truth >> len(classes)) & 1) == 0
            for name, count in counts.items():
                bit = classes.index(name)
                both = pixels[bit][valid].astype(np.int64) + BINS * ((truth[valid] >> bit) & 1).astype(np.int64)
                count += np.bincount(both, minlength=2 * BINS).reshape(2, BINS)
    return {name: Histogram(positive=count[1], negative=count[0]) for name, count in counts.items()}
