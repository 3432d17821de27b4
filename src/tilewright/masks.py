"""Masks: outlines drawn into tiled bit masks, one block in memory at a time.

In: outlines in pixels of level 0 of the whole image, x before y. Out: ``{slide}.tif``, as large as the used part of the
slide, where bit ``k`` of a pixel is set if class ``k`` covers it and bit ``len(classes)`` if it is ignored; and
``{slide}.outlines.parquet``, whose coordinates count from the corner of that part.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from numpy.typing import NDArray

from tilewright.annotations import Annotation, Outlines, read_annotations
from tilewright.rasters import Frame, Window, blocks, create_raster, mask_dtype
from tilewright.runs import Ints, Runs, spread, union
from tilewright.runtime.atomic import atomic_directory
from tilewright.runtime.errors import AnnotationError, DataError, Problem, did_you_mean, raise_all
from tilewright.runtime.progress import note, track
from tilewright.settings import RasterizeSettings
from tilewright.sheet import Row, read_shard
from tilewright.slides import open_slide

IGNORE = "ignore"
DENSE = 8
PixelRule = Literal["center", "all_touched"]


@dataclass(frozen=True)
class MaskSummary:
    """What was drawn.

    Attributes:
        pixels: number of pixels of each class, and of ignored ones under "ignore".
        outside: origins of the outlines that lie outside the raster, wholly or in part.
    """

    pixels: dict[str, int]
    outside: tuple[str, ...]


def rasterize(shard: str, *, sheet: Path, data: Path, settings: RasterizeSettings, out: Path) -> None:
    """Draw the outlines of every slide of a shard.

    Writes ``out/{slide}.tif`` and ``out/{slide}.outlines.parquet``; a slide without outlines gets empty ones. What was
    repaired or left out is printed to the log.

    Args:
        shard: name of the shard.
        sheet: the slide sheet.
        data: folder in which images and outlines are looked for first.
        settings: the classes and how outlines are read and drawn.
        out: the folder to write; appears whole or not at all.

    Raises:
        AnnotationError: all outlines of the shard that cannot be read or belong to no class.
        SlideError: an image that cannot be read.
    """
    problems: list[Problem] = []
    with atomic_directory(out) as folder:
        for row in read_shard(sheet, data, shard):
            try:
                _rasterize_slide(row, settings, folder)
            except AnnotationError as error:
                problems += [_placed(problem, row) for problem in error.problems]
        raise_all(AnnotationError, problems)


def _placed(problem: Problem, row: Row) -> Problem:
    """The problem with the file that it is in."""
    file = str(row.annotations)
    return (
        problem
        if problem.where.startswith(file)
        else replace(problem, where=f"{file} (slide {row.slide}), {problem.where}")
    )


def _rasterize_slide(row: Row, settings: RasterizeSettings, folder: Path) -> None:
    limits, options = settings.limits, settings.annotations
    with open_slide(
        row.image, region=row.region, mpp=row.mpp, max_pixels=limits.max_pixels,
        crop_to_bounds=settings.slides.crop_to_bounds,
    ) as slide:  # fmt: skip
        frame = slide.frame
    outlines = Outlines((), ())
    if row.annotations:
        outlines = read_annotations(row.annotations, row.slide, frame.image, options, limits)
    for finding in outlines.findings:
        note(str(finding))
    summary = draw(
        outlines.annotations, frame, folder / f"{row.slide}.tif", classes=settings.classes, ignore=options.ignore,
        discard=options.discard, pixel_rule=options.pixel_rule,
    )  # fmt: skip
    if summary.outside and not row.region:
        first = ", ".join(summary.outside[:5]) + (" ..." if len(summary.outside) > 5 else "")
        note(
            f"{row.annotations}: outlines that reach beyond the image of slide {row.slide}: {first} ({len(summary.outside)} in all)"
        )
    table = outline_table(outlines.annotations, frame, settings.classes, options.ignore)
    pq.write_table(table, folder / f"{row.slide}.outlines.parquet", compression="zstd")


def draw(
    annotations: Sequence[Annotation],
    frame: Frame,
    out: Path,
    *,
    classes: Mapping[str, Sequence[str]],
    ignore: Sequence[str] = (),
    discard: Sequence[str] = (),
    pixel_rule: PixelRule = "center",
    block: int = 4096,
) -> MaskSummary:
    """Draw annotations into a tiled bit mask, one block in memory at a time.

    Bit ``k`` of a pixel is set where class ``k`` covers it, so classes may overlap. Blocks that no annotation touches are
    not written (sparse TIFF; they read as zero).

    Args:
        annotations: outlines in pixels of level 0 of the whole image, x before y.
        frame: the part of the image that the mask covers.
        out: the GeoTIFF to write; appears whole or not at all.
        classes: the annotation labels that each class takes; the order gives the bits.
        ignore: labels whose pixels are marked as ignored.
        discard: labels that are not drawn.
        pixel_rule: which pixels an outline covers: those whose centre lies inside, or all that it touches.
        block: edge of the square drawn at once, in pixels; bounds memory, does not change the result.

    Returns:
        Pixels per class and the annotations that lie (partly) outside the frame.

    Raises:
        AnnotationError: labels that belong to no class, each with its count and the nearest class.
    """
    wanted = _taken(classes, ignore)
    raise_all(AnnotationError, list(_unknown_labels(annotations, wanted, discard)))
    drawn = [annotation for annotation in annotations if annotation.label in wanted]
    canvas = _Canvas(drawn, frame, wanted, all_touched=pixel_rule == "all_touched")
    dtype = mask_dtype(len(classes))
    counts = [0] * (len(classes) + 1)
    with create_raster(out, frame.size, dtype=dtype, tags=frame.tags()) as raster:
        for window in track(list(blocks(frame.size, block)), f"draw {out.stem}"):
            pixels = np.zeros((window.height, window.width), dtype)
            for bit, runs in canvas.layers(window):
                counts[bit] += runs.area()
                _set(pixels, runs, dtype.type(1 << bit))
            if pixels.any():
                raster.write(pixels, window.x, window.y)
    return MaskSummary(dict(zip([*classes, IGNORE], counts, strict=True)), tuple(canvas.outside()))


def _set(pixels: NDArray[Any], runs: Runs, value: np.unsignedinteger[Any]) -> None:
    """Add a bit to the pixels of some runs; few pixels are set one by one, many as a whole."""
    if runs.area() * DENSE < pixels.size:
        first = runs.row * runs.width + runs.start
        pixels.reshape(-1)[spread(first, first + runs.lengths())] |= value
    else:
        pixels |= runs.to_mask() * value


def _taken(classes: Mapping[str, Sequence[str]], ignore: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The bits that each label sets."""
    takers = [*classes.values(), ignore]
    labels = dict.fromkeys(label for taken in takers for label in taken)
    return {label: tuple(bit for bit, taken in enumerate(takers) if label in taken) for label in labels}


