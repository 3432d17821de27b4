"""Tiles as tensors, and what a loss needs of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset, default_collate

from tilewright.tiles.archive import Labelled, TileReader, TileTable
from tilewright.training.augment import Augmentation, Augmented
from tilewright.training.moving import planes
from tilewright.training.objects import CERTAIN, UNKNOWN, Bands, ObjectBands
from tilewright.training.overlaps import Overlaps
from tilewright.training.placing import Placing
from tilewright.training.recoloring import Recoloring
from tilewright.training.sampling import Draw


class Tile(NamedTuple):
    """A tile as it is loaded.

    Attributes:
        augmented: image, mask, and what is left of the augmentation.
        labelled: classes, bool; whether the class is completely annotated.
    """

    augmented: Augmented
    labelled: NDArray[np.bool_]


class Sample(NamedTuple):
    """A batch of tiles as tensors.

    Attributes:
        image: tiles x 3 x rows x columns, uint8.
        bits: tiles x rows x columns, uint8 or int32; bit k is class k, bit ``classes`` marks pixels that do not count.
        labelled: tiles x classes, bool; whether the class is completely annotated.
        recoloring: what of the augmentation is done where the network is.
        bands: what is taught of objects, tiles x bands x rows x columns, uint8 as ``objects`` has it; None: nothing.
    """

    image: Tensor
    bits: Tensor
    labelled: Tensor
    recoloring: Recoloring = Recoloring()
    bands: Tensor | None = None


class TileDataset(Dataset[Tile]):
    """Tiles of archives. Files are opened by the process that reads them.

    Without an augmentation, pixels that several tiles hold count in one of them.
    """

    def __init__(
        self,
        archives: Sequence[Path],
        table: TileTable,
        augmentation: Augmentation | None,
        placing: Placing | None = None,
        bands: ObjectBands | None = None,
    ) -> None:
        """Name the tiles.

        Args:
            archives: the files that the table counts.
            table: the tiles.
            augmentation: how they are changed; None: not at all.
            placing: where they are read instead; None: as they were cut.
            bands: makes what is taught of objects.
        """
        self._archives, self._table, self._augmentation, self._placing = list(archives), table, augmentation, placing
        self._bands = bands
        self._overlaps = None if augmentation else Overlaps(table)
        self._open: dict[int, TileReader] = {}

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, draw: Draw) -> Tile:
        row, seed, counts = draw
        placed = self._placing.read(row, seed) if self._placing else None
        image, mask = placed or self._as_cut(row)
        objects = self._reader(row).objects(int(self._table.index[row])) if self._bands else None
        if self._augmentation:
            augmented = self._augmentation(image, mask, seed, objects)
        else:
            bands = self._all_bands(objects, mask.shape) if self._bands else None
            augmented = Augmented(planes(image), self._once(row, mask), [], bands)
        return Tile(augmented, self._table.labelled[row] & counts)

    def _all_bands(self, objects: Labelled | None, shape: tuple[int, int]) -> Bands:
        assert self._bands is not None, "asked for"
        return self._bands(objects) if objects else self._bands.unknown(self._table.labelled.shape[1], shape)

    def _once(self, row: int, mask: NDArray[Any]) -> NDArray[Any]:
        """The mask in which pixels that another tile counts are ignored."""
        elsewhere = self._overlaps.elsewhere(row, mask.shape) if self._overlaps else None
        if elsewhere is None:
            return mask
        marked: NDArray[Any] = mask | (elsewhere * mask.dtype.type(1 << self._table.labelled.shape[1]))
        return marked

    def _as_cut(self, row: int) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        return self._reader(row).read(int(self._table.index[row]))

    def _reader(self, row: int) -> TileReader:
        number = int(self._table.archive[row])
        if number not in self._open:
            self._open[number] = TileReader(self._archives[number])
        return self._open[number]


def together(tiles: Sequence[Tile]) -> Sample:
    """Tiles as a batch."""
    images, masks, changes, bands = zip(*(tile.augmented for tile in tiles), strict=True)
    narrow = [mask if mask.dtype == np.uint8 else mask.astype(np.int32) for mask in masks]
    parts = (images, narrow, [tile.labelled for tile in tiles])
    image, bits, labelled = (default_collate([torch.from_numpy(each) for each in part]) for part in parts)
    taught = None if bands[0] is None else torch.from_numpy(np.stack(bands))
    return Sample(image, bits, labelled, Recoloring.of(changes), taught)


class Targets(NamedTuple):
    """What a loss compares logits with; both batch x bands x rows x columns, float32.

    Attributes:
        truth: 0 or 1, where each class is; what other bands should be, 0 to 1.
        valid: 1 for pixels that count: those that are not ignored, of slides that are completely annotated for the
            class.
    """

    truth: Tensor
    valid: Tensor

    def coarser(self, step: int) -> "Targets":
        """The same of every ``step``-th row and column."""
        place = (..., slice(step // 2, None, step), slice(step // 2, None, step))
        return Targets(self.truth[place], self.valid[place])

    def padded(self, rows: int, columns: int) -> "Targets":
        """The same with rows below and columns on the right that do not count, up to so many."""
        height, width = self.truth.shape[-2:]
        return Targets(*(functional.pad(each, (0, columns - width, 0, rows - height)) for each in self))

    def resized(self, rows: int, columns: int) -> "Targets":
        """The same in so many rows and columns, each pixel that of the nearest one."""
        return Targets(*(functional.interpolate(each, (rows, columns), mode="nearest-exact") for each in self))

    def masks(self, classes: int) -> "Targets":
        """Of the masks alone, which are the first bands."""
        return Targets(self.truth[:, :classes], self.valid[:, :classes])

    def occurrence(self) -> "Targets":
        """Whether each class occurs in a tile, as tiles of one pixel; of masks."""
        return Targets((self.truth * self.valid).amax((2, 3), keepdim=True), self.valid.amax((2, 3), keepdim=True))


def targets(bits: Tensor, labelled: Tensor, bands: Tensor | None = None) -> Targets:
    """Truth and weight of each pixel for each band: of the masks, and of what else is taught.

    Args:
        bits: batch x rows x columns, as in ``Sample``.
        labelled: batch x classes, bool.
        bands: batch x bands x rows x columns, uint8, as in ``Sample``.
    """
    classes = labelled.shape[1]
    place = torch.arange(classes, device=bits.device, dtype=bits.dtype).view(1, classes, 1, 1)
    truth = ((bits[:, None] >> place) & 1).float()
    counts = (((bits >> classes) & 1) == 0)[:, None] & labelled[:, :, None, None]
    if bands is None:
        return Targets(truth, counts.float())
    known = bands != UNKNOWN
    taught = bands.float() / CERTAIN * known
    also = counts.repeat(1, bands.shape[1] // classes, 1, 1) & known
    return Targets(torch.cat([truth, taught], dim=1), torch.cat([counts, also], dim=1).float())
