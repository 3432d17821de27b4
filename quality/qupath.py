"""What it costs in Dice that QuPath scales colours by percentiles before a network sees them.

``python quality/qupath.py BUNDLE DATA`` takes the first class and the first network of a bundle, and of each kind of
image of ``DATA/dsb2018`` at most ``MOST``. Images were trained on, perhaps: what counts are differences. An image of
the same kind is the sample (``export --sample``).
"""

import csv
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
import torch
from numpy.typing import NDArray

from tilewright.bundles.chosen import chosen_members
from tilewright.bundles.mean import Mean, mean_of
from tilewright.bundles.qupath import WHOLE, Levels, qupath_levels
from tilewright.project.bundle import read_bundle

MOST = 10
RGB = NDArray[np.uint8]


def main(bundle: Path, data: Path) -> None:
    """Print a row a kind of image."""
    read = read_bundle(bundle)
    first = read.members[0]
    mean = mean_of(chosen_members(bundle, read, [f"{first.name}.{first.parts[0]}"]))
    kinds = defaultdict(list)
    with (data / "meta.csv").open(newline="") as stream:
        for row in csv.DictReader(stream):
            kinds[row["group"]].append(row["id"])
    print("| images | how many | as they are | without a sample | with a sample |\n| --- | --- | --- | --- | --- |")
    for kind, names in kinds.items():
        if len(names) > 1:
            taken = names[: MOST + 1]
            told = " | ".join(f"{value:.3f}" for value in _compared(mean, read.classes[0].threshold, data, taken))
            print(f"| {kind} | {len(taken) - 1} | {told} |", flush=True)


def _compared(mean: Mean, threshold: float, data: Path, names: Sequence[str]) -> Sequence[float]:
    """Mean Dice of images as they are, brought back to 0 and 255, and to the levels of another image."""
    *used, sample = names
    levels = qupath_levels(_pixels(data / "images" / f"{sample}.png"))
    found = []
    for name in used:
        image, truth = _pixels(data / "images" / f"{name}.png"), _label(data / "labels" / f"{name}.png")
        seen = (image, _through_qupath(image, WHOLE), _through_qupath(image, levels))
        found.append([_dice(_mask(mean, each, threshold), truth) for each in seen])
    return [float(value) for value in np.mean(found, axis=0)]


def _through_qupath(image: RGB, levels: Levels) -> RGB:
    """An image as the file of an export gets it back from QuPath."""
    (low, high), (dark, light) = np.transpose(qupath_levels(image)), np.transpose(levels)
    scaled = np.clip((image - low) / (high - low), -0.5, 1.5)
    return np.asarray(np.rint(np.clip(scaled * (light - dark) + dark, 0, 255)), np.uint8)


def _mask(mean: Mean, image: RGB, threshold: float) -> NDArray[np.bool_]:
    batch = torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0))[np.newaxis])
    with torch.inference_mode():
        return np.asarray(mean(batch)[0, 0].numpy() >= threshold)


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * (one & other).sum() / max(1, one.sum() + other.sum()))


def _pixels(path: Path) -> RGB:
    image: Any = pyvips.Image.new_from_file(str(path)).colourspace("srgb")
    return np.asarray(image.numpy()[..., :3], np.uint8)


def _label(path: Path) -> NDArray[np.bool_]:
    image: Any = pyvips.Image.new_from_file(str(path))
    return np.asarray(image.numpy().reshape(image.height, image.width, -1)[..., 0] > 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) / "dsb2018")