def _unknown_labels(
    annotations: Sequence[Annotation], wanted: Mapping[str, Any], discard: Sequence[str]
) -> Iterator[Problem]:
    first: dict[str, str] = {}
    counts: dict[str, int] = {}
    for annotation in annotations:
        if annotation.label not in wanted and annotation.label not in discard:
            first.setdefault(annotation.label, annotation.origin)
            counts[annotation.label] = counts.get(annotation.label, 0) + 1
    for label, count in counts.items():
        subject = "1 outline has" if count == 1 else f"{count} outlines have"
        what = f'{subject} the label "{label}" (first: {first[label]}), which belongs to no class.'
        remedy = f"{did_you_mean(label, wanted)} Or add it to a class, or to annotations.ignore or .discard.".strip()
        yield Problem(f'label "{label}"', what, remedy)


class _Canvas:
    """Outlines, indexed by place, from which any block of the mask can be drawn."""

    def __init__(
        self, annotations: Sequence[Annotation], frame: Frame, bits: Mapping[str, tuple[int, ...]], *, all_touched: bool
    ) -> None:
        self._frame, self._all_touched = frame, all_touched
        self._origins = [annotation.origin for annotation in annotations]
        self._shapes = np.array([annotation.geometry for annotation in annotations], dtype=object)
        self._tree = shapely.STRtree(self._shapes)
        self._bits = np.array([sum(1 << bit for bit in bits[annotation.label]) for annotation in annotations], np.int64)

    def layers(self, window: Window) -> Iterator[tuple[int, Runs]]:
        """The bits that are set somewhere in a block, with the pixels of each."""
        left, top = self._frame.x + window.x, self._frame.y + window.y
        near = np.sort(self._tree.query(shapely.box(left, top, left + window.width, top + window.height)))
        for bit in range(int(self._bits[near].max(initial=0)).bit_length()):
            chosen = near[(self._bits[near] >> bit & 1).astype(np.bool_)]
            if len(chosen):
                yield bit, self._layer(self._shapes[chosen], Window(left, top, window.width, window.height))

    def _layer(self, shapes: NDArray[Any], window: Window) -> Runs:
        """The pixels of a window of the image where one of the shapes is."""
        edges = _Edges.of(shapes)
        runs = _filled(edges, window)
        return union(runs, _crossed(edges, window)) if self._all_touched else runs

    def outside(self) -> Iterator[str]:
        """Origins of the outlines that are not wholly inside the frame."""
        frame = self._frame
        bounds = shapely.bounds(self._shapes).reshape(-1, 4) - [frame.x, frame.y, frame.x, frame.y]
        beyond = (bounds[:, :2] < 0).any(axis=1) | (bounds[:, 2:] > [frame.width, frame.height]).any(axis=1)
        yield from (self._origins[index] for index in np.flatnonzero(beyond).tolist())


