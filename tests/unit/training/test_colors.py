"""Each operation against the transform of albumentations of the same name, which draws the same from the same seeds."""

import random

import albumentations as A  # noqa: N812
import numpy as np
import pytest
import torch

from tilewright.training.augment import CHANGES
from tilewright.training.colors import OPERATIONS
from tilewright.training.recoloring import Recoloring

TRANSFORMS = [
    A.HueSaturationValue(30, 30, 30),
    A.HueSaturationValue(hue_shift_limit=10, sat_shift_limit=25, val_shift_limit=10),
    A.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.04),
    A.ColorJitter(0.3, 0.3, 0.3, 0.05),
    A.RandomBrightnessContrast(0.4, 0.4),
    A.RandomGamma((80, 120)),
    A.RGBShift(30, 0, 30),
    A.ChannelShuffle(),
    A.CoarseDropout(num_holes_range=(1, 8), hole_height_range=(8, 32), hole_width_range=(8, 32)),
    A.GaussianBlur(blur_limit=(3, 9)),
    A.MotionBlur((3, 5)),
    A.Defocus((3, 5)),
]
SHARP = (A.HueSaturationValue, A.ColorJitter)
"""Transforms that go through a hue of 180 steps, where ours are exact."""


def picture(edge=64):
    """Soft colours of every hue, some of them grey, white and black."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (edge // 4, edge // 4, 3)).astype(np.uint8)
    pixels = coarse.repeat(4, axis=0).repeat(4, axis=1)
    pixels[:8, :8], pixels[:8, 8:16], pixels[:8, 16:24] = 255, 0, 128
    return pixels


def seeded(transform, seed):
    transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
    return transform


def changed(pixels, changes):
    batch = torch.from_numpy(np.moveaxis(pixels, -1, 0)[None].copy())
    return np.moveaxis(Recoloring.of([changes])(batch)[0].numpy(), 0, -1)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda each: type(each).__name__)
def test_an_operation_gives_the_pixels_of_albumentations(transform):
    pixels = picture()
    for seed in range(25):
        theirs = seeded(transform, seed)(image=pixels, force_apply=True)["image"].astype(float)
        ours = changed(pixels, CHANGES[type(transform)](seeded(transform, seed), pixels.shape[:2]))
        assert ours.min() >= 0
        assert ours.max() <= 255.001
        difference = np.abs(ours - theirs)
        assert difference.mean() < (2.5 if isinstance(transform, SHARP) else 0.8), seed
        assert np.quantile(difference, 0.99) < (16 if isinstance(transform, SHARP) else 2.1), seed


def test_noise_is_normal_white_and_another_for_each_seed():
    transform = A.GaussNoise(std_range=(0.02, 0.02))
    gray = np.full((128, 128, 3), 128, np.uint8)
    ours, other = (
        changed(gray, CHANGES[A.GaussNoise](seeded(transform, seed), (128, 128))).astype(float) - 128 for seed in (0, 1)
    )
    theirs = seeded(transform, 0)(image=gray, force_apply=True)["image"].astype(float) - 128
    quantiles = [np.quantile(each, np.linspace(0.01, 0.99, 15)) for each in (ours, theirs)]
    assert np.abs(quantiles[0] - quantiles[1]).max() < 1.1  # theirs are whole numbers, rounded down
    assert (abs(ours.mean()), ours.std()) == pytest.approx((0, 5.1), abs=0.05)
    assert ((ours / 5.1) ** 4).mean() == pytest.approx(3, abs=0.1)
    for shift, axis in ((1, 0), (1, 1), (1, 2), (64, 0)):
        assert abs(np.corrcoef(ours.ravel(), np.roll(ours, shift, axis).ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(ours.ravel(), other.ravel())[0, 1]) < 0.02


def test_what_an_operation_is_given_is_not_needed_for_another_sample():
    """With parameters that change nothing, pixels stay as they are."""
    idle = {
        "stains": [*np.eye(3).ravel(), 0, 0, 0], "linear": [1, 0, 0, 0], "contrast": [1],
        "matrix": [*np.eye(3).ravel(), 0, 0, 0], "hue": [0], "hsv": [0, 0, 0], "gamma": [1], "holes": [0] * 8,
        "gaussian": [0, 1, 0], "kernel": [0, 0, 0, 0, 1, 0, 0, 0, 0], "noise": [0, 3, 4],
    }  # fmt: skip
    assert idle.keys() == OPERATIONS.keys()
    pixels = torch.from_numpy(np.moveaxis(picture(), -1, 0)[None].astype(np.float32))
    for kind, values in idle.items():
        found = OPERATIONS[kind](pixels.clone(), torch.tensor([values], dtype=torch.float32), range(len(values)))
        assert torch.allclose(found, pixels, atol=2e-3), kind
