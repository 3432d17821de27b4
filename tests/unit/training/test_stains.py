import numpy as np
import pytest
import torch

from tilewright.training.recoloring import Recoloring
from tilewright.training.stains import STAINS, StainJitter


class Drawn:
    """A generator that draws the same each time, of -1 to 1."""

    def __init__(self, factors, shifts):
        self.values = np.array([factors, shifts])

    def uniform(self, _low, _high, _shape):
        return self.values


def jittered(pixels, jitter, generator):
    """Pixels (rows x columns x 3, uint8) with other stains."""
    batch = torch.from_numpy(np.moveaxis(pixels, -1, 0)[None].copy())
    return np.moveaxis(Recoloring.of([[jitter.change(generator)]])(batch)[0].numpy(), 0, -1)


def test_stains_without_change_leave_colours_as_they_are():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    found = jittered(pixels, StainJitter(0, 0), np.random.default_rng(1))
    assert np.abs(found - pixels).max() < 1e-3


def test_stains_change_as_unmixing_scaling_and_mixing_does():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    factors, shifts = [0.5, -1, 0.2], [0.3, 0.1, -1]
    density = -np.log((pixels + 1.0) / 256)
    amounts = density @ np.linalg.inv(STAINS) * (1 + 0.2 * np.array(factors)) + 0.03 * np.array(shifts)
    plain = np.clip(256 * np.exp(-(amounts @ STAINS)) - 1, 0, 255)
    assert np.abs(jittered(pixels, StainJitter(), Drawn(factors, shifts)) - plain).max() < 1e-3 * 255


def test_more_of_all_stains_is_darker_and_white_stays_white():
    more = Drawn([1, 1, 1], [0, 0, 0])
    pixels = np.full((4, 4, 3), (200, 150, 180), np.uint8)
    assert (jittered(pixels, StainJitter(), more) < pixels).all()
    white = np.full((4, 4, 3), 255, np.uint8)
    assert np.abs(jittered(white, StainJitter(), more) - 255).max() < 1e-3


def test_amounts_are_drawn_evenly_from_their_ranges():
    changes = [StainJitter(0.2, 0).change(np.random.default_rng(seed)).values for seed in range(300)]
    factors = np.array([np.diag(np.linalg.inv(STAINS.T) @ each[:9].reshape(3, 3) @ STAINS.T) for each in changes])
    assert (factors.min(), factors.max()) >= (0.8, 1.19)
    assert factors.max() <= 1.2 + 1e-5
    assert np.quantile(factors, [0.25, 0.5, 0.75]) == pytest.approx([0.9, 1, 1.1], abs=0.03)
