"""Two processes train each loss together, the first also alone; it says how far apart the weights are."""

import json
import sys

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from tilewright.project.config import Network
from tilewright.project.config.training import LOSS_PARAMETERS
from tilewright.training.data import Sample
from tilewright.training.segmenter import Segmenter
from tilewright.training.task import SegmentationTask

TILES, EDGE, STEPS = 6, 32, 20
CASES = {
    **{name: {"loss": {name: 1.0}} for name in LOSS_PARAMETERS},
    "heads": {"loss": {"bce": 1.0, "lovasz": 0.5}, "deep_supervision": 1, "image_loss": 0.5},
    "weights": {"loss": {"dice": 1.0}, "class_weights": {"gland": 3.0}},
}


class Plain(nn.Module):
    """A network without batch norm."""

    def __init__(self):
        super().__init__()
        self.deepest = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ELU())
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ELU())
        self.head = nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(8, 2, 3, padding=1))

    def forward(self, images):
        return self.head(self.block(self.deepest(images)))


class Step(nn.Module):
    def __init__(self, task):
        super().__init__()
        self.task = task

    def forward(self, batch, index):
        return self.task.training_step(batch, index)


def batch(step):
    """Tiles with ignored pixels; of every third batch the last half is of slides without labels."""
    draw = np.random.default_rng(step)
    image = torch.from_numpy(draw.integers(0, 256, (TILES, 3, EDGE, EDGE), np.uint8))
    bits = (image[:, 0] > 128).int() + 2 * (image[:, 1] > 170).int()
    bits[torch.from_numpy(draw.random((TILES, EDGE, EDGE)) < 0.2)] = 4
    labelled = torch.from_numpy(draw.random((TILES, 2)) < 0.7)
    if step % 3 == 0:
        labelled[3:] = False
    return Sample(image, bits, labelled)


def part(whole, step, rank):
    """The tiles of one device: as many as the other has, or twice or half as many."""
    cut = (3, 4, 2)[step % 3]
    return Sample(*(each[:cut] if rank == 0 else each[cut:] for each in whole[:3]))


def trained(options, rank=None):
    torch.manual_seed(0)
    network, spec = Plain(), Network(tiles="any", batch_size=8, devices=2, **options)
    segmenter = Segmenter(network, [0.5] * 3, [0.5] * 3)
    if spec.image_loss:
        segmenter.add_heads(2, [network.block], network.deepest)
    task = SegmentationTask(segmenter, spec, ["gland", "vessel"], STEPS)
    task.log = lambda *_, **__: None
    step = Step(task) if rank is None else DistributedDataParallel(Step(task))
    optimizer = torch.optim.SGD(task.parameters(), 0.1)
    for number in range(STEPS):
        whole = batch(number)
        step(whole if rank is None else part(whole, number, rank), number).backward()
        optimizer.step()
        optimizer.zero_grad()
    return torch.cat([each.detach().flatten() for each in task.parameters()])


def main(meeting, rank):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    together = {name: trained(options, rank) for name, options in CASES.items()}
    torch.distributed.destroy_process_group()
    if rank == 0:
        print(json.dumps({name: float((trained(CASES[name]) - each).abs().max()) for name, each in together.items()}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
