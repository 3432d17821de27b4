"""Optimisers of PyTorch by name, with what the config says of them."""

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from tilewright.project.config.training import Network
from tilewright.runtime.errors import Problem, UserError, did_you_mean, raise_all
from tilewright.training.segmenter import Segmenter

Group = dict[str, Any]
"""Parameters and what is particular to them, as PyTorch's optimisers take them."""
UNUSABLE = {
    "lbfgs": "it computes the loss of a batch many times in one step",
    "muon": "it takes matrices, and weights of convolutions have four axes",
    "sparseadam": "it takes sparse gradients, which networks of images do not have",
}
"""Optimisers of PyTorch that cannot train these networks, and why."""
KEYS = {"lr": "learning_rate", "weight_decay": "weight_decay", "amsgrad": "amsgrad"}
"""Arguments that are keys of the config, with their names there."""
TRIED_RATE = 1e-3
"""Options are tried with a learning rate of at most this: a training that diverges says so itself."""
OTHERS = {"params", "maximize", "foreach", "fused", "capturable", "differentiable"}
"""Arguments that are no one's choice: they say how PyTorch computes."""


def rate_groups(network: Network, segmenter: Segmenter) -> list[Group]:
    """What an optimiser changes, by learning rate; what is frozen is in none.

    The first group has the rate that is told; with an ``encoder_rate`` of its own the pretrained part is the second.
    """
    apart = set(segmenter.pretrained_parameters()) if network.encoder_rate != 1 else set()
    groups: list[Group] = [{"params": [each for each in segmenter.parameters() if each not in apart]}]
    if network.encoder_rate and apart:
        own = [each for each in segmenter.parameters() if each in apart]
        groups.append({"params": own, "lr": peak_rate(network) * network.encoder_rate})
    return groups


def optimizer(network: Network, parameters: Iterable[nn.Parameter] | Iterable[Group]) -> Optimizer:
    """The optimiser of a network's training, which ``check_optimizer`` has nothing against."""
    kind: Any = _usable()[network.optimizer.lower()]
    made: Optimizer = kind(parameters, lr=peak_rate(network), **_given(network, kind))
    return made


def peak_rate(network: Network) -> float:
    """The learning rate at the peak of the schedule, which may be another one where several devices train."""
    return network.learning_rate * (network.shared_rate if network.devices > 1 else 1)


def check_optimizer(network: Network) -> None:
    """Check the name of the optimiser and what it is given.

    Raises:
        UserError: everything that is wrong, with what would be right.
    """
    raise_all(UserError, [Problem("config, models", what, remedy) for what, remedy in _problems(network)])


def _problems(network: Network) -> list[tuple[str, str]]:
    """What is wrong, each with its remedy."""
    name, usable = network.optimizer.lower(), _usable()
    if name in UNUSABLE:
        return [(f"optimizer {name} cannot be used: {UNUSABLE[name]}.", f"Known: {', '.join(usable)}.")]
    if name not in usable:
        return [(f'optimizer "{network.optimizer}" is unknown.', did_you_mean(name, usable))]
    taken = _arguments(usable[name])
    options = [each for each in taken if each not in KEYS]
    problems = []
    for option in network.optimizer_options:
        if option in KEYS:
            problems.append((f"optimizer_options: {option} is the key {KEYS[option]} of the model.", "Give it there."))
        elif option not in options:
            remedy = f"It takes {', '.join(options)}."
            problems.append((f'optimizer_options: "{option}" is unknown to {name}.', remedy))
    if network.amsgrad and "amsgrad" not in taken:
        problems.append((f"amsgrad: {name} has no such variant.", "Leave it out."))
    if "weight_decay" not in taken and network.weight_decay != Network.model_fields["weight_decay"].default:
        problems.append((f"weight_decay: {name} has none.", "Leave it out."))
    if not problems and (fault := _fault(network)):
        given = ", ".join(f"{option}: {value}" for option, value in network.optimizer_options.items())
        problems.append((f"optimizer {name} cannot be used with {given} ({fault}).", "Correct optimizer_options."))
    return problems


def _fault(network: Network) -> str:
    """What is wrong with the values of an optimiser's options, by making it and a few steps; empty: nothing."""
    weight = nn.Parameter(torch.ones(2, 2, 1, 1))
    tried = network.model_copy(update={"learning_rate": min(network.learning_rate, TRIED_RATE)})
    try:
        made = optimizer(tried, [weight])
        for _ in range(4):
            weight.grad = torch.full_like(weight, 0.01)
            made.step()
    except Exception as error:  # optimisers raise whatever their arithmetic does for values of another type
        return next(iter(str(error).strip().splitlines()), type(error).__name__)
    return "" if weight.isfinite().all() else "a step gives no numbers"


def _usable() -> dict[str, type[Optimizer]]:
    """The optimisers of PyTorch by their names in lower case."""
    found = (getattr(torch.optim, name) for name in dir(torch.optim))
    kinds = (each for each in found if isinstance(each, type) and issubclass(each, Optimizer) and each is not Optimizer)
    return {kind.__name__.lower(): kind for kind in kinds if kind.__name__.lower() not in UNUSABLE}


def _arguments(kind: type[Optimizer]) -> list[str]:
    return [name for name in inspect.signature(kind).parameters if name not in OTHERS]


def _given(network: Network, kind: type[Optimizer]) -> dict[str, Any]:
    """Arguments besides the learning rate."""
    keys = {"weight_decay": network.weight_decay, "amsgrad": network.amsgrad}
    options = network.optimizer_options.items()
    return {
        **{name: value for name, value in keys.items() if name in _arguments(kind)},
        **{name: tuple(value) if isinstance(value, list) else value for name, value in options},
    }
