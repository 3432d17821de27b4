"""What files of outlines leave open, where the other way to read them is the likelier one."""

from collections.abc import Iterator

from tilewright.annotations import Outlines
from tilewright.annotations.files import suffix_of
from tilewright.annotations.labels import LABEL_IMAGES, values_of
from tilewright.check.pixelorder import Alike, doubtful_order
from tilewright.pixels.grid import Size
from tilewright.project.config import Config
from tilewright.project.rows import Row
from tilewright.runtime.errors import Problem, listed

MOST_CLASSES = 20
"""Values of a label image from which on they are certainly objects."""
BORDER = 255
"""The value by which many data sets mark pixels that do not count."""


def doubts(row: Row, alike: Alike, outlines: Outlines, image: Size, config: Config) -> Iterator[Problem]:
    """Ask whether values of a label image are classes, and whether run lengths go in the other order.

    Args:
        row: the slide.
        alike: of each slide the others that an id in its file might mean.
        outlines: its outlines, as they are read.
        image: width and height of its image.
        config: says how they are read.
    """
    if row.annotations is None or not outlines.annotations:
        return
    options = config.annotations
    where = f"{row.annotations} (slide {row.slide})"
    if doubtful_order(row, alike, options.rle_order, config.limits):
        other = {"row_major": "column_major", "column_major": "row_major"}[options.rle_order]
        what = f"its run lengths hang together much better in the order {other}."
        yield Problem(where, what, f"Set annotations.rle_order: {other}, if that is how they were written.")
    if suffix_of(row.annotations) in LABEL_IMAGES and not options.values:
        values = values_of(row.annotations, image)
        if 1 < len(values) <= MOST_CLASSES and any(one.parts > 1 or one.value == BORDER for one in values):
            told = ", ".join(f"{one.value} ({one.pixels} px)" for one in values)
            labels = listed(sorted({one.label for one in outlines.annotations}))
            what = f"{len(values)} values: {told}: an object each, all of label {labels}."
            yield Problem(where, what, "If values are classes, say so: annotations.values: {1: CLASS, 255: ignore}.")
