"""What tilewright's and the peers' processes have in common: reading outlines and describing outputs."""

import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def read_shapes(path):
    """Slides of a file that ``inputs`` wrote: (width, height) of each and its shapes."""
    import pyarrow.parquet as pq
    import shapely

    table = pq.read_table(path)
    slide, shapes = table["slide"].to_numpy(), table["geometry"].to_numpy()
    sizes = json.loads(table.schema.metadata[b"sizes"])
    return [(size, shapely.from_wkb(shapes[slide == number])) for number, size in enumerate(sizes)]


def numbered(out, number):
    """The file of a slide; the first has the bare name."""
    path = Path(out)
    return path.with_stem(f"{path.stem}{number or ''}")


def text_facts(pieces):
    """What two equal texts have in common."""
    digest, count = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece.encode())
        count += len(piece)
    return {"characters": count, "text": digest.hexdigest()}


def area_facts(area, x, y):
    """What two equal tables of objects have in common; the order does not count, nor the last digits of the centres."""
    import numpy as np

    areas = hashlib.sha256(np.sort(area).astype("<i8").tobytes()).hexdigest()
    centre = [round(float(np.sum(area * values) / np.sum(area)), 3) for values in (x, y)]
    return {"objects": len(area), "areas": areas, "centre": centre}


def versions(packages):
    """Versions of the packages of this environment."""
    yield
    yield
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    yield
    yield found


def nothing():
    """A network that costs next to nothing: the first channel is the logit."""
    import torch

    class Nothing(torch.nn.Module):
        def forward(self, images):
            return images[:, :1]

    return Nothing()


def plain_network():
    """A small network that PyTorch alone can build: the same weights everywhere; normalised batches to logits."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(32, 64, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),
        nn.Upsample(scale_factor=4, mode="bilinear"), nn.Conv2d(64, 1, 3, padding=1),
    ).eval()  # fmt: skip
