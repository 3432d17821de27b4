"""How many processes load tiles for a training: what is left of its share of the machine's cores."""

import os
from typing import Literal

from tilewright.runtime.gpu import visible_gpus

Workers = int | Literal["auto"]
"""Processes that load tiles for each device, or as many as cores allow."""
MOST = 8
"""More for a device would wait for it: each gives 400 to 1,000 tiles of 512 pixels a second (``make bench``)."""


def training_threads(workers: Workers, threads: int, devices: int) -> int:
    """Threads that a training keeps busy: those of the network and the processes that load tiles.

    With ``auto`` a GPU gets its share of the cores. Without one there are no such processes: the network of a processor
    takes so long that it loads its tiles by the way.

    Args:
        workers: as the config has it.
        threads: threads of the network.
        devices: GPUs, or processes without any.
    """
    if workers != "auto":
        return (threads + workers) * devices
    gpus = len(visible_gpus())
    spare = cores() // max(gpus, devices) - threads if gpus else 0
    return (threads + min(MOST, max(0, spare))) * devices


def loading_workers(workers: Workers, threads: int, devices: int, given: int) -> int:
    """Processes that load tiles for each device; with ``auto``, what is left of the threads that a job is given."""
    return max(0, given // devices - threads) if workers == "auto" else workers


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
