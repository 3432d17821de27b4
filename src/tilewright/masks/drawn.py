"""True objects of a slide, drawn again from the table of its outlines."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tilewright.masks.outlines import in_image
from tilewright.pixels.grid import Frame, Window
from tilewright.pixels.instances import Instances, instances_of_outlines
from tilewright.project.config import PixelRule

if TYPE_CHECKING:
    import pandas as pd

DRAWN = ("class", "geometry")
"""The columns of the table that are read."""


def true_instances(outlines: "pd.DataFrame", names: Sequence[str], frame: Frame, rule: PixelRule) -> Instances:
    """The pixels of each outline of some classes, as ``rasterize`` has drawn them.

    Args:
        outlines: the columns ``DRAWN`` of the table of a slide.
        names: the classes.
        frame: of the slide.
        rule: which pixels an outline covers.
    """
    shapes = outlines["geometry"].to_numpy(dtype=object)[outlines["class"].isin(names)]
    window = Window(frame.x, frame.y, frame.width, frame.height)
    return instances_of_outlines(in_image(shapes, frame), window, rule)
