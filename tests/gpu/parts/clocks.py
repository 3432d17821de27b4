"""Seconds of work on a device, and how busy it is meanwhile."""

import threading
import time
from contextlib import contextmanager, suppress

import torch

EVERY = 0.05


def settled():
    """Wait until the device has done what it was told."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def seconds(work):
    """Seconds of some work, from an idle device to an idle device."""
    settled()
    begin = time.perf_counter()
    work()
    settled()
    return time.perf_counter() - begin


def fastest(work, times):
    """The least seconds of several runs, after one that does not count."""
    work()
    return min(seconds(work) for _ in range(times))


@contextmanager
def busy_share():
    """A list that holds, after the block, the share of the time in which the device computed; empty: nobody knows.

    The driver says how much of the last moments, a sixth of a second to one, some kernel ran.
    """
    found, stop = [], threading.Event()

    def look():
        shares = []
        with suppress(Exception):  # pynvml is missing, or the device is a part (MIG), which has no such counter
            while not stop.wait(EVERY):
                shares.append(torch.cuda.utilization() / 100)
        if shares:
            found.append(sum(shares) / len(shares))

    thread = threading.Thread(target=look)
    if torch.cuda.is_available():
        thread.start()
    try:
        yield found
    finally:
        stop.set()
        if thread.ident:
            thread.join()
