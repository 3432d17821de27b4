"""The table of run-length-encoded predictions of the test slides, in the dialect of a competition.

In: ``{slide}.mask.tif`` and ``{slide}.objects.parquet`` of ``segment``. Out: a csv whose encodings count pixels of the
whole image, wherever the used part of the slide lies in it. Texts are written as they come, strip by strip.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TextIO

import numpy as np

from tilewright.pixels.components import groups
from tilewright.pixels.grid import Frame
from tilewright.pixels.rle import ENCODERS, encode_coco
from tilewright.pixels.runs import Runs
from tilewright.pixels.strips import Strip
from tilewright.project.config import Submission
from tilewright.project.orders import EncodeOrder, EncodeRow
from tilewright.runtime.atomic import atomic_path
from tilewright.runtime.errors import listed
from tilewright.runtime.progress import note, track
from tilewright.segments.overlaps import without_overlaps
from tilewright.segments.predictions import Prediction, open_prediction
from tilewright.segments.rlestream import stream_column_major, stream_row_major
from tilewright.segments.sample import Sample, differences, header_of, sample_of


def encode(order: EncodeOrder, *, segments: Path, out: Path) -> None:
    """Write the predictions of the test slides, in the order of the sheet or of a sample submission.

    A sample decides which slides are written, too. The header is that of the dialect, whatever the sample's columns.

    Args:
        order: the slides; the dialect, the rows and the classes to write; a sample, if there is one.
        segments: folder with ``{shard}/{slide}.mask.tif``.
        out: the csv to write; appears whole or not at all.

    Raises:
        UserError: a class that the masks do not hold; a sample that cannot be read or does not fit the slides.
        DataError: a mask is missing or does not belong to its objects.
    """
    sample = sample_of(order)
    rows, write = _rows(order, sample), _writer(order.submission)
    with atomic_path(out) as private, private.open("w", newline="", encoding="utf-8") as stream:
        stream.write(",".join(header_of(order)) + "\n")
        for row in track(rows, "encode"):
            if not row.shard:
                stream.write(_empty(row.slide, order, sample.sizes if sample else {}))
                continue
            prediction = open_prediction(segments / row.shard, row.slide, order.classes)
            write(stream, prediction, order, out.parent)


def _rows(order: EncodeOrder, sample: Sample | None) -> list[EncodeRow]:
    """The slides to write, in their order; what differs from the sample is said."""
    if order.skipped:
        note(f"left out, as they have the role skip: {listed(order.skipped)}")
    if sample is None:
        return order.rows
    rows = sample.rows(order.rows, order.skipped)
    for each in differences(sample, order):
        note(f"{sample.path} {each}")
    return rows


def _writer(submission: Submission) -> Callable[[TextIO, Prediction, EncodeOrder, Path], None]:
    if submission.dialect == "coco":
        return _write_coco
    return _write_objects if submission.rows == "object" else _write_masks


def _write_masks(stream: TextIO, prediction: Prediction, order: EncodeOrder, folder: Path) -> None:
    """A row for each class. Neither names nor encodings hold a character that a csv quotes."""
    image = prediction.frame.image
    for name in prediction.classes:
        stream.write(_start(prediction.slide, name, order))
        strips = _strips_in_image(prediction.strips(name), prediction.frame)
        if order.submission.dialect == "row_major":
            stream.writelines(stream_row_major(strips))
        else:
            stream.writelines(stream_column_major(strips, image.height, image.width, folder))
        stream.write("\n")


def _write_objects(stream: TextIO, prediction: Prediction, order: EncodeOrder, _folder: Path) -> None:
    """A row for each object, without overlaps; a slide without objects has an empty row."""
    encoder = ENCODERS[order.submission.dialect]
    written = False
    for layers in prediction.batches():
        for name, objects in zip(prediction.classes, without_overlaps(layers), strict=True):
            for runs in objects:
                written = True
                code = encoder(_in_image(runs, prediction.frame))
                stream.write(f"{_start(prediction.slide, name, order)}{code}\n")
    if not written:
        stream.write(f"{_start(prediction.slide, '', order)}\n")


def _write_coco(stream: TextIO, prediction: Prediction, _order: EncodeOrder, _folder: Path) -> None:
    """A row for each slide: of each object the number of its class, its confidence and its code."""
    image = prediction.frame.image
    stream.write(f"{prediction.slide},{image.height},{image.width},")
    separator = ""
    for word in _coco_words(prediction):
        stream.write(separator + word)
        separator = " "
    stream.write("\n")


def _empty(slide: str, order: EncodeOrder, sizes: Mapping[str, tuple[str, str]]) -> str:
    """The rows of a slide that was skipped, in which nothing is found; a size is that of the sample."""
    if order.submission.dialect == "coco":
        return f"{slide},{','.join(sizes[slide])},\n"
    names = [""] if order.submission.rows == "object" else order.classes
    return "".join(f"{_start(slide, name, order)}\n" for name in names)


def _start(slide: str, name: str, order: EncodeOrder) -> str:
    return f"{slide},{name}," if len(order.classes) > 1 else f"{slide},"


def _coco_words(prediction: Prediction) -> Iterator[str]:
    for layers in prediction.batches():
        for number, layer in enumerate(layers):
            runs = _in_image(layer.runs, prediction.frame)
            order, first = groups(layer.owner)
            for members, confidence in zip(np.split(order, first[1:]), layer.confidence.tolist(), strict=False):
                yield f"{number} {round(confidence, 4)} {encode_coco(runs.take(members))}"


def _strips_in_image(strips: Iterable[Strip], frame: Frame) -> Iterator[Strip]:
    return (Strip(top + frame.y, bottom + frame.y, _in_image(runs, frame)) for top, bottom, runs in strips)


def _in_image(runs: Runs, frame: Frame) -> Runs:
    return runs.shift(frame.x, frame.y, frame.image.height, frame.image.width)
