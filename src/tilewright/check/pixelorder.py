"""In which order the pixels of run lengths count, by what they look like: the files do not tell."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Literal, get_args

from tilewright.annotations import Outlines, stream_outlines
from tilewright.annotations.files import suffix_of
from tilewright.project.config import Annotations, Limits
from tilewright.project.naming import Namesake, identity_of
from tilewright.project.rows import Row
from tilewright.runtime.errors import TilewrightError
from tilewright.slides import Slide, open_slide

Order = Literal["column_major", "row_major"]
Alike = Mapping[str, Sequence[Namesake]]
"""Of each slide the others that an id in its file of outlines might mean."""
ORDERS: tuple[Order, ...] = get_args(Order)
TABLES = (".csv", ".tsv")
"""How files of run lengths end."""
CERTAIN = 3.0
"""How much longer the outlines are in the wrong order, at least, before anything is said of it."""
BARE = "\0"
"""The label of outlines without one while they are looked at, as no file can hold it."""


def batches_of(row: Row, alike: Alike, slide: Slide, options: Annotations, limits: Limits) -> Iterator[Outlines]:
    """The outlines of a slide that has a file of them, a batch at a time."""
    assert row.annotations, "asked for slides with outlines"
    who = identity_of(row, alike)
    return stream_outlines(row.annotations, who, slide.frame.image, options, limits)


def likely_order(rows: Sequence[Row], alike: Alike, limits: Limits) -> Order | None:
    """The order in which the first run lengths give the shorter outlines: in the other one pixels lie scattered."""
    for row in rows:
        if lengths := _lengths(row, alike, limits):
            return min(ORDERS, key=lambda order: lengths[order])
    return None


def doubtful_order(row: Row, alike: Alike, order: Order, limits: Limits) -> bool:
    """Whether the run lengths of a slide hang together much better in the order that is not the given one."""
    (other,) = {*ORDERS} - {order}
    lengths = _lengths(row, alike, limits)
    return lengths is not None and lengths[order] > CERTAIN * lengths[other] > 0


def _lengths(row: Row, alike: Alike, limits: Limits) -> dict[Order, float] | None:
    """The length of all outlines of a slide in each order; None: it has none as run lengths."""
    if row.annotations is None or suffix_of(row.annotations) not in TABLES:
        return None
    with suppress(TilewrightError), open_slide(row.image, mpp=row.mpp, max_pixels=limits.max_pixels) as slide:
        lengths = {order: _length(row, alike, slide, order, limits) for order in ORDERS}
        return lengths if any(lengths.values()) else None
    return None


def _length(row: Row, alike: Alike, slide: Slide, order: Order, limits: Limits) -> float:
    batches = batches_of(row, alike, slide, Annotations(unlabelled=BARE, rle_order=order), limits)
    return sum(float(one.geometry.length) for batch in batches for one in batch.annotations)
