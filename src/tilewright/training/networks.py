"""Networks of this project, beside those of segmentation_models_pytorch.

All take batch x 3 x rows x columns and give logits, batch x classes x rows x columns. ``deepest`` is the module with
the coarsest features, ``decoder_blocks`` are those of the decoder from coarse to fine; other heads are put on their
outputs.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn


class FCN(nn.Module):
    """Four stages of three 3 x 3 convolutions, then one transposed convolution back to full size (Long et al. 2015)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for below, width in pairwise((3, 64, 128, 256, 512)):
            pool = [nn.MaxPool2d(2)] if stages else []
            stages.append(nn.Sequential(*pool, *(_convolution(a, width, 3) for a in (below, width, width))))
        self.stages = nn.Sequential(*stages[:-1])
        self.deepest = stages[-1]
        self.head = nn.ConvTranspose2d(512, classes, 8, stride=8)
        self.decoder_blocks = nn.ModuleList()

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images whose edges are multiples of 8."""
        logits: Tensor = self.head(self.deepest(self.stages(images)))
        return logits


class PlainUnet(nn.Module):
    """A U-Net (Ronneberger et al. 2015) with one 5 x 5 convolution a level."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        widths = (48, 96, 192, 384)
        self.levels = nn.ModuleList(_convolution(below, width, 5) for below, width in pairwise((3, *widths)))
        self.deepest = _convolution(widths[-1], widths[-1], 5)
        self.decoder_blocks = nn.ModuleList(
            _Joining(below, width) for below, width in pairwise((widths[-1], *reversed(widths)))
        )
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(widths[0], classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images whose edges are multiples of 16."""
        return _through(self, images)


class AttentionUnet(nn.Module):
    """A U-Net of residual blocks whose skip connections pass attention gates.

    The gates are those of Oktay et al. (2018). All else is the network of a public notebook for the Sartorius cell
    competition: where dropout and batch norms stand, that a block adds what its own first convolution gives, the ReLU
    after transposed convolutions, and 8,118,245 trainable parameters for one class.
    """

    def __init__(self, classes: int, dropout: float = 0.5, gate: str = "additive") -> None:
        """Make the network.

        Args:
            classes: channels of the logits.
            dropout: share of the features that training leaves out, in each block and after each of the decoder's.
            gate: additive: a gate weighs by features and gating signal; original: by the features alone, as the code
                of the notebook does. It has 7,943,685 parameters: nothing is learnt of the gating signal.
        """
        if gate not in ("additive", "original"):
            raise ValueError(f"gate: {gate} is none; it is additive or original")
        super().__init__()
        widths = (32, 64, 128, 256)
        self.levels = nn.ModuleList(_Residual(below, width, dropout) for below, width in pairwise((3, *widths)))
        self.deepest = _Residual(widths[-1], 2 * widths[-1], dropout)
        self.decoder_blocks = nn.ModuleList(
            _Attending(below, width, dropout, gate == "additive")
            for below, width in pairwise((2 * widths[-1], *reversed(widths)))
        )
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Conv2d(widths[0], classes, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images whose edges are multiples of 16."""
        return _through(self, images)


class AttentionGate(nn.Module):
    """Weighs the features of a skip connection by what the coarser level makes of the same place.

    The gating signal has half the rows and columns of the features. Both are projected and added before the ReLU, so
    that the weight depends on both; without a gating signal it depends on the features alone.
    """

    def __init__(self, features: int, gating: int | None) -> None:
        """Make the gate.

        Args:
            features: channels of the features.
            gating: channels of the gating signal; None: it is ignored.
        """
        super().__init__()
        self.of_features = nn.Conv2d(features, features, 1, stride=2)
        self.of_gating = nn.Conv2d(gating, features, 1) if gating else None
        self.weight = nn.Sequential(nn.ReLU(), nn.Conv2d(features, 1, 1), nn.Sigmoid(), nn.Upsample(scale_factor=2))
        self.out = nn.Sequential(nn.Conv2d(features, features, 1), nn.BatchNorm2d(features))

    def forward(self, features: Tensor, gating: Tensor) -> Tensor:
        """The weighed features, of the same shape."""
        projected = self.of_features(features)
        if self.of_gating is not None:
            projected = projected + self.of_gating(gating)
        weighed: Tensor = self.out(features * self.weight(projected))
        return weighed


class _Joining(nn.Module):
    """Doubles rows and columns, joins the skip connection, and convolves."""

    def __init__(self, below: int, width: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(below, width, 4, stride=2, padding=1)
        self.block = _convolution(2 * width, width, 5)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        joined: Tensor = self.block(torch.cat([self.up(coarse), skip], dim=1))
        return joined


class _Attending(nn.Module):
    """The same with an attention gate on the skip connection and a residual block."""

    def __init__(self, below: int, width: int, dropout: float, gated: bool) -> None:
        super().__init__()
        self.gate = AttentionGate(width, below if gated else None)
        self.up = nn.Sequential(nn.ConvTranspose2d(below, width, 2, stride=2), nn.ReLU())
        self.block = nn.Sequential(_Residual(2 * width, width, dropout), nn.Dropout(dropout), nn.BatchNorm2d(width))

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        joined: Tensor = self.block(torch.cat([self.up(coarse), self.gate(skip, coarse)], dim=1))
        return joined


class _Residual(nn.Module):
    """A convolution with ReLU, to which is added what a batch norm and a second convolution make of it."""

    def __init__(self, below: int, width: int, dropout: float) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(below, width, 3, padding=1), nn.ReLU())
        self.second = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.Dropout(dropout),
        )

    def forward(self, features: Tensor) -> Tensor:
        shortcut = self.first(features)
        return torch.relu(self.second(shortcut) + shortcut)


def _through(network: "PlainUnet | AttentionUnet", images: Tensor) -> Tensor:
    """Down the levels, and up again with the features of each."""
    skips, features = [], images
    for level in network.levels:
        skips.append(level(features))
        features = network.pool(skips[-1])
    features = network.deepest(features)
    for block, skip in zip(network.decoder_blocks, reversed(skips), strict=True):
        features = block(features, skip)
    logits: Tensor = network.head(features)
    return logits


def _convolution(below: int, width: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(below, width, kernel, padding=kernel // 2), nn.BatchNorm2d(width), nn.ReLU())


NETWORKS: dict[str, type[nn.Module]] = {"FCN": FCN, "PlainUnet": PlainUnet, "AttentionUnet": AttentionUnet}
