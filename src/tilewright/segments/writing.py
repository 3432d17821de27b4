"""The files of a slide, written as its objects are found."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tilewright.pixels.grid import Frame
from tilewright.pixels.tracing import trace
from tilewright.project.places import features_file, objects_file, segment_file
from tilewright.segments.geojson import FeatureWriter, annotation, feature_writer
from tilewright.segments.mask import MaskWriter, mask_writer
from tilewright.segments.measuring import Objects

OBJECT_SCHEMA = pa.schema(
    [("object", pa.int64()), ("class", pa.string()), ("x", pa.float64()), ("y", pa.float64())]
    + [(name, pa.int64()) for name in ("left", "top", "first_x", "width", "height", "area")]
    + [("confidence", pa.float64())]
)
ROWS_TOGETHER = 1 << 16


class ObjectWriter:
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
def object_writer(folder: Path, slide: str, frame: Frame, colors: Mapping[str, str]) -> Iterator[ObjectWriter]:
    """The files of a slide, opened in ``folder``: mask, table of objects, outlines."""
    with ExitStack() as stack:
        mask = stack.enter_context(mask_writer(segment_file(folder, slide), frame, list(colors)))
        table = pq.ParquetWriter(
            objects_file(folder, slide), OBJECT_SCHEMA, compression="zstd", write_page_checksum=True
        )
        features = stack.enter_context(feature_writer(features_file(folder, slide)))
        writer = ObjectWriter(mask, stack.enter_context(table), features, frame, colors)
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
    shapes = trace(objects.runs, objects.owner, frame.x, frame.y)
    numbers = zip(objects.area.tolist(), objects.confidence.tolist(), strict=True)
    for geometry, (area, confidence) in zip(shapes, numbers, strict=True):
        yield annotation(geometry, name, color, {"area_px": area, "confidence": round(confidence, 6)})
