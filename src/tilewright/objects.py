"""Objects: probabilities at their own scale become masks and objects at the size of the slide.

In: ``{slide}.tif`` of an ensemble (uint8, one band a class, 255 is certain) and the thresholds of ``calibrate``. Out, with
coordinates in pixels of level 0, x before y: ``{slide}.mask.tif`` (bit ``k`` of a pixel is class ``k`` of the tag
"classes"), ``{slide}.objects.parquet`` (counted from the corner of the used part of the slide) and ``{slide}.geojson``
(counted from the corner of the whole image). Strips of ``STRIP`` rows go through; an object is written once the strip after
its last row has passed, so objects are numbered by the strip of their last row, then by class, then by first pixel.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tilewright.components import Components, ComponentTracker, groups
from tilewright.outputs.geojson import FeatureWriter, annotation, feature_writer
from tilewright.outputs.mask import MaskWriter, mask_writer
from tilewright.rasters import Frame, Raster, open_raster
from tilewright.runs import Ints, Runs
from tilewright.runtime.atomic import atomic_directory
from tilewright.runtime.errors import DataError, Problem
from tilewright.runtime.progress import note, track
from tilewright.settings import SegmentSettings
from tilewright.sheet import read_shard
from tilewright.thresholds import Floats, scored_strips
from tilewright.tracing import outlines


def segment(
    shard: str, *, sheet: Path, data: Path, probabilities: Path, calibration: Path, settings: SegmentSettings, out: Path
) -> None:
    """Make masks and objects of the probabilities of every slide of a shard.

    A pixel belongs to a class where its probability reaches the threshold; pixels of a class that share an edge or a
    corner are an object; objects smaller than the class's least area are left out.

    Args:
        shard: name of the shard.
        sheet: the slide sheet.
        data: folder in which images and outlines are looked for first.
        probabilities: folder with ``{slide}.tif``.
        calibration: json with "thresholds" (0 to 1) and "min_area" (pixels of the slide) by class.
        settings: classes with their colours, and what the confidence of an object is.
        out: the folder to write; appears whole or not at all.

    Raises:
        DataError: probabilities or calibration are missing or do not fit the classes.
    """
    limits = read_limits(calibration, list(settings.colors))
    with atomic_directory(out) as folder:
        for row in read_shard(sheet, data, shard):
            with open_raster(probabilities / f"{row.slide}.tif") as raster:
                frame = _frame(raster, probabilities / f"{row.slide}.tif", len(limits))
                counts = _segment_slide(row.slide, raster, frame, limits, settings, folder)
            note(f"slide {row.slide}: objects: {', '.join(f'{count} of {name}' for name, count in counts.items())}")


def _segment_slide(
    slide: str, raster: Raster, frame: Frame, limits: Mapping[str, "Limit"], settings: SegmentSettings, folder: Path
) -> dict[str, int]:
    """Write the files of a slide; the number of objects of each class."""
    trackers = {name: ComponentTracker(frame.height, frame.width, values=2) for name in limits}
    strips = scored_strips(raster, frame, [limit.threshold for limit in limits.values()])
    counts = dict.fromkeys(limits, 0)
    with _object_writer(folder, slide, frame, settings.colors) as writer:
        for strip in track(strips, f"objects of {slide}"):
            settled = frame.height
            for bit, (name, scored) in enumerate(zip(limits, strip, strict=True)):
                closed, area = trackers[name].push(scored.strip, scored.values), limits[name].min_area
                objects = find_objects(closed, area, use_max=settings.segmentation.confidence == "max")
                writer.mask.add(bit, scored.strip.runs)
                writer.mask.remove(bit, small_ones(closed, area))
                writer.write(name, objects)
                counts[name] += len(objects)
                first_open = trackers[name].first_row_of_smaller(area)
                settled = min(settled, scored.strip.bottom if first_open < 0 else first_open)
            writer.mask.write_until(settled)
    return counts


@dataclass(frozen=True)
class Limit:
    """What becomes an object of a class: ``threshold`` from 0 to 1, ``min_area`` in pixels of the slide."""

    threshold: float
    min_area: int


def read_limits(calibration: Path, classes: Sequence[str]) -> dict[str, Limit]:
    """The limits of each class, in the order of ``classes``.

    Raises:
        DataError: the file is missing, no JSON, or lacks a class.
    """
    remedy = "Delete the file and run the same command again."
    try:
        content = json.loads(calibration.read_text(encoding="utf-8"))
        thresholds, areas = content["thresholds"], content["min_area"]
        return {name: Limit(float(thresholds[name]), int(areas[name])) for name in classes}
    except KeyError as error:
        raise DataError(Problem(str(calibration), f"has no entry {error}.", remedy)) from error
    except (OSError, ValueError, TypeError) as error:
        raise DataError(Problem(str(calibration), f"cannot be read ({error}).", remedy)) from error


@dataclass(frozen=True)
class Objects:
    """The objects of a class, in the order of their first pixels by rows.

    Attributes:
        runs: their pixels.
        labels: the object of each run, int64[runs], from 0.
        area: pixels of each object, int64[n].
        x: column of the centre of mass, float64[n]; the centre of the first pixel is 0.5.
        y: row of it.
        left: first column, int64[n].
        top: first row.
        first_x: column of the first pixel of that row.
        right: the column after the last.
        bottom: the row after the last.
        confidence: 0 to 1, float64[n].
    """

    runs: Runs
    labels: Ints
    area: Ints
    x: Floats
    y: Floats
    left: Ints
    top: Ints
    first_x: Ints
    right: Ints
    bottom: Ints
    confidence: Floats

    def __len__(self) -> int:
        return len(self.area)


def find_objects(components: Components, min_area: int, *, use_max: bool) -> Objects:
    """The components with at least ``min_area`` pixels; their confidence is the mean or the largest value.

    Args:
        components: with the sum and the largest of the values (probabilities times 255) of each run.
        min_area: in pixels of the slide.
        use_max: whether the confidence is the largest value.
    """
    kept = _areas(components) >= min_area
    inside = kept[components.labels]
    runs, labels = components.runs.take(inside), (np.cumsum(kept) - 1)[components.labels[inside]]
    order, first = groups(labels)
    start, stop, row = runs.start[order], runs.stop[order], runs.row[order]
    if not len(first):
        nothing, none = np.empty(0), np.empty(0, np.int64)
        return Objects(runs, labels, none, nothing, nothing, none, none, none, none, none, nothing)
    length, area = stop - start, np.add.reduceat(stop - start, first)
    total, highest = components.values[inside][order].T
    value = np.maximum.reduceat(highest, first) if use_max else np.add.reduceat(total, first) / area
    return Objects(
        runs=runs,
        labels=labels,
        area=area,
        x=np.add.reduceat(length * (start + stop), first) / (2 * area),
        y=np.add.reduceat(length * (2 * row + 1), first) / (2 * area),
        left=np.minimum.reduceat(start, first),
        top=row[first],
        first_x=start[first],
        right=np.maximum.reduceat(stop, first),
        bottom=np.maximum.reduceat(row, first) + 1,
        confidence=value / 255,
    )


def small_ones(components: Components, min_area: int) -> Runs:
    """The pixels of the components with fewer than ``min_area`` pixels."""
    return components.runs.take((_areas(components) < min_area)[components.labels])


def _areas(components: Components) -> Ints:
    return np.bincount(components.labels, components.runs.lengths()).astype(np.int64)


def _frame(raster: Raster, path: Path, classes: int) -> Frame:
    frame = Frame.of(raster)
    if raster.bands != classes or raster.size != frame.size:
        what = f"holds {raster.bands} classes of {raster.size.width} x {raster.size.height} pixels"
        wanted = f"expected {classes} of {frame.size.width} x {frame.size.height}"
        raise DataError(Problem(str(path), f"{what}; {wanted}.", "Delete it and run the same command again."))
    return frame


OBJECT_SCHEMA = pa.schema(
    [("object", pa.int64()), ("class", pa.string()), ("x", pa.float64()), ("y", pa.float64())]
    + [(name, pa.int64()) for name in ("left", "top", "first_x", "width", "height", "area")]
    + [("confidence", pa.float64())]
)


class _ObjectWriter:
    """Writes the files of a slide as its objects are found.

    Attributes:
        mask: the mask of all classes.
    """

    def __init__(
        self,
        mask: MaskWriter,
        table: pq.ParquetWriter,
        features: FeatureWriter,
        frame: Frame,
        colors: Mapping[str, str],
    ) -> None:
        self.mask, self._table, self._features = mask, table, features
        self._frame, self._colors = frame, colors
        self._count = 0

    def write(self, name: str, objects: Objects) -> None:
        """Append objects of a class to the table and the outlines."""
        if len(objects):
            self._table.write_table(_table(name, objects, self._count))
            self._count += len(objects)
            for feature in _features(name, objects, self._colors[name], self._frame):
                self._features.write(feature)


@contextmanager
def _object_writer(folder: Path, slide: str, frame: Frame, colors: Mapping[str, str]) -> Iterator[_ObjectWriter]:
    with ExitStack() as stack:
        mask = stack.enter_context(mask_writer(folder / f"{slide}.mask.tif", frame, list(colors)))
        table = pq.ParquetWriter(folder / f"{slide}.objects.parquet", OBJECT_SCHEMA, compression="zstd")
        features = stack.enter_context(feature_writer(folder / f"{slide}.geojson"))
        yield _ObjectWriter(mask, stack.enter_context(table), features, frame, colors)


def _table(name: str, objects: Objects, before: int) -> pa.Table:
    columns = [
        np.arange(before + 1, before + 1 + len(objects)), [name] * len(objects), objects.x, objects.y,
        objects.left, objects.top, objects.first_x, objects.right - objects.left, objects.bottom - objects.top,
        objects.area, objects.confidence,
    ]  # fmt: skip
    arrays = [pa.array(values, kind.type) for values, kind in zip(columns, OBJECT_SCHEMA, strict=True)]
    return pa.table(arrays, schema=OBJECT_SCHEMA)


def _features(name: str, objects: Objects, color: str, frame: Frame) -> Iterator[dict[str, Any]]:
    shapes = outlines(objects.runs, objects.labels, frame.x, frame.y)
    numbers = zip(objects.area.tolist(), objects.confidence.tolist(), strict=True)
    for geometry, (area, confidence) in zip(shapes, numbers, strict=True):
        yield annotation(geometry, name, color, {"area_px": area, "confidence": round(confidence, 6)})
