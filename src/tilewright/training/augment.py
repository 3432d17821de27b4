"""Augmentations, as named sets. The only module that knows albumentations.

A set moves the whole tile first, then crops it, then changes colours: what a rotation brings in from beyond the tile
lies outside the crop where tiles are larger, and colours are computed for the crop alone.
"""

import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # at import it would ask the network for a newer version
import albumentations as A  # noqa: N812
import cv2

from tilewright.project.config.training import AugmentationName

Image = NDArray[np.uint8]
Mask = NDArray[Any]
Movement = Callable[[Image, Mask, np.random.Generator], tuple[Image, Mask]]
Recoloring = Callable[[Image, np.random.Generator], Image]

cv2.setNumThreads(1)  # a training uses the threads that it was given, and each loader one

STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
"""Optical densities of haematoxylin, eosin and DAB in red, green and blue (Ruifrok and Johnston 2001)."""
DENSITY = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)


@dataclass(frozen=True)
class Cropping:
    """Where a crop lies in a tile that has been moved.

    Attributes:
        edge: its edge, in pixels.
        centered: in the middle of the tile, else anywhere.
        class_crops: share of the other crops that lie around a pixel of a class.
        classes: number of classes.
    """

    edge: int
    centered: bool = False
    class_crops: float = 0.0
    classes: int = 0

    def place(self, mask: Mask, generator: np.random.Generator) -> tuple[slice, slice]:
        """Rows and columns of the crop of a tile with a mask (rows x columns, bits)."""
        room = np.array(mask.shape) - self.edge
        if self.centered:
            corner = room // 2
        elif generator.random() < self.class_crops and (pixel := self._class_pixel(mask, generator)) is not None:
            corner = np.clip(pixel - generator.integers(0, self.edge, 2), 0, room)
        else:
            corner = generator.integers(0, room + 1)
        rows, columns = (slice(start, start + self.edge) for start in corner.tolist())
        return rows, columns

    def _class_pixel(self, mask: Mask, generator: np.random.Generator) -> NDArray[np.int64] | None:
        """Row and column of a random pixel of a random class of the tile."""
        places = [np.argwhere((mask >> bit) & 1) for bit in range(self.classes)]
        present = [each for each in places if len(each)]
        if not present:
            return None
        chosen = present[generator.integers(len(present))]
        return np.asarray(chosen[generator.integers(len(chosen))], np.int64)


@dataclass(frozen=True)
class _Set:
    """Steps of a set; albumentations' own run before and after the crop, this module's before those."""

    moves: Sequence[Any] = ()
    colors: Sequence[Any] = ()
    movement: Movement | None = None
    recoloring: Recoloring | None = None


class Augmentation:
    """A set of augmentations that gives the same result for the same seed.

    Args:
        name: name of the set.
        cropping: the crop that it gives.
    """

    def __init__(self, name: AugmentationName, cropping: Cropping) -> None:
        self._set, self._cropping = SETS[name](), cropping
        self._moves = A.Compose(self._set.moves, seed=0) if self._set.moves else None
        self._colors = A.Compose(self._set.colors, seed=0) if self._set.colors else None

    def __call__(self, image: Image, mask: Mask, seed: int) -> tuple[Image, Mask]:
        """Change image (rows x columns x 3) and mask (rows x columns, bits) alike; the seed decides how."""
        generator, *seeds = (np.random.default_rng(each) for each in np.random.SeedSequence(seed).spawn(3))
        planes = _planes(mask)
        if self._set.movement:
            image, planes = self._set.movement(image, planes, generator)
        if self._moves:
            _seed(self._moves, seeds[0])
            moved = self._moves(image=image, mask=planes)
            image, planes = moved["image"], moved["mask"]
        mask = _joined(planes, mask.dtype)
        place = self._cropping.place(mask, generator)
        image, mask = image[place], mask[place]
        if self._set.recoloring:
            image = self._set.recoloring(image, generator)
        if self._colors:
            _seed(self._colors, seeds[1])
            image = self._colors(image=image)["image"]
        return image, mask


def _seed(transforms: Any, generator: np.random.Generator) -> None:
    """Let all transforms draw from one generator; with ``set_random_seed`` each would draw the same numbers."""
    transforms.set_random_state(generator, random.Random(int(generator.integers(2**63))))  # noqa: S311 - no secret


def _planes(mask: Mask) -> Mask:
    """Bits as OpenCV can move them: 32 of them as two planes of 16."""
    if mask.dtype != np.uint32:
        return mask
    return np.ascontiguousarray(mask).view(np.uint16).reshape(*mask.shape, 2)


def _joined(planes: Mask, kind: Any) -> Mask:
    return planes if kind != np.uint32 else np.ascontiguousarray(planes).view(np.uint32)[..., 0]


def jitter_stains(image: Image, generator: np.random.Generator, scale: float = 0.2, shift: float = 0.03) -> Image:
    """Change the amount of each stain (Tellez et al. 2018).

    Colours become optical densities, these become amounts of haematoxylin, eosin and a third stain, each of which is
    multiplied by 1 ± ``scale`` and raised by ± ``shift``; then all the way back. As all steps but the logarithm are
    linear, one matrix does it.

    Args:
        image: rows x columns x 3, RGB.
        generator: draws the changes.
        scale: largest relative change of an amount.
        shift: largest change of an amount.
    """
    factors = generator.uniform(1 - scale, 1 + scale, 3)
    offset = generator.uniform(-shift, shift, 3) @ STAINS
    matrix = np.linalg.inv(STAINS) @ (factors[:, None] * STAINS)
    density = cv2.transform(DENSITY[image], np.column_stack([matrix.T, offset]).astype(np.float32))
    return np.asarray(np.clip(256 * cv2.exp(-density) - 0.5, 0, 255), np.uint8)


