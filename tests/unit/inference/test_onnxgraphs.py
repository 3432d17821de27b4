"""Graphs that another framework made predict as members of bundles, or are refused with the reason."""

import numpy as np
import onnx
import pytest
import torch
from graphs import KERAS, by_hand, expected, keras_like, tensor
from onnx import helper, numpy_helper

from tilewright.inference.loading import load_bundled
from tilewright.inference.predict import group_means
from tilewright.project.bundle import read_bundle
from tilewright.project.config import Inference
from tilewright.project.orders import BundledModel
from tilewright.runtime.errors import DataError, UserError


def loaded(folder):
    bundle = read_bundle(folder)
    ((network,), bands) = load_bundled(folder, BundledModel.of(bundle, bundle.members[0]))
    assert bands == ["gland", "vessel"]
    return network


def drawn(rows=64, columns=64, count=2):
    return np.random.default_rng(0).integers(0, 256, (count, 3, rows, columns), np.uint8)


def probabilities(network, images):
    with torch.inference_mode():
        return network(torch.from_numpy(images)).sigmoid().numpy()


def test_a_graph_with_channels_last_predicts_like_any_network(tmp_path):
    network, images = loaded(by_hand(tmp_path / "b", keras_like())), drawn()
    assert np.abs(probabilities(network, images) - expected(images / 255)).max() < 1e-5
    inference = Inference(window=64, tta="d4")
    means = group_means([network], torch.from_numpy(images), inference, [frozenset((0, view) for view in range(8))])
    assert np.abs(means[:, 0].numpy() - expected(images / 255)).max() < 1e-5


def test_mean_and_std_are_applied_before_and_pixels_go_in_as_they_are_without(tmp_path):
    images, normal = drawn(), {**KERAS, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.5]}
    network = loaded(by_hand(tmp_path / "a", keras_like(), normal))
    values = (images / 255 - np.array([0.5, 0.4, 0.3])[:, None, None]) / np.array([0.2, 0.25, 0.5])[:, None, None]
    assert np.abs(probabilities(network, images) - expected(values)).max() < 1e-5
    raw = loaded(by_hand(tmp_path / "b", keras_like(), {"format": "onnx", "channels": "last"}))
    assert np.abs(probabilities(raw, images) - expected(images.astype(np.float64))).max() < 1e-4


def test_bands_are_picked_and_logits_become_probabilities(tmp_path):
    swapped = {**KERAS, "gives": "logits", "outputs": [1, 0]}
    network, images = loaded(by_hand(tmp_path / "b", keras_like(activation="Identity"), swapped)), drawn()
    assert np.abs(probabilities(network, images) - expected(images / 255)[:, ::-1]).max() < 1e-5


def test_a_graph_of_one_image_of_one_size_is_asked_one_by_one(tmp_path):
    network, images = loaded(by_hand(tmp_path / "b", keras_like(1, 64, 64))), drawn(count=3)
    assert np.abs(probabilities(network, images) - expected(images / 255)).max() < 1e-5


def test_a_graph_of_bytes_gets_bytes(tmp_path):
    cast = helper.make_node("Cast", ["images"], ["f"], to=onnx.TensorProto.FLOAT)
    scale = numpy_helper.from_array(np.float32(1 / 255), "scale")
    take = numpy_helper.from_array(np.array([0, 2]), "take")
    nodes = [
        cast,
        helper.make_node("Mul", ["f", "scale"], ["m"]),
        helper.make_node("Gather", ["m", "take"], ["p"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [tensor("images", [None, 3, None, None], onnx.TensorProto.UINT8)],
        [tensor("p", None)],
        [scale, take],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    images = drawn()
    network = loaded(by_hand(tmp_path / "b", model, {"format": "onnx"}))
    assert np.abs(probabilities(network, images) - images[:, [0, 2]] / 255).max() < 1e-6
    for value, nearest in ((100.6, 101), (-3, 0), (300, 255)):  # as views of other sizes have them
        found = probabilities(network, np.full((1, 3, 64, 64), value, np.float32))
        assert np.abs(found - nearest / 255).max() < 1e-6


@pytest.mark.parametrize(
    ("model", "network", "match"),
    [
        (b"no graph", KERAS, "is no ONNX graph that can be run"),
        (keras_like(rows=96, columns=64), KERAS, "takes images of 96 rows, and the window has 64"),
        (keras_like(batch=4), KERAS, "takes batches of 4 images"),
        (keras_like(), {"format": "onnx"}, '"channels": "first" says where their 3 colours are'),
        (keras_like(channels=4), KERAS, r"takes images of the shape .* 4\], and \"channels\": \"last\""),
        (keras_like(activation="Identity"), KERAS, 'no probabilities; with logits, say "gives": "logits"'),
        (keras_like(), {**KERAS, "outputs": [0, 2]}, r"gives an array of the shape .*expected at least 3 channel"),
    ],
)
def test_graphs_that_do_not_fit_are_refused_with_the_reason(tmp_path, model, network, match):
    folder = by_hand(tmp_path / "b", model, network)
    with pytest.raises(DataError, match=match):
        probabilities(loaded(folder), drawn())


def test_weights_in_another_file_are_refused_and_not_read(tmp_path):
    model = keras_like()
    weights = model.graph.initializer[0]
    weights.data_location = onnx.TensorProto.EXTERNAL
    weights.ClearField("raw_data")
    entry = weights.external_data.add()
    entry.key, entry.value = "location", "../../secret"
    with pytest.raises(DataError, match="its weights lie in another file; save it as one"):
        loaded(by_hand(tmp_path / "b", model))


def test_without_the_packages_the_extra_is_named(tmp_path, monkeypatch):
    folder = by_hand(tmp_path / "b", keras_like())
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(UserError, match=r"(?s)packages are missing: onnx, onnxruntime\..*extra onnx"):
        loaded(folder)
