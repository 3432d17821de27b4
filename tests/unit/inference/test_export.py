import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tilewright.inference import export as module
from tilewright.inference.export import export, largest_difference
from tilewright.inference.loading import load_model
from tilewright.project.config import Network
from tilewright.runtime.documents import write_document
from tilewright.runtime.errors import DataError, UserError
from tilewright.runtime.hashed import file_hash
from tilewright.training.architectures import build_network

TINY = {
    "tiles": "any",
    "encoder": "tu-test_resnet.r160_in1k",
    "encoder_weights": "random",
    "options": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]},
}
PLAIN = {"tiles": "any", "architecture": "PlainUnet"}


def save(folder, **options):
    """A model as ``train`` writes it, with weights that nobody trained."""
    network = Network(**options)
    torch.manual_seed(0)
    segmenter = build_network(network, 2, pretrained=False)
    folder.mkdir()
    save_file(
        {name: value.contiguous() for name, value in segmenter.state_dict().items()}, folder / "model.safetensors"
    )
    card = {
        "network": network.model_dump(),
        "classes": ["gland", "vessel"],
        "scale": {"factor": 2.0, "mpp": None},
        "fold": 1,
        "weights": file_hash(folder / "model.safetensors"),
    }
    write_document(folder / "model.json", card)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("options", [TINY, {**TINY, "deep_supervision": 1, "image_loss": 0.1}, PLAIN])
def test_the_file_gives_the_logits_of_the_network_at_any_size(tmp_path, options):
    onnxruntime = pytest.importorskip("onnxruntime")
    folder = save(tmp_path / "model", **options)
    export(folder, out=tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    segmenter, _ = load_model(folder)
    for shape in ((1, 3, 32, 160), (3, 3, 128, 64)):
        images = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
        with torch.inference_mode():
            expected = segmenter(torch.from_numpy(images)).numpy()
        (found,) = session.run(None, {"images": images})
        assert np.abs(found - expected).max() < 1e-4
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["classes"]) == ["gland", "vessel"]
    assert json.loads(facts["scale"])["factor"] == 2


@pytest.mark.slow
def test_a_file_that_gives_other_logits_does_not_appear(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    folder = save(tmp_path / "model", **TINY)
    write = module._write

    def damaged(segmenter, card, path):
        changed, _ = load_model(folder)
        changed.mean += 1
        write(changed, card, path)
        assert largest_difference(segmenter, path) > module.TOLERANCE

    monkeypatch.setattr(module, "_write", damaged)
    with pytest.raises(DataError, match="gives logits that differ from PyTorch's by up to"):
        export(folder, out=tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == [folder]


def test_missing_packages_are_named_with_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(UserError, match=r"(?s)packages are missing: onnx, onnxruntime, onnxscript.*extra onnx"):
        export(tmp_path, out=tmp_path / "model.onnx")


def test_a_folder_without_a_model_is_refused(tmp_path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(DataError, match=r"model\.json: cannot be read"):
        export(tmp_path, out=tmp_path / "model.onnx")
