"""The course of the learning rate, which epoch is kept, and when to give up."""

import math
from collections.abc import Callable, Mapping, Sequence

from tilewright.project.config.training import Network


def rate_curve(network: Network, steps: int) -> Callable[[int], float]:
    """Share of the peak learning rate at each of ``steps`` steps: a linear rise, then the schedule.

    The rise ends at the peak; linear and cosine then fall to ``last_rate``.
    """
    rise = round(network.warmup * steps)
    first, last = network.first_rate, network.last_rate

    def share(step: int) -> float:
        if step < rise:
            return first + (1 - first) * (step + 1) / rise
        done = min(1.0, (step - rise) / max(1, steps - rise))
        falls = {"linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}
        return last + (1 - last) * falls[network.schedule] if network.schedule in falls else 1.0

    return share


def lulls(scores: Sequence[float], patience: int, min_delta: float) -> int:
    """How often ``patience`` validations in a row brought no improvement.

    Args:
        scores: what is monitored, one value a validation; higher is better.
        patience: validations without improvement that make a lull; after a lull the counting starts anew.
        min_delta: least improvement.
    """
    best, waited, found = -math.inf, 0, 0
    for score in scores:
        if score > best + min_delta:
            best, waited = score, 0
        else:
            waited += 1
        if waited >= patience:
            waited, found = 0, found + 1
    return found


def smoothed(validations: Sequence[Mapping[str, float]], share: float) -> dict[str, float]:
    """The moving average of what is monitored, after the last validation.

    One lucky validation of a few slides is noise; what stays high is not.

    Args:
        validations: of each validation the score of each kind of weights that there is.
        share: weight of each validation, of that of the next; 0: the last one alone counts.

    Returns:
        The average of each kind. One that begins later begins where the best of the others stands, so that it neither
        wins nor loses by its first score alone.
    """
    sums: dict[str, float] = {}
    weight = 0.0
    for scores in validations:
        best = max(sums.values(), default=0.0)
        sums = {kind: share * sums.get(kind, best) + score for kind, score in scores.items()}
        weight = share * weight + 1
    return {kind: total / weight for kind, total in sums.items()}