class _Edges(NamedTuple):
    """The edges of some areas in pixels of the image, each from its upper to its lower end, and their polygons' numbers."""

    x0: NDArray[np.float64]
    y0: NDArray[np.float64]
    x1: NDArray[np.float64]
    y1: NDArray[np.float64]
    polygon: NDArray[np.int64]

    @classmethod
    def of(cls, shapes: NDArray[Any]) -> Self:
        rings, owner = shapely.get_rings(shapely.get_parts(shapes), return_index=True)
        points, ring = shapely.get_coordinates(rings, return_index=True)
        joined = ring[1:] == ring[:-1]
        start, stop = points[:-1][joined], points[1:][joined]
        down = (start[:, 1] <= stop[:, 1])[:, np.newaxis]
        (x0, y0), (x1, y1) = np.where(down, start, stop).T, np.where(down, stop, start).T
        return cls(x0, y0, x1, y1, owner[ring[1:][joined]])

    def on_rows(self, first: NDArray[np.float64], last: NDArray[np.float64], window: Window) -> tuple[Ints, Self]:
        """Each edge once for each row of the window in its half-open range of rows: the rows, and the edges."""
        begin, end = (np.clip(rows, window.y, window.y + window.height).astype(np.int64) for rows in (first, last))
        edge = np.repeat(np.arange(len(begin)), np.maximum(end - begin, 0))
        chosen = type(self)(self.x0[edge], self.y0[edge], self.x1[edge], self.y1[edge], self.polygon[edge])
        return spread(begin, end), chosen


def _filled(edges: _Edges, window: Window) -> Runs:
    """The pixels of a window of the image whose centre lies inside a polygon.

    On the line through the centres of a row, every second crossing leaves the polygon. Computed in pixels of the image, so
    that the result does not depend on the window.
    """
    row, (x0, y0, x1, y1, polygon) = edges.on_rows(np.ceil(edges.y0 - 0.5), np.ceil(edges.y1 - 0.5), window)
    crossing = (row + 0.5 - y0) * (x1 - x0) / (y1 - y0) + x0
    column = np.clip(np.floor(crossing + 0.5) - window.x, 0, window.width).astype(np.int64)
    line = window.width + 1
    keys = np.sort((polygon * window.height + row - window.y) * line + column) % (window.height * line)
    inside, start = np.divmod(keys[0::2], line)
    return Runs.of(inside, start, keys[1::2] % line, window.height, window.width)


