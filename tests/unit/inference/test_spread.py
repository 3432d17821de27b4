"""How far the folds of a model are apart; how ensembles join that is in test_ensemble.py."""

import numpy as np
import pytest
import torch
from pixelwise import Pixelwise, Shifted, maps_of
from torch import nn

from tilewright.inference.blending import Band, Blend, blended
from tilewright.inference.layers import layers_of
from tilewright.pixels.grid import Corner, Size, Window
from tilewright.project.config import Inference

NOISE = np.random.default_rng(0)


@pytest.mark.parametrize("blend", ["pyramid", "minimum"])
@pytest.mark.parametrize("options", [{}, {"tta": "flips"}], ids=str)
def test_the_spread_is_the_standard_deviation_of_the_folds_that_are_kept(tmp_path, options, blend):
    image = NOISE.integers(0, 256, (3, 203, 130), np.uint8)
    networks = [Shifted(), Pixelwise(), nn.Sequential(Pixelwise(), nn.Tanh())]
    options |= {"blend": blend, "overlap": 0.5, "depth": "float16"}
    kept = maps_of(tmp_path, networks, image, spread=True, keep=["folds"], **options)
    expected = np.stack([kept[f"fold{fold}"] for fold in range(3)]).std(axis=0)
    assert expected.max() > 0.05
    assert np.abs(kept["spread"] - expected).max() < 1e-3
    assert (maps_of(tmp_path, networks, image, **options)[""] == kept[""]).all()
    bytewise = maps_of(tmp_path, networks, image, **options | {"spread": True, "depth": "uint8"})
    assert np.abs(bytewise["spread"] / 510 - expected).max() < 0.002


def test_the_spread_of_classes_is_the_root_of_their_mean_variance_and_leaves_out_further_targets():
    layers = layers_of(["fold0", "fold1", "final"], Inference(spread=True), ["final"], masks=2)
    assert [layer.part for layer in layers] == ["", "spread"]
    assert layers[0].bands(["a", "b", "a:border"]) == ["a", "b", "a:border"]
    assert layers[1].bands(["a", "b", "a:border"]) == ["spread"]
    assert layers[1].groups == (frozenset({(0, 0)}), frozenset({(1, 0)}))
    size = Size(32, 32)
    blend = Blend(Inference(window=32, blend="mean", depth="float16", spread=True), layers, 3, size)
    band = Band(Window(0, 0, *size), blend, torch.device("cpu"))
    told = {
        frozenset({(2, 0)}): (0.5, 0.5, 0.5),
        frozenset({(0, 0)}): (0.2, 0.9, 0),
        frozenset({(1, 0)}): (0.8, 0.5, 1),
    }
    values = torch.stack([torch.tensor(told[group])[:, None, None].expand(3, 32, 32) for group in blend.groups])
    maps = {part.map: part.values for part in blended([(Corner(0, 0), values)], [Corner(0, 0)], blend, band)}
    assert maps[1].shape == (1, 32, 32)
    assert np.allclose(maps[1], np.sqrt((0.3**2 + 0.2**2) / 2))
    assert np.allclose(maps[0], 0.5)


@pytest.mark.parametrize("parts", [["fold0"], ["final"], ["fold0", "final"]], ids=str)
def test_one_fold_has_no_spread(parts):
    assert "spread" not in [layer.part for layer in layers_of(parts, Inference(spread=True))]
