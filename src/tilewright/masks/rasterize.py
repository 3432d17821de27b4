"""Masks: outlines drawn into tiled bit masks, one block in memory at a time.

In: outlines in pixels of level 0 of the whole image, x before y. Out: ``{slide}.tif``, as large as the used part of the
slide, where bit ``k`` of a pixel is set if class ``k`` covers it and bit ``len(classes)`` if it is ignored; and
``{slide}.outlines.parquet``, whose coordinates count from the corner of that part. Outlines are read once, a batch at a
time, and wait on disk until their block is drawn.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.annotations import Annotation, Outlines
from tilewright.annotations.decisions import IGNORED
from tilewright.annotations.tally import OTHER_IMAGE, Tally
from tilewright.masks.correcting import corrections_of, note_corrections, outlines_of
from tilewright.masks.edgestore import EdgeStore
from tilewright.masks.outlines import OutlineWriter, as_recorded, outline_writer
from tilewright.masks.unclaimed import Unclaimed
from tilewright.pixels.grid import Frame, Window, blocks, mask_dtype
from tilewright.pixels.rasters import create_raster
from tilewright.pixels.runs import Runs, spread
from tilewright.pixels.scanline import Edges, covered
from tilewright.project.config import DEFAULT_LIMITS, IGNORE, Limits, PixelRule
from tilewright.project.orders import RasterizeOrder, RasterizeRow
from tilewright.project.places import mask_file, outlines_file
from tilewright.runtime.atomic import atomic_directory
from tilewright.runtime.errors import AnnotationError, Problem, raise_all
from tilewright.runtime.progress import note, track
from tilewright.slides import open_slide

DENSE = 8
TOGETHER = 4096
NAMED = 5


@dataclass(frozen=True)
class MaskSummary:
    """What was drawn.

    Attributes:
        pixels: number of pixels of each class, and of ignored ones under "ignore".
        outlines: how many outlines have a label that sets pixels.
        outside: how many of them lie outside the raster, wholly or in part.
        first_outside: origins of the first few of them.
    """

    pixels: dict[str, int]
    outlines: int
    outside: int
    first_outside: tuple[str, ...]


def rasterize(order: RasterizeOrder, *, out: Path, limits: Limits = DEFAULT_LIMITS, index: Path | None = None) -> None:
    """Draw the outlines of every slide of a shard.

    Writes ``out/{slide}.tif`` and ``out/{slide}.outlines.parquet``; a slide without outlines gets empty ones. What was
    repaired or left out is printed to the log.

    Args:
        order: the slides, the classes, and how outlines are read and drawn.
        out: the folder to write; appears whole or not at all.
        limits: the most pixels and vertices that are read; they refuse input and change no result.
        index: folder in which an index of a large file that many slides share is left, for the jobs of the others.

    Raises:
        AnnotationError: all outlines of the shard that cannot be read or belong to no class.
        SlideError: an image that cannot be read.
    """
    problems: list[Problem] = []
    with atomic_directory(out) as folder:
        for row in order.rows:
            try:
                _rasterize_slide(row, order, limits, index, folder)
            except AnnotationError as error:
                problems += [_placed(problem, row) for problem in error.problems]
        raise_all(AnnotationError, problems)


def _placed(problem: Problem, row: RasterizeRow) -> Problem:
    """The problem with the file that it is in."""
    files = tuple(str(path) for path in (row.annotations, row.decisions) if path)
    return (
        problem
        if problem.where.startswith(files)
        else replace(problem, where=f"{row.annotations} (slide {row.slide}), {problem.where}")
    )


def _rasterize_slide(
    row: RasterizeRow, order: RasterizeOrder, limits: Limits, index: Path | None, folder: Path
) -> None:
    options, ignored = order.annotations, [*order.annotations.ignored, IGNORED]
    with open_slide(
        row.image, region=row.region, mpp=row.mpp, max_pixels=limits.max_pixels,
        crop_to_bounds=order.crop_to_bounds,
    ) as slide:  # fmt: skip
        frame = slide.frame
    corrections = corrections_of(row, order, limits)
    tally = Tally(row.slide, options, None if row.region else frame)
    batches = corrections.applied(_counted(outlines_of(row, order, frame.image, limits, index), tally))
    table = outlines_file(folder, row.slide)
    with outline_writer(table, frame, order.classes, ignored) as writer:
        summary = draw(
            _recorded(batches, writer), frame, mask_file(folder, row.slide), classes=order.classes,
            ignore=ignored, region=options.region, discard=options.discard, pixel_rule=options.pixel_rule,
        )  # fmt: skip
    raise_all(AnnotationError, [*tally.problems(str(row.annotations)), *_nothing_drawn(summary, row, frame)])
    if row.decisions:
        note_corrections(corrections, row.decisions)
    if summary.outside and not row.region:
        first = ", ".join(summary.first_outside) + (" ..." if summary.outside > len(summary.first_outside) else "")
        what = f"outlines that reach beyond the image of slide {row.slide}: {first} ({summary.outside} in all)"
        note(f"{row.annotations}: {what}")


def _nothing_drawn(summary: MaskSummary, row: RasterizeRow, frame: Frame) -> Iterator[Problem]:
    """Outlines of which none covers a pixel, of a slide that is used as a whole."""
    if summary.outlines and not row.region and not any(summary.pixels.values()):
        what = f"of its {summary.outlines} outline(s) none covers a pixel of the {frame.width} x {frame.height}."
        yield Problem(f"{row.annotations} (slide {row.slide})", what, OTHER_IMAGE)


def _counted(batches: Iterable[Outlines], tally: Tally) -> Iterator[Outlines]:
    """The outlines of the file, counted on their way, before any correction."""
    for batch in batches:
        tally.add(batch)
        yield batch


def _recorded(batches: Iterable[Outlines], table: OutlineWriter) -> Iterator[Annotation]:
    """The outlines of the batches; on their way they are written to a table, and findings to the log."""
    for batch in batches:
        for finding in batch.findings:
            note(str(finding))
        table.write(batch.annotations)
        yield from batch.annotations


def draw(
    annotations: Iterable[Annotation],
    frame: Frame,
    out: Path,
    *,
    classes: Mapping[str, Sequence[str]],
    ignore: Sequence[str] = (),
    region: Sequence[str] = (),
    discard: Sequence[str] = (),
    pixel_rule: PixelRule = "center",
    block: int = 2048,
) -> MaskSummary:
    """Draw annotations into a tiled bit mask, one block in memory at a time.

    Bit ``k`` of a pixel is set where class ``k`` covers it, so classes may overlap. Blocks that no annotation touches
    are not written (sparse TIFF; they read as zero).

    Args:
        annotations: outlines in pixels of level 0 of the whole image, x before y; read once.
        frame: the part of the image that the mask covers.
        out: the GeoTIFF to write; appears whole or not at all.
        classes: the annotation labels that each class takes; the order gives the bits.
        ignore: labels whose pixels are marked as ignored.
        region: labels of annotated regions; where there is one, pixels outside of them are marked as ignored.
        discard: labels that are not drawn.
        pixel_rule: which pixels an outline covers: those whose centre lies inside, or all that it touches.
        block: edge of the square drawn at once, in pixels; bounds memory, does not change the result.

    Returns:
        Pixels per class and the annotations that lie (partly) outside the frame.

    Raises:
        AnnotationError: labels that belong to no class, each with its count and the nearest class.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=out.parent) as waiting:
        canvas = _Canvas(EdgeStore(waiting, frame, block), frame, _taken(classes, ignore, region), len(classes) + 1)
        unclaimed = Unclaimed(classes, [*ignore, *region], discard)
        remaining = iter(annotations)
        while batch := list(islice(remaining, TOGETHER)):
            canvas.add(batch)
            unclaimed.add(batch)
        raise_all(AnnotationError, list(unclaimed.problems(lambda label: f'label "{label}"')))
        counts = _draw_blocks(canvas, frame, out, list(classes), block, pixel_rule)
    pixels = dict(zip([*classes, IGNORE], counts, strict=True))
    return MaskSummary(pixels, canvas.count, canvas.outside, tuple(canvas.first_outside))


