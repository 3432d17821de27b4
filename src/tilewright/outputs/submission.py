"""The table of run-length-encoded predictions of the test slides, in the dialect of a competition.

In: ``{slide}.mask.tif`` and ``{slide}.objects.parquet`` of ``segment``. Out: a csv whose encodings count pixels of the
whole image, wherever the used part of the slide lies in it.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilewright.objects import read_columns
from tilewright.rasters import Frame, open_raster
from tilewright.rle import encode_coco, encode_column_major, encode_row_major
from tilewright.runs import Ints, Runs, groups, label, overlaps, runs_of_bits
from tilewright.runtime.atomic import atomic_path
from tilewright.runtime.errors import DataError, Problem, UserError, did_you_mean
from tilewright.settings import EncodeSettings
from tilewright.sheet import read_sheet

ENCODERS = {"column_major": encode_column_major, "row_major": encode_row_major, "coco": encode_coco}


def encode(*, sheet: Path, data: Path, segments: Path, settings: EncodeSettings, out: Path) -> None:
    """Write the predictions of all slides with the role test, in the order of the sheet.

    Args:
        sheet: the slide sheet.
        data: folder in which images and outlines are looked for first.
        segments: folder with ``{shard}/{slide}.mask.tif``.
        settings: the dialect, the rows and the classes to write.
        out: the csv to write; appears whole or not at all.

    Raises:
        UserError: a class that the masks do not hold.
        DataError: a mask is missing or does not belong to its objects.
    """
    rows = [row for row in read_sheet(sheet, [data, sheet.parent, Path()], None) if row.role == "test"]
    with atomic_path(out) as private, private.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_header(settings))
        for row in rows:
            prediction = read_prediction(segments / row.shard, row.slide, settings.classes)
            writer.writerows(_records(row.slide, prediction, settings))


@dataclass(frozen=True)
class Layer:
    """What is predicted of a class.

    Attributes:
        runs: pixels of the slide, counted from the corner of its used part.
        labels: the object of each run, int64[runs].
        number: of each object in the table of its slide, int64[objects].
        confidence: of each object, float64[objects].
    """

    runs: Runs
    labels: Ints
    number: Ints
    confidence: NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    """What is predicted of a slide: its place in the image and one layer a class."""

    frame: Frame
    layers: tuple[Layer, ...]


def read_prediction(folder: Path, slide: str, classes: Sequence[str]) -> Prediction:
    """What ``segment`` wrote of a slide.

    Args:
        folder: the folder of the slide's shard.
        slide: name of the slide.
        classes: classes to read.

    Raises:
        UserError: a class that the mask does not hold.
        DataError: a file is missing or the mask does not belong to the objects.
    """
    mask = folder / f"{slide}.mask.tif"
    with open_raster(mask) as raster:
        frame, known = Frame.of(raster), json.loads(raster.tags["classes"])
    for name in classes:
        if name not in known:
            raise UserError(Problem(str(mask), f'holds no class "{name}".', did_you_mean(name, known)))
    objects = read_columns(folder / f"{slide}.objects.parquet")
    layers = []
    for name, runs in zip(classes, runs_of_bits(mask, [known.index(name) for name in classes]), strict=True):
        labels = label(runs)
        own = objects["class"] == name
        if (found := int(labels.max(initial=-1)) + 1) != (listed := np.count_nonzero(own)):
            what = f"holds {found} objects of {name}, but the table beside it {listed}."
            raise DataError(Problem(str(mask), what, "Delete the folder and run the same command again."))
        layers.append(Layer(runs, labels, objects["object"][own], objects["confidence"][own]))
    return Prediction(frame, tuple(layers))


def without_overlaps(layers: Sequence[Layer]) -> list[list[Runs]]:
    """The objects of each layer, where a pixel of several goes to the one with the highest confidence.

    Of equally confident objects the first takes the pixel, in the order of the layers. Objects that lose every pixel are
    left out.

    Args:
        layers: masks of the same size; the objects of one layer do not overlap.
    """
    confidence = np.concatenate([layer.confidence for layer in layers])
    by_rank = np.argsort(-confidence, kind="stable")
    starts, stops, rank = _winners(layers, np.argsort(by_rank))
    owner = by_rank[rank]
    height, width = layers[0].runs.height, layers[0].runs.width
    row, start = np.divmod(starts, width + 1)
    stop = start + stops - starts
    ends = np.cumsum([0, *(len(layer.confidence) for layer in layers)])
    result = []
    for first, last in pairwise(ends.tolist()):
        own = (first <= owner) & (owner < last)
        result.append(list(_split(row[own], start[own], stop[own], owner[own], height, width)))
    return result


def _winners(layers: Sequence[Layer], rank: Ints) -> tuple[Ints, Ints, Ints]:
    """Intervals in which no object begins or ends, and the best rank among the objects that cover each.

    Args:
        layers: masks of the same size.
        rank: rank of each object, layer after layer; 0 is the best.

    Returns:
        First key, key after the last and rank, all int64, of the intervals that an object covers.
    """
    ends = np.unique(np.concatenate([end for layer in layers for end in layer.runs.intervals()]))
    starts, stops = ends[:-1], ends[1:]
    best = np.full(len(starts), len(rank))
    per_layer = np.split(rank, np.cumsum([len(layer.confidence) for layer in layers])[:-1])
    for ranks, layer in zip(per_layer, layers, strict=True):
        inside, run = overlaps(starts, stops, *layer.runs.intervals())
        best[inside] = np.minimum(best[inside], ranks[layer.labels[run]])
    taken = best < len(rank)
    return starts[taken], stops[taken], best[taken]


def _split(row: Ints, start: Ints, stop: Ints, owner: Ints, height: int, width: int) -> Iterator[Runs]:
    """One mask for each owner, by its number; the parts of a run are joined again."""
    if len(owner):
        order, first = groups(np.unique(owner, return_inverse=True)[1])
        for members in np.split(order, first[1:]):
            yield Runs.of(row[members], start[members], stop[members], height, width)


def _header(settings: EncodeSettings) -> list[str]:
    if settings.submission.dialect == "coco":
        return ["id", "height", "width", "prediction_string"]
    return ["id", "class", "predicted"] if len(settings.classes) > 1 else ["id", "predicted"]


def _records(slide: str, prediction: Prediction, settings: EncodeSettings) -> Iterable[list[str]]:
    """The rows of a slide."""
    dialect = settings.submission.dialect
    encoder = ENCODERS[dialect]
    image = prediction.frame.image
    if dialect == "coco":
        return [[slide, str(image.height), str(image.width), " ".join(_coco_words(prediction))]]
    if settings.submission.rows == "object":
        layers = without_overlaps(prediction.layers)
        masks = [(name, runs) for name, layer in zip(settings.classes, layers, strict=True) for runs in layer]
    else:
        masks = [(name, layer.runs) for name, layer in zip(settings.classes, prediction.layers, strict=True)]
    texts = [[slide, name, encoder(_in_image(runs, prediction.frame))] for name, runs in masks] or [[slide, "", ""]]
    return texts if len(settings.classes) > 1 else [[slide, text] for slide, _, text in texts]


def _coco_words(prediction: Prediction) -> Iterator[str]:
    """Of each object the number of its class, its confidence and its code."""
    for number, layer in enumerate(prediction.layers):
        runs = _in_image(layer.runs, prediction.frame)
        order, first = groups(layer.labels)
        for members, confidence in zip(np.split(order, first[1:]), layer.confidence.tolist(), strict=False):
            yield f"{number} {round(confidence, 4)} {encode_coco(runs.take(members))}"


def _in_image(runs: Runs, frame: Frame) -> Runs:
    return runs.shift(frame.x, frame.y, frame.image.height, frame.image.width)
