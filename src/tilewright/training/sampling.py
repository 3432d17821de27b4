"""Which tiles an epoch draws, and in which order.

The draws of an epoch depend on (seed, epoch) alone, and what a sample looks like on (seed, epoch, place in the
epoch): not on the number of workers or devices nor on whether the training was interrupted.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from tilewright.project.config.training import Column, Network, Sampling
from tilewright.runtime.errors import DataError, Problem
from tilewright.tiles.archive import TileTable, open_archive, reading

Weights = NDArray[np.float64]
ROUNDS = 200


class Draw(NamedTuple):
    """One sample of an epoch.

    Attributes:
        row: row of the table.
        seed: seed of its augmentation.
        counts: False for what only fills the share of a device.
    """

    row: int
    seed: int = 0
    counts: bool = True


class EpochSampler(Sampler[Draw]):
    """Draws the tiles of each epoch and gives those of one device.

    Without weights every tile comes once before any twice.

    Batches are full: where the draws of an epoch do not fill the last one, some come again but do not count. A batch of
    one tile would have no statistics where the deepest features are a single pixel. Of each batch a device takes every
    ``devices``-th draw.
    """

    def __init__(
        self,
        weights: Weights | None,
        tiles: int,
        count: int,
        seed: int,
        batch: int = 1,
        device: int = 0,
        devices: int = 1,
    ) -> None:
        """Prepare the draws.

        Args:
            weights: probability of each tile; None: all come equally often.
            tiles: number of tiles.
            count: draws of an epoch.
            seed: decides, with the epoch, what is drawn.
            batch: tiles of a batch, over all devices.
            device: the device whose share is given.
            devices: number of devices.
        """
        self._weights, self._tiles, self._count, self._seed, self._epoch = weights, tiles, count, seed, 0
        self._batch, self._device, self._devices = batch, device, devices

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration draws."""
        self._epoch = epoch

    def __len__(self) -> int:
        return -(-self._count // self._batch) * self._batch // self._devices

    def __iter__(self) -> Iterator[Draw]:
        generator = np.random.default_rng([self._seed, self._epoch])
        if self._weights is None:
            rows = self._next_of_rounds()
        else:
            rows = generator.choice(self._tiles, self._count, p=self._weights)
        seeds = generator.integers(0, 2**31, self._count)
        return shared_draws(rows, seeds, self._batch, self._device, self._devices)

    def _next_of_rounds(self) -> NDArray[np.int64]:
        """Rounds in which each tile comes once go on from one epoch to the next."""
        first = self._epoch * self._count
        numbers = range(first // self._tiles, (first + self._count - 1) // self._tiles + 1)
        rounds = [np.random.default_rng([self._seed, 1, number]).permutation(self._tiles) for number in numbers]
        begin = first - numbers[0] * self._tiles
        return np.concatenate(rounds)[begin : begin + self._count]


class EachOnce(Sampler[Draw]):
    """Every tile in its order, shared by devices in the same way."""

    def __init__(self, tiles: int, device: int = 0, devices: int = 1) -> None:
        self._tiles, self._device, self._devices = tiles, device, devices

    def __len__(self) -> int:
        return -(-self._tiles // self._devices)

    def __iter__(self) -> Iterator[Draw]:
        rows = np.arange(self._tiles)
        return shared_draws(rows, np.zeros_like(rows), self._devices, self._device, self._devices)


def shared_draws(rows: NDArray[Any], seeds: NDArray[Any], batch: int, device: int, devices: int) -> Iterator[Draw]:
    """The draws of one device; they are filled up to whole batches by draws that do not count."""
    count = len(rows)
    for place in range(device, -(-count // batch) * batch, devices):
        at = place % count
        yield Draw(int(rows[at]), int(seeds[at]), place < count)


def sampler(
    table: TileTable,
    archives: Sequence[Path],
    network: Network,
    classes: Sequence[str],
    device: int = 0,
    cut: NDArray[np.bool_] | None = None,
) -> EpochSampler:
    """The sampler of a network's training.

    Args:
        table: the tiles to train on.
        archives: the files that ``table.archive`` counts.
        network: rates, multipliers, number of tiles and devices.
        classes: names of the classes.
        device: which of the devices draws.
        cut: as of ``draw_weights``.
    """
    count = network.tiles_per_epoch or len(table)
    weights = draw_weights(table, archives, network, classes, cut)
    return EpochSampler(weights, len(table), count, network.seed, network.batch_size, device, network.devices)


def draw_weights(
    table: TileTable,
    archives: Sequence[Path],
    network: Network,
    classes: Sequence[str],
    cut: NDArray[np.bool_] | None = None,
) -> Weights | None:
    """Probability of each tile to be drawn; None: each comes equally often.

    Args:
        table: the tiles to train on.
        archives: the files that ``table.archive`` counts.
        network: rates and multipliers.
        classes: names of the classes.
        cut: which tiles are read as they were cut; the others show another place each time, of whose centre the
            reader decides. None: all.
    """
    sampling, rates = network.sampling, dict(network.sampling.rates)
    if network.pseudo:
        given = rates.get("role", {})
        assert isinstance(given, dict), "the config allows no other with pseudo-labels"
        rates["role"] = {**given, "pseudo": network.pseudo.rate}
    if not rates and not sampling.multipliers and sampling.center is None:
        return None
    start = np.ones(len(table))
    if sampling.center is not None:
        passed = ~_shows_class(table, archives, sampling.center)
        start[passed if cut is None else passed & cut] = 1 - sampling.center_rate
    if not start.any():
        start[:] = 1
    weights = raked(start / start.sum(), [_margin(table, column, rate, classes) for column, rate in rates.items()])
    weights = weights * _multipliers(table, sampling)
    if not weights.sum() > 0:
        what = f"sampling: no tile to train on fulfils the rates of {' and '.join(rates)} together."
        raise DataError(Problem("config, models", what, "Give other rates, or leave one of them out."))
    return np.asarray(weights / weights.sum(), np.float64)


class Margin(NamedTuple):
    """What a column's rates ask for.

    Attributes:
        stratum: the stratum of each tile, from 0.
        shares: the share of each stratum, which sum to 1.
    """

    stratum: NDArray[np.int64]
    shares: Weights


def raked(weights: Weights, margins: Sequence[Margin]) -> Weights:
    """Weights nearest to the given ones whose sums by stratum are the shares of every margin.

    Iterative proportional fitting (Deming and Stephan 1940). A stratum without weight stays without; where margins
    contradict each other the last one holds, and where nothing fulfils them all weights are 0.
    """
    for _ in range(ROUNDS):
        before = weights
        for stratum, shares in margins:
            sums = np.bincount(stratum, weights, len(shares))
            factors = np.divide(shares, sums, out=np.zeros_like(sums), where=sums > 0)
            weights = weights * factors[stratum]
        if np.abs(weights - before).max() < 1e-12:
            break
    return weights


def strata(table: TileTable, column: Column, classes: Sequence[str]) -> NDArray[Any]:
    """The value of a column for each tile; the class of a tile is the one that covers most of it, or ``none``."""
    if column != "class":
        return np.asarray(getattr(table, column))
    names = np.array([*classes, "none"])
    return names[np.where(table.coverage.any(axis=1), table.coverage.argmax(axis=1), -1)]


def _margin(table: TileTable, column: Column, rate: str | Mapping[str, float], classes: Sequence[str]) -> Margin:
    names, stratum, counts = np.unique(strata(table, column, classes), return_inverse=True, return_counts=True)
    if rate == "equal":
        shares: Weights = np.ones(len(names))
    elif rate == "area":
        covered = table.coverage.sum(axis=1, dtype=np.float64)
        shares = np.bincount(stratum, covered, len(names)).astype(np.float64)
    else:
        assert not isinstance(rate, str)
        named = np.array([rate.get(str(name), np.nan) for name in names])
        others = np.isnan(named)
        rest = max(0.0, 1 - named[~others].sum())
        shares = np.where(others, rest * counts / max(1, counts[others].sum()), named)
    total = shares.sum()
    return Margin(stratum, shares / total if total else np.full(len(names), 1 / len(names)))


def _multipliers(table: TileTable, sampling: Sampling) -> Weights:
    return np.array([sampling.multipliers.get(str(slide), 1.0) for slide in table.slide])


def _shows_class(table: TileTable, archives: Sequence[Path], edge: int) -> NDArray[np.bool_]:
    """Whether the central square of each tile holds a pixel of any class."""
    shows = np.zeros(len(table), np.bool_)
    for number in np.unique(table.archive):
        with open_archive(archives[number]) as archive, reading(archives[number]):
            masks, rows = archive["masks"], np.flatnonzero(table.archive == number)
            starts = (max(0, (length - edge) // 2) for length in masks.shape[1:])
            rows_within, columns_within = (slice(start, start + edge) for start in starts)
            classes = (1 << table.coverage.shape[1]) - 1
            shows[rows] = [(masks[index, rows_within, columns_within] & classes).any() for index in table.index[rows]]
    return shows
