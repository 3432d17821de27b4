"""Vision transformers as encoders: tokens of several depths as a pyramid, with a convolutional branch beside them.

A transformer has one grid of tokens, and decoders of segmentation_models_pytorch want features at the strides 1, 2, 4,
8, 16 and 32. Tokens of a depth each are brought to the strides from 4 on. What is finer than a patch comes from
convolutions of the image, which are trained whether or not the transformer is: of the adapters that PFM-DenseBench
compares, such a parallel branch was best.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from tilewright.training.foundations import build_transformer

NAME = "vision-transformer"
"""What the library knows the encoder by while it builds a network."""
DETAIL = (3, 24, 32, 48, 64, 96)
"""Channels of the convolutional branch at the strides 1, 2, 4, 8, 16 and 32; the first are those of the image."""
TOKENS = (0, 0, 64, 96, 192, 256)
"""Channels of the tokens there; the strides 1 and 2 have none."""


class TransformerEncoder(nn.Module):
    """A vision transformer with what the library asks of an encoder.

    Attributes:
        transformer: the network of timm, without what follows its last block; all else is trained in any case.
        out_channels: of the features at each level.
        output_stride: of the coarsest level.
    """

    def __init__(self, encoder: str, pretrained: bool, depth: int = 5, output_stride: int = 32) -> None:
        """Make the encoder.

        Args:
            encoder: which transformer, as the config names it.
            pretrained: download its weights.
            depth: levels besides the image; the stride doubles from each to the next.
            output_stride: the largest stride; coarser levels have it too.

        Raises:
            ValueError: no level would have tokens.
        """
        if not 2 <= depth < len(DETAIL):
            raise ValueError(f"encoder_depth of a transformer is 2 to {len(DETAIL) - 1}, not {depth}")
        super().__init__()
        self.transformer = build_transformer(encoder, pretrained=pretrained)
        blocks, width = len(self.transformer.blocks), self.transformer.embed_dim
        self._strides = [min(2**level, output_stride) for level in range(depth + 1)]
        self._taken = [blocks * share // (depth - 1) - 1 for share in range(1, depth)]
        self._patch: int = self.transformer.patch_embed.patch_size[0]
        self.transformer.prune_intermediate_layers(self._taken, prune_norm=True)
        self.detail = nn.ModuleList(
            _stage(below, channels, coarse // fine)
            for (below, channels), (fine, coarse) in zip(pairwise(DETAIL), pairwise(self._strides), strict=False)
        )
        self.projections = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, channels)) for channels in TOKENS[2 : depth + 1]
        )
        self.out_channels = [fine + coarse for fine, coarse in zip(DETAIL, TOKENS, strict=True)][: depth + 1]
        self.output_stride = self._strides[-1]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Features (batch x channels x rows x columns) of images, from fine to coarse; the first are the images."""
        details = [images]
        for stage in self.detail:
            details.append(stage(details[-1]))
        levels = zip(details[2:], self._grids(images), self._strides[2:], strict=True)
        return details[:2] + [
            torch.cat([detail, placed(grid, detail.shape[-2:], stride / self._patch)], dim=1)
            for detail, grid, stride in levels
        ]

    def set_in_channels(self, _channels: int, pretrained: bool) -> None:
        """Do nothing, which the library asks for: images have three channels."""

    def make_dilated(self, _output_stride: int) -> None:
        """Do nothing, which the library asks for: tokens come to any stride."""

    def _grids(self, images: Tensor) -> list[Tensor]:
        """Projected tokens of each depth that is taken, batch x channels x rows x columns of patches."""
        rows, columns = (_patches(edge, self._patch) for edge in images.shape[-2:])
        images = in_whole_patches(images, self._patch)
        tokens = self.transformer.forward_intermediates(
            images, indices=self._taken, intermediates_only=True, output_fmt="NLC"
        )
        projected = (projection(each) for projection, each in zip(self.projections, tokens, strict=True))
        return [each.transpose(1, 2).unflatten(2, (rows, columns)) for each in projected]


def in_whole_patches(images: Tensor, patch: int) -> Tensor:
    """Images (batch x channels x rows x columns); what is missing to a multiple of the patch is mirrored at the border.

    Edges must be half a patch at least.
    """
    for axis in (-2, -1):
        length = images.shape[axis]
        # an export knows no edges, so that its graph always looks where pixels come from
        if torch.compiler.is_exporting() or length % patch:
            place = torch.arange(_patches(length, patch) * patch, device=images.device)
            images = images.index_select(axis, torch.minimum(place, 2 * length - 1 - place))
    return images


def placed(grid: Tensor, size: Sequence[int], ratio: float) -> Tensor:
    """Features of patches at cells of another size, each where its patch lies.

    Linear between the centres of patches; where cells are larger than patches, the weights reach as far as cells do.

    Args:
        grid: batch x channels x rows x columns of patches.
        size: rows and columns of cells; the first cell begins where the first patch does.
        ratio: edge of a cell, in patches.
    """
    rows, columns = (
        _shares(cells, patches, ratio, grid.device).to(grid.dtype)
        for cells, patches in zip(size, grid.shape[-2:], strict=True)
    )
    return rows @ grid @ columns.T


def _patches(length: int, patch: int) -> int:
    """How many patches hold so many pixels."""
    return (length + patch - 1) // patch  # of numbers below 0, ONNX rounds a quotient up


def _shares(cells: int, patches: int, ratio: float, device: torch.device) -> Tensor:
    """How much of each patch is in each cell (cells x patches)."""
    centers = (torch.arange(cells, device=device) + 0.5) * ratio - 0.5
    distances = (centers[:, None] - torch.arange(patches, device=device)).abs()
    weights = (1 - distances / max(1.0, ratio)).clamp(min=0)
    return weights / weights.sum(dim=1, keepdim=True)


def _stage(below: int, channels: int, stride: int) -> nn.Sequential:
    """Two convolutions, the first of which may halve rows and columns."""
    return nn.Sequential(
        nn.Conv2d(below, channels, 3, stride, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
    )


@contextmanager
def registered(encoder: str, *, pretrained: bool) -> Iterator[str]:
    """Let the library build a transformer as an encoder, by the name that is given, as long as the block lasts."""
    known = smp.encoders.encoders
    known[NAME] = {
        "encoder": TransformerEncoder,
        "params": {"encoder": encoder, "pretrained": pretrained},
        "pretrained_settings": {},
    }
    try:
        yield NAME
    finally:
        del known[NAME]
