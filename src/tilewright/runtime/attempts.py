"""What a step gets when it is tried again: more memory if it was killed, more time if it was told to stop.

A step that ended with an error of its own gets neither. Memory doubles where the log of the last attempt ends with
nothing or with a lack of memory; time doubles where it ends with SIGTERM, as batch systems send at the time limit. A
training goes on from its last epoch and needs no more time than the partition allows. Imports no numpy.
"""

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

from snakemake.io import apply_wildcards

from tilewright.runtime.ending import INTERRUPTED, last_code
from tilewright.runtime.errors import OUT_OF_MEMORY

CAUSES: dict[str, tuple[int | None, ...]] = {"mem_mb": (None, OUT_OF_MEMORY), "runtime": (INTERRUPTED,)}
"""Exit codes for which a resource grows; None: killed."""
RESUMED = ("train",)
"""Rules that go on where they were stopped."""


def let_grow(rule: Any) -> None:
    """Let the resources of a rule of Snakemake grow; those that are expressions already stay as they are."""
    log = str(rule.log[0]) if rule.log else ""
    for name, causes in CAUSES.items():
        amount = rule.resources.get(name)
        known = amount is not None and not amount.is_evaluable() and amount.value
        if log and known and not (name == "runtime" and rule.name in RESUMED):
            rule.resources[name] = growing(known, log, causes)


def grown(memory: Callable[..., int], log: str) -> Callable[..., int]:
    """A resource function of megabytes that also grows where a job was killed.

    Args:
        memory: gives those of the first attempt, by wildcards or by them and threads.
        log: as of ``growing``.
    """
    growth = growing(1, log, CAUSES["mem_mb"])
    if "threads" in signature(memory).parameters:
        return lambda wildcards, threads, attempt: memory(wildcards, threads) * growth(wildcards, attempt)
    return lambda wildcards, attempt: memory(wildcards) * growth(wildcards, attempt)


def growing(amount: int, log: str, causes: tuple[int | None, ...]) -> Callable[..., int]:
    """A resource function: ``amount``, doubled for each earlier attempt that ended for one of the causes.

    Args:
        amount: of the first attempt.
        log: the log of the rule, a pattern of Snakemake.
        causes: exit codes; None: killed.
    """
    factors: dict[tuple[str, int], int] = {}

    def resource(wildcards: Any, attempt: int) -> int:
        path = str(apply_wildcards(log, dict(wildcards.items())))
        # asked several times for an attempt; the log is that of the last attempt only before this one starts
        if (path, attempt) not in factors:
            before = factors.get((path, attempt - 1), 1)
            factors[path, attempt] = before * 2 if attempt > 1 and last_code(Path(path)) in causes else before
        return amount * factors[path, attempt]

    return resource
