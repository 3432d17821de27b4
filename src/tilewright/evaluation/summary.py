"""Scores of slides pooled by set, class and source, with intervals by resampling slides (Efron 1979)."""

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from tilewright.evaluation.metrics import Jaccard, Overlap, Panoptic, SizedTruth
from tilewright.evaluation.mistakes import Mistakes
from tilewright.evaluation.precision import OPEN_IMAGES, Detections, Ranked, area_under_curve, coco_map
from tilewright.pixels.instances import Agreement, Matches
from tilewright.pixels.runs import Ints
from tilewright.project.orders import EvaluateRow
from tilewright.project.rows import SETS
from tilewright.segments.predictions import Layer

RESAMPLES, LEAST_SLIDES = 500, 3


@dataclass(frozen=True)
class Score:
    """How well a class of a slide is predicted.

    Attributes:
        row: the slide.
        name: the class.
        overlap: of the masks.
        matches: of the objects at the overlap that the config asks for.
        centers: objects whose centre lies in an object of the other side.
        boundary: boundary pixels near the other boundary.
        panoptic: objects that share more than half of their pixels.
        jaccard: pixels of objects that are laid beside each other.
        sized: the true objects by size.
        detections: the predicted objects by confidence; None: they have none.
        layer: the predicted objects; None: they are not listed, or no longer held.
        mistakes: which objects are wrong, and how; None likewise.
    """

    row: EvaluateRow
    name: str
    overlap: Overlap
    matches: Matches
    centers: Agreement
    boundary: Agreement
    panoptic: Panoptic
    jaccard: Jaccard
    sized: SizedTruth
    detections: Detections | None
    layer: Layer | None
    mistakes: Mistakes | None

    @property
    def set(self) -> str:
        """out_of_fold or test."""
        return SETS[self.row.role]


def summarize(scores: Sequence[Score]) -> dict[str, Any]:
    """Per set and class: the scores of all slides together, with intervals, and the same per source."""
    per_class: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        per_class.setdefault((score.set, score.name), []).append(score)
    result: dict[str, Any] = {}
    for (part, name), members in per_class.items():
        sources = sorted({score.row.source for score in members})
        by_source = {source: pooled([score for score in members if score.row.source == source]) for source in sources}
        sized = SizedTruth.concatenate([score.sized for score in members]).by_quarter()
        result.setdefault(part, {})[name] = {**pooled(members), "recall_by_size": sized, "sources": by_source}
    return result


def pooled(scores: Sequence[Score]) -> dict[str, Any]:
    """The scores of slides together; "intervals" holds, from 3 slides on, the middle 95 % of resampled slides."""
    pool = _Pool(scores)
    found = pool.scores(np.ones(len(scores), np.int64))
    result: dict[str, Any] = {"slides": len(scores), **{name: _rounded(value) for name, value in found.items()}}
    if len(scores) >= LEAST_SLIDES:
        generator = np.random.default_rng(0)
        times = generator.multinomial(len(scores), np.full(len(scores), 1 / len(scores)), RESAMPLES)
        drawn = [pool.scores(weights) for weights in times]
        result["intervals"] = {name: _interval([each[name] for each in drawn]) for name in found}
    return result


class _Pool:
    """Counts of slides, from which the scores follow for any number of times that each slide counts."""

    def __init__(self, scores: Sequence[Score]) -> None:
        self._overlap = _table(astuple(score.overlap) for score in scores)
        self._dice = np.array([score.overlap.dice for score in scores])
        self._iou = np.array([score.overlap.iou for score in scores])
        self._agreements = [
            _table(astuple(each) for each in kind)
            for kind in zip(*((s.matches.found, s.centers, s.boundary) for s in scores), strict=True)
        ]
        self._panoptic = np.array([astuple(score.panoptic) for score in scores])
        # of all slides as one it would be that of the slides with the largest merged objects
        self._jaccard = np.array([score.jaccard.index for score in scores])
        detections = [score.detections for score in scores if score.detections is not None]
        self._ranked = Ranked.of(detections) if detections else None
        self._shares = np.array([each.share_correct() for each in detections])

    def scores(self, times: Ints) -> dict[str, float]:
        """All scores, each slide counting so many times."""
        overlap = Overlap(*(times @ self._overlap).tolist())
        found, centers, boundary = (Agreement(*(times @ each).tolist()) for each in self._agreements)
        truth, predicted, pairs, iou = (times @ self._panoptic).tolist()
        panoptic = Panoptic(int(truth), int(predicted), int(pairs), iou)
        total = times.sum()
        result = {
            "pooled_dice": overlap.dice, "pooled_iou": overlap.iou,
            "mean_slide_dice": float(times @ self._dice / total), "mean_slide_iou": float(times @ self._iou / total),
            "precision": found.precision, "recall": found.recall, "f1": found.f1,
            "center_precision": centers.precision, "center_recall": centers.recall, "center_f1": centers.f1,
            "boundary_f1": boundary.f1,
            "pq": panoptic.quality, "sq": panoptic.segmentation, "rq": panoptic.recognition,
            "aji": float(times @ self._jaccard / total),
        }  # fmt: skip
        if self._ranked is not None:
            result["ap60"] = area_under_curve(self._ranked, OPEN_IMAGES, times)
            result["map"] = coco_map(self._ranked, times)
            result["share_correct"] = float(times @ self._shares / total)
        return result


def _table(rows: Any) -> Ints:
    return np.array(list(rows), np.int64)


def _interval(values: Sequence[float]) -> list[float | None] | None:
    known = [value for value in values if not math.isnan(value)]
    return [_rounded(float(each)) for each in np.percentile(known, (2.5, 97.5))] if known else None


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
