"""Compare rules for the epoch that is kept, by validation tiles that the choice did not see.

``python quality/epochs.py CONFIG MODEL`` where ``snakemake --until tile split`` has run. Trains each fold as the config
says, and remembers after each epoch the probabilities of each validation slide (or ``--by``) as histograms, of the
weights and of their average. Then the slides are halved many times: one half chooses epoch and kind of weights by a
rule, the other half tells the Dice of what was chosen. Prints a table of the means, and of what the best choice for the
other half would give. With ``--counts FOLDER`` the histograms are kept there, and other rules need no other training.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tilewright import read_project
from tilewright.project.orders import TrainOrder
from tilewright.tiles.archive import TileTable, TrainingShard
from tilewright.training import task
from tilewright.training.data import Sample, targets
from tilewright.training.loaders import read_tiles
from tilewright.training.scores import add_counts, best_dice, mean_where_known, no_counts
from tilewright.training.state import TrainingState
from tilewright.training.trainer import run_training

HALVES = 100
KINDS = 2
"""Kinds of weights: raw, and their average."""
Counts = NDArray[np.int64]
"""Epochs x kinds x slides x classes x truth x bins."""
Rule = Callable[[NDArray[Any]], int]
"""From epochs x kinds of scores to the place of the chosen one in the flattened table."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("model")
    parser.add_argument("--by", choices=list(UNITS), default="slide")
    parser.add_argument("--counts", type=Path, help="folder for what was counted")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    folds = read_project(options.config).config.folds.count
    common = (options.config, options.model, options.by, options.counts)
    jobs = [(*common, seed, fold) for seed in options.seeds for fold in range(folds)]
    with ProcessPoolExecutor(2) as pool:
        found = np.array([compared(counts) for counts in pool.map(_counted, *zip(*jobs, strict=True))])
    names = [*RULES, "the best for the other half"]
    print("| fold | " + " | ".join(names) + " |\n| --- |" + " --- |" * len(names))
    for job, row in [*((f"seed {seed}, fold {fold}", row) for (*_, seed, fold), row in zip(jobs, found, strict=True)),
                     ("mean", found.mean(axis=0))]:  # fmt: skip
        print(f"| {job} | " + " | ".join(f"{value:.4f}" for value in row) + " |")


def held(scores: NDArray[Any], old: float) -> NDArray[Any]:
    """A moving average of each kind's scores that begins with the first one whole and leaves ``old`` at each epoch."""
    found = scores.copy()
    for epoch in range(1, len(found)):
        found[epoch] = old * found[epoch - 1] + (1 - old) * scores[epoch]
    return found


def smoothed(scores: NDArray[Any], share: float) -> NDArray[Any]:
    """The moving average of trainings, of each kind: an epoch has ``share`` times the weight of the next."""
    weights = held(np.eye(1, len(scores)).T, share)  # that of the first one is too large
    return np.asarray((held(scores, share) - share * weights * scores[:1]) / (1 - share * weights))


def _centred(scores: NDArray[Any]) -> NDArray[Any]:
    """The mean of each epoch and its neighbours."""
    padded = np.concatenate([scores[:1], scores, scores[-1:]])
    return np.asarray((padded[:-2] + padded[1:-1] + padded[2:]) / 3)


RULES: dict[str, Rule] = {
    "highest": lambda scores: int(scores.argmax()),
    "smoothed 0.3": lambda scores: int(smoothed(scores, 0.3).argmax()),
    "smoothed 0.5": lambda scores: int(smoothed(scores, 0.5).argmax()),
    "smoothed 0.7": lambda scores: int(smoothed(scores, 0.7).argmax()),
    "smoothed 0.9": lambda scores: int(smoothed(scores, 0.9).argmax()),
    "held 0.5": lambda scores: int(held(scores, 0.5).argmax()),
    "held 0.7": lambda scores: int(held(scores, 0.7).argmax()),
    "mean of three": lambda scores: int(_centred(scores).argmax()),
    "last, average": lambda scores: scores.size - 1,
    "last, raw": lambda scores: scores.size - KINDS,
}