def _crossed(edges: _Edges, window: Window) -> Runs:
    """The pixels of a window of the image into which a border reaches; those that it only runs along do not count."""
    row, (x0, y0, x1, y1, _) = edges.on_rows(np.floor(edges.y0), np.ceil(edges.y1), window)
    slope = (x1 - x0) / np.where(y1 > y0, y1 - y0, 1)
    enters = np.where(row <= y0, x0, x0 + (row - y0) * slope)
    leaves = np.where(row + 1 >= y1, x1, x0 + (row + 1 - y0) * slope)
    ends = np.floor(np.minimum(enters, leaves)), np.ceil(np.maximum(enters, leaves))
    start, stop = (np.clip(end - window.x, 0, window.width).astype(np.int64) for end in ends)
    return Runs.of(row - window.y, start, stop, window.height, window.width)


SCHEMA = pa.schema(
    [("class", pa.string()), ("label", pa.string())]
    + [(name, pa.float64()) for name in ("x", "y", "left", "top", "width", "height", "area")]
    + [("geometry", pa.binary())]
)


def outline_table(
    annotations: Sequence[Annotation], frame: Frame, classes: Mapping[str, Sequence[str]], ignore: Sequence[str] = ()
) -> pa.Table:
    """The outlines that a class takes and that lie in the frame, one row for each class that takes it.

    Args:
        annotations: outlines in pixels of level 0 of the whole image.
        frame: the part of the image that is used.
        classes: the annotation labels that each class takes.
        ignore: labels whose pixels are ignored; their class is "ignore".

    Returns:
        class, label; x, y (the centroid, or a point inside where the centroid is not); left, top, width, height (of the
        bounding box); area; geometry (WKB). All in pixels from the corner of the frame.
    """
    wanted, names = _taken(classes, ignore), [*classes, IGNORE]
    inside = shapely.box(frame.x, frame.y, frame.x + frame.width, frame.y + frame.height)
    taken = [annotation for annotation in annotations if annotation.label in wanted]
    hits = shapely.intersects([annotation.geometry for annotation in taken], inside) if taken else []
    chosen = [annotation for annotation, hit in zip(taken, hits, strict=True) if hit]
    rows = [(names[bit], annotation) for annotation in chosen for bit in wanted[annotation.label]]
    shapes = np.array([annotation.geometry for _, annotation in rows], dtype=object)
    shapes = shapely.transform(shapes, lambda points: points - [frame.x, frame.y])
    center, bounds = shapely.get_coordinates(_centers(shapes)), shapely.bounds(shapes).reshape(-1, 4)
    columns = [
        [name for name, _ in rows], [annotation.label for _, annotation in rows],
        center[:, 0], center[:, 1], bounds[:, 0], bounds[:, 1], bounds[:, 2] - bounds[:, 0], bounds[:, 3] - bounds[:, 1],
        shapely.area(shapes), shapely.to_wkb(shapes).tolist(),
    ]  # fmt: skip
    return pa.table([pa.array(values, kind.type) for values, kind in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def _centers(shapes: NDArray[Any]) -> NDArray[Any]:
    centroids: NDArray[Any] = shapely.centroid(shapes)
    beside = ~shapely.intersects(shapes, centroids)
    centroids[beside] = shapely.point_on_surface(shapes[beside])
    return centroids


def read_outlines(path: Path) -> pd.DataFrame:
    """The table that ``rasterize`` wrote, with shapely areas in the column geometry.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        table: pd.DataFrame = pq.read_table(path).to_pandas()
    except (OSError, pa.ArrowException) as error:
        what = f"cannot be read ({error})."
        raise DataError(Problem(str(path), what, "Delete the file and run the same command again.")) from error
    table["geometry"] = shapely.from_wkb(table["geometry"].to_numpy())
    return table
