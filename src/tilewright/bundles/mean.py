"""Several networks as one, which gives the mean of their probabilities."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tilewright.bundles.chosen import Chosen


class Mean(nn.Module):
    """The weighted mean of what networks say of images.

    Attributes:
        networks: take images, batch x 3 x rows x columns, uint8 or 0 to 255, and give logits.
        shares: what each counts; they sum to 1.
        places: of each network, which of its bands are taken, in their order.
    """

    def __init__(self, networks: Sequence[nn.Module], shares: Sequence[float], places: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.shares, self.places = list(shares), [list(each) for each in places]

    def forward(self, images: Tensor) -> Tensor:
        """Probabilities, batch x bands x rows x columns, float32."""
        parts = [
            share * torch.sigmoid(network(images)[:, places])
            for network, share, places in zip(self.networks, self.shares, self.places, strict=True)
        ]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total


def shared_bands(members: Sequence[Chosen]) -> list[str]:
    """The names of the bands that all members give."""
    return [name for name in members[0].bands if all(name in each.bands for each in members)]


def mean_of(members: Sequence[Chosen]) -> Mean:
    """The mean of members by their weights, which the networks of each share equally, in ``shared_bands``."""
    bands, total = shared_bands(members), sum(each.spec.weight for each in members)
    networks: list[nn.Module] = []
    shares: list[float] = []
    places: list[list[int]] = []
    for member in members:
        own = member.spec.weight / total if total else 1 / len(members)
        networks += member.networks.values()
        shares += [own / len(member.networks)] * len(member.networks)
        places += [[member.bands.index(name) for name in bands]] * len(member.networks)
    return Mean(networks, shares, places).eval()