UNITS: dict[str, Callable[[TileTable], list[str]]] = {
    "slide": lambda table: [str(name) for name in table.slide],
    "source": lambda table: [str(name) for name in table.source],
    "tile": lambda table: [f"{name} {x} {y}" for name, x, y in zip(table.slide, table.x, table.y, strict=True)],
}
"""What is halved, of each tile."""


def compared(counts: Counts) -> list[float]:
    """Mean Dice on the other half of what each rule chooses, and of the best choice."""
    draws, found = np.random.default_rng(0), []
    for _ in range(HALVES):
        order = draws.permutation(counts.shape[2])
        first, second = (_scores(counts, part) for part in np.array_split(order, 2))
        found.append([*(second.ravel()[rule(first)] for rule in RULES.values()), second.max()])
    mean: list[float] = np.mean(found, axis=0).tolist()
    return mean


def _scores(counts: Counts, part: NDArray[Any]) -> NDArray[Any]:
    """Epochs x kinds: the Dice of some slides, as trainings see it."""
    pooled = counts[:, :, part].sum(axis=2)
    return np.array([[mean_where_known(best_dice(kind)) for kind in epoch] for epoch in pooled])


def _counted(config: Path, model: str, by: str, kept: Path | None, seed: int, fold: int) -> Counts:
    """What was counted when a fold was trained, or is counted now."""
    path = kept / f"{config.stem}-{model}-{by}-seed{seed}-fold{fold}.npy" if kept else None
    if path and path.is_file():
        counts: Counts = np.load(path)
        return counts
    counts = _trained(config, model, by, seed, fold)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, counts)
    return counts


def _trained(config: Path, model: str, by: str, seed: int, fold: int) -> Counts:
    """Train a fold and count after each epoch."""
    project = read_project(config)
    order = TrainOrder.of(project, model, str(fold))
    network = order.network.model_copy(update={"seed": seed, "workers": 0, "validate_every": 1})
    torch.set_num_threads(1)
    shards: list[list[TrainingShard]] = [[], []]
    for one in order.folds:
        path = Path(project.config.pathvars["results"]) / "tiles" / network.tiles / f"{one.shard}.h5"
        shards[one.fold == fold].append(TrainingShard(path, one.group))
    tiles = read_tiles(shards[0], shards[1], order.classes, network.validate_on)
    recorded = _recorded(UNITS[by](tiles.validation), len(order.classes))
    with tempfile.TemporaryDirectory() as folder:
        state = TrainingState(Path(folder) / "state", network, Path(folder) / "curves.png")
        state.prepare("")
        run_training(tiles, network, order.classes, state, Path(folder))
    return np.stack(recorded)


def _recorded(units: Sequence[str], classes: int) -> list[Counts]:
    """A list that gets, after each epoch, the counts of each unit; the validation is replaced to do so."""
    names = {name: place for place, name in enumerate(sorted(set(units)))}
    found: list[Counts] = []
    own, ended = task.SegmentationTask.validation_step, task.SegmentationTask.on_validation_epoch_end
    counts = [torch.stack([no_counts(len(names), classes)] * KINDS)]
    seen = [0]

    def step(self: task.SegmentationTask, batch: Sample, index: int) -> None:
        own(self, batch, index)
        expected = targets(batch.bits, batch.labelled)
        for kind, name in enumerate(("raw", "ema")):
            logits = self.logits(name, batch.image)
            for row in range(len(batch.image)):
                unit = names[units[seen[0] + row]]
                part = type(expected)(*(each[row : row + 1] for each in expected))
                add_counts(counts[0][kind, unit], logits[row : row + 1], part)
        seen[0] += len(batch.image)

    def end(self: task.SegmentationTask) -> None:
        ended(self)
        found.append(counts[0].numpy().copy())
        counts[0].zero_()
        seen[0] = 0

    task.SegmentationTask.validation_step = step  # type: ignore[method-assign, assignment]
    task.SegmentationTask.on_validation_epoch_end = end  # type: ignore[method-assign]
    return found


if __name__ == "__main__":
    main()
