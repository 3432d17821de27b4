"""Loaders of training and validation tiles, for one of the devices that share a training."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader

from tilewright.pixels.grid import Size
from tilewright.project.config import width_and_height
from tilewright.project.config.training import Network
from tilewright.runtime.errors import DataError, Problem
from tilewright.tiles.archive import TileTable, TrainingShard, open_archive, read_table
from tilewright.training.augment import Augmentation
from tilewright.training.cropping import Cropping
from tilewright.training.data import Sample, TileDataset, together
from tilewright.training.objects import ObjectBands
from tilewright.training.overlaps import repeats
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
        repeated: how many are left out of the training, because they repeat others.
    """

    archives: list[Path]
    folders: list[Path | None]
    training: TileTable
    validation: TileTable
    repeated: int


def read_tiles(
    training: Sequence[TrainingShard],
    validation: Sequence[TrainingShard],
    classes: Sequence[str],
    kinds: Sequence[str] = ("grid", "background"),
) -> Tiles:
    """Read the tables of the shards of a training.

    Tiles of slides in which no class is labelled are left out; so are tiles to train on that repeat others.

    Args:
        training: shards to train on.
        validation: shards to validate on; none where nothing is validated.
        classes: names of the classes.
        kinds: kinds of the tiles that are validated on.

    Raises:
        DataError: archives of other classes, or nothing to train or to validate on.
    """
    table = read_table([*training, *validation], classes)
    table = table.select(np.logical_or.reduce(table.labelled, axis=1))
    held_out = table.archive >= len(training)
    archives = [shard.archive for shard in (*training, *validation)]
    folders = [shard.scaled for shard in (*training, *validation)]
    training_table = table.select(~held_out)
    repeated = repeats(training_table, width_and_height(tile_edge(archives))[::-1])
    validation_table = table.select(held_out & np.isin(table.kind, kinds))
    tiles = Tiles(archives, folders, training_table.select(~repeated), validation_table, int(repeated.sum()))
    for part, use, key in ((tiles.training, "train", ""), (tiles.validation, "validate", ", look at validate_on")):
        if not len(part) and (validation or part is tiles.training):
            what = f"no labelled tiles to {use} on."
            remedy = f"Lower min_tissue of the tile set{key}, or check the outlines."
            raise DataError(Problem(str(archives[0].parent), what, remedy))
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
    edge = network.crop or tile_edge(tiles.archives)
    cropping = Cropping(edge, network.crop_at == "center", network.class_crops, len(classes))
    bands = ObjectBands(network.targets) if len(network.targets) > 1 else None
    augmentation = Augmentation(network.augmentation, cropping, bands)
    part = tiles.training
    placing = None
    if any(tiles.folders):
        whole = Size(*width_and_height(tile_edge(tiles.archives)))
        placing = Placing(part, tiles.folders, whole, classes, network.sampling)
    training = TileDataset(tiles.archives, part, augmentation, placing, bands)
    validation = TileDataset(tiles.archives, tiles.validation, None, bands=bands)
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


def tile_edge(archives: Sequence[Path]) -> int | list[int]:
    """Edge of the tiles, or their width and height where they are no squares."""
    with open_archive(archives[0]) as archive:
        _, height, width, _ = map(int, archive["images"].shape)
    return width if width == height else [width, height]
