"""Views of a window: what flips, turns and sizes give together."""

import numpy as np
import pytest
import torch
from pixelwise import Pixelwise, Shifted

from tilewright.inference.layers import layers_of
from tilewright.inference.predict import group_means
from tilewright.project.config import Inference

NOISE = np.random.default_rng(0)


def probabilities(network, images, tta, scales=(1.0,)):
    """Mean probabilities of windows over all views (windows x classes x edge x edge)."""
    inference = Inference(window=images.shape[-1], tta=tta, tta_scales=list(scales))
    (mean,) = layers_of(["fold0"], inference)
    return group_means([network], torch.from_numpy(images), inference, mean.groups)[:, 0].numpy()


@pytest.mark.parametrize("tta", ["flips", "d4"])
def test_test_time_augmentation_changes_nothing_of_an_equivariant_network(tta):
    images = NOISE.integers(0, 256, (2, 3, 32, 32), np.uint8)
    with torch.inference_mode():
        expected = probabilities(Pixelwise(), images, "none")
        np.testing.assert_allclose(probabilities(Pixelwise(), images, tta), expected, atol=1e-6)


@pytest.mark.parametrize(("tta", "views"), [("none", 1), ("flips", 4), ("d4", 8)])
def test_test_time_augmentation_averages_its_views(tta, views):
    network = Pixelwise()
    with torch.inference_mode():
        probabilities(network, np.zeros((1, 3, 32, 32), np.uint8), tta)
    assert network.windows == views


def test_test_time_augmentation_makes_any_network_equivariant():
    images = NOISE.integers(0, 256, (1, 3, 32, 32), np.uint8)
    with torch.inference_mode():
        straight = probabilities(Shifted(), images, "d4")
        turned = probabilities(Shifted(), np.ascontiguousarray(np.rot90(images, axes=(2, 3))), "d4")
    np.testing.assert_allclose(np.rot90(straight, axes=(2, 3)), turned, atol=1e-5)


def test_a_scale_is_a_view_of_its_own():
    images = NOISE.integers(0, 256, (2, 3, 64, 64), np.uint8)
    with torch.inference_mode():
        both = probabilities(Shifted(), images, "none", [1, 0.5])
        half = probabilities(Shifted(), images, "none", [0.5])
        np.testing.assert_allclose(both, (probabilities(Shifted(), images, "none") + half) / 2, atol=1e-6)
    assert both.shape == half.shape == (2, 1, 64, 64)


def test_a_flat_image_is_the_same_at_every_scale():
    images = np.full((1, 3, 96, 96), 90, np.uint8)
    with torch.inference_mode():
        found = probabilities(Pixelwise(), images, "d4", [0.5, 1, 1.3, 2])
    np.testing.assert_allclose(found, 90 / 255, atol=1e-5)
