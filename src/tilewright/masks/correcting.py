"""The outlines of a slide as its file has them, and what people have decided about them since."""

from collections.abc import Iterable
from pathlib import Path

from tilewright.annotations import Outlines, stream_outlines
from tilewright.annotations.decisions import IGNORED, Corrections, Decision, read_decisions
from tilewright.masks.unclaimed import Unclaimed
from tilewright.pixels.grid import Size
from tilewright.project.config import Limits
from tilewright.project.orders import RasterizeOrder, RasterizeRow
from tilewright.runtime.errors import AnnotationError, raise_all
from tilewright.runtime.progress import note

NAMED = 5


def outlines_of(
    row: RasterizeRow, order: RasterizeOrder, size: Size, limits: Limits, index: Path | None = None
) -> Iterable[Outlines]:
    """The outlines of a slide as they were drawn, some at a time; arguments and errors as of ``stream_outlines``."""
    if row.annotations is None:
        return ()
    return stream_outlines(row.annotations, row.identity, size, order.annotations, limits, index)


def corrections_of(row: RasterizeRow, order: RasterizeOrder, limits: Limits) -> Corrections:
    """What people have decided about the outlines of a slide.

    Raises:
        AnnotationError: the file cannot be read, or has labels that belong to no class.
    """
    corrections = Corrections.of(read_decisions(row.decisions, limits) if row.decisions else ())
    options = order.annotations
    unclaimed = Unclaimed(order.classes, [*options.ignored, *options.region, IGNORED], options.discard)
    unclaimed.add([one.outline for one in corrections.given])
    raise_all(AnnotationError, list(unclaimed.problems(lambda _: str(row.decisions))))
    return corrections


def note_corrections(corrections: Corrections, file: Path) -> None:
    """Say in the log what was applied, and what was not as its outline is another one now."""
    counts = ", ".join(f"{count} {kind}" for kind, count in corrections.counts.items())
    note(f"{file}: applied: {counts or 'nothing'}")
    for one in corrections.unmatched[:NAMED]:
        note(f"{file}: not applied: {said(one)}: its outline has changed, or is gone")
    if len(corrections.unmatched) > NAMED:
        note(f"{file}: not applied: {len(corrections.unmatched) - NAMED} more")


def said(one: Decision) -> str:
    """A decision as people read it."""
    place = one.geometry.representative_point()
    return f"{one.kind} {one.label} at {place.x:.0f}, {place.y:.0f}"
