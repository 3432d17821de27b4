"""How well an ensemble does: per slide, per object, per source and pooled.

In: true masks and outlines of ``rasterize``, masks and objects of ``segment``. Out: ``slides.csv``, ``objects.csv`` and
``summary.json``. Areas in pixels of level 0. Dice and IoU are those of whole slides; a mean of rows does not exist here.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from tilewright.components import label
from tilewright.evaluation.metrics import Found, Instances, Matches, Overlap, instances_of_outlines, match
from tilewright.outputs.predictions import Layer, open_prediction, read_columns
from tilewright.runs import Runs, difference, union
from tilewright.runtime.atomic import atomic_directory
from tilewright.runtime.errors import DataError, Problem
from tilewright.settings import EvaluateSettings
from tilewright.sheet import Row, read_sheet
from tilewright.strips import runs_of_bits

ANY = "any"
SETS = {"train": "out_of_fold", "test": "test"}
SLIDE_COLUMNS = (
    "set", "source", "slide", "class", "truth_area", "predicted_area", "intersection", "dice", "iou",
    "objects_truth", "objects_predicted", "true_positives", "precision", "recall", "f1",
)  # fmt: skip
OBJECT_COLUMNS = ("set", "slide", "class", "object", "area", "confidence", "iou", "matched")


def evaluate(*, sheet: Path, data: Path, masks: Path, segments: Path, settings: EvaluateSettings, out: Path) -> None:
    """Compare what is predicted with what is annotated, for the classes that are labelled on each slide.

    Training slides are the set "out_of_fold" (each was predicted by the fold that did not see it), test slides with
    annotations the set "test"; external ones are left out. Beside the classes stands "any", their union, on slides where
    all classes are labelled; its predicted objects are the components of the union.

    Args:
        sheet: the slide sheet.
        data: folder in which images and outlines are looked for first.
        masks: folder with ``{shard}/{slide}.tif`` and ``{shard}/{slide}.outlines.parquet``.
        segments: folder with ``{shard}/{slide}.mask.tif`` and ``{shard}/{slide}.objects.parquet``.
        settings: the classes, and the overlap at which an object counts as found.
        out: the folder to write; appears whole or not at all.

    Raises:
        DataError: a file is missing, or truth and prediction differ in size.
    """
    rows = read_sheet(sheet, [data, sheet.parent, Path()], settings.classes)
    scores: list[Score] = []
    with atomic_directory(out) as folder:
        with (folder / "objects.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(OBJECT_COLUMNS)
            for row in rows:
                if row.role in SETS and row.annotations is not None:
                    for score in score_slide(row, masks / row.shard, segments / row.shard, settings):
                        writer.writerows(_object_records(score))
                        scores.append(replace(score, layer=None))  # the runs of all slides would not fit
        _write_table(folder / "slides.csv", map(_slide_record, scores))
        (folder / "summary.json").write_text(json.dumps(summarize(scores), indent=2) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Score:
    """How well a class of a slide is predicted; ``layer`` and ``matches`` are those of its objects."""

    row: Row
    name: str
    overlap: Overlap
    matches: Matches
    layer: Layer | None

    @property
    def set(self) -> str:
        """out_of_fold or test."""
        return SETS[self.row.role]


def score_slide(row: Row, masks: Path, segments: Path, settings: EvaluateSettings) -> Iterator[Score]:
    """The score of each labelled class of a slide, and of their union where all are labelled.

    Args:
        row: the slide.
        masks: folder with the true mask and outlines.
        segments: folder with the predicted mask and objects.
        settings: the classes, and the overlap at which an object counts as found.
    """
    classes = settings.classes
    names = [name for name in classes if row.labelled is None or name in row.labelled]
    if not names:
        return
    path = masks / f"{row.slide}.tif"
    *truths, ignored = runs_of_bits(path, [*map(classes.index, names), len(classes)])
    layers = open_prediction(segments, row.slide, names).layers()
    if (size := layers[0].runs.size) != ignored.size:
        what = f"is {ignored.width} x {ignored.height} pixels, but the prediction {size.width} x {size.height}."
        raise DataError(Problem(str(path), what, "Run rasterize and segment again for this slide."))
    outlines = read_columns(masks / f"{row.slide}.outlines.parquet")
    for name, truth, layer in zip(names, truths, layers, strict=True):
        instances = _true_instances(outlines, [name], ignored)
        matches = match(instances, Instances.of(layer.runs, layer.labels), ignored, settings.iou)
        yield Score(row, name, _overlap(truth, layer.runs, ignored), matches, layer)
    if names == classes:
        whole = reduce(union, (layer.runs for layer in layers))
        instances = _true_instances(outlines, classes, ignored)
        matches = match(instances, Instances.of(whole, label(whole)), ignored, settings.iou)
        yield Score(row, ANY, _overlap(reduce(union, truths), whole, ignored), matches, None)


def summarize(scores: Iterable[Score]) -> dict[str, Any]:
    """Per set and class: pooled Dice, mean Dice of slides, pooled object scores, and the same per source."""
    per_class: dict[tuple[str, str], list[Score]] = {}
    for score in scores:
        per_class.setdefault((score.set, score.name), []).append(score)
    result: dict[str, Any] = {}
    for (part, name), members in per_class.items():
        sources = sorted({score.row.source for score in members})
        by_source = {source: _pooled([score for score in members if score.row.source == source]) for source in sources}
        result.setdefault(part, {})[name] = {**_pooled(members), "sources": by_source}
    return result


def _pooled(scores: Sequence[Score]) -> dict[str, Any]:
    overlap = reduce(Overlap.__add__, (score.overlap for score in scores))
    found = reduce(Found.__add__, (score.matches.found for score in scores))
    return {
        "slides": len(scores),
        "pooled_dice": _rounded(overlap.dice),
        "mean_slide_dice": _rounded(sum(score.overlap.dice for score in scores) / len(scores)),
        "precision": _rounded(found.precision),
        "recall": _rounded(found.recall),
        "f1": _rounded(found.f1),
    }


def _overlap(truth: Runs, predicted: Runs, ignored: Runs) -> Overlap:
    return Overlap.of(difference(truth, ignored), difference(predicted, ignored))


def _true_instances(outlines: dict[str, Any], names: Sequence[str], mask: Runs) -> Instances:
    chosen = np.isin(outlines["class"], names)
    return instances_of_outlines(shapely.from_wkb(outlines["geometry"][chosen]), mask.height, mask.width)


def _slide_record(score: Score) -> tuple[Any, ...]:
    overlap, found = score.overlap, score.matches.found
    areas = (overlap.truth, overlap.predicted, overlap.both, _rounded(overlap.dice), _rounded(overlap.iou))
    shares = (_rounded(found.precision), _rounded(found.recall), _rounded(found.f1))
    objects = (found.truth, found.predicted, found.matched)
    return score.set, score.row.source, score.row.slide, score.name, *areas, *objects, *shares


def _object_records(score: Score) -> Iterator[tuple[Any, ...]]:
    """A row for each predicted object that counts."""
    if score.layer is None:
        return
    area = Instances.of(score.layer.runs, score.layer.labels).area()
    for place in np.flatnonzero(score.matches.predicted_counts).tolist():
        confidence, iou = float(score.layer.confidence[place]), float(score.matches.best_iou[place])
        numbers = int(score.layer.number[place]), int(area[place]), _rounded(confidence), _rounded(iou)
        yield score.set, score.row.slide, score.name, *numbers, int(score.matches.partner[place] >= 0)


def _write_table(path: Path, records: Iterable[tuple[Any, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(SLIDE_COLUMNS)
        writer.writerows(records)


def _rounded(value: float) -> float:
    return round(value, 6)
