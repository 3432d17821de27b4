"""What the bands of a network stand for: a target of each class. All are numbers from 0 to 1."""

from collections.abc import Sequence
from typing import Literal

Target = Literal["mask", "touching", "border", "distance"]
TARGETS: tuple[Target, ...] = ("mask", "touching", "border", "distance")
"""In the order of their bands. mask: the pixel is of the class; touching: two objects of the class are near; border: it
is on the rim of an object; distance: to the edge of its object, 1 where that is deepest."""
MASK: Target = "mask"


def band_names(classes: Sequence[str], targets: Sequence[Target]) -> list[str]:
    """The names of bands: those of the classes for their masks, then ``CLASS:TARGET``.

    The bands of a target lie together, so that the first ones of any network are masks.
    """
    return [name if target == MASK else f"{name}:{target}" for target in targets for name in classes]
