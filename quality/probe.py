"""How fast a recipe trains on this machine: a process that takes some batches and tells the seconds of one.

Seconds are those of its processor, so that other programs do not matter; the recipe has one thread.

In, as JSON on standard input: network, classes, folds, fold, tiles. Out: the seconds.
"""

import json
import sys
import time
from pathlib import Path

import torch

from tilewright.project.config import Network
from tilewright.tiles.archive import TrainingShard
from tilewright.tiles.split import read_folds
from tilewright.training.architectures import build_network
from tilewright.training.data import targets
from tilewright.training.loaders import loaders, read_tiles
from tilewright.training.losses import TargetLoss
from tilewright.training.optimizers import optimizer, rate_groups

WARM_UP, BATCHES, MOST, SECONDS = 3, 6, 40, 10.0


def main() -> None:
    """Measure what standard input asks for."""
    order = json.load(sys.stdin)
    network, classes = Network(**order["network"]), order["classes"]
    torch.set_num_threads(network.threads)
    training, validation = (
        [TrainingShard(Path(order["tiles"]) / f"{one.shard}.h5", one.group) for one in read_folds(Path(order["folds"]))
         if (one.fold == order["fold"]) == held_out]
        for held_out in (False, True)
    )  # fmt: skip
    drawn = (WARM_UP + MOST) * network.batch_size
    network = network.model_copy(update={"tiles_per_epoch": drawn})
    batches, _ = loaders(read_tiles(training, validation, classes), network, classes)
    segmenter = build_network(network, len(classes), pretrained=True).train()
    loss = TargetLoss(network.losses, torch.ones(len(classes)))
    steps = optimizer(network, rate_groups(network, segmenter))
    begin = time.process_time()
    for number, batch in enumerate(batches, start=1 - WARM_UP):
        loss(segmenter(batch.recoloring(batch.image)), *targets(batch.bits, batch.labelled, batch.bands)).backward()
        steps.step()
        steps.zero_grad()
        if number == 0:
            begin = time.process_time()
        elif number >= BATCHES and time.process_time() - begin > SECONDS:
            break
    sys.stdout.write(str((time.process_time() - begin) / number))


if __name__ == "__main__":
    main()
