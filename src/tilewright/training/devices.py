"""What several devices that share a training know of each other: statistics of batch norms, sums, rows.

The loss of a batch is that of all its tiles, whichever device has them: each device computes the whole loss from sums
and rows of all, and from it the gradient of its own tiles. DDP takes the mean of the gradients, so that each is
multiplied by the number of devices.
"""

from typing import Any, TypeVar

import torch
from timm.layers.norm_act import convert_sync_batchnorm
from torch import Tensor, nn

from tilewright.project.config import width_and_height
from tilewright.training.segmenter import Segmenter

Module = TypeVar("Module", bound=nn.Module)


def is_shared() -> bool:
    """Whether several processes train together."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def has_bf16() -> bool:
    """Whether the GPU computes in bfloat16, which has the range of 32 bits."""
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def half_type(precision: str) -> torch.dtype | None:
    """The type that a GPU computes in by the config's ``precision``; None: 32 bits."""
    name = ("bf16" if has_bf16() else "16") if precision == "auto" else precision
    return {"16": torch.float16, "bf16": torch.bfloat16, "32": None}[name]


def with_shared_norms(module: Module) -> Module:
    """The module with batch norms whose statistics are those of all devices; names of its state stay.

    Timm's batch norms hold the activation that follows them; PyTorch's own conversion would lose it.
    """
    converted: Module = convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
    return converted


def strategy(segmenter: Segmenter, edge: int | list[int]) -> str:
    """Lightning's name of how devices share a training.

    Parameters that no output depends on are looked for in every step only where there are some, as in encoders with
    layers for a classifier.

    Args:
        segmenter: the network.
        edge: edge of its input, or its width and height, in pixels.
    """
    segmenter.eval()  # a look changes no statistics
    width, height = width_and_height(edge)
    image = torch.zeros(1, 3, height, width, device=segmenter.mean.device)
    logits, coarser, occurrence = segmenter.outputs(image)
    outputs = [logits, *coarser, *([] if occurrence is None else [occurrence])]
    total = torch.stack([each.sum() for each in outputs]).sum()
    trained = [each for each in segmenter.parameters() if each.requires_grad]
    gradients = torch.autograd.grad(total, trained, allow_unused=True)
    segmenter.train()
    return "ddp_find_unused_parameters_true" if any(each is None for each in gradients) else "ddp"


def summed(values: Tensor) -> Tensor:
    """The sum of values over all devices; each learns from its own."""
    total: Tensor = _Sum.apply(values) if is_shared() else values
    return total


def gathered(values: Tensor) -> Tensor:
    """The last axes of all devices, one after the other, which must be equally long; each learns from its own."""
    rows: Tensor = _Rows.apply(values) if is_shared() else values
    return rows


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        return gradient * torch.distributed.get_world_size()


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor) -> Tensor:
        context.length = values.shape[-1]
        parts = [torch.empty_like(values) for _ in range(torch.distributed.get_world_size())]
        torch.distributed.all_gather(parts, values.contiguous())
        return torch.cat(parts, dim=-1)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        start = context.length * torch.distributed.get_rank()
        own = gradient.narrow(-1, start, context.length)
        return own * torch.distributed.get_world_size()
