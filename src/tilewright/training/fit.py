"""Train one fold of a model and write what prediction and people need.

``model.safetensors`` holds the weights with the best validation Dice, ``model.json`` how to build the network again,
``history.csv`` one row an epoch, ``curves.png`` the same as a picture, ``events/`` the same for TensorBoard.
"""

import hashlib
import json
import logging
import os
import shutil
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import lightning
import numpy as np
import pandas as pd
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader

from tilewright.archives import TileTable, open_archive, read_table
from tilewright.config import Network
from tilewright.folds import read_folds
from tilewright.runtime.atomic import atomic_path, write_text
from tilewright.runtime.errors import DataError, Problem, UserError
from tilewright.runtime.gpu import claimed_gpu
from tilewright.runtime.locks import state_lock
from tilewright.runtime.progress import note
from tilewright.settings import TrainSettings
from tilewright.training.architectures import build
from tilewright.training.augment import Augmentation
from tilewright.training.curves import draw_curves
from tilewright.training.data import Sample, TileDataset, sampler
from tilewright.training.state import TrainingState
from tilewright.training.task import SegmentationTask
from tilewright.workflow import code_version


def train(model: str, *, fold: int, folds: Path, tiles: Path, settings: TrainSettings, out: Path) -> None:
    """Train a model on all shards that are not in a fold, and choose the epoch that is best on the fold.

    An interrupted training goes on from its last epoch, with the same result as an uninterrupted one.

    Args:
        model: name of the model.
        fold: the fold that is validated on.
        folds: ``folds.csv``.
        tiles: folder of the tile archives, ``{shard}.h5``.
        settings: network, classes and scale.
        out: folder for the outputs; its folder ``state`` holds what an interrupted training needs.

    Raises:
        UserError: a network that cannot be built, or another process that trains the same fold.
        DataError: no tiles to train on or to validate on.
    """
    torch.set_num_threads(settings.network.threads)
    training, validation = _shards(folds, fold)
    with state_lock(out / "state"), claimed_gpu():
        archives = [tiles / f"{shard}.h5" for shard in (*training, *validation)]
        table = _usable(read_table(archives), settings)
        parts = _divided(table, len(training))
        for part, use in zip(parts, ("train", "validate"), strict=True):
            if not len(part):
                what = f"no labelled tiles to {use} on for fold {fold} of {model}."
                raise DataError(Problem(str(tiles), what, "Lower min_tissue of the tile set, or check the outlines."))
        note(f"{model}, fold {fold}: {len(parts[0])} tiles to train on, {len(parts[1])} to validate on")
        prints = _fingerprint(archives)
        state = TrainingState(out / "state", _digest(settings.model_dump_json(), code_version("training.fit"), *prints))
        _fit(archives, parts, settings, state, out)
        _write_outputs(state, settings, prints, fold, out)
        state.clear()


def _shards(folds: Path, fold: int) -> tuple[list[str], list[str]]:
    """Shards to train on and shards to validate on."""
    assignments = read_folds(folds)
    validation = [one.shard for one in assignments if one.fold == fold]
    if not validation:
        raise UserError(Problem(str(folds), f"fold {fold} has no shard.", "Choose a fold that the file names."))
    return [one.shard for one in assignments if one.fold != fold], validation


def _usable(table: TileTable, settings: TrainSettings) -> TileTable:
    """Tiles of slides in which at least one class is labelled."""
    if table.labelled.shape[1] != len(settings.classes):
        raise DataError(Problem("tile archives", "hold other classes than the config.", "Run the graph again."))
    return table.select(np.logical_or.reduce(table.labelled, axis=1))


def _divided(table: TileTable, training: int) -> tuple[TileTable, TileTable]:
    """Tiles of the first ``training`` archives, and the grid tiles of the others, where no pixel comes twice."""
    held_out = table.archive >= training
    on_grid = table.kind != "object"
    return table.select(~held_out), table.select(held_out & on_grid)


def _fit(
    archives: Sequence[Path],
    parts: tuple[TileTable, TileTable],
    settings: TrainSettings,
    state: TrainingState,
    out: Path,
) -> None:
    network = settings.network
    resumed = state.checkpoint()
    torch.manual_seed(network.seed)
    segmenter = build(network, len(settings.classes), pretrained=resumed is None)
    loaders = _loaders(archives, parts, network)
    steps = len(loaders[0]) * network.epochs
    task = SegmentationTask(segmenter, network, settings.classes, steps)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning|torch")
        trainer = lightning.Trainer(
            max_epochs=network.epochs,
            accelerator="auto",
            devices=1,
            precision=_precision(network.precision),  # type: ignore[arg-type]
            callbacks=[state],
            logger=TensorBoardLogger(out, name="events", version=""),
            plugins=[LightningEnvironment()],  # under SLURM, Snakemake requeues jobs; Lightning must not
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            log_every_n_steps=max(1, len(loaders[0])),
        )
        if resumed is None:
            shutil.rmtree(out / "events", ignore_errors=True)
        else:
            note("going on from the state of an interrupted training")
        trainer.fit(task, *loaders, ckpt_path=resumed, weights_only=True)


def _loaders(
    archives: Sequence[Path], parts: tuple[TileTable, TileTable], network: Network
) -> tuple[DataLoader[Sample], DataLoader[Sample]]:
    edge = _edge(archives)
    training = TileDataset(archives, parts[0], Augmentation(network.augmentation, network.crop or edge))
    common = {"num_workers": network.workers, "persistent_workers": network.workers > 0}
    return (
        DataLoader(training, network.batch_size, sampler=sampler(parts[0], network), **common),  # type: ignore[arg-type]
        DataLoader(TileDataset(archives, parts[1], None), network.batch_size, **common),  # type: ignore[arg-type]
    )


def _edge(archives: Sequence[Path]) -> int:
    with open_archive(archives[0]) as archive:
        return int(archive["images"].shape[1])


def _precision(name: str) -> str:
    if name == "auto":
        return "16-mixed" if torch.cuda.is_available() else "32-true"
    return {"32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}[name]


def _fingerprint(archives: Sequence[Path]) -> list[str]:
    """A hash of each archive's content."""
    prints = []
    for path in archives:
        with path.open("rb") as stream:
            prints.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return prints


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _write_outputs(state: TrainingState, settings: TrainSettings, prints: Sequence[str], fold: int, out: Path) -> None:
    with atomic_path(out / "model.safetensors") as private:
        shutil.copyfile(state.weights, private)
    history = pd.DataFrame(state.history).astype({"epoch": int})
    with atomic_path(out / "history.csv") as private:
        history.to_csv(private, index=False, float_format="%.6g", lineterminator="\n")
    draw_curves(history, out / "curves.png")
    best = int(np.argmax(history["dice"]))
    packages = ("tilewright", "torch", "segmentation-models-pytorch", "timm", "albumentations")
    content = {
        "format": 1,
        **settings.model_dump(),
        "fold": fold,
        "best_epoch": best,
        "best_dice": float(history["dice"][best]),
        "tiles": _digest(*prints),
        "versions": {name: version(name) for name in packages},
    }
    write_text(out / "model.json", json.dumps(content, indent=2) + os.linesep)
