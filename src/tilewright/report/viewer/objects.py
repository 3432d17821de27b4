"""Objects of a slide as the page asks for them: outlines in a part of it, what is at a point, and where to look first.

True outlines come from the table of ``rasterize``, predicted ones are traced in the mask of ``segment`` around those
objects of its table that lie there. Coordinates are pixels of the slide, x before y.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from tilewright.pixels.components import components_of
from tilewright.pixels.grid import Window
from tilewright.pixels.rasters import Raster, open_raster
from tilewright.pixels.runs import Runs
from tilewright.pixels.tables import reading_table
from tilewright.pixels.tracing import trace
from tilewright.project.places import objects_file, segment_file
from tilewright.report.viewer.desks import Desk, Desks
from tilewright.report.viewer.layers import Asked
from tilewright.report.viewer.objectindex import Batch, ObjectIndex
from tilewright.report.viewer.pyramids import Extracts
from tilewright.segments.predictions import RUNS

MOST = 3000
"""Outlines that are sent at a time."""
WIDEST = 4096
"""Edge of the largest part of a slide in which outlines are traced, in pixels."""
AROUND = 512
"""Pixels by which objects may reach beyond it, at least, and are still traced whole."""
SIDES = ("left", "top", "width", "height")
TOGETHER, BUFFER = 4096, 1 << 18
"""Rows of a table that are read at a time, and bytes of each of its columns."""
LISTED = 200
"""Objects of a list that are sent at a time."""
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Found:
    """An object.

    Attributes:
        class_name: its class.
        area: in pixels of the slide.
        confidence: of a predicted one, 0 to 1; None or NaN: not told.
        shape: its outline.
        label: of a true one, what its file calls it.
    """

    class_name: str
    area: float
    confidence: float | None
    shape: BaseGeometry
    label: str = ""

    def told(self) -> dict[str, Any]:
        """What the page is told of it."""
        rings = [_rounded(ring) for ring in rings_of(self.shape)]
        confidence = _told(self.confidence)
        box = [round(edge) for edge in self.shape.bounds]
        return {"class": self.class_name, "area": self.area, "confidence": confidence, "box": box, "rings": rings}


class Objects:
    """Finds objects of slides."""

    def __init__(self, desks: Desks, extracts: Extracts, folder: Path) -> None:
        self._desks, self._extracts, self._folder = desks, extracts, folder

    def true(self, asked: Asked, box: Box) -> list[Found] | int:
        """The outlines in a box, or how many there are, about.

        Raises:
            NotYet: their index is being made.
            DataError: the table is damaged.
        """
        path = asked.run.outlines(asked.row)
        if path is None:
            return []
        index, names = self._extracts.work(path, lambda: self._indexed(true_batches, path))
        places = index.near(box, MOST)
        if isinstance(places, int):
            return places
        found = [
            Found(
                names[int(index.numbers[place, 0])],
                float(index.numbers[place, 1]),
                None,
                shapely.from_wkb(index.payload_of(place)),
                names[int(index.numbers[place, 2])],
            )
            for place in places.tolist()
        ]
        return [one for one in found if asked.class_name in (None, one.class_name)]

    def predicted(self, asked: Asked, box: Box) -> list[Found] | int:
        """The predicted objects in a box, or how many there are, about; errors as of ``true``."""
        if asked.shown is None or asked.shown.segments is None:
            return []
        segments, slide = asked.shown.segments, asked.row.slide
        table = objects_file(segments, slide)
        index, names = self._extracts.work(table, lambda: self._indexed(predicted_batches, table))
        places = index.near(box, MOST)
        if isinstance(places, int):
            return places
        chosen = [place for place in places.tolist() if asked.class_name in (None, names[int(index.numbers[place, 0])])]
        if not index.payload[1][-1]:
            mask = segment_file(segments, slide)
            return self._desks.run(
                (*asked.key, "outlines"), lambda desk: _traced(desk, mask, index, names, chosen, box)
            )
        return [_of_runs(index, names, place) for place in chosen]

    def at(self, asked: Asked, x: float, y: float) -> dict[str, Any]:
        """What is at a point: the predicted and the true object, and how much they overlap."""
        point, box = shapely.Point(x, y), (x, y, x + 0.01, y + 0.01)
        found = _covering(self.predicted(asked, box), point)
        true = _covering(self.true(asked, box), point)
        result: dict[str, Any] = {"predicted": found.told() if found else None, "true": true.told() if true else None}
        if found:
            around = self.true(asked, found.shape.bounds)
            known = [] if isinstance(around, int) else around
            best = max(known, key=lambda one: iou(found.shape, one.shape), default=None)
            result["overlap"] = (
                {"iou": round(iou(found.shape, best.shape), 4), "class": best.class_name} if best else None
            )
        return result

    def unsure(self, asked: Asked, start: int) -> tuple[list[dict[str, Any]], int]:
        """Predicted objects from the least sure on, from a place in that order, and how many there are.

        Where none tells how sure it is, from the largest on. ``at`` is a place inside, as the middle of a box need not
        be one.
        """
        if asked.shown is None or asked.shown.segments is None:
            return [], 0
        table = objects_file(asked.shown.segments, asked.row.slide)
        index, names = self._extracts.work(table, lambda: self._indexed(predicted_batches, table))
        classes, confidence = index.numbers[:, 0], index.numbers[:, 2]
        own = np.arange(len(index))
        if asked.class_name is not None:
            own = np.flatnonzero(classes == (names.index(asked.class_name) if asked.class_name in names else -1))
        order = own[np.lexsort((-index.numbers[own, 1], confidence[own]))]
        return [
            {
                "class": names[int(classes[place])],
                "kind": "unsure",
                "confidence": _told(float(confidence[place])),
                "box": [int(edge) for edge in index.boxes[place]],
                "at": [float(index.numbers[place, side]) + 0.5 for side in (4, 3)],
            }
            for place in order[start : start + LISTED].tolist()
        ], len(order)

    def _indexed(self, batches: Any, path: Path) -> tuple[ObjectIndex, list[str]]:
        names: list[str] = []
        folder = Path(mkdtemp(dir=self._folder))
        return ObjectIndex.build(batches(path, names), folder), names


def _traced(desk: Desk, mask: Path, index: ObjectIndex, names: list[str], chosen: list[int], box: Box) -> list[Found]:
    """Objects that are components of a mask, traced in the part of it that holds them."""
    raster = desk.open(mask, lambda: open_raster(mask))
    if not chosen:
        return []
    window = _part(raster, index.boxes[chosen], box)
    pixels = raster.read(window)[0]
    found: list[Found] = []
    for name in sorted({names[int(index.numbers[place, 0])] for place in chosen}):
        bit = raster.dtype.type(raster.classes.index(name))
        runs = Runs.from_mask((pixels >> bit) & 1 != 0)
        owner = components_of(runs)
        _, first = np.unique(owner, return_index=True)
        corners = {
            (int(row) + window.y, int(start) + window.x): number
            for number, (row, start) in enumerate(zip(runs.row[first], runs.start[first], strict=True))
        }
        own = [place for place in chosen if names[int(index.numbers[place, 0])] == name]
        known = {corners.get((int(index.numbers[place, 3]), int(index.numbers[place, 4])), -1): place for place in own}
        known.pop(-1, None)
        wanted = np.isin(owner, list(known))
        numbers, renamed = np.unique(owner[wanted], return_inverse=True)
        shapes = trace(runs.take(wanted), renamed, window.x, window.y)
        for number, outline in zip(numbers.tolist(), shapes, strict=True):
            _, area, confidence = index.numbers[known[number], :3].tolist()
            found.append(Found(name, area, confidence, shape(outline)))
    return found


def _part(raster: Raster, boxes: NDArray[np.float32], box: Box) -> Window:
    """The part of a mask that holds some boxes, which may reach ``AROUND`` pixels beyond what is looked at."""
    spare = [max(AROUND, (WIDEST - (box[side + 2] - box[side])) / 2) for side in (0, 1)]
    left, top = (int(max(boxes[:, side].min(), box[side] - spare[side], 0)) for side in (0, 1))
    right, bottom = (int(min(boxes[:, side].max(), box[side] + spare[side - 2])) for side in (2, 3))
    return Window(left, top, max(right - left, 1), max(bottom - top, 1)).clipped(raster.size)


def _of_runs(index: ObjectIndex, names: list[str], place: int) -> Found:
    """An object whose pixels stand in the table."""
    number, area, confidence, top, _ = index.numbers[place].tolist()
    row, column, length = np.frombuffer(index.payload_of(place), np.int32).reshape(-1, 3).astype(np.int64).T
    left = int(index.boxes[place, 0])
    runs = Runs.of(row, column, column + length, int(row.max()) + 1, int((column + length).max()) + 1)
    (outline,) = trace(runs, np.zeros(len(runs), np.int64), left, int(top))
    return Found(names[int(number)], area, confidence, shape(outline))


def true_batches(path: Path, names: list[str]) -> Iterator[Batch]:
    """The outlines of a table: of each its area, and places of its class and label in ``names``, which is filled."""
    for part in _parts(path, ["class", "label", *SIDES, "area", "geometry"]):
        classes, labels = (_codes(part[name].to_pylist(), names) for name in ("class", "label"))
        numbers = np.stack([classes, _floats(part, "area"), labels], axis=1)
        yield Batch(_boxes(part), numbers, part["geometry"].to_pylist())


def predicted_batches(path: Path, names: list[str]) -> Iterator[Batch]:
    """The objects of a table: of each the number of its class, area, confidence, and its first pixel (row, column)."""
    with reading_table(path):
        sharing = [RUNS] if RUNS in pq.read_schema(path).names else []
    for part in _parts(path, ["class", *SIDES, "first_x", "area", "confidence", *sharing]):
        told = [_floats(part, name) for name in ("area", "confidence", "top", "first_x")]
        numbers = np.stack([_codes(part["class"].to_pylist(), names), *told], axis=1)
        runs = [np.asarray(one, np.int32).tobytes() for one in part[RUNS].to_pylist()] if sharing else []
        yield Batch(_boxes(part), numbers, runs or [b""] * len(part))


def _parts(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Some rows of a table at a time; it is not read ahead, so that memory does not grow with it."""
    with reading_table(path), pq.ParquetFile(
        path, page_checksum_verification=True, pre_buffer=False, buffer_size=BUFFER
    ) as table:  # fmt: skip
        yield from table.iter_batches(TOGETHER, columns=columns, use_threads=False)


