"""Augmentation of tiles in memory, on one thread: in two halves, and by albumentations from one end to the other.

Measured functions are generators as ``child.py`` wants them. The peer is what tilewright did before: the whole tile is
moved step by step, cropped and coloured by the transforms of the same set, and becomes floating-point numbers.
"""

from pathlib import Path

import albumentations as A  # noqa: N812
import cv2
import numpy as np
import torch

from tilewright.pixels.grid import Window
from tilewright.pixels.rasters import open_raster
from tilewright.training.augment import SETS, Augmentation
from tilewright.training.cropping import Cropping
from tilewright.training.data import Tile, together
from tilewright.training.stains import STAINS

BATCH, LABELLED = 16, np.array([True])
DENSITY = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)


def augment(image, name, edge, crop, centered, count, whole):
    """What a loading process does; with ``whole``, the device's half too, done by a processor."""
    yield
    torch.set_num_threads(1)
    tiles, made = _tiles(Path(image), edge), Augmentation(name, Cropping(crop, centered))
    yield
    for start in range(0, count, BATCH):
        drawn = [made(*tiles[seed % len(tiles)], seed) for seed in range(start, start + BATCH)]
        batch = together([Tile(each, LABELLED) for each in drawn])
        if whole:
            batch.recoloring(batch.image).float()
    yield


def albumented(image, name, edge, crop, centered, count, whole):
    """The same by the transforms of the set themselves."""
    yield
    torch.set_num_threads(1)
    chosen = SETS[name]()
    cut = A.CenterCrop(crop, crop) if centered else A.RandomCrop(crop, crop)
    moved, colored = A.Compose([*_mirrored(chosen.moves), cut], seed=1), A.Compose(list(chosen.colors), seed=2)
    generator, tiles = np.random.default_rng(0), _tiles(Path(image), edge)
    yield
    for start in range(0, count, BATCH):
        images, masks = [], []
        for seed in range(start, start + BATCH):
            pixels, mask = tiles[seed % len(tiles)]
            made = moved(image=pixels, mask=mask)
            pixels = _jittered(made["image"], generator) if chosen.stains else made["image"]
            pixels = colored(image=pixels)["image"]
            images.append(torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, -1, 0))))
            masks.append(torch.from_numpy(made["mask"].astype(np.int32)))
        torch.stack(masks)
        batch = torch.stack(images)
        if whole:
            batch.float()
    yield


def _tiles(image, edge):
    """Sixteen tiles of an image, with masks as smooth as outlines are."""
    with open_raster(image) as raster:
        room = (raster.size.width - edge) // 3
        places = [Window(x * room, y * room, edge, edge) for y in range(4) for x in range(4)]
        pixels = [np.ascontiguousarray(np.moveaxis(raster.read(place), 0, -1)) for place in places]
    soft = [cv2.GaussianBlur(each.mean(axis=2), (0, 0), 12) for each in pixels]
    return [(each, (one < np.median(one)).astype(np.uint8)) for each, one in zip(pixels, soft, strict=True)]


def _mirrored(transforms):
    for each in transforms:
        if isinstance(each, A.OneOf):
            _mirrored(each.transforms)
        elif hasattr(each, "border_mode"):
            each.border_mode = cv2.BORDER_REFLECT_101
    return transforms


def _jittered(image, generator):
    factors, shifts = generator.uniform(0.8, 1.2, 3), generator.uniform(-0.03, 0.03, 3)
    matrix = np.linalg.inv(STAINS) @ (factors[:, None] * STAINS)
    density = cv2.transform(DENSITY[image], np.column_stack([matrix.T, shifts @ STAINS]).astype(np.float32))
    return np.clip(256 * cv2.exp(-density) - 0.5, 0, 255).astype(np.uint8)
