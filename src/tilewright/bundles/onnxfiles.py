"""Networks of a bundle as ONNX, for programs without PyTorch.

``{member}.{part}.onnx`` gives ``logits``, ``{member}.onnx`` the mean ``probabilities`` of the parts; both batch x bands
x rows x columns, float32. They take ``images``, batch x 3 x rows x columns, uint8, RGB as it is in a file: the
normalisation is inside. Batch, rows and columns are free. What bands stand for, the scale, and from which probability
on a pixel is of a class, stand in the metadata.
"""

import copy
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tilewright.bundles.chosen import Chosen
from tilewright.bundles.mean import mean_of
from tilewright.project.bundle import Bundle
from tilewright.runtime.errors import DataError, Problem
from tilewright.runtime.extras import WRITING_ONNX, require_extra
from tilewright.runtime.progress import note

TOLERANCE = 1e-4
"""By how much ONNX Runtime may always differ from PyTorch; of values above 1, so many times the value."""
ROUNDINGS = 4
"""So many times as much as PyTorch differs from itself in double precision it may differ beyond that."""
EDGES = (64, 96)
"""Rows and columns of the tile that is traced; others than a square, so that an exchange of the two would be found."""
TRIED = ((1, 3, *EDGES), (2, 3, *EDGES[::-1]), (1, 3, 250, 131))
"""Shapes at which both are compared."""


def write_onnx_files(bundle: Bundle, members: Sequence[Chosen], folder: Path) -> None:
    """Write each network of some members, and the mean of those of each, into a folder.

    Raises:
        UserError: the packages of the extra ``onnx`` are not installed.
        DataError: a network cannot be expressed in ONNX, or gives other values there.
    """
    require_extra("export", "onnx", WRITING_ONNX)
    for member in members:
        for part, network in member.networks.items():
            facts = _facts(bundle, member, [part])
            write_onnx(network, folder / f"{member.spec.name}.{part}.onnx", output="logits", facts=facts)
        facts = _facts(bundle, member, list(member.networks))
        write_onnx(mean_of([member]), folder / f"{member.spec.name}.onnx", output="probabilities", facts=facts)


def write_onnx(
    network: nn.Module, out: Path, *, output: str, facts: Mapping[str, Any], dtype: torch.dtype = torch.uint8
) -> None:
    """Write a network as ONNX, and check that it gives what PyTorch gives.

    Args:
        network: takes images, gives numbers of each pixel.
        out: the file.
        output: what it gives is called so.
        facts: metadata of the file, as JSON.
        dtype: of the images: uint8, or float32 from 0 to 255.

    Raises:
        DataError: it cannot be expressed, or the values differ.
    """
    out.write_bytes(_expressed(network, output, facts, dtype))
    largest = largest_difference(network, out, dtype)
    if not (largest <= TOLERANCE or largest <= ROUNDINGS * _rounding(network, dtype)):
        what = f"gives {output} that differ from PyTorch's by up to {largest:.2g}."
        raise DataError(Problem(out.name, what, "Report the architecture and encoder as a bug."))
    note(f"{out.name}: {output} differ from PyTorch's by at most {largest:.1e}")


def largest_difference(network: nn.Module, path: Path, dtype: torch.dtype = torch.uint8) -> float:
    """Largest difference between ONNX Runtime and PyTorch, over images of several sizes; relative above 1."""
    import onnxruntime

    session, largest = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]), 0.0
    for images in _images(dtype):
        with torch.inference_mode():
            expected = network(images).numpy()
        (found,) = session.run(None, {"images": images.numpy()})
        largest = max(largest, _difference(found, expected))
    return largest


def _rounding(network: nn.Module, dtype: torch.dtype) -> float:
    """By how much PyTorch's own values differ from those in double precision, on the same images."""
    exact = copy.deepcopy(network).double()
    exact_dtype = dtype if dtype == torch.uint8 else torch.float64
    with torch.inference_mode():
        pairs = ((network(images), exact(images.to(exact_dtype))) for images in _images(dtype))
        return max(_difference(found.numpy(), expected.numpy()) for found, expected in pairs)


def _difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    return float((np.abs(found - expected) / np.maximum(1, np.abs(expected))).max())


def _images(dtype: torch.dtype) -> Iterator[torch.Tensor]:
    generator = np.random.default_rng(0)
    return (torch.from_numpy(generator.integers(0, 256, shape, np.uint8)).to(dtype) for shape in TRIED)


def _expressed(network: nn.Module, output: str, facts: Mapping[str, Any], dtype: torch.dtype) -> bytes:
    """The content of the file."""
    import onnx

    free = {0: torch.export.Dim("batch"), 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                network, (torch.zeros((2, 3, *EDGES), dtype=dtype),), dynamo=True, input_names=["images"],
                output_names=[output], dynamic_shapes=(free,), verbose=False,
            )  # fmt: skip
        except Exception as error:  # whatever the exporter raises: the network has what ONNX lacks
            first = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise DataError(Problem("export", f"the network cannot be expressed in ONNX ({first}).")) from error
    assert program is not None, "asked for no file"
    content = program.model_proto
    onnx.helper.set_model_props(content, {key: json.dumps(value) for key, value in facts.items()})
    return bytes(content.SerializeToString())


def _facts(bundle: Bundle, member: Chosen, parts: Sequence[str]) -> dict[str, Any]:
    """What a program has to know of a file, beside its numbers."""
    spec = member.spec
    return {
        "bundle": bundle.name,
        "member": spec.name,
        "parts": list(parts),
        "bands": member.bands,
        "classes": [one.model_dump() for one in bundle.classes],
        "scale": spec.scale.model_dump(mode="json"),
        "mpp": spec.mpp and spec.mpp.model_dump(),
        "licence": bundle.credits.licence,
    }