def _floats(part: pa.RecordBatch, name: str) -> NDArray[np.float32]:
    return np.asarray(part[name].to_numpy(zero_copy_only=False), np.float32)


def _boxes(part: pa.RecordBatch) -> NDArray[np.float32]:
    left, top, width, height = (_floats(part, side) for side in SIDES)
    return np.stack([left, top, left + width, top + height], axis=1)


def _codes(classes: list[str], names: list[str]) -> NDArray[np.float32]:
    for name in dict.fromkeys(classes):
        if name not in names:
            names.append(name)
    places = {name: place for place, name in enumerate(names)}
    return np.array([places[name] for name in classes], np.float32)


def _told(confidence: float | None) -> float | None:
    return None if confidence is None or np.isnan(confidence) else round(confidence, 4)


def _covering(found: list[Found] | int, point: shapely.Point) -> Found | None:
    """The smallest object over a point."""
    some = [] if isinstance(found, int) else [one for one in found if one.shape.intersects(point)]
    return min(some, key=lambda one: one.area, default=None)


def iou(one: BaseGeometry, other: BaseGeometry) -> float:
    """Intersection over union of two areas."""
    common = float(one.intersection(other).area)
    whole = one.area + other.area - common
    return common / whole if whole else 0.0


def rings_of(area: BaseGeometry) -> list[Any]:
    """The rings of a polygon or several, exteriors and holes."""
    parts = getattr(area, "geoms", [area])
    return [ring.coords for part in parts if hasattr(part, "exterior") for ring in (part.exterior, *part.interiors)]


def _rounded(ring: Any) -> list[list[float]]:
    return [[round(x, 1), round(y, 1)] for x, y, *_ in ring]
