"""The networks of a bundle for programs that have PyTorch and no tilewright; this file travels as ``net.py``.

Networks are those of segmentation_models_pytorch, which has to be installed.
"""

from collections.abc import Sequence
from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn


class Normalised(nn.Module):
    """A network that takes RGB from 0 to 255 and gives logits.

    Attributes:
        network: takes normalised images.
        mean: of the colours, 0 to 255.
        std: their standard deviation.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: str, encoder: str, channels: int, options: dict[str, Any]) -> None:
        super().__init__()
        self.network = smp.create_model(architecture, encoder, encoder_weights=None, classes=channels, **options)
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))
        self.register_buffer("std", torch.ones(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Logits, batch x channels x rows x columns."""
        logits: Tensor = self.network((images - self.mean) / self.std)
        return logits


class Net(nn.Module):
    """The weighted mean of what networks say of images: batch x 3 x rows x columns, multiples of 32, from 0 to 255."""

    def __init__(
        self, networks: Sequence[dict[str, Any]], shares: Sequence[float], places: Sequence[list[int]]
    ) -> None:
        """Build it, without weights.

        Args:
            networks: the arguments of each.
            shares: what each counts; they sum to 1.
            places: of each network, which of its channels are taken, in their order.
        """
        super().__init__()
        self.networks = nn.ModuleList(Normalised(**each) for each in networks)
        self.shares, self.places = list(shares), list(places)

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities, batch x bands x rows x columns."""
        parts = zip(self.networks, self.shares, self.places, strict=True)
        found = [share * torch.sigmoid(network(images)[:, places]) for network, share, places in parts]
        return torch.stack(found).sum(dim=0)