def _draw_blocks(
    canvas: "_Canvas", frame: Frame, out: Path, classes: Sequence[str], block: int, rule: PixelRule
) -> list[int]:
    """Write the mask and count the pixels of each bit."""
    dtype = mask_dtype(len(classes))
    ignored = dtype.type(1 << len(classes))
    counts = [0] * (len(classes) + 1)
    with create_raster(out, frame.size, dtype=dtype, tags=frame.tags(classes)) as raster:
        for window in track(list(blocks(frame.size, block)), f"draw {out.stem}"):
            pixels = np.zeros((window.height, window.width), dtype)
            outside = np.full(pixels.shape, canvas.regions > 0)
            for bit, edges in canvas.layers(window):
                place = replace(window, x=frame.x + window.x, y=frame.y + window.y)
                runs = covered(edges, place, rule).runs(place)
                if bit == canvas.region:
                    outside &= ~runs.to_mask()
                else:
                    counts[bit] += runs.area()
                    _set(pixels, runs, dtype.type(1 << bit))
            if outside.any():
                counts[-1] += int((outside & (pixels & ignored == 0)).sum())
                pixels[outside] |= ignored
            if pixels.any():
                raster.write(pixels, window.x, window.y)
    return counts


def _set(pixels: NDArray[Any], runs: Runs, value: np.unsignedinteger[Any]) -> None:
    """Add a bit to the pixels of some runs; few pixels are set one by one, many as a whole."""
    if runs.area() * DENSE < pixels.size:
        first = runs.row * runs.width + runs.start
        pixels.reshape(-1)[spread(first, first + runs.lengths())] |= value
    else:
        pixels |= runs.to_mask() * value


