"""Networks of other programs: ONNX graphs that ONNX Runtime asks, in place of networks that are built here.

A graph gets images in the order and type that it takes, and stays on the processor, whatever device windows come from.
Nothing of a file is executed: graphs have the operators of ONNX and no others, and data beside the file are refused.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tilewright.project.bundle import BundleMember
from tilewright.project.bundlenetworks import OnnxNetwork
from tilewright.project.config import width_and_height
from tilewright.runtime.errors import DataError, Problem
from tilewright.runtime.extras import ONNX, require_extra
from tilewright.training.segmenter import Segmenter

TYPES: dict[str, np.dtype[Any]] = {"tensor(uint8)": np.dtype(np.uint8), "tensor(float)": np.dtype(np.float32)}
"""What graphs take: the names of ONNX Runtime."""


def load_onnx(content: bytes, member: BundleMember, where: str) -> Segmenter:
    """A graph as a network that predicts.

    Args:
        content: the file.
        member: what its bundle says of it.
        where: the file, for messages.

    Raises:
        UserError: the packages of the extra ``onnx`` are not installed.
        DataError: it is no graph that takes RGB images and gives a channel for each band; it holds data elsewhere.
    """
    require_extra(where, "onnx", ONNX)
    spec = member.network
    assert isinstance(spec, OnnxNetwork), "others are built"
    graph = _Graph(content, spec, len(member.bands), where)
    graph.require_windows(*width_and_height(member.inference.window))
    mean, std = (spec.mean, spec.std) if spec.mean is not None else ([0.0] * 3, [1 / 255] * 3)
    return Segmenter(graph, mean, std).eval()


class _Graph(nn.Module):
    """Gives logits of normalised images, both batch x channels x rows x columns."""

    def __init__(self, content: bytes, spec: OnnxNetwork, bands: int, where: str) -> None:
        super().__init__()
        import onnxruntime

        self._spec, self._where = spec, where
        self._places = list(range(bands)) if spec.outputs is None else spec.outputs
        self.device = nn.Parameter(torch.empty(0), requires_grad=False)  # says where images are wanted
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
        try:
            _require_own_data(content)
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises classes of its own for each way to be damaged
            first = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise self._error(f"is no ONNX graph that can be run ({first}).") from error
        self._taken = self._require_input(self._session.get_inputs())

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images, on their device."""
        pixels = images.detach().cpu().numpy()
        dtype = TYPES[self._taken.type]
        if dtype == np.uint8:
            pixels = np.clip(np.rint(pixels), 0, 255)
        pixels = np.ascontiguousarray(self._laid_out(pixels, to_last=True).astype(dtype))
        parts = np.split(pixels, len(pixels)) if self._taken.shape[0] == 1 else [pixels]
        found = np.concatenate([self._asked(part) for part in parts])
        values = torch.from_numpy(self._checked(found, images)).to(images.device)
        return torch.logit(values) if self._spec.gives == "probabilities" else values

    def _asked(self, pixels: NDArray[Any]) -> NDArray[Any]:
        try:
            return np.asarray(self._session.run(None, {self._taken.name: pixels})[0])
        except Exception as error:  # as above: sizes that its layers cannot take, memory
            first = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise self._error(f"fails on images of the shape {pixels.shape} ({first}).") from error

    def _checked(self, found: NDArray[Any], images: Tensor) -> NDArray[np.float32]:
        """The bands of what the graph gave, batch x bands x rows x columns."""
        laid, places = found, self._places
        if found.ndim == 4:
            laid = self._laid_out(found, to_last=False)
        fits = laid.ndim == 4 and laid.shape[1] > max(places) and laid.shape[2:] == tuple(images.shape[2:])
        if not fits or len(laid) != len(images):
            wanted = f"at least {max(places) + 1} channel(s), and {images.shape[2]} rows and {images.shape[3]} columns"
            raise self._error(f"gives an array of the shape {found.shape}; expected {wanted}.")
        bands = np.ascontiguousarray(laid[:, places], np.float32)
        # sums of softmax pass 1 by a rounding error
        if self._spec.gives == "probabilities" and not ((bands >= -1e-5) & (bands <= 1 + 1e-5)).all():
            raise self._error('gives numbers that are no probabilities; with logits, say "gives": "logits".')
        return np.clip(bands, 0, 1) if self._spec.gives == "probabilities" else bands

    def _laid_out(self, values: NDArray[Any], *, to_last: bool) -> NDArray[Any]:
        """Values with their channels where the graph, or PyTorch, has them."""
        if self._spec.channels == "first":
            return values
        return np.moveaxis(values, 1, 3) if to_last else np.moveaxis(values, 3, 1)

    def require_windows(self, columns: int, rows: int) -> None:
        """Stop where images have one size only, and windows have another.

        Raises:
            DataError: they do.
        """
        shape = self._taken.shape[2:] if self._spec.channels == "first" else self._taken.shape[1:3]
        for axis, own, wanted in zip(("rows", "columns"), shape, (rows, columns), strict=True):
            if isinstance(own, int) and own != wanted:
                raise self._error(f"takes images of {own} {axis}, and the window has {wanted}; see inference.window.")

    def _require_input(self, inputs: Sequence[Any]) -> Any:
        """The one thing that the graph takes, which is a batch of RGB images."""
        first, names = inputs[0], ", ".join(each.name for each in inputs)
        if len(inputs) > 1 or first.type not in TYPES or len(first.shape) != 4:
            what = f"takes {names} ({first.type}, {first.shape}); expected one batch of images, {' or '.join(TYPES)}."
            raise self._error(what)
        (channels, other), said = (first.shape[1], first.shape[3]), self._spec.channels
        if said == "last":
            channels, other = other, channels
        if channels != 3 and (isinstance(channels, int) or other == 3):
            what = f'takes images of the shape {first.shape}, and "channels": "{said}" says where their 3 colours are.'
            raise self._error(what)
        if isinstance(first.shape[0], int) and first.shape[0] != 1:
            raise self._error(f"takes batches of {first.shape[0]} images; export it with a free batch.")
        return first

    def _error(self, what: str) -> DataError:
        return DataError(Problem(self._where, what, "Correct bundle.json, or export the graph again."))


def _require_own_data(content: bytes) -> None:
    """Stop where a graph has weights in another file.

    Raises:
        ValueError: it does.
    """
    import onnx

    model = onnx.load_model_from_string(content)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in _tensors(model.graph)):
        raise ValueError("its weights lie in another file; save it as one")


def _tensors(graph: Any) -> Iterator[Any]:
    """All tensors of a graph, and of the graphs in it."""
    yield from graph.initializer
    for attribute in chain.from_iterable(node.attribute for node in graph.node):
        yield from (attribute.t, *attribute.tensors)
        for inner in (attribute.g, *attribute.graphs):
            if inner.node or inner.initializer:
                yield from _tensors(inner)
