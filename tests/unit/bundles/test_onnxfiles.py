"""ONNX Runtime gives what PyTorch gives, for networks with whatever heads, at whatever size."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from bundling import content, member, write_real_bundle

from tilewright.bundles import onnxfiles as module
from tilewright.bundles.chosen import chosen_members
from tilewright.bundles.onnxfiles import largest_difference, write_onnx, write_onnx_files
from tilewright.project.bundle import read_bundle
from tilewright.project.config import Network
from tilewright.runtime.errors import DataError, UserError
from tilewright.training.architectures import build_network

TINY = {
    "tiles": "any",
    "encoder": "tu-test_resnet.r160_in1k",
    "encoder_weights": "random",
    "options": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]},
}
PLAIN = {"tiles": "any", "architecture": "PlainUnet"}
TARGETS = ("mask", "touching")
SHAPES = ((1, 3, 32, 160), (3, 3, 75, 64), (2, 3, 20, 41))


def network(**options):
    torch.manual_seed(0)
    return build_network(Network(**options), 2, pretrained=False).eval()


@pytest.mark.slow
@pytest.mark.parametrize("options", [{**TINY, "deep_supervision": 1, "image_loss": 0.1}, PLAIN, {**TINY, "resize": 64}])
def test_a_network_gives_the_same_logits_at_any_size(tmp_path, options):
    onnxruntime = pytest.importorskip("onnxruntime")
    segmenter = network(**options)
    write_onnx(segmenter, tmp_path / "model.onnx", output="logits", facts={})
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    for shape in SHAPES:
        images = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
        with torch.inference_mode():
            expected = segmenter(torch.from_numpy(images)).numpy()
        (found,) = session.run(["logits"], {"images": images})
        assert np.abs(found - expected).max() < 1e-4


@pytest.mark.slow
def test_a_member_leaves_a_file_a_part_and_one_for_the_mean_whose_bands_are_named(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    bands = [[name, target] for target in TARGETS for name in ("gland", "vessel")]
    folder = write_real_bundle(tmp_path / "bundle", content(members=[member("near", bands=bands)]))
    bundle = read_bundle(folder)
    (chosen,) = chosen_members(folder, bundle, [])
    write_onnx_files(bundle, [chosen], tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.onnx")) == ["near.fold0.onnx", "near.fold1.onnx", "near.onnx"]

    images = np.random.default_rng(2).integers(0, 256, (2, 3, 50, 64), np.uint8)
    probabilities = []
    for part in ("fold0", "fold1"):
        session = onnxruntime.InferenceSession(tmp_path / f"near.{part}.onnx", providers=["CPUExecutionProvider"])
        (logits,) = session.run(["logits"], {"images": images})
        with torch.inference_mode():
            assert np.abs(logits - chosen.networks[part](torch.from_numpy(images)).numpy()).max() < 1e-4
        probabilities.append(1 / (1 + np.exp(-logits)))
    session = onnxruntime.InferenceSession(tmp_path / "near.onnx", providers=["CPUExecutionProvider"])
    (mean,) = session.run(["probabilities"], {"images": images})
    assert np.abs(mean - np.mean(probabilities, axis=0)).max() < 1e-5
    assert np.abs(mean - probabilities[0]).max() > 0.1, "the folds differ, so that the mean is none of them"

    facts = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
    assert facts["bands"] == ["gland", "vessel", "gland:touching", "vessel:touching"]
    assert facts["parts"] == ["fold0", "fold1"]
    assert facts["scale"]["factor"] == 2
    assert [(one["name"], one["threshold"]) for one in facts["classes"]] == [("gland", 0.4), ("vessel", 0.4)]


@pytest.mark.slow
def test_a_file_that_gives_other_logits_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    segmenter, expressed = network(**TINY), module._expressed

    def damaged(given, *others):
        changed = network(**TINY)
        changed.mean += 1
        return expressed(changed, *others)

    monkeypatch.setattr(module, "_expressed", damaged)
    with pytest.raises(DataError, match="gives logits that differ from PyTorch's by up to"):
        write_onnx(segmenter, tmp_path / "model.onnx", output="logits", facts={})
    assert largest_difference(segmenter, tmp_path / "model.onnx") > module.TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize(("added", "refused"), [(1e-3, False), (0.1, True)])
def test_a_network_that_pytorch_itself_rounds_coarsely_may_differ_by_as_much(tmp_path, monkeypatch, added, refused):
    pytest.importorskip("onnxruntime")

    class Coarse(torch.nn.Module):
        """In float32, a thousandth is lost beside 10,000."""

        def __init__(self, added):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor(10_000.0), requires_grad=False)
            self.added = torch.nn.Parameter(torch.tensor(float(added)), requires_grad=False)

        def forward(self, images):
            images = images.to(self.weight.dtype) / 255
            return images / 3 + self.weight - self.weight + self.added

    expressed = module._expressed
    monkeypatch.setattr(module, "_expressed", lambda _, *others: expressed(Coarse(added), *others))
    with pytest.raises(DataError, match="differ from PyTorch") if refused else nullcontext():
        write_onnx(Coarse(0), tmp_path / "model.onnx", output="logits", facts={})


def test_a_network_that_onnx_cannot_express_is_told(tmp_path):
    pytest.importorskip("onnxruntime")

    class Odd(torch.nn.Module):
        def forward(self, images):
            return images.float() * float(images.sum().item() > 0 and np.random.default_rng(int(images.sum())).random())

    with pytest.raises(DataError, match="the network cannot be expressed in ONNX"):
        write_onnx(Odd(), tmp_path / "model.onnx", output="logits", facts={})


def test_missing_packages_are_named_with_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(UserError, match=r"(?s)packages are missing: onnx, onnxruntime, onnxscript.*extra onnx"):
        write_onnx_files(None, [], tmp_path)
