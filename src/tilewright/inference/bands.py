"""Rows of a strip of an image on the device of a network, and the windows that are cut from them.

What is held grows with the width of the strip and not with the height of the image.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from tilewright.inference.pieces import WIDEST, Piece
from tilewright.pixels.grid import BLOCK, Corner, Size, Window, size_of
from tilewright.training.segmenter import mirrored


class Rows:
    """Rows of a strip of an image on a device, of which the upper ones are forgotten on the way down.

    Attributes:
        values: layers x rows x columns.
        top: the first row that is held, in pixels of the image.
    """

    def __init__(self, layers: int, strip: Window, height: int, dtype: torch.dtype, device: torch.device) -> None:
        """Begin at the top with zeros.

        Args:
            layers: how many values a pixel has.
            strip: place of the strip in the image.
            height: of the windows, a row of which must have room beside a row of blocks.
            dtype: of a value.
            device: where the rows are.
        """
        count = min(height + BLOCK, -(-strip.height // BLOCK) * BLOCK)
        self.values = torch.zeros(layers, count, strip.width, dtype=dtype, device=device)
        self.left, self.top = strip.x, strip.y

    def part(self, window: Window) -> Tensor:
        """What is held of a window of the image, as a view."""
        rows, columns = Window(window.x - self.left, window.y - self.top, window.width, window.height).slices
        return self.values[:, rows, columns]

    def forget(self, y: int) -> None:
        """Make room below: the first row that is held is now ``y``."""
        step = min(y - self.top, self.values.shape[1])
        if step <= 0:
            return
        # some columns at a time, so that what is copied on the way stays small
        for left in range(0, self.values.shape[2], WIDEST * BLOCK):
            columns = self.values[..., left : left + WIDEST * BLOCK]
            columns[:, : columns.shape[1] - step] = columns[:, step:].clone()
            columns[:, columns.shape[1] - step :] = 0
        self.top = y


def cut(
    pieces: Iterator[Piece], corners: Iterable[Corner], edge: int | tuple[int, int], size: Size, rows: Rows
) -> Iterator[tuple[Corner, Tensor]]:
    """Windows of an image whose pieces come by rows; what lies beyond the image is its mirror image.

    Args:
        pieces: of all blocks that windows touch.
        corners: of the windows, by rows.
        edge: edge of a window, or its width and height.
        size: of the image.
        rows: of the pixels of all these windows, where the windows are wanted.

    Yields:
        Each corner with 3 x rows x columns pixels, uint8.
    """
    loaded, (width, height) = (-1, 0), size_of(edge)
    for corner in corners:
        window = Window(*corner, width, height).clipped(size)
        rows.forget(corner.y)
        while loaded < ((window.y + window.height - 1) // BLOCK * BLOCK, window.x + window.width):
            piece = next(pieces)
            loaded = (piece.y, piece.x + piece.pixels.shape[2])
            _load(rows, piece)
        yield corner, mirrored(rows.part(window), height, width).clone()


def _load(rows: Rows, piece: Piece) -> None:
    """Take over what is new of a piece and will be asked for."""
    height, width = piece.pixels.shape[1:]
    above, before = max(rows.top - piece.y, 0), max(rows.left - piece.x, 0)
    after = max(piece.x + width - rows.left - rows.values.shape[2], 0)
    inside = piece.pixels[:, above:, before : width - after]
    place = Window(piece.x + before, piece.y + above, width - before - after, height - above)
    rows.part(place).copy_(inside, non_blocking=True)
