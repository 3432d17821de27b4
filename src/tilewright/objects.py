"""Objects: probabilities at their own scale become masks and objects at the size of the slide.

In: ``{slide}.tif`` of an ensemble (uint8, one band a class, 255 is certain) and the thresholds of ``calibrate``. Out, with
coordinates in pixels of level 0, x before y: ``{slide}.mask.tif`` (bit ``k`` of a pixel is class ``k`` of the tag
"classes"), ``{slide}.objects.parquet`` (counted from the corner of the used part of the slide) and ``{slide}.geojson``
(counted from the corner of the whole image). Rows are held as runs; pixels only a band at a time.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tilewright.outputs.geojson import annotation, outlines, write_features
from tilewright.rasters import BLOCK, Frame, Raster, Window, blocks, create_raster, mask_dtype, open_raster
from tilewright.runs import Ints, Runs, groups, label
from tilewright.runtime.atomic import atomic_directory
from tilewright.runtime.errors import DataError, Problem
from tilewright.runtime.progress import note
from tilewright.settings import SegmentSettings
from tilewright.sheet import read_shard

Floats = NDArray[np.float64]
BAND_PIXELS = 1 << 22
MASK_CHUNK = (8 * BLOCK, BLOCK)


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
                scored = threshold(raster, frame, [limit.threshold for limit in limits.values()])
            found = {
                name: find_objects(one, limit.min_area, use_max=settings.segmentation.confidence == "max")
                for one, (name, limit) in zip(scored, limits.items(), strict=True)
            }
            _write(folder, row.slide, frame, found, settings.colors)
            counts = ", ".join(f"{len(objects)} of {name}" for name, objects in found.items())
            note(f"slide {row.slide}: objects: {counts}")


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
class Scored:
    """Runs of a class and their values, which are probabilities times 255.

    Attributes:
        runs: pixels at or above the threshold.
        total: sum of the values of each run, float64[n].
        highest: largest value of each run, float64[n].
    """

    runs: Runs
    total: Floats
    highest: Floats


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
    right: Ints
    bottom: Ints
    confidence: Floats

    def __len__(self) -> int:
        return len(self.area)


def threshold(
    raster: Raster, frame: Frame, thresholds: Sequence[float], band_pixels: int = BAND_PIXELS
) -> list[Scored]:
    """The pixels of the slide that reach the threshold of each class.

    A value ``v`` (0 to 255, interpolated in float32 where the scale is coarser than the slide) reaches the threshold
    ``t`` where ``v >= round(255 * t, 6)``; rounding makes ``t = b / 255`` mean exactly ``v >= b``.

    Args:
        raster: probabilities, uint8[classes, rows, columns].
        frame: their place and factor.
        thresholds: 0 to 1, one a class.
        band_pixels: pixels of the slide held at a time; bounds memory, does not change the result.
    """
    cuts = [round(255 * value, 6) for value in thresholds]
    strips: list[list[tuple[int, Scored]]] = [[] for _ in cuts]
    for top, band, values in _bands(raster, frame, cuts, band_pixels):
        mask = values >= np.float32(cuts[band])
        strips[band].append((top, _scored(mask, values)))
    return [_stacked(strip, frame.height, frame.width) for strip in strips]


def find_objects(scored: Scored, min_area: int, *, use_max: bool) -> Objects:
    """The objects of a class with at least ``min_area`` pixels; their confidence is the mean or the largest value."""
    runs, labels = scored.runs, label(scored.runs)
    area = np.bincount(labels, runs.lengths()).astype(np.int64)
    kept = area >= min_area
    inside = kept[labels]
    runs, labels, area = runs.take(inside), (np.cumsum(kept) - 1)[labels[inside]], area[kept]
    order, first = groups(labels)
    start, stop, row = runs.start[order], runs.stop[order], runs.row[order]
    length = stop - start
    if not len(area):
        nothing, none = np.empty(0), np.empty(0, np.int64)
        return Objects(runs, labels, none, nothing, nothing, none, none, none, none, nothing)
    total, highest = scored.total[inside][order], scored.highest[inside][order]
    value = np.maximum.reduceat(highest, first) if use_max else np.add.reduceat(total, first) / area
    return Objects(
        runs=runs,
        labels=labels,
        area=area,
        x=np.add.reduceat(length * (start + stop), first) / (2 * area),
        y=np.add.reduceat(length * (2 * row + 1), first) / (2 * area),
        left=np.minimum.reduceat(start, first),
        top=row[first],
        right=np.maximum.reduceat(stop, first),
        bottom=np.maximum.reduceat(row, first) + 1,
        confidence=value / 255,
    )


def write_mask(path: Path, frame: Frame, layers: Mapping[str, Runs]) -> None:
    """Write a mask of the size of ``frame`` at factor 1, one bit a class; blocks without a pixel are left out.

    Args:
        path: the TIFF; appears whole or not at all.
        frame: its place; the factor is not used.
        layers: the pixels of each class; the names go into the tag "classes" in the order of the bits.
    """
    full = frame.scaled(1.0)
    tags = full.tags() | {"classes": json.dumps(list(layers))}
    dtype = mask_dtype(len(layers))
    with create_raster(path, full.size, dtype=dtype, tags=tags) as raster:
        for window in blocks(full.size, MASK_CHUNK):
            parts = [layer.clip(window) for layer in layers.values()]
            if any(map(len, parts)):
                pixels = np.zeros((window.height, window.width), dtype)
                for bit, part in enumerate(parts):
                    pixels |= part.to_mask(window).astype(dtype) << bit
                raster.write(pixels, window.x, window.y)


def read_columns(path: Path) -> dict[str, NDArray[Any]]:
    """The columns of a table, such as an ``.objects.parquet``.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        remedy = "Delete the folder and run the same command again."
        raise DataError(Problem(str(path), f"cannot be read ({error}).", remedy)) from error
    return {name: table[name].to_numpy() for name in table.column_names}


