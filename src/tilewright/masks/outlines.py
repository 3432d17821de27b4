"""The table of outlines that ``rasterize`` writes beside each mask, and that every later step reads.

One row for each outline and class that takes it: class, label; x, y (the centroid, or a point inside where the
centroid is not); left, top, width, height (of the bounding box); area; geometry (WKB). All in pixels of level 0 from
the corner of the used part of the slide.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from tilewright.pixels.grid import Frame
from tilewright.pixels.tables import reading_table
from tilewright.project.config import IGNORE
from tilewright.runtime.atomic import atomic_path

if TYPE_CHECKING:
    import pandas as pd

    from tilewright.annotations import Annotation

SCHEMA = pa.schema(
    [("class", pa.string()), ("label", pa.string())]
    + [(name, pa.float64()) for name in ("x", "y", "left", "top", "width", "height", "area")]
    + [("geometry", pa.binary())]
)

TOGETHER = 20_000
"""Outlines that are read at a time."""


@contextmanager
def outline_writer(
    path: Path, frame: Frame, classes: Mapping[str, Sequence[str]], ignore: Sequence[str] = ()
) -> Iterator["OutlineWriter"]:
    """Create the table of a slide; it appears when the block ends without an error.

    Args:
        path: the file.
        frame: the part of the image that is used.
        classes: the annotation labels that each class takes.
        ignore: labels whose pixels are ignored; their class is "ignore".
    """
    names: dict[str, list[str]] = {}
    for name, labels in [*classes.items(), (IGNORE, ignore)]:
        for label in dict.fromkeys(labels):
            names.setdefault(label, []).append(name)
    with (
        atomic_path(path) as private,
        pq.ParquetWriter(private, SCHEMA, compression="zstd", write_page_checksum=True) as writer,
    ):
        yield OutlineWriter(writer, frame, names)


class OutlineWriter:
    """Appends batches of outlines to a table; made by ``outline_writer``."""

    def __init__(self, writer: pq.ParquetWriter, frame: Frame, names: Mapping[str, Sequence[str]]) -> None:
        self._writer, self._frame, self._names = writer, frame, names
        self._inside = shapely.box(frame.x, frame.y, frame.x + frame.width, frame.y + frame.height)

    def write(self, annotations: Sequence["Annotation"]) -> None:
        """Append the outlines that a class takes and that lie in the frame; pixels of level 0 of the whole image."""
        taken = [annotation for annotation in annotations if annotation.label in self._names]
        shapes = np.array([annotation.geometry for annotation in taken], dtype=object)
        hits = np.flatnonzero(shapely.intersects(shapes, self._inside)).tolist()
        places = [index for index in hits for _ in self._names[taken[index].label]]
        if places:
            names = [name for index in hits for name in self._names[taken[index].label]]
            labels = [taken[index].label for index in places]
            self._writer.write_table(_table(names, labels, shapes[places], self._frame))


def _table(names: list[str], labels: list[str], shapes: NDArray[Any], frame: Frame) -> pa.Table:
    shapes = in_frame(shapes, frame)
    center, bounds = shapely.get_coordinates(_centers(shapes)), shapely.bounds(shapes)
    columns = [
        names, labels, center[:, 0], center[:, 1],
        bounds[:, 0], bounds[:, 1], bounds[:, 2] - bounds[:, 0], bounds[:, 3] - bounds[:, 1],
        shapely.area(shapes), shapely.to_wkb(shapes).tolist(),
    ]  # fmt: skip
    return pa.table([pa.array(values, kind.type) for values, kind in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def in_frame(shapes: NDArray[Any], frame: Frame) -> NDArray[Any]:
    """Areas in pixels of the image, counted from the corner of a frame."""
    return _moved(shapes, -frame.x, -frame.y)


def in_image(shapes: NDArray[Any], frame: Frame) -> NDArray[Any]:
    """Areas that count from the corner of a frame, in pixels of the image."""
    return _moved(shapes, frame.x, frame.y)


def as_recorded(shapes: NDArray[Any], frame: Frame) -> NDArray[Any]:
    """Areas as the table gives them back: what is drawn and what is read from it are the same to the last bit."""
    return in_image(in_frame(shapes, frame), frame)


def _moved(shapes: NDArray[Any], x: int, y: int) -> NDArray[Any]:
    return shapely.transform(shapes, lambda points: np.add(points, (x, y))) if x or y else shapes


def _centers(shapes: NDArray[Any]) -> NDArray[Any]:
    centroids: NDArray[Any] = shapely.centroid(shapes)
    beside = ~shapely.intersects(shapes, centroids)
    centroids[beside] = shapely.point_on_surface(shapes[beside])
    return centroids


def outline_batches(path: Path, columns: Sequence[str]) -> Iterator["pd.DataFrame"]:
    """The same as ``recorded_outlines``, some rows at a time, so that memory does not grow with the table."""
    return map(_with_shapes, _batches(path, columns))


def packed_shapes(path: Path) -> Iterator[list[bytes]]:
    """The areas of that table as WKB, some at a time."""
    return (batch["geometry"].tolist() for batch in _batches(path, ["geometry"]))


def _batches(path: Path, columns: Sequence[str]) -> Iterator["pd.DataFrame"]:
    with reading_table(path), pq.ParquetFile(path, page_checksum_verification=True) as table:
        for batch in table.iter_batches(TOGETHER, columns=list(columns)):
            yield batch.to_pandas()


def recorded_outlines(path: Path, columns: Sequence[str] = SCHEMA.names) -> "pd.DataFrame":
    """The table that ``rasterize`` wrote, with shapely areas in the column geometry.

    Args:
        path: the file.
        columns: those to read; the others take no memory.

    Raises:
        DataError: the file is missing or damaged.
    """
    with reading_table(path):
        table = pq.read_table(path, columns=list(columns), page_checksum_verification=True).to_pandas()
    return _with_shapes(table)


def _with_shapes(table: "pd.DataFrame") -> "pd.DataFrame":
    if "geometry" in table:
        table["geometry"] = shapely.from_wkb(table["geometry"].to_numpy())
    return table
