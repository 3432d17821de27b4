"""Where a crop lies in a tile that has been moved."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.project.config import width_and_height

Mask = NDArray[Any]
Place = tuple[slice, slice]


@dataclass(frozen=True)
class Cropping:
    """Where a crop lies in a tile that has been moved.

    Attributes:
        edge: its edge, or its width and height, in pixels.
        centered: in the middle of the tile, else anywhere.
        class_crops: share of the other crops that lie around a pixel of a class.
        classes: number of classes.
    """

    edge: int | list[int]
    centered: bool = False
    class_crops: float = 0.0
    classes: int = 0

    def place(self, size: tuple[int, int], moved: Callable[[], Mask], generator: np.random.Generator) -> Place:
        """Rows and columns of the crop.

        Args:
            size: rows and columns of the tile.
            moved: gives its mask (rows x columns, bits) after it has been moved, which only crops around a class need.
            generator: draws the place.
        """
        width, height = width_and_height(self.edge)
        room = [size[0] - height, size[1] - width]
        if self.centered:
            corner = [each // 2 for each in room]
        elif (
            self.class_crops
            and generator.random() < self.class_crops
            and (pixel := self._class_pixel(moved(), generator)) is not None
        ):
            before = generator.integers(0, (height, width))
            corner = [min(max(0, each - int(part)), most) for each, part, most in zip(pixel, before, room, strict=True)]
        else:
            corner = [int(generator.integers(0, each + 1)) for each in room]
        return slice(corner[0], corner[0] + height), slice(corner[1], corner[1] + width)

    def _class_pixel(self, mask: Mask, generator: np.random.Generator) -> tuple[int, int] | None:
        """Row and column of a random pixel of a random class of the tile."""
        shown = int(np.bitwise_or.reduce(mask, axis=None))
        present = [bit for bit in range(self.classes) if shown >> bit & 1]
        if not present:
            return None
        pixels = np.flatnonzero(mask & mask.dtype.type(1 << present[generator.integers(len(present))]))
        row, column = divmod(int(pixels[generator.integers(len(pixels))]), mask.shape[1])
        return row, column
