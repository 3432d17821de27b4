"""A graph as another framework leaves it, and a bundle by hand around one."""

import hashlib
import json

import numpy as np
import onnx
from onnx import helper, numpy_helper

KERNEL = np.array([[2.0, -1, 0], [0, 1, -3]], np.float32)
BIAS = np.array([-0.5, 0.25], np.float32)
KERAS = {"format": "onnx", "channels": "last", "mean": [0, 0, 0]}


def tensor(name, shape, kind=None):
    return helper.make_tensor_value_info(name, kind or onnx.TensorProto.FLOAT, shape)


def keras_like(batch=None, rows=None, columns=None, *, activation="Sigmoid", channels=3):
    """A graph as tf2onnx makes it of Keras: channels last, a transpose around the convolution, a sigmoid at the end."""
    nodes = [
        helper.make_node("Transpose", ["input_1"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "kernel", "bias"], ["c"]),
        helper.make_node("Transpose", ["c"], ["logits"], perm=[0, 2, 3, 1]),
        helper.make_node(activation, ["logits"], ["conv2d_9"]),
    ]
    weights = [
        numpy_helper.from_array(KERNEL.reshape(2, 3, 1, 1), "kernel"),
        numpy_helper.from_array(BIAS, "bias"),
    ]
    graph = helper.make_graph(
        nodes, "model", [tensor("input_1", [batch, rows, columns, channels])], [tensor("conv2d_9", None)], weights
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def by_hand(folder, model, network=KERAS, **changes):
    """A bundle as somebody writes it by hand around a graph."""
    data = model if isinstance(model, bytes) else model.SerializeToString()
    (folder / "weights").mkdir(parents=True)
    (folder / "weights" / "unet.onnx").write_bytes(data)
    said = {
        "format": 1,
        "name": "kidney",
        "classes": [
            {"name": name, "color": "#112233", "threshold": 0.5, "min_area": 0} for name in ("gland", "vessel")
        ],
        "members": [
            {
                "name": "unet", "network": network, "scale": {"factor": 1}, "inference": {"window": 64},
                "bands": [["gland", "mask"], ["vessel", "mask"]],
                "weights": [{"role": "final", "file": "weights/unet.onnx"}],
            }
        ],
        "files": {"weights/unet.onnx": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}},
    }  # fmt: skip
    said["members"][0] |= changes
    (folder / "bundle.json").write_text(json.dumps(said))
    return folder


def expected(values):
    """What the graph means, of values batch x 3 x rows x columns."""
    logits = np.einsum("kc,bcyx->bkyx", KERNEL, values) + BIAS[:, None, None]
    return 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
