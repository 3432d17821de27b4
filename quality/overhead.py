"""What the loader and Lightning cost: training through all of it against the bare network on batches in memory.

``python quality/overhead.py TILES`` with a folder of tile archives, such as ``results/demo/tiles/nuclei`` of the demo.
One thread, no workers; seconds are those of the processor, so that other programs do not matter. Prints one JSON
object: tiles a second of a loader alone, of the bare network, of the whole training, and the share of the bare
network's that this is; and tiles a second of a loader with 1, 2 ... workers, by the clock.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import lightning
import torch

from tilewright.project.config import Network
from tilewright.tiles.archive import TrainingShard, open_archive
from tilewright.training import trainer
from tilewright.training.architectures import build_network
from tilewright.training.data import Sample, targets
from tilewright.training.loaders import Tiles, loaders, read_tiles
from tilewright.training.losses import TargetLoss
from tilewright.training.optimizers import optimizer
from tilewright.training.state import TrainingState


def main() -> None:
    """Measure what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tiles", type=Path)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    options = parser.parse_args()
    shards = [TrainingShard(path) for path in sorted(options.tiles.glob("*.h5"))]
    network = Network(
        tiles="any", crop=options.crop, batch_size=4, tiles_per_epoch=4 * options.batches, epochs=2, ema=0.99, warmup=0,
        options={"decoder_channels": [128, 64, 32, 16, 16]}, learning_rate=1e-4,
    )  # fmt: skip
    torch.set_num_threads(1)
    with open_archive(shards[0].archive) as archive:
        classes = [str(name) for name in archive.attrs["classes"]]
    tiles = read_tiles(shards[1:], shards[:1], classes)
    rates: dict[str, list[float]] = {"loader": [], "bare": [], "whole": []}
    for _ in range(options.repeats):  # in turns, so that a machine that slows down slows all alike
        for name, measure in (("loader", _loader), ("bare", _bare), ("whole", _whole)):
            rates[name].append(measure(tiles, network, classes))
    found = {name: statistics.median(values) for name, values in rates.items()}
    shares = [whole / bare for whole, bare in zip(rates["whole"], rates["bare"], strict=True)]
    report = {name: round(rate, 2) for name, rate in found.items()} | {"share": round(statistics.median(shares), 3)}
    for workers in options.workers:
        report[f"workers_{workers}"] = round(_workers(tiles, network, classes, workers), 2)
    print(json.dumps(report))


def _loader(tiles: Tiles, network: Network, classes: list[str]) -> float:
    training, _ = loaders(tiles, network, classes)
    next(iter(training))
    begin = time.process_time()
    count = sum(len(batch.image) for batch in training)
    return count / (time.process_time() - begin)


def _workers(tiles: Tiles, network: Network, classes: list[str], workers: int) -> float:
    changed = network.model_copy(update={"workers": workers, "tiles_per_epoch": 10 * (network.tiles_per_epoch or 0)})
    batches = iter(loaders(tiles, changed, classes)[0])
    next(batches)
    begin = time.monotonic()
    count = sum(len(batch.image) for batch in batches)
    return count / (time.monotonic() - begin)


def _bare(tiles: Tiles, network: Network, classes: list[str]) -> float:
    batches = [Sample(*batch) for batch in loaders(tiles, network, classes)[0]]
    segmenter = build_network(network, len(classes), pretrained=True).train()
    loss, steps = TargetLoss(network.losses, torch.ones(len(classes))), optimizer(network, segmenter.parameters())
    for number, batch in enumerate([*batches[:4], *batches]):
        if number == 4:
            begin = time.process_time()
        loss(segmenter(batch.image), *targets(batch.bits, batch.labelled, batch.bands)).backward()
        steps.step()
        steps.zero_grad()
    return sum(len(batch.image) for batch in batches) / (time.process_time() - begin)


class _Watch(lightning.Callback):
    """Seconds of the second epoch without its validation."""

    def on_train_epoch_start(self, *_: object) -> None:
        self.begin = time.process_time()

    def on_train_batch_end(self, *_: object) -> None:
        self.seconds = time.process_time() - self.begin


def _whole(tiles: Tiles, network: Network, classes: list[str]) -> float:
    watch, make = _Watch(), trainer._trainer

    def watched(*given: Any) -> lightning.Trainer:
        made = make(*given)
        cast(Any, made).callbacks.append(watch)
        return made

    trainer._trainer = watched  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        state = TrainingState(Path(folder) / "state", network, Path(folder) / "curves.png")
        state.prepare("")
        trainer.run_training(tiles, network, classes, state, Path(folder))
    return (network.tiles_per_epoch or 0) / watch.seconds


if __name__ == "__main__":
    main()
