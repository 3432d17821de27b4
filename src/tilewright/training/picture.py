"""A picture of a batch as the network sees it: after both halves of the augmentation, and mixed."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tilewright.project.config.training import Network
from tilewright.runtime.atomic import atomic_path
from tilewright.training.data import targets
from tilewright.training.events import TRUTH
from tilewright.training.loaders import Tiles, loaders
from tilewright.training.mixing import mix

SHOWN, ACROSS, GAP = 8, 4, 4
"""Tiles of the picture, those of a row, and the pixels between them."""
EDGE = 384
"""Longest edge of a tile in the picture, in pixels."""


def draw_batch(tiles: Tiles, network: Network, classes: list[str], out: Path) -> None:
    """Draw the first tiles of the first batch of a training, with outlines of the classes that count.

    Of a batch that several devices share, or that chooses its size, the first tiles are shown as one device has them.

    Args:
        tiles: the tiles of the training.
        network: how it is trained.
        classes: names of the classes.
        out: the JPEG to write.
    """
    size = network.batch_size // network.devices or SHOWN
    alone = network.model_copy(update={"batch_size": size, "devices": 1, "workers": 0})
    batch = next(iter(loaders(tiles, alone, classes)[0]))
    images = batch.recoloring(batch.image)
    draws = np.random.default_rng([network.seed, 0, 0, 0])
    images, parts = mix(images, targets(batch.bits, batch.labelled), network.mixing, draws)
    shown = np.moveaxis(images[:SHOWN].float().clamp(0, 255).round().byte().cpu().numpy(), 1, -1)
    truth = (parts[0].targets.truth * parts[0].targets.valid)[:SHOWN].cpu().numpy() > 0
    with atomic_path(out) as private:
        done, data = cv2.imencode(".jpg", _sheet(shown, truth)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
        assert done
        private.write_bytes(data.tobytes())


def _sheet(images: NDArray[np.uint8], truth: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Tiles (tiles x rows x columns x 3) with outlines of their masks (tiles x classes x rows x columns), in rows."""
    cells = [_outlined(image, masks) for image, masks in zip(images, truth, strict=True)]
    height, width = cells[0].shape[:2]
    rows = -(-len(cells) // ACROSS)
    across = min(len(cells), ACROSS)
    sheet = np.full((rows * (height + GAP) - GAP, across * (width + GAP) - GAP, 3), 255, np.uint8)
    for place, cell in enumerate(cells):
        top, left = place // ACROSS * (height + GAP), place % ACROSS * (width + GAP)
        sheet[top : top + height, left : left + width] = cell
    return sheet


def _outlined(image: NDArray[np.uint8], masks: NDArray[np.bool_]) -> NDArray[np.uint8]:
    drawn = np.ascontiguousarray(image)
    for mask in masks:
        contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, contours, -1, TRUTH, 1)
    scale = EDGE / max(drawn.shape[:2])
    if scale < 1:
        drawn = np.asarray(cv2.resize(drawn, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    return drawn
