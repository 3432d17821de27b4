"""Tiles as tensors, and what a loss needs of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from tilewright.tiles.archive import TileTable, open_archive, reading
from tilewright.training.augment import Augmentation
from tilewright.training.sampling import Draw


class Sample(NamedTuple):
    """A tile as tensors; of a batch all have one dimension more in front.

    Attributes:
        image: 3 x rows x columns, uint8.
        bits: rows x columns, int32; bit k is class k, bit ``classes`` marks pixels that do not count.
        labelled: classes, bool; whether the class is completely annotated.
    """

    image: Tensor
    bits: Tensor
    labelled: Tensor


class TileDataset(Dataset[Sample]):
    """Tiles of archives. Files are opened by the process that reads them."""

    def __init__(self, archives: Sequence[Path], table: TileTable, augmentation: Augmentation | None) -> None:
        self._archives, self._table, self._augmentation = list(archives), table, augmentation
        self._open: dict[int, h5py.File] = {}

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, draw: Draw) -> Sample:
        row, seed, counts = draw
        number = int(self._table.archive[row])
        if number not in self._open:
            self._open[number] = open_archive(self._archives[number])
        archive, index = self._open[number], int(self._table.index[row])
        with reading(self._archives[number]):
            image, mask = archive["images"][index], archive["masks"][index]
        if self._augmentation:
            image, mask = self._augmentation(image, mask, seed)
        return Sample(
            torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0))),
            torch.from_numpy(mask.astype(np.int32)),
            torch.from_numpy(self._table.labelled[row] & counts),
        )


class Targets(NamedTuple):
    """What a loss compares logits with; both batch x classes x rows x columns, float32, 0 or 1.

    Attributes:
        truth: where each class is.
        valid: which pixels count: those that are not ignored, of slides that are completely annotated for the class.
    """

    truth: Tensor
    valid: Tensor

    def coarser(self, step: int) -> "Targets":
        """The same of every ``step``-th row and column."""
        place = (..., slice(step // 2, None, step), slice(step // 2, None, step))
        return Targets(self.truth[place], self.valid[place])

    def occurrence(self) -> "Targets":
        """Whether each class occurs in a tile, as tiles of one pixel."""
        return Targets((self.truth * self.valid).amax((2, 3), keepdim=True), self.valid.amax((2, 3), keepdim=True))


def targets(bits: Tensor, labelled: Tensor) -> Targets:
    """Truth and weight of each pixel for each class.

    Args:
        bits: batch x rows x columns, int32, as in ``Sample``.
        labelled: batch x classes, bool.
    """
    classes = labelled.shape[1]
    place = torch.arange(classes, device=bits.device).view(1, classes, 1, 1)
    truth = (bits[:, None] >> place) & 1
    counts = (((bits >> classes) & 1) == 0)[:, None] & labelled[:, :, None, None]
    return Targets(truth.float(), counts.float())
