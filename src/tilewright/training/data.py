"""Tiles for training: which ones an epoch draws, and how one becomes tensors.

What a sample looks like depends on (seed, epoch, position in the epoch) alone, hence not on the number of workers nor on
whether the training was interrupted.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from tilewright.archives import TileTable, open_archive
from tilewright.config import Network
from tilewright.training.augment import Augmentation


class Draw(NamedTuple):
    """One sample of an epoch: the row of the table and the seed of its augmentation."""

    row: int
    seed: int


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

    def __getitem__(self, draw: Draw | int) -> Sample:
        row, seed = draw if isinstance(draw, Draw) else (draw, 0)
        number = int(self._table.archive[row])
        if number not in self._open:
            self._open[number] = open_archive(self._archives[number])
        archive, index = self._open[number], int(self._table.index[row])
        image, mask = archive["images"][index], archive["masks"][index]
        if self._augmentation:
            image, mask = self._augmentation(image, mask, seed)
        return Sample(
            torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0))),
            torch.from_numpy(mask.astype(np.int32)),
            torch.from_numpy(self._table.labelled[row].copy()),
        )


class EpochSampler(Sampler[Draw]):
    """Draws the tiles of each epoch; without balance every tile comes once before any comes twice."""

    def __init__(self, weights: NDArray[np.float64] | None, tiles: int, count: int, seed: int) -> None:
        self._weights, self._tiles, self._count, self._seed, self._epoch = weights, tiles, count, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration draws."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Draw]:
        generator = np.random.default_rng([self._seed, self._epoch])
        if self._weights is None:
            rounds = [generator.permutation(self._tiles) for _ in range(-(-self._count // self._tiles))]
            rows = np.concatenate(rounds)[: self._count]
        else:
            rows = generator.choice(self._tiles, self._count, p=self._weights)
        seeds = generator.integers(0, 2**31, self._count)
        return (Draw(int(row), int(seed)) for row, seed in zip(rows, seeds, strict=True))


def sampler(table: TileTable, network: Network) -> EpochSampler:
    """The sampler of a network's training."""
    weights = None if network.balance == "none" else _balanced(_strata(table, network.balance))
    return EpochSampler(weights, len(table), network.tiles_per_epoch or len(table), network.seed)


def targets(bits: Tensor, labelled: Tensor) -> tuple[Tensor, Tensor]:
    """Truth and weight of each pixel for each class.

    Args:
        bits: batch x rows x columns, int32, as in ``Sample``.
        labelled: batch x classes, bool.

    Returns:
        truth and valid, each batch x classes x rows x columns, float32, 0 or 1. A pixel counts where it is not ignored
        and its slide is completely annotated for the class.
    """
    classes = labelled.shape[1]
    place = torch.arange(classes, device=bits.device).view(1, classes, 1, 1)
    truth = (bits[:, None] >> place) & 1
    counts = (((bits >> classes) & 1) == 0)[:, None] & labelled[:, :, None, None]
    return truth.float(), counts.float()


def _strata(table: TileTable, balance: str) -> NDArray[Any]:
    """What should come equally often: the source of a tile, or the class that covers most of it (-1: none)."""
    if balance == "source":
        return table.source
    return np.where(table.coverage.any(axis=1), table.coverage.argmax(axis=1), -1)


def _balanced(strata: NDArray[Any]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(strata, return_inverse=True, return_counts=True)
    weights = 1.0 / counts[inverse]
    return np.asarray(weights / weights.sum(), np.float64)
