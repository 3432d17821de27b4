"""Loaders of training and validation tiles, for one of the devices that share a training."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from tilewright.project.config.training import Network
from tilewright.runtime.errors import DataError, Problem
from tilewright.tiles.archive import TileTable, TrainingShard, open_archive, read_table
from tilewright.training.augment import Augmentation
from tilewright.training.cropping import Cropping
from tilewright.training.data import Sample, TileDataset, together
from tilewright.training.placing import Placing
from tilewright.training.sampling import EachOnce, sampler


@dataclass(frozen=True)
class Tiles:
    """The tiles of a training.

    Attributes:
        archives: files that the tables count.
        folders: of each archive the folder of the scaled slides that its tiles are read from when they are trained on;
            None: they are read as they were cut.
        training: tiles to train on.
        validation: tiles to validate on.
    """

    archives: list[Path]
    folders: list[Path | None]
    training: TileTable
    validation: TileTable


def read_tiles(training: Sequence[TrainingShard], validation: Sequence[TrainingShard], classes: Sequence[str]) -> Tiles:
    """Read the tables of the shards of a training.

    Tiles of slides in which no class is labelled are left out; so are, of the validation shards, tiles that are
    centred on an outline or scattered, because their pixels come in the grid too.

    Raises:
        DataError: archives of other classes, or nothing to train or to validate on.
    """
    table = read_table([*training, *validation], classes)
    table = table.select(np.logical_or.reduce(table.labelled, axis=1))
    held_out = table.archive >= len(training)
    once = (table.kind == "grid") | (table.kind == "background")
    archives = [shard.archive for shard in (*training, *validation)]
    folders = [shard.scaled for shard in (*training, *validation)]
    tiles = Tiles(archives, folders, table.select(~held_out), table.select(held_out & once))
    for part, use in ((tiles.training, "train"), (tiles.validation, "validate")):
        if not len(part):
            what = f"no labelled tiles to {use} on."
            raise DataError(
                Problem(str(archives[0].parent), what, "Lower min_tissue of the tile set, or check the outlines.")
            )
    return tiles


def loaders(
    tiles: Tiles, network: Network, classes: Sequence[str], first: int = 0
) -> tuple[DataLoader[Sample], DataLoader[Sample]]:
    """Loaders of training and of validation batches.

    Args:
        tiles: what they load.
        network: the network and how it is trained.
        classes: names of the classes.
        first: the epoch that the training begins with. Lightning tells it to the sampler too, but only after processes
            that load tiles have drawn.
    """
    device = device_number()
    edge = _edge(tiles.archives)
    cropping = Cropping(network.crop or edge, network.crop_at == "center", network.class_crops, len(classes))
    augmentation = Augmentation(network.augmentation, cropping)
    part = tiles.training
    placing = None
    if any(tiles.folders):
        placing = Placing(part, tiles.archives, tiles.folders, edge, classes, network.sampling)
    training = TileDataset(tiles.archives, part, augmentation, placing)
    validation = TileDataset(tiles.archives, tiles.validation, None)
    cut = np.array([folder is None for folder in tiles.folders])[part.archive]
    drawn = sampler(part, tiles.archives, network, classes, device, cut)
    drawn.set_epoch(first)
    once = EachOnce(len(tiles.validation), device, network.devices)
    size = network.batch_size // network.devices
    workers = 0 if network.workers == "auto" else network.workers  # the graph has made a number of it
    common = {
        "num_workers": workers, "persistent_workers": workers > 0,
        "pin_memory": torch.cuda.is_available(), "collate_fn": together,
    }  # fmt: skip
    return (
        DataLoader(training, size, sampler=drawn, **common),  # type: ignore[arg-type]
        DataLoader(validation, size, sampler=once, **common),  # type: ignore[arg-type]
    )


def device_number() -> int:
    """Number of this process among those that Lightning starts for the devices of a training; 0 for the first one."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def _edge(archives: Sequence[Path]) -> int:
    with open_archive(archives[0]) as archive:
        return int(archive["images"].shape[1])
