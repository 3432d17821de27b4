"""A network with what belongs to it in training and prediction: normalisation of its input, and further heads."""

from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from tilewright.project.config.base import MULTIPLE


class Outputs(NamedTuple):
    """What a network says of a batch.

    Attributes:
        logits: batch x bands x rows x columns; the bands of ``band_names``.
        coarser: logits at coarser levels, from fine to coarse; empty without deep supervision.
        occurrence: logits of whether a class occurs in the tile, batch x classes; None without an image-level head.
    """

    logits: Tensor
    coarser: list[Tensor]
    occurrence: Tensor | None


class Segmenter(nn.Module):
    """A network that takes RGB tiles as they are stored and gives logits.

    Attributes:
        network: takes batch x 3 x rows x columns, normalised; gives batch x bands x rows x columns.
        resize: columns and rows of what the network sees of an image of any size; None: those of the image.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        mean: list[float],
        std: list[float],
        gpu_dtype: torch.dtype | None = None,
        resize: tuple[int, int] | None = None,
        pretrained: nn.Module | None = None,
    ) -> None:
        """Wrap a network.

        Args:
            network: the network.
            mean: mean of the channels, 0 to 1.
            std: their standard deviation.
            gpu_dtype: the arithmetic of predictions on a GPU, if not 32 bits.
            resize: columns and rows that images are resized to, multiples of 32.
            pretrained: the part of the network that may be trained at a rate of its own, or not at all.
        """
        super().__init__()
        self.resize = resize
        self.gpu_dtype = gpu_dtype
        # convolutions are a third faster with channels last (5.2 against 3.9 tiles/s, Unet lite0, 2 cores)
        self.network = network.to(memory_format=torch.channels_last)
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).view(1, 3, 1, 1))
        self.coarse_heads = nn.ModuleList()
        self.image_head: nn.Linear | None = None
        self._features: dict[int, Tensor] = {}
        self._pretrained = [] if pretrained is None else [pretrained]  # in a list, or its state would have two names
        self._frozen = False

    def pretrained_parameters(self) -> list[nn.Parameter]:
        """Parameters of the part that may be trained at a rate of its own."""
        return [each for part in self._pretrained for each in part.parameters()]

    def freeze(self) -> None:
        """Leave the pretrained part as it is from now on: its parameters, its statistics, and without dropout.

        Images need no gradient, so that nothing of it is kept for one either.
        """
        self._frozen = True
        for part in self._pretrained:
            part.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Self:
        """Go to the mode of training or of prediction, where a frozen part is always."""
        super().train(mode)
        for part in self._pretrained if self._frozen else ():
            part.eval()
        return self

    def frozen_names(self) -> set[str]:
        """Names in the state of what is frozen."""
        frozen = [part for part in self._pretrained if self._frozen]
        places = tuple(f"{name}." for name, part in self.named_modules() if any(part is each for each in frozen))
        return {name for name in self.state_dict() if name.startswith(places)}

    def forward(self, images: Tensor) -> Tensor:
        """Logits (batch x bands x rows x columns) of images (batch x 3 x rows x columns, uint8 or 0 to 255)."""
        return self.outputs(images).logits

    def outputs(self, images: Tensor) -> Outputs:
        """What all heads say of images as ``forward`` takes them.

        Rows and columns that are missing to a multiple of 32 are the mirror image of the last ones; ``coarser`` has
        logits for them, as many as the network gives. Where images are resized, logits are brought back to their size,
        both by the four nearest pixels, and ``coarser`` are those of the resized ones.
        """
        rows, columns = images.shape[-2:]
        if self.resize:
            images = _resized(images.float(), *self.resize[::-1])
        else:
            images = mirrored(images, *up_to_multiples(rows, columns))
        normal = (images.float() - self.mean) / self.std
        logits = self.network(normal.contiguous(memory_format=torch.channels_last))
        features = [self._features[place] for place in sorted(self._features)]
        self._features.clear()
        occurrence = self.image_head(features.pop().mean(dim=(2, 3))) if self.image_head else None
        logits = _resized(logits, rows, columns) if self.resize else logits[..., :rows, :columns]
        return Outputs(logits, [head(each) for head, each in zip(self.coarse_heads, features, strict=True)], occurrence)

    def add_heads(self, classes: int, blocks: list[nn.Module], deepest: nn.Module | None, targets: int = 1) -> None:
        """Put heads on the outputs of inner modules.

        Args:
            classes: number of classes.
            blocks: modules whose outputs are supervised, from fine to coarse.
            deepest: the module for the image-level head, if there is to be one; may give a list of features.
            targets: bands of each class; the image-level head has one.
        """
        for place, module in enumerate((*blocks, *([deepest] if deepest else []))):
            module.register_forward_hook(self._keep(place))
        with torch.no_grad():
            self.eval().network(torch.zeros(1, 3, 64, 64))
        widths = [self._features[place].shape[1] for place in sorted(self._features)]
        self._features.clear()
        if deepest:
            self.image_head = nn.Linear(widths.pop(), classes)
        self.coarse_heads.extend(nn.Conv2d(width, classes * targets, 1) for width in widths)
        self.train()

    def _keep(self, place: int) -> Any:
        def hook(_module: nn.Module, _inputs: Any, features: Any) -> None:
            self._features[place] = features[-1] if isinstance(features, list | tuple) else features

        return hook


def _resized(pixels: Tensor, rows: int, columns: int) -> Tensor:
    return functional.interpolate(pixels, (rows, columns), mode="bilinear", align_corners=False)


def up_to_multiples(rows: int, columns: int) -> tuple[int, int]:
    """The least multiples of 32 that are not below them."""
    # of numbers below 0, ONNX rounds a quotient up
    return (rows + MULTIPLE - 1) // MULTIPLE * MULTIPLE, (columns + MULTIPLE - 1) // MULTIPLE * MULTIPLE


def mirrored(pixels: Tensor, rows: int, columns: int) -> Tensor:
    """Pixels (... x rows x columns) up to so many; what is missing is mirrored at the border, as often as need be."""
    for axis, wanted in ((-2, rows), (-1, columns)):
        length = pixels.shape[axis]
        # an export knows no edges, so that its graph always looks where pixels come from
        if torch.compiler.is_exporting() or length < wanted:
            period = torch.arange(2 * length, device=pixels.device)[-1] + 1  # ONNX divides by tensors alone
            place = torch.arange(wanted, device=pixels.device) % period
            pixels = pixels.index_select(axis, torch.minimum(place, 2 * length - 1 - place))
    return pixels
