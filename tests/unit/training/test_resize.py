"""Networks that see every image resized: ``resize``."""

import json

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from tilewright.bundles.onnxfiles import write_onnx
from tilewright.inference.loading import load_model
from tilewright.project.config import Network
from tilewright.training.data import Targets
from tilewright.training.segmenter import Segmenter
from tilewright.training.task import SegmentationTask
from tilewright.training.train import train


class Red(nn.Module):
    """Gives the first channel as logits, and keeps what it saw."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.coarse = nn.AvgPool2d(4)
        self.seen = []

    def forward(self, images):
        self.seen.append(images.detach())
        self.coarse(images)
        return images[:, :1] * self.scale


def segmenter_of(resize):
    return Segmenter(Red(), [0.0] * 3, [1 / 255] * 3, None, resize)


def test_the_network_sees_images_resized_and_its_logits_are_brought_back():
    """Of 704 x 520 pixels, as those of Sartorius, squeezed to a square and back."""
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 520, 704), np.uint8)
    segmenter = segmenter_of((512, 480))
    logits = segmenter(torch.from_numpy(images)).detach().numpy()
    (seen,) = segmenter.network.seen
    for number, image in enumerate(images):
        small = cv2.resize(np.moveaxis(image, 0, -1).astype(np.float32), (512, 480), interpolation=cv2.INTER_LINEAR)
        assert np.abs(np.moveaxis(seen[number].numpy(), 0, -1) - small).max() < 0.02
        back = cv2.resize(small[..., 0], (704, 520), interpolation=cv2.INTER_LINEAR)
        assert logits[number].shape == (1, 520, 704)
        assert np.abs(logits[number, 0] - back).max() < 0.02


def test_coarser_levels_are_compared_with_the_resized_truth():
    segmenter = segmenter_of((64, 32))
    segmenter.add_heads(1, [segmenter.network.coarse], None)
    task = SegmentationTask(segmenter, Network(tiles="any", loss={"bce": 1}, deep_supervision=1), ["gland"], 1)
    truth = (torch.rand(2, 1, 64, 64) < 0.3).float()
    outputs = segmenter.outputs(torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8))
    (coarser,) = outputs.coarser
    assert coarser.shape == (2, 1, 8, 16)
    small = truth[..., 1::2, :][..., 2::4, 2::4]  # of two rows the second is the nearest, in ties
    plain = nn.functional.binary_cross_entropy_with_logits
    found = task._loss_of_all_heads(outputs, Targets(truth, torch.ones_like(truth)))
    assert found.item() == pytest.approx(((plain(outputs.logits, truth) + plain(coarser, small) / 2) / 1.5).item())


@pytest.mark.slow
def test_a_model_is_trained_so_and_predicts_and_leaves_so(trained, tmp_path):
    order = trained.order(epochs=1, resize=[96, 64], crop=None, deep_supervision=1, image_loss=0.1)
    train(order, model="squeezed", fold=0, **trained.places(), out=tmp_path / "out")
    assert json.loads((tmp_path / "out" / "model.json").read_text())["network"]["resize"] == [96, 64]
    segmenter, _ = load_model(tmp_path / "out")
    seen = []
    segmenter.network.register_forward_pre_hook(lambda _, given: seen.append(tuple(given[0].shape)))
    with torch.inference_mode():
        assert segmenter(torch.zeros(1, 3, 50, 70, dtype=torch.uint8)).shape[-2:] == (50, 70)
    assert seen == [(1, 3, 64, 96)]
    write_onnx(segmenter, tmp_path / "model.onnx", output="logits", facts={})


def test_a_size_that_networks_cannot_halve_is_refused():
    assert Network(tiles="any", resize=[704, 512]).resize == [704, 512]
    for size in ([704, 520], [520, 704]):
        with pytest.raises(ValueError, match="resize: width and height must be multiples of 32"):
            Network(tiles="any", resize=size)