def _taken(classes: Mapping[str, Sequence[str]], ignore: Sequence[str], region: Sequence[str]) -> dict[str, int]:
    """The bits that each label sets, as a number; a region, unless a class takes it, has one beyond the mask's."""
    claimed = {label for labels in classes.values() for label in labels}
    takers = [*classes.values(), ignore, [label for label in region if label not in claimed]]
    labels = dict.fromkeys(label for taken in takers for label in taken)
    return {label: sum(1 << bit for bit, taken in enumerate(takers) if label in taken) for label in labels}


@dataclass
class _Canvas:
    """Collects outlines, from which any block of the mask can then be drawn.

    Attributes:
        store: where the outlines wait.
        frame: the part of the image that is drawn.
        bits: the bits that each label sets.
        region: number of the bit that annotated regions set.
        regions: how many there are.
        count: how many outlines set pixels.
        outside: how many outlines are not wholly inside the frame.
        first_outside: origins of the first few of them.
    """

    store: EdgeStore
    frame: Frame
    bits: Mapping[str, int]
    region: int
    regions: int = 0
    count: int = 0
    outside: int = 0
    first_outside: list[str] = field(default_factory=list)

    def add(self, annotations: Sequence[Annotation]) -> None:
        drawn = [annotation for annotation in annotations if annotation.label in self.bits]
        shapes = as_recorded(np.array([annotation.geometry for annotation in drawn], dtype=object), self.frame)
        bits = np.array([self.bits[annotation.label] for annotation in drawn], np.int64)
        inside = self.store.add(shapes, bits)
        self.regions += int((bits >> self.region & 1).sum())
        self.count += int((bits < 1 << self.region).sum())
        self.outside += int((~inside).sum())
        beyond = np.flatnonzero(~inside)[: NAMED - len(self.first_outside)]
        self.first_outside += [drawn[index].origin for index in beyond.tolist()]

    def layers(self, window: Window) -> Iterator[tuple[int, Edges]]:
        """The bits that are set somewhere in a block, with the edges of the outlines that set each."""
        edges, bits = self.store.near(window)
        for bit in range(int(bits.max(initial=0)).bit_length()):
            chosen = (bits >> bit & 1).astype(np.bool_)
            if chosen.all():
                yield bit, edges
            elif chosen.any():
                yield bit, edges.take(chosen[edges.area])