def zoom(image: Image, mask: Mask, generator: np.random.Generator, probability: float = 0.3) -> tuple[Image, Mask]:
    """At times enlarge a square of a tile.

    Its corner lies in the first fifth, its edge is 80 to 100 % of what is left.
    """
    if generator.random() >= probability:
        return image, mask
    edge = image.shape[0]
    x, y = (generator.uniform(0, 0.2, 2) * edge).astype(int)
    side = int(generator.uniform(0.8, 1) * (edge - max(x, y)))
    square = np.s_[y : y + side, x : x + side]
    return (
        np.asarray(cv2.resize(image[square], (edge, edge), interpolation=cv2.INTER_LINEAR), np.uint8),
        cv2.resize(mask[square], (edge, edge), interpolation=cv2.INTER_NEAREST),
    )


def _none() -> _Set:
    return _Set()


def _flips() -> _Set:
    return _Set([A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)])


def _d4() -> _Set:
    return _Set([A.D4(p=1)])


def _strong() -> _Set:
    """All eight flips and turns, scale and rotation, stains, colour and brightness; blur and noise at times."""
    return _Set(
        moves=[
            A.D4(p=1),
            A.Affine(
                scale=(0.8, 1.25), rotate=(-45, 45), shear=(-5, 5), p=0.5,
                border_mode=cv2.BORDER_REFLECT_101, interpolation=cv2.INTER_LINEAR,
                mask_interpolation=cv2.INTER_NEAREST,
            ),
        ],
        recoloring=jitter_stains,
        colors=[
            A.OneOf(
                [
                    A.HueSaturationValue(hue_shift_limit=10, sat_shift_limit=25, val_shift_limit=10),
                    A.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.04),
                ],
                p=0.6,
            ),
            A.RandomBrightnessContrast(brightness_limit=0.15, contrast_limit=0.15, p=0.3),
            A.OneOf([A.GaussianBlur(blur_limit=(3, 5)), A.GaussNoise(std_range=(0.01, 0.04))], p=0.15),
        ],
    )  # fmt: skip


def _zoom() -> _Set:
    return _Set([A.D4(p=1)], movement=zoom)


def _light_scale() -> _Set:
    """Flips and turns; two fifths of the tiles also get a little of everything."""
    reflected = {"border_mode": cv2.BORDER_REFLECT_101, "mask_interpolation": cv2.INTER_NEAREST}
    shift = {"scale": (0.8, 1.2), "rotate": (-45, 45), "translate_percent": (-0.1, 0.1)}
    return _Set(
        moves=[A.D4(p=1), A.Affine(**shift, **reflected, p=0.4 * 0.2)],
        colors=[
            A.Sequential(
                [
                    A.RandomGamma(p=0.1),
                    A.OneOf(
                        [
                            A.HueSaturationValue(10, 15, 10),
                            A.CLAHE(clip_limit=4),
                            A.RandomBrightnessContrast(0.4, 0.4),
                            A.ChannelShuffle(),
                        ],
                        p=0.3,
                    ),
                    A.CoarseDropout(num_holes_range=(1, 8), hole_height_range=(8, 32), hole_width_range=(8, 32), p=0.1),
                    A.GaussianBlur(blur_limit=(3, 9), p=0.2),
                ],
                p=0.4,
            )
        ],
    )


def _rich() -> _Set:
    """Flips, shifts and turns; warps, colours and blurs, each for half of the tiles."""
    nearest = {"mask_interpolation": cv2.INTER_NEAREST, "border_mode": cv2.BORDER_REFLECT_101}
    shift = {"scale": (0.9, 1.1), "rotate": (-90, 90), "translate_percent": (-0.1, 0.1)}
    return _Set(
        moves=[
            A.VerticalFlip(p=0.5),
            A.HorizontalFlip(p=0.5),
            A.Affine(**shift, **nearest, p=0.5),
            A.OneOf(
                [
                    A.ElasticTransform(alpha=1, sigma=25, **nearest),
                    A.GridDistortion(**nearest),
                    A.OpticalDistortion(distort_limit=1, **nearest),
                ],
                p=0.5,
            ),
        ],
        colors=[
            A.OneOf(
                [
                    A.Sequential([A.RandomGamma((80, 120), p=1), A.RandomBrightnessContrast(0.1, 0.1, p=1)]),
                    A.RGBShift(30, 0, 30),
                    A.HueSaturationValue(30, 30, 30),
                    A.ColorJitter(0.3, 0.3, 0.3, 0.05),
                ],
                p=0.5,
            ),
            A.OneOf([A.Defocus((3, 5)), A.MotionBlur((3, 5)), A.GaussianBlur(blur_limit=(5, 7))], p=0.5),
        ],
    )


SETS: dict[AugmentationName, Callable[[], _Set]] = {
    "none": _none,
    "flips": _flips,
    "d4": _d4,
    "strong": _strong,
    "zoom": _zoom,
    "light_scale": _light_scale,
    "rich": _rich,
}
