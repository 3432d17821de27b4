"""Tiles that are read from scaled slides at places drawn anew each time, near the tiles of a grid.

Where a tile lies depends on the seed of its sample alone, which follows from the seed of the model, the epoch and the
place in the epoch.
"""

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.grid import Corner, Size, Window
from tilewright.pixels.rasters import Raster, open_raster
from tilewright.project.config.training import Sampling
from tilewright.project.places import image_file, scaled_mask_file
from tilewright.tiles.archive import TileTable, cut_tile

MOST_TRIALS = 1000
"""Places that are tried for a tile, where few show a class; then the last one is taken."""
MOST_OPEN = 64
"""Slides that a process keeps open."""
PLACE = 1
"""Sets the draws of places apart from those of augmentation, which have the same seed."""


class _Slide(NamedTuple):
    """Image and mask of a slide, which stay open until ``files`` is closed."""

    files: ExitStack
    image: Raster
    mask: Raster


class Placing:
    """Draws places for tiles, and reads them. Files are opened by the process that reads them."""

    def __init__(
        self,
        table: TileTable,
        folders: Sequence[Path | None],
        size: Size,
        classes: Sequence[str],
        sampling: Sampling,
    ) -> None:
        """Look up where tiles may lie.

        Args:
            table: tiles of the grid; those of a slide say where a tile of it may lie.
            folders: where the scaled slides of each archive lie; None: its tiles are read as they were cut.
            size: of a tile.
            classes: names of the classes, in the order of the bits.
            sampling: the square in which a tile must show a class, and how often others are passed over.
        """
        self._table, self._folders, self._size, self._classes = table, folders, size, list(classes)
        self._corners, self._sampling = np.stack([table.x, table.y], axis=1), sampling
        names, slide = np.unique(table.slide, return_inverse=True)
        order, counts = np.argsort(slide, kind="stable"), np.bincount(slide, minlength=len(names))
        rows = np.split(order, np.cumsum(counts)[:-1])
        self._rows = dict(zip(names.tolist(), rows, strict=True))
        self._open: OrderedDict[str, _Slide] = OrderedDict()

    def read(self, row: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[Any]] | None:
        """A tile near that of a row, or near another one of its slide where the first places are passed over.

        Args:
            row: of the table.
            seed: of the sample.

        Returns:
            Image (rows x columns x 3) and mask (rows x columns); None: the tile is read as it was cut.

        Raises:
            DataError: the scaled slide is missing or damaged, or holds other classes.
        """
        folder = self._folders[int(self._table.archive[row])]
        if folder is None:
            return None
        name, generator = str(self._table.slide[row]), np.random.default_rng([seed, PLACE])
        slide = self._opened(name, folder)
        for _ in range(MOST_TRIALS):
            corner = self._near(row, slide.image.size, generator)
            if self._takes(slide.mask, corner, generator):
                break
            row = int(generator.choice(self._rows[name]))
        return cut_tile(slide.image, slide.mask, corner, self._size, len(self._classes))

    def _near(self, row: int, size: Size, generator: np.random.Generator) -> Corner:
        """A corner at most half a tile away from that of a row in each direction, inside the slide."""
        half = np.array(self._size) // 2
        moved = (self._corners[row] + generator.integers(-half, half, endpoint=True)).tolist()
        return Corner(*map(_inside, moved, self._size, size))

    def _takes(self, mask: Raster, corner: Corner, generator: np.random.Generator) -> bool:
        square = self._sampling.center
        if square is None:
            return True
        left, top = (max(0, (edge - square) // 2) for edge in self._size)
        window = Window(corner.x + left, corner.y + top, square, square)
        shows = bool((mask.read(window) & ((1 << len(self._classes)) - 1)).any())
        return shows or generator.random() >= self._sampling.center_rate

    def _opened(self, name: str, folder: Path) -> _Slide:
        """A slide, and closes the one that was not read for longest where many are open."""
        if name not in self._open:
            with ExitStack() as files:
                image = files.enter_context(open_raster(image_file(folder, name)))
                mask = files.enter_context(open_raster(scaled_mask_file(folder, name), self._classes))
                self._open[name] = _Slide(files.pop_all(), image, mask)
            if len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)[1].files.close()
        self._open.move_to_end(name)
        return self._open[name]


def _inside(start: int, edge: int, length: int) -> int:
    return min(max(start, 0), max(length - edge, 0))
