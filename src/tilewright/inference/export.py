"""A trained network as ONNX, for programs without PyTorch.

Input ``images``: batch x 3 x rows x columns, uint8, RGB as in the tiles; the normalisation is inside. Output
``logits``: batch x classes x rows x columns, float32. Classes, scale and fold stand in the file's metadata.
"""

import importlib.util
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tilewright.inference.loading import load_model
from tilewright.project.places import CARD
from tilewright.runtime.atomic import atomic_path
from tilewright.runtime.documents import read_document
from tilewright.runtime.errors import DataError, Problem, UserError
from tilewright.runtime.progress import note

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
TOLERANCE = 1e-3
EDGES = (64, 96)
"""Rows and columns of the tile that is traced; others than a square, so that an exchange of the two would be found."""


def export(model: Path, *, out: Path) -> None:
    """Write the network of a trained fold as ONNX, and check that it gives the logits that PyTorch gives.

    Args:
        model: folder with ``model.safetensors`` and ``model.json``.
        out: the file to write, which appears only if the check holds.

    Raises:
        UserError: the packages of the extra ``onnx`` are not installed.
        DataError: the model cannot be read, cannot be expressed, or gives other logits than PyTorch.
    """
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        what = f"packages are missing: {', '.join(missing)}."
        raise UserError(Problem("export", what, "Install tilewright with the extra onnx."))
    segmenter, _ = load_model(model)
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(out) as private:
        _write(segmenter, read_document(model / CARD, model), private)
        largest = largest_difference(segmenter, private)
        if not largest <= TOLERANCE:
            what = f"gives logits that differ from PyTorch's by up to {largest:.2g}."
            raise DataError(Problem(str(model), what, "Report the architecture and encoder as a bug."))
    note(f"{out}: logits differ from PyTorch's by at most {largest:.1e}")


def largest_difference(segmenter: nn.Module, path: Path) -> float:
    """Largest absolute difference between the logits of ONNX Runtime and of PyTorch, over tiles of several sizes."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    generator, largest = np.random.default_rng(0), 0.0
    for shape in ((1, 3, *EDGES), (2, 3, *EDGES[::-1]), (1, 3, 256, 256)):
        images = generator.integers(0, 256, shape, np.uint8)
        with torch.inference_mode():
            expected = segmenter(torch.from_numpy(images)).numpy()
        (found,) = session.run(["logits"], {"images": images})
        largest = max(largest, float(np.abs(found - expected).max()))
    return largest


def _write(segmenter: nn.Module, card: dict[str, Any], path: Path) -> None:
    import onnx

    images = torch.zeros((2, 3, *EDGES), dtype=torch.uint8)
    shape = {0: torch.export.Dim("batch"), 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                segmenter, (images,), dynamo=True, input_names=["images"], output_names=["logits"],
                dynamic_shapes=(shape,), verbose=False,
            )  # fmt: skip
        except Exception as error:  # whatever the exporter raises: the network has what ONNX lacks
            first = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise DataError(Problem("export", f"the network cannot be expressed in ONNX ({first}).")) from error
    assert program is not None, "asked for no file"
    content = program.model_proto
    facts = {key: card[key] for key in ("classes", "scale", "fold")}
    onnx.helper.set_model_props(content, {key: json.dumps(value) for key, value in facts.items()})
    path.write_bytes(content.SerializeToString())
