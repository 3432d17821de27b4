"""Averages of a network's weights over its training: exponential (EMA) and stochastic (SWA)."""

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]


class Average:
    """An average of the states of a network: parameters and the running statistics of its batch norms.

    Attributes:
        weights: the average so far, by the names of the state; empty before the first update.
        count: number of updates.
    """

    def __init__(self, decay: float | None) -> None:
        """Average exponentially, or, without a decay, give each update the same weight (Izmailov et al. 2018).

        The decay starts lower, as min(decay, (1 + n) / (10 + n)), so that the first weights are soon forgotten.
        """
        self._decay, self.weights, self.count = decay, Weights(), 0

    def to(self, device: torch.device) -> None:
        """Move the average to a device."""
        self.weights = {name: value.to(device) for name, value in self.weights.items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the state of the network."""
        state = network.state_dict()
        if not self.weights:
            self.weights = {name: value.detach().clone() for name, value in state.items()}
        share = (
            1 / (self.count + 1) if self._decay is None else 1 - min(self._decay, (1 + self.count) / (10 + self.count))
        )
        floats = [name for name, value in state.items() if value.is_floating_point()]
        others = [name for name in state if name not in set(floats)]
        torch._foreach_lerp_([self.weights[name] for name in floats], [state[name] for name in floats], share)
        torch._foreach_copy_([self.weights[name] for name in others], [state[name] for name in others])
        self.count += 1
