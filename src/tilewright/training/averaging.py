"""Averages of a network's weights over its training: exponential (EMA) and stochastic (SWA)."""

from collections.abc import Collection

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]


class Average:
    """An average of the states of a network: parameters and the running statistics of its batch norms.

    Attributes:
        weights: the average so far, by the names of the state; empty before the first update.
        count: number of updates.
    """

    def __init__(self, decay: float | None, warmup: bool = False, without: Collection[str] = ()) -> None:
        """Average exponentially, or, without a decay, give each update the same weight (Izmailov et al. 2018).

        Args:
            decay: the share of the average that an update keeps; the first update is the average as it is.
            warmup: begin with less, min(decay, (1 + n) / (10 + n)) after n updates, so that the first weights are soon
                forgotten.
            without: names in the state that are left out, as they do not change.
        """
        self._decay, self._warmup, self._without = decay, warmup, frozenset(without)
        self.weights, self.count = Weights(), 0

    def to(self, device: torch.device) -> None:
        """Move the average to a device."""
        self.weights = {name: value.to(device) for name, value in self.weights.items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the state of the network."""
        state = {name: value for name, value in network.state_dict().items() if name not in self._without}
        if not self.weights:
            self.weights = {name: value.detach().clone() for name, value in state.items()}
        floats = [name for name, value in state.items() if value.is_floating_point()]
        others = [name for name in state if name not in set(floats)]
        torch._foreach_lerp_([self.weights[name] for name in floats], [state[name] for name in floats], self._share())
        if others:  # networks without batch norm have none
            torch._foreach_copy_([self.weights[name] for name in others], [state[name] for name in others])
        self.count += 1

    def _share(self) -> float:
        """How much of the average the next update is."""
        if self._decay is None:
            return 1 / (self.count + 1)
        return 1 - (min(self._decay, (1 + self.count) / (10 + self.count)) if self._warmup else self._decay)