def _frame(raster: Raster, path: Path, classes: int) -> Frame:
    frame = Frame.of(raster)
    if raster.bands != classes or raster.size != frame.size:
        what = f"holds {raster.bands} classes of {raster.size.width} x {raster.size.height} pixels"
        wanted = f"expected {classes} of {frame.size.width} x {frame.size.height}"
        raise DataError(Problem(str(path), f"{what}; {wanted}.", "Delete it and run the same command again."))
    return frame


def _bands(
    raster: Raster, frame: Frame, cuts: Sequence[float], band_pixels: int
) -> Iterator[tuple[int, int, NDArray[Any]]]:
    """First row, class and values at full size of each band of rows in which the class may reach its cut."""
    step = max(1, min(BLOCK, band_pixels // frame.width))
    columns = _taps(0, frame.width, frame.factor, raster.size.width)
    for top in range(0, frame.height, step):
        rows = _taps(top, min(top + step, frame.height), frame.factor, raster.size.height)
        first, last = int(rows.lower[0]), int(rows.upper[-1])
        coarse = raster.read(Window(0, first, raster.size.width, last + 1 - first))
        for band, cut in enumerate(cuts):
            # An interpolated value exceeds its neighbours by a rounding error at most.
            if int(coarse[band].max()) + 1 > cut:
                values = coarse[band]
                if frame.factor != 1:
                    across = columns.blend(values.astype(np.float32).T).T
                    values = rows.since(first).blend(np.ascontiguousarray(across))
                yield top, band, values


@dataclass(frozen=True)
class _Taps:
    """The two coarse cells between whose centres each fine pixel lies, and the share of the second one."""

    lower: Ints
    upper: Ints
    share: NDArray[np.float32]

    def since(self, first: int) -> "_Taps":
        return _Taps(self.lower - first, self.upper - first, self.share)

    def blend(self, cells: NDArray[np.float32]) -> NDArray[np.float32]:
        """Interpolate along the first axis: float32[cells, n] to float32[pixels, n]."""
        low = cells[self.lower]
        values: NDArray[np.float32] = low + self.share[:, np.newaxis] * (cells[self.upper] - low)
        return values


def _taps(start: int, stop: int, factor: float, cells: int) -> _Taps:
    """Bilinear interpolation with half-pixel centres; beyond the outermost centres the outermost cell goes on."""
    position = np.clip((np.arange(start, stop) + 0.5) / factor - 0.5, 0, cells - 1)
    lower = np.floor(position).astype(np.int64)
    return _Taps(lower, np.ceil(position).astype(np.int64), (position - lower).astype(np.float32))


def _scored(mask: NDArray[np.bool_], values: NDArray[Any]) -> Scored:
    runs = Runs.from_mask(mask)
    chosen = values[mask]
    lengths = runs.lengths()
    first = np.cumsum(lengths) - lengths
    if not len(runs):
        return Scored(runs, np.empty(0), np.empty(0))
    total = np.add.reduceat(chosen, first, dtype=np.float64)
    return Scored(runs, total, np.maximum.reduceat(chosen, first).astype(np.float64))


def _stacked(strips: Sequence[tuple[int, Scored]], height: int, width: int) -> Scored:
    runs = Runs.concatenate(((top, scored.runs) for top, scored in strips), height, width)
    total = np.concatenate([np.empty(0), *(scored.total for _, scored in strips)])
    return Scored(runs, total, np.concatenate([np.empty(0), *(scored.highest for _, scored in strips)]))


def _write(folder: Path, slide: str, frame: Frame, found: Mapping[str, Objects], colors: Mapping[str, str]) -> None:
    write_mask(folder / f"{slide}.mask.tif", frame, {name: objects.runs for name, objects in found.items()})
    tables = []
    before = 0
    for name, objects in found.items():
        tables.append(_table(name, objects, before))
        before += len(objects)
    pq.write_table(pa.concat_tables(tables), folder / f"{slide}.objects.parquet", compression="zstd")
    write_features(folder / f"{slide}.geojson", _features(found, colors, frame))


def _table(name: str, objects: Objects, before: int) -> pa.Table:
    return pa.table(
        {
            "object": np.arange(before + 1, before + 1 + len(objects)),
            "class": pa.array([name] * len(objects), pa.string()),
            "x": objects.x,
            "y": objects.y,
            "left": objects.left,
            "top": objects.top,
            "width": objects.right - objects.left,
            "height": objects.bottom - objects.top,
            "area": objects.area,
            "confidence": objects.confidence,
        }
    )


def _features(found: Mapping[str, Objects], colors: Mapping[str, str], frame: Frame) -> Iterator[dict[str, Any]]:
    for name, objects in found.items():
        shapes = outlines(objects.runs, objects.labels, frame.x, frame.y)
        numbers = zip(objects.area.tolist(), objects.confidence.tolist(), strict=True)
        for geometry, (area, confidence) in zip(shapes, numbers, strict=True):
            measurements = {"area_px": area, "confidence": round(confidence, 6)}
            yield annotation(geometry, name, colors[name], measurements)
