"""How well an ensemble does: per slide, per object, per source and pooled.

In: true masks and outlines of ``rasterize``, masks and objects of ``segment``. Out: ``slides.csv``, ``objects.csv``,
``mistakes.csv`` and ``summary.json``. Areas in pixels of level 0. Dice and IoU are those of whole slides; a mean of
rows does not exist here.
"""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from tilewright.evaluation.boundary import boundary_agreement
from tilewright.evaluation.metrics import Jaccard, Overlap, Panoptic, SizedTruth, center_agreement
from tilewright.evaluation.mistakes import KINDS, Mistakes
from tilewright.evaluation.precision import Detections
from tilewright.evaluation.summary import Score, summarize
from tilewright.masks.drawn import DRAWN, true_instances
from tilewright.masks.outlines import recorded_outlines
from tilewright.pixels.components import components_of
from tilewright.pixels.instances import Instances, match, overlapping
from tilewright.pixels.runs import Runs, difference, union
from tilewright.pixels.strips import runs_of_bits
from tilewright.project.config import ANY
from tilewright.project.orders import EvaluateOrder, EvaluateRow
from tilewright.project.places import MISTAKES, OBJECT_SCORES, SLIDE_SCORES, SUMMARY, mask_file, outlines_file
from tilewright.runtime.atomic import atomic_directory
from tilewright.runtime.documents import write_document
from tilewright.runtime.errors import DataError, Problem, UserError
from tilewright.segments.overlaps import united
from tilewright.segments.predictions import Layer, open_prediction

SLIDE_COLUMNS = (
    "set", "source", "slide", "class", "truth_area", "predicted_area", "intersection", "dice", "iou",
    "objects_truth", "objects_predicted", "true_positives", "precision", "recall", "f1", "center_f1", "boundary_f1",
    "share_correct", "pq", "sq", "rq", "aji",
)  # fmt: skip
OBJECT_COLUMNS = ("set", "slide", "class", "object", "area", "confidence", "iou", "matched")
MISTAKE_COLUMNS = ("set", "slide", "class", "kind", "left", "top", "right", "bottom")


def evaluate(order: EvaluateOrder, *, masks: Path, segments: Path, out: Path) -> None:
    """Compare what is predicted with what is annotated, for the classes that are labelled on each slide.

    Training slides are the set "out_of_fold" (each was predicted by the fold that did not see it), test slides with
    annotations the set "test"; external ones are left out. Beside the classes stands "any", their union, on slides
    where all classes are labelled; its predicted objects are the components of the union, or those of all classes where
    these may share edges.

    Args:
        order: the slides, the classes, and the overlap at which an object counts as found.
        masks: folder with ``{shard}/{slide}.tif`` and ``{shard}/{slide}.outlines.parquet``.
        segments: folder with ``{shard}/{slide}.mask.tif`` and ``{shard}/{slide}.objects.parquet``.
        out: the folder to write; appears whole or not at all.

    Raises:
        UserError: a column of the sheet that is to stand beside the scores has the name of one of them.
        DataError: a file is missing, or truth and prediction differ in size.
    """
    for name in order.columns:
        if name in SLIDE_COLUMNS:
            remedy = "Rename that column of the sheet, or leave it out."
            raise UserError(Problem("config, evaluation.columns", f'slides.csv has a column "{name}" already.', remedy))
    scores: list[Score] = []
    with atomic_directory(out) as folder:
        with (
            _table(folder / OBJECT_SCORES, OBJECT_COLUMNS) as objects,
            _table(folder / MISTAKES, MISTAKE_COLUMNS) as mistakes,
        ):
            for row in order.rows:
                for score in score_slide(row, masks / row.shard, segments / row.shard, order):
                    objects.writerows(_object_records(score))
                    mistakes.writerows(_mistake_records(score))
                    scores.append(replace(score, layer=None, mistakes=None))  # those of all slides would not fit
        with _table(folder / SLIDE_SCORES, (*SLIDE_COLUMNS, *order.columns)) as slides:
            slides.writerows((*_slide_record(one), *one.row.told.values()) for one in scores)
        write_document(folder / SUMMARY, summarize(scores))


