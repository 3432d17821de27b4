"""How fast a recipe trains and validates on this machine: a process that takes a few batches and tells the seconds.

Seconds are those of its processor, so that other programs do not matter; the recipe has one thread.

In, as JSON on standard input: network, classes, folds, fold, tiles. Out, as JSON on standard output: seconds of a training
batch and of a whole validation.
"""

import json
import sys
import time
from pathlib import Path

import torch

from tilewright.archives import TrainingShard
from tilewright.config import Network
from tilewright.folds import read_folds
from tilewright.training.architectures import build
from tilewright.training.data import targets
from tilewright.training.loaders import loaders, read_tiles
from tilewright.training.losses import weighted_loss
from tilewright.training.schedules import optimizer

WARM_UP, BATCHES = 3, 6


def main() -> None:
    """Measure what standard input asks for."""
    order = json.load(sys.stdin)
    network, classes = Network(**order["network"]), order["classes"]
    torch.set_num_threads(network.threads)
    parts = [
        [TrainingShard(Path(order["tiles"]) / f"{one.shard}.h5", one.group) for one in read_folds(Path(order["folds"]))
         if (one.fold == order["fold"]) == held_out]
        for held_out in (False, True)
    ]  # fmt: skip
    drawn = (WARM_UP + BATCHES) * network.batch_size
    network = network.model_copy(update={"tiles_per_epoch": drawn})
    batches, validation = loaders(read_tiles(*parts, classes), network, classes)
    segmenter = build(network, len(classes), pretrained=True).train()
    loss = weighted_loss(network.loss, torch.ones(len(classes)))
    steps = optimizer(network, segmenter.parameters())
    for number, batch in enumerate(batches):
        if number == WARM_UP:
            begin = time.process_time()
        loss(segmenter(batch.image), *targets(batch.bits, batch.labelled)).backward()
        steps.step()
        steps.zero_grad()
    seconds = (time.process_time() - begin) / BATCHES
    segmenter.eval()
    begin = time.process_time()
    with torch.no_grad():
        for number, batch in enumerate(validation, start=1):
            segmenter(batch.image)
            if number == WARM_UP:
                break
    whole = (time.process_time() - begin) / number * len(validation)
    json.dump({"batch": seconds, "validation": whole * (2 if network.ema or network.swa else 1)}, sys.stdout)


if __name__ == "__main__":
    main()
