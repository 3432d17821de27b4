"""In which order the pixels of run lengths count, by what they look like: the files do not tell."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Literal, get_args

from tilewright.annotations import stream_outlines
from tilewright.annotations.files import suffix_of
from tilewright.project.config import Annotations, Limits
from tilewright.project.rows import Row
from tilewright.runtime.errors import TilewrightError
from tilewright.slides import Slide, open_slide

Order = Literal["column_major", "row_major"]
ORDERS: tuple[Order, ...] = get_args(Order)
TABLES = (".csv", ".tsv")
"""How files of run lengths end."""
CERTAIN = 3.0
"""How much longer the outlines are in the wrong order, at least, before anything is said of it."""
BARE = "\0"
"""The label of outlines without one while they are looked at, as no file can hold it."""


def likely_order(rows: Sequence[Row], limits: Limits) -> Order | None:
    """The order in which the first run lengths give the shorter outlines: in the other one pixels lie scattered."""
    for row in rows:
        if lengths := _lengths(row, limits):
            return min(ORDERS, key=lambda order: lengths[order])
    return None


def doubtful_order(row: Row, order: Order, limits: Limits) -> bool:
    """Whether the run lengths of a slide hang together much better in the order that is not the given one."""
    (other,) = {*ORDERS} - {order}
    lengths = _lengths(row, limits)
    return lengths is not None and lengths[order] > CERTAIN * lengths[other] > 0


def _lengths(row: Row, limits: Limits) -> dict[Order, float] | None:
    """The length of all outlines of a slide in each order; None: it has none as run lengths."""
    if row.annotations is None or suffix_of(row.annotations) not in TABLES:
        return None
    with suppress(TilewrightError), open_slide(row.image, mpp=row.mpp, max_pixels=limits.max_pixels) as slide:
        lengths = {order: _length(row, slide, order, limits) for order in ORDERS}
        return lengths if any(lengths.values()) else None
    return None


def _length(row: Row, slide: Slide, order: Order, limits: Limits) -> float:
    assert row.annotations, "asked for slides with outlines"
    options = Annotations(unlabelled=BARE, rle_order=order)
    batches = stream_outlines(row.annotations, row.slide, slide.frame.image, options, limits)
    return sum(float(one.geometry.length) for batch in batches for one in batch.annotations)