def score_slide(row: EvaluateRow, masks: Path, segments: Path, order: EvaluateOrder) -> Iterator[Score]:
    """The score of each labelled class of a slide, and of their union where all are labelled.

    Args:
        row: the slide.
        masks: folder with the true mask and outlines.
        segments: folder with the predicted mask and objects.
        order: the classes, and the overlap at which an object counts as found.
    """
    classes = order.classes
    names = [name for name in classes if name in row.labelled]
    if not names:
        return
    path = mask_file(masks, row.slide)
    *truths, ignored = runs_of_bits(path, [*map(classes.index, names), len(classes)], classes)
    prediction = open_prediction(segments, row.slide, names)
    layers, frame = prediction.layers(), prediction.frame
    if (size := layers[0].runs.size) != ignored.size:
        what = f"is {ignored.width} x {ignored.height} pixels, but the prediction {size.width} x {size.height}."
        raise DataError(Problem(str(path), what, "Run rasterize and segment again for this slide."))
    outlines = recorded_outlines(outlines_file(masks, row.slide), DRAWN)
    for name, truth, layer in zip(names, truths, layers, strict=True):
        yield _score(row, name, truth, layer, true_instances(outlines, [name], frame, order.pixel_rule), ignored, order)
    if names == classes:
        whole = united(layers) if prediction.shares_edges else _connected([layer.runs for layer in layers])
        instances = true_instances(outlines, classes, frame, order.pixel_rule)
        yield _score(row, ANY, reduce(union, truths), whole, instances, ignored, order)


def _connected(masks: Sequence[Runs]) -> Layer:
    """The components of some masks together as objects."""
    whole = reduce(union, masks)
    return Layer(whole, components_of(whole), np.empty(0, np.int64), np.empty(0))


def _score(
    row: EvaluateRow, name: str, truth: Runs, layer: Layer, instances: Instances, ignored: Runs, order: EvaluateOrder
) -> Score:
    """The score of a class of a slide; objects of ``layer`` without confidence are not listed."""
    mask = union(layer.runs, Runs.empty(truth.height, truth.width))  # objects may share edges, which are none of it
    predicted = Instances.of(layer.runs, layer.owner)
    pairs = overlapping(instances, predicted, ignored)
    listed, matches = name != ANY, match(pairs, order.iou)
    return Score(
        row,
        name,
        Overlap.of(difference(truth, ignored), difference(mask, ignored)),
        matches,
        center_agreement(instances, predicted, pairs, truth.width, order.center_min_area),
        boundary_agreement(truth, mask, ignored, order.boundary),
        Panoptic.of(pairs),
        Jaccard.of(pairs),
        SizedTruth.of(pairs, matches),
        Detections.of(pairs, layer.confidence) if listed else None,
        layer if listed else None,
        Mistakes.of(pairs, matches, instances, predicted, truth.width) if listed else None,
    )


def _slide_record(score: Score) -> tuple[Any, ...]:
    overlap, found = score.overlap, score.matches.found
    areas = (overlap.truth, overlap.predicted, overlap.both, _rounded(overlap.dice), _rounded(overlap.iou))
    shares = (found.precision, found.recall, found.f1, score.centers.f1, score.boundary.f1)
    correct = "" if score.detections is None else _rounded(score.detections.share_correct())
    objects = (found.truth, found.predicted, found.predicted_found)
    names = score.set, score.row.source, score.row.slide, score.name
    panoptic = score.panoptic.quality, score.panoptic.segmentation, score.panoptic.recognition
    return *names, *areas, *objects, *map(_rounded, shares), correct, *map(_rounded, (*panoptic, score.jaccard.index))


def _object_records(score: Score) -> Iterator[tuple[Any, ...]]:
    """A row for each predicted object that counts."""
    if score.layer is None:
        return
    area = Instances.of(score.layer.runs, score.layer.owner).area()
    for place in np.flatnonzero(score.matches.predicted_counts).tolist():
        confidence, iou = float(score.layer.confidence[place]), float(score.matches.best_iou[place])
        numbers = int(score.layer.number[place]), int(area[place]), _rounded(confidence), _rounded(iou)
        yield score.set, score.row.slide, score.name, *numbers, int(score.matches.partner[place] >= 0)


def _mistake_records(score: Score) -> Iterator[tuple[Any, ...]]:
    """A row for each mistake, with the box that it lies in."""
    if score.mistakes is not None:
        for kind, box in zip(score.mistakes.kind.tolist(), score.mistakes.box.tolist(), strict=True):
            yield score.set, score.row.slide, score.name, KINDS[kind], *box


@contextmanager
def _table(path: Path, columns: Sequence[str]) -> Iterator[Any]:
    """A writer of a csv with a head."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        yield writer


def _rounded(value: float) -> float:
    return round(value, 6)
