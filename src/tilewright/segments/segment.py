"""Objects: probabilities at their own scale become masks and objects at the size of the slide.

In: ``{slide}.tif`` of an ensemble (uint8, one band a class, 255 is certain) and the thresholds of ``calibrate``. Out, with
coordinates in pixels of level 0, x before y: ``{slide}.mask.tif`` (bit ``k`` of a pixel is class ``k`` of the tag
"classes"), the same for viewers as ``{slide}.mask.ome.tif``, ``{slide}.objects.parquet`` (counted from the corner of the
used part of the slide) and ``{slide}.geojson.gz`` (counted from the corner of the whole image). Strips of ``STRIP`` rows go
through; an object is written once the strip after its last row has passed, so objects are numbered by the strip of their
last row, then by class, then by first pixel.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from tilewright.annotations.anatomy import structure
from tilewright.pixels.components import ComponentTracker
from tilewright.pixels.grid import Frame
from tilewright.pixels.rasters import Raster, open_raster
from tilewright.pixels.runs import Runs, union
from tilewright.pixels.thresholds import Scored, scored_strips
from tilewright.pixels.tracing import outlines
from tilewright.project.config import DEFAULT_LIMITS, Limits
from tilewright.project.config.results import Segmentation
from tilewright.project.rows import read_shard
from tilewright.project.settings import SegmentSettings
from tilewright.runtime.atomic import atomic_directory
from tilewright.runtime.documents import read_document
from tilewright.runtime.errors import DataError, Problem
from tilewright.runtime.progress import note, track
from tilewright.segments.geojson import FeatureWriter, annotation, feature_writer
from tilewright.segments.holes import HoleFiller
from tilewright.segments.mask import MaskWriter, mask_writer
from tilewright.segments.measuring import Objects, measure
from tilewright.segments.ometiff import write_ome_tiff
from tilewright.segments.splitting import split_touching


def segment(
    shard: str,
    *,
    sheet: Path,
    data: Path,
    probabilities: Path,
    calibration: Path,
    settings: SegmentSettings,
    out: Path,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """Make masks and objects of the probabilities of every slide of a shard.

    A pixel belongs to a class where its probability reaches the threshold, or where it lies in a small hole; pixels of a
    class that share an edge or a corner are an object, which may be cut where it is narrow; objects smaller than the
    class's least area, and those that the config filters out, are left out.

    Args:
        shard: name of the shard.
        sheet: the slide sheet.
        data: folder in which images and outlines are looked for first.
        probabilities: folder with ``{slide}.tif``.
        calibration: json with "thresholds" (0 to 1) and "min_area" (pixels of the slide) by class.
        settings: classes with their colours, and what the confidence of an object is.
        out: the folder to write; appears whole or not at all.
        limits: the most vertices that are read; they refuse input and change no result.

    Raises:
        DataError: probabilities or calibration are missing or do not fit the classes.
    """
    bounds = read_bounds(calibration, list(settings.colors))
    with atomic_directory(out) as folder:
        for row in read_shard(sheet, data, shard):
            with open_raster(probabilities / f"{row.slide}.tif") as raster:
                frame = _frame(raster, probabilities / f"{row.slide}.tif", len(bounds))
                inside = structure(row, settings.segmentation.inside, frame, limits)
                counts = _segment_slide(row.slide, raster, frame, bounds, settings, inside, folder)
            note(f"slide {row.slide}: objects: {', '.join(f'{count} of {name}' for name, count in counts.items())}")


def _segment_slide(
    slide: str,
    raster: Raster,
    frame: Frame,
    bounds: Mapping[str, "Bounds"],
    settings: SegmentSettings,
    inside: shapely.Geometry | None,
    folder: Path,
) -> dict[str, int]:
    """Write the files of a slide; the number of objects of each class."""
    finders = {name: _Finder(frame, own, settings.segmentation, inside) for name, own in bounds.items()}
    strips = scored_strips(raster, frame, [own.threshold for own in bounds.values()])
    counts = dict.fromkeys(bounds, 0)
    with _object_writer(folder, slide, frame, settings.colors) as writer:
        for strip in track(strips, f"objects of {slide}"):
            settled = frame.height
            for bit, (name, scored) in enumerate(zip(bounds, strip, strict=True)):
                found = finders[name].push(scored)
                writer.mask.add(bit, found.added)
                writer.mask.remove(bit, found.removed)
                writer.write(name, found.objects)
                counts[name] += len(found.objects)
                settled = min(settled, found.settled)
            writer.mask.write_until(settled)
    write_ome_tiff(folder / f"{slide}.mask.tif", settings.colors, folder / f"{slide}.mask.ome.tif")
    return counts


class Step(NamedTuple):
    """What a strip brings.

    Attributes:
        added: pixels of the class that are new.
        removed: pixels that were added and belong to no object.
        objects: objects that can grow no more.
        settled: rows above this one do not change any more.
    """

    added: Runs
    removed: Runs
    objects: Objects
    settled: int


class _Finder:
    """Finds the objects of a class: threshold, holes, components, cuts, filters."""

    def __init__(
        self, frame: Frame, bounds: "Bounds", segmentation: Segmentation, inside: shapely.Geometry | None
    ) -> None:
        self._bounds, self._segmentation, self._inside = bounds, segmentation, inside
        self._filler = HoleFiller(frame.height, frame.width, segmentation.fill_holes)
        self._tracker = ComponentTracker(frame.height, frame.width, values=3)

    def push(self, scored: Scored) -> Step:
        """Add the next strip."""
        strip, values = self._filler.push(scored)
        closed, lines = self._tracker.push(strip, values), Runs.empty(strip.runs.height, strip.runs.width)
        if self._segmentation.split:
            closed, lines = split_touching(closed, self._segmentation.split)
        objects = measure(closed, use_max=self._segmentation.confidence == "max")
        kept = self._is_kept(objects)
        removed = union(lines, closed.runs.take(~kept[closed.labels]))
        first_open = self._tracker.first_row_of_smaller(self._least_sure_area())
        return Step(strip.runs, removed, objects.take(kept), strip.bottom if first_open < 0 else first_open)

    def _is_kept(self, objects: Objects) -> NDArray[np.bool_]:
        spec = self._segmentation
        kept = (objects.area >= self._bounds.min_area) & (objects.confidence >= spec.min_confidence)
        if spec.max_area is not None:
            kept &= objects.area <= spec.max_area
        return kept if self._inside is None else kept & shapely.contains_xy(self._inside, objects.x, objects.y)

    def _least_sure_area(self) -> float:
        """An open component of so many pixels stays as it is."""
        spec = self._segmentation
        filtered = spec.split or spec.min_confidence or spec.max_area or self._inside is not None
        return math.inf if filtered else self._bounds.min_area


@dataclass(frozen=True)
class Bounds:
    """What becomes an object of a class: ``threshold`` from 0 to 1, ``min_area`` in pixels of the slide."""

    threshold: float
    min_area: int


def read_bounds(calibration: Path, classes: Sequence[str]) -> dict[str, Bounds]:
    """The bounds of each class, in the order of ``classes``.

    Raises:
        DataError: the file is missing or damaged, or lacks a class.
    """
    content = read_document(calibration)
    thresholds, areas = content["thresholds"], content["min_area"]
    if missing := [name for name in classes if name not in thresholds]:
        remedy = f"Delete {calibration} and run the same command again."
        raise DataError(Problem(str(calibration), f"has no entry for {', '.join(missing)}.", remedy))
    return {name: Bounds(thresholds[name], areas[name]) for name in classes}


def _frame(raster: Raster, path: Path, classes: int) -> Frame:
    frame = Frame.of(raster)
    if raster.bands != classes or raster.size != frame.size:
        what = f"holds {raster.bands} classes of {raster.size.width} x {raster.size.height} pixels"
        wanted = f"expected {classes} of {frame.size.width} x {frame.size.height}"
        remedy = f"Delete {path.parent} and run the same command again."
        raise DataError(Problem(str(path), f"{what}; {wanted}.", remedy))
    return frame


OBJECT_SCHEMA = pa.schema(
    [("object", pa.int64()), ("class", pa.string()), ("x", pa.float64()), ("y", pa.float64())]
    + [(name, pa.int64()) for name in ("left", "top", "first_x", "width", "height", "area")]
    + [("confidence", pa.float64())]
)
ROWS_TOGETHER = 1 << 16


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
        self._count, self._waiting = 0, list[pa.Table]()

    def write(self, name: str, objects: Objects) -> None:
        """Append objects of a class to the table and the outlines."""
        if len(objects):
            self._waiting.append(_table(name, objects, self._count))
            self._count += len(objects)
            if sum(map(len, self._waiting)) >= ROWS_TOGETHER:
                self.flush()
            for feature in _features(name, objects, self._colors[name], self._frame):
                self._features.write(feature)

    def flush(self) -> None:
        """Write the rows of the table that wait, together."""
        if self._waiting:
            self._table.write_table(pa.concat_tables(self._waiting).combine_chunks())
            self._waiting.clear()


@contextmanager
def _object_writer(folder: Path, slide: str, frame: Frame, colors: Mapping[str, str]) -> Iterator[_ObjectWriter]:
    with ExitStack() as stack:
        mask = stack.enter_context(mask_writer(folder / f"{slide}.mask.tif", frame, list(colors)))
        table = pq.ParquetWriter(
            folder / f"{slide}.objects.parquet", OBJECT_SCHEMA, compression="zstd", write_page_checksum=True
        )
        features = stack.enter_context(feature_writer(folder / f"{slide}.geojson.gz"))
        writer = _ObjectWriter(mask, stack.enter_context(table), features, frame, colors)
        yield writer
        writer.flush()


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
