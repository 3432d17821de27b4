"""Augmentations, as named sets. The only module that knows albumentations."""

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # at import it would ask the network for a newer version
import albumentations as A  # noqa: N812
import cv2


class Augmentation:
    """A set of augmentations that gives the same result for the same seed."""

    def __init__(self, name: str, crop: int) -> None:
        steps = {"none": list, "flips": _flips, "strong": _strong}[name]()
        self._transform = A.Compose([*steps, A.RandomCrop(crop, crop)], seed=0)

    def __call__(
        self, image: NDArray[np.uint8], mask: NDArray[Any], seed: int
    ) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        """Change image (rows x columns x 3) and mask (rows x columns, bits) alike; the seed decides how."""
        self._transform.set_random_seed(seed)
        changed = self._transform(image=image, mask=mask)
        return changed["image"], changed["mask"]


def _flips() -> list[Any]:
    return [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5), A.RandomRotate90(p=1.0)]


def _strong() -> list[Any]:
    """Flips, scale and rotation, colour and brightness; blur and noise at times."""
    return [
        *_flips(),
        A.Affine(
            scale=(0.8, 1.25), rotate=(-45, 45), shear=(-5, 5), p=0.5,
            border_mode=cv2.BORDER_REFLECT_101, interpolation=cv2.INTER_LINEAR, mask_interpolation=cv2.INTER_NEAREST,
        ),
        A.OneOf(
            [
                A.HueSaturationValue(hue_shift_limit=10, sat_shift_limit=25, val_shift_limit=10),
                A.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.04),
            ],
            p=0.6,
        ),
        A.RandomBrightnessContrast(brightness_limit=0.15, contrast_limit=0.15, p=0.3),
        A.OneOf([A.GaussianBlur(blur_limit=(3, 5)), A.GaussNoise(std_range=(0.01, 0.04))], p=0.15),
    ]  # fmt: skip
