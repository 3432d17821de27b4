"""Tiles that show nothing of a slide, by the rule of the config's section ``blank``."""

from typing import Any

from numpy.typing import NDArray

from tilewright.project.config import Blank


def is_blank(pixels: NDArray[Any], rule: Blank) -> bool:
    """Whether a tile is dark, evenly bright, or black in part.

    Args:
        pixels: channels x rows x columns, 0 to 255.
        rule: the bounds.
    """
    mean = pixels.mean()
    if mean < rule.dark or (mean > rule.bright and pixels.std() < rule.flat):
        return True
    return bool((pixels.mean(axis=0) < rule.dark).mean() > rule.black)
