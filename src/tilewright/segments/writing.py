"""The files of a slide, written as its objects are found."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tilewright.pixels.components import groups
from tilewright.pixels.grid import Frame
from tilewright.pixels.measuring import Objects
from tilewright.pixels.tracing import trace
from tilewright.project.config.results import ExportedKind
from tilewright.project.places import features_file, objects_file, segment_file
from tilewright.segments.geojson import FeatureWriter, feature_writer, object_id, path_object
from tilewright.segments.mask import MaskWriter, mask_writer
from tilewright.segments.predictions import RUNS

OBJECT_SCHEMA = pa.schema(
    [("object", pa.int64()), ("class", pa.string()), ("x", pa.float64()), ("y", pa.float64())]
    + [(name, pa.int64()) for name in ("left", "top", "first_x", "width", "height", "area")]
    + [("confidence", pa.float64())]
)
SHARING_SCHEMA = OBJECT_SCHEMA.append(pa.field(RUNS, pa.list_(pa.int32())))
"""With the pixels of each object: of each of its runs the row and the column, from its top and its left, and the
length."""
ROWS_TOGETHER = 1 << 16


@dataclass(frozen=True)
class Export:
    """What the outlines of a slide say beside their shape.

    Attributes:
        slide: the slide.
        frame: the used part of it.
        colors: the colour of each class, "#rrggbb".
        kind: what an object is in QuPath.
        sharing: whether objects of a class may share edges, so that the mask does not tell them apart.
    """

    slide: str
    frame: Frame
    colors: Mapping[str, str]
    kind: ExportedKind
    sharing: bool = False


class ObjectWriter:
    """Writes the files of a slide as its objects are found.

    Attributes:
        mask: the mask of all classes.
    """

    def __init__(self, mask: MaskWriter, table: pq.ParquetWriter, features: FeatureWriter, export: Export) -> None:
        self.mask, self._table, self._features, self._export = mask, table, features, export
        self._count, self._waiting = 0, list[pa.Table]()

    def write(self, name: str, objects: Objects) -> None:
        """Append objects of a class to the table and the outlines."""
        if len(objects):
            self._waiting.append(object_table(name, objects, self._count, self._export.sharing))
            self._count += len(objects)
            if sum(map(len, self._waiting)) >= ROWS_TOGETHER:
                self.flush()
            for feature in _features(name, objects, self._export):
                self._features.write(feature)

    def flush(self) -> None:
        """Write the rows of the table that wait, together."""
        if self._waiting:
            self._table.write_table(pa.concat_tables(self._waiting).combine_chunks())
            self._waiting.clear()


@contextmanager
def object_writer(folder: Path, export: Export) -> Iterator[ObjectWriter]:
    """The files of a slide, opened in ``folder``: mask, table of objects, outlines."""
    slide = export.slide
    with ExitStack() as stack:
        mask = stack.enter_context(mask_writer(segment_file(folder, slide), export.frame, list(export.colors)))
        schema = SHARING_SCHEMA if export.sharing else OBJECT_SCHEMA
        table = pq.ParquetWriter(objects_file(folder, slide), schema, compression="zstd", write_page_checksum=True)
        features = stack.enter_context(feature_writer(features_file(folder, slide)))
        writer = ObjectWriter(mask, stack.enter_context(table), features, export)
        yield writer
        writer.flush()


def object_table(name: str, objects: Objects, before: int, sharing: bool) -> pa.Table:
    """Rows of the table of objects of a class.

    Args:
        name: the class.
        objects: the objects.
        before: how many the table has already.
        sharing: whether the pixels of each stand there, too.
    """
    columns = [
        np.arange(before + 1, before + 1 + len(objects)), [name] * len(objects), objects.x, objects.y,
        objects.left, objects.top, objects.first_x, objects.right - objects.left, objects.bottom - objects.top,
        objects.area, objects.confidence,
    ]  # fmt: skip
    arrays = [pa.array(values, kind.type) for values, kind in zip(columns, OBJECT_SCHEMA, strict=True)]
    table = pa.table(arrays, schema=OBJECT_SCHEMA)
    return table.append_column(SHARING_SCHEMA.field(RUNS), _runs(objects)) if sharing else table


def _runs(objects: Objects) -> pa.Array:
    """The pixels of each object."""
    order, first = groups(objects.owner)
    runs, owner = objects.runs.take(order), objects.owner[order]
    values = np.stack([runs.row - objects.top[owner], runs.start - objects.left[owner], runs.lengths()], axis=1)
    offsets = 3 * np.append(first, len(order))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values.reshape(-1), pa.int32()))


def _features(name: str, objects: Objects, export: Export) -> Iterator[dict[str, Any]]:
    frame, color = export.frame, export.colors[name]
    shapes = trace(objects.runs, objects.owner, frame.x, frame.y)
    places = zip((objects.first_x + frame.x).tolist(), (objects.top + frame.y).tolist(), strict=True)
    numbers = zip(objects.area.tolist(), objects.confidence.tolist(), strict=True)
    for geometry, (x, y), (area, confidence) in zip(shapes, places, numbers, strict=True):
        identity = object_id(export.slide, name, x, y)
        yield path_object(export.kind, identity, geometry, name, color, _measurements(area, confidence, frame.mpp))


def _measurements(area: int, confidence: float, mpp: float | None) -> dict[str, float]:
    """Named numbers of an object of ``area`` pixels of the slide."""
    size = {"area_px": area} if mpp is None else {"area_px": area, "area_um2": float(f"{area * mpp**2:.6g}")}
    return {**size, "confidence": round(confidence, 6)}
