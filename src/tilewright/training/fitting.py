"""A training from its order to the files that it leaves: what ``train`` and ``refit`` share.

``model.safetensors`` holds the weights that are kept, ``model.json`` how to build the network again, ``history.csv``
one row an epoch, ``curves.png`` the same as a picture, ``batch.jpg`` a batch as the network sees it, ``events/`` the
history for TensorBoard with pictures of validation tiles.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from tilewright.project.config.training import Network
from tilewright.project.orders import TrainOrder
from tilewright.project.places import BATCH, CARD, CURVES, HISTORY, NETWORK, archive_file, weights_file
from tilewright.project.project import Assignment
from tilewright.runtime.atomic import atomic_path
from tilewright.runtime.codeversion import code_version
from tilewright.runtime.documents import write_document
from tilewright.runtime.errors import Problem, UserError
from tilewright.runtime.gpu import claimed_gpus
from tilewright.runtime.hashed import file_hash
from tilewright.runtime.locks import state_lock
from tilewright.runtime.progress import note
from tilewright.tiles.archive import TrainingShard
from tilewright.tiles.split import EXTERNAL
from tilewright.training.architectures import parameters, spelt_out
from tilewright.training.course import Course
from tilewright.training.curves import draw_curves
from tilewright.training.loaders import Tiles, device_number, read_tiles
from tilewright.training.optimizers import check_optimizer
from tilewright.training.picture import draw_batch
from tilewright.training.start import started
from tilewright.training.state import TrainingState
from tilewright.training.trainer import run_training

PACKAGES = ("tilewright", "torch", "lightning", "segmentation-models-pytorch", "timm", "albumentations")


@dataclass(frozen=True)
class Sources:
    """Folders that tiles are read from.

    Attributes:
        tiles: of the archives, ``{shard}.h5``.
        pseudo: of the pseudo-labelled archives, ``{shard}.h5``; used if the network has pseudo-labels.
        scaled: of the scaled shards at the scale of the tiles; needed if they lie at random places.
    """

    tiles: Path
    pseudo: Path
    scaled: Path | None

    def of_training(self, order: TrainOrder, fold: int | None) -> list[TrainingShard]:
        """Shards to train on: all but those of a fold, and those that are pseudo-labelled."""
        found = [
            TrainingShard(
                archive_file(self.tiles, one.shard),
                one.group,
                EXTERNAL if one.fold is None else "train",
                self._scaled(one) if order.at == "random" else None,
            )
            for one in order.folds
            if fold is None or one.fold != fold
        ]
        labelled = ((archive_file(self.pseudo, shard), group) for shard, group in order.pseudo.items())
        return found + [TrainingShard(archive, group, "pseudo") for archive, group in labelled]

    def of_validation(self, order: TrainOrder, fold: int) -> list[TrainingShard]:
        """Shards of a fold.

        Raises:
            UserError: there are none.
        """
        found = [
            TrainingShard(archive_file(self.tiles, one.shard), one.group) for one in order.folds if one.fold == fold
        ]
        if not found:
            what = f"no shard is validated in fold {fold}."
            raise UserError(Problem("--fold", what, "Choose a fold that folds.csv names."))
        return found

    def _scaled(self, shard: Assignment) -> Path:
        if self.scaled is None:
            what = "tiles at random places are read from scaled slides."
            raise UserError(Problem("--scaled", what, "Name the folder of the scaled shards."))
        return self.scaled / shard.shard


def fit(
    order: TrainOrder,
    *,
    title: str,
    fold: int | None,
    sources: Sources,
    out: Path,
    workers: int,
    course: Course | None = None,
) -> None:
    """Train a network, or go on with a training that was interrupted, and write its files.

    Args:
        order: network, classes, scale, where each shard stands, and which shards pseudo-labels come from.
        title: what is trained, for messages.
        fold: the fold that is validated on; None: everything is trained on.
        sources: where tiles are.
        out: folder for the outputs; its folder ``state`` holds what an interrupted training needs.
        workers: processes that load tiles, for each device; they change no result.
        course: how the training goes where nothing is validated.

    Raises:
        UserError: a network or an optimiser that cannot be built, weights to start from that do not fit it, or another
            process that trains the same.
        DataError: no tiles to train on or to validate on, or a training that diverges.
    """
    check_optimizer(order.network)
    order = order.model_copy(update={"network": started(order.network)})
    network = order.network.model_copy(
        update={"workers": workers} | ({"tiles_per_epoch": course.tiles} if course else {})
    )
    torch.set_num_threads(network.threads)
    os.environ.setdefault("OMP_NUM_THREADS", str(network.threads))  # Lightning sets threads of several processes by it
    training = sources.of_training(order, fold)
    validation = sources.of_validation(order, fold) if fold is not None else []
    with _sole_process(out / "state", network.devices):
        parts = read_tiles(training, validation, order.classes, network.validate_on)
        state = TrainingState(out / "state", network, out / CURVES, course)
        prints: list[str] = []
        if device_number() == 0:
            validated = f", {len(parts.validation)} to validate on" if validation else ""
            left = f"; {parts.repeated} that repeat more than 90 % of another are left out" if parts.repeated else ""
            note(f"{title}: {len(parts.training)} tiles to train on{validated}{left}")
            prints = _prints(training, validation)
            told = [_told(order), code_version("training.fitting"), str(fold), str(course)]
            state.prepare(_digest(*told, *prints, *_of_weights(network)))
            draw_batch(parts, network, order.classes, out / BATCH)
        size = run_training(parts, network, order.classes, state, out)
        if device_number() == 0:
            order = order.model_copy(update={"network": order.network.model_copy(update={"batch_size": size})})
            card = {**_card(order, parts, prints), "fold": fold}
            _write_outputs(state, card, out)
            state.clear()


@contextmanager
def _sole_process(folder: Path, devices: int) -> Iterator[None]:
    """Hold the state and the GPUs; the processes of further devices run under what the first one holds."""
    if device_number():
        yield
        return
    with state_lock(folder), claimed_gpus(devices):
        yield


def _prints(training: Sequence[TrainingShard], validation: Sequence[TrainingShard]) -> list[str]:
    """What each shard is used for, with a hash of its archive."""
    return [
        f"{use} {shard.role} {shard.group} {file_hash(shard.archive)}"
        for use, shards in (("train", training), ("validate", validation))
        for shard in shards
    ]


def _told(order: TrainOrder) -> str:
    """What the order says of the training itself; the shards are in the prints."""
    return order.model_dump_json(exclude={"folds", "pseudo"})


def _of_weights(network: Network) -> list[str]:
    """A hash of the file of weights that the network or its encoder starts from, if there is one."""
    path = weights_file(Path(network.start)) if network.start else Path(network.encoder_weights)
    return [file_hash(path)] if path.is_file() else []


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _write_outputs(state: TrainingState, card: dict[str, object], out: Path) -> None:
    with atomic_path(out / NETWORK) as private:
        shutil.copyfile(state.weights, private)
        weights = file_hash(private)
    history = state.table()
    with atomic_path(out / HISTORY) as private:
        history.to_csv(private, index=False, float_format="%.6g", lineterminator="\n")
    best = state.best
    draw_curves(history, best.epoch, out / CURVES)
    found = {"weights": weights, "best_epoch": best.epoch, "best_weights": best.kind}
    reached = {f"best_{name}": value for name, value in state.monitored.items()}
    write_document(out / CARD, {"format": 1, **card, **found, **reached})


def _card(order: TrainOrder, tiles: Tiles, prints: Sequence[str]) -> dict[str, object]:
    """What a model is: its config with the normalisation spelt out, pixel and network size, hash of tiles, versions."""
    return {
        **order.model_copy(update={"network": spelt_out(order.network)}).model_dump(exclude={"folds", "pseudo"}),
        "mpp": _pixel_sizes(tiles),
        "parameters": parameters(order.network, len(order.classes)),
        "epoch_tiles": order.network.tiles_per_epoch or len(tiles.training),
        "tiles": _digest(*prints),
        "versions": {name: version(name) for name in PACKAGES},
    }


def _pixel_sizes(tiles: Tiles) -> dict[str, float] | None:
    """Smallest and largest pixel of the training tiles, in micrometres; None where no slide tells."""
    known = tiles.training.mpp[~np.isnan(tiles.training.mpp)]
    return {"min": round(float(known.min()), 6), "max": round(float(known.max()), 6)} if len(known) else None
