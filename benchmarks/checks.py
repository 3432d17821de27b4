"""Whether two outputs agree. Each check gets ours and the peer's call and facts, and returns (agree, text).

A check without a limit informs: its first value is None.
"""

import warnings

import h5py
import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

ROWS = 1024


def same_facts(*keys):
    """The named facts of the outputs are equal."""

    def check(ours, our_facts, peer, peer_facts):
        different = [key for key in keys if our_facts[key] != peer_facts[key]]
        return not different, f"different: {', '.join(different)}" if different else f"same {', '.join(keys)}"

    return check


def same_pixels(share=None, why=""):
    """At most a share of the set pixels of two masks differ; None: only counted."""

    def check(ours, our_facts, peer, peer_facts):
        different = total = 0
        for a, b in _strips(ours.out, peer.out):
            different += int(np.count_nonzero((a != 0) != (b != 0)))
            total += int(np.count_nonzero(a))
        text = f"{different:,} of {total:,} pixels differ{why and f' ({why})'}"
        return None if share is None else bool(different <= share * total), text

    return check


def close_pixels(most):
    """No value differs by more than ``most`` (None: only told); the peer may lack the last partial pixels."""

    def check(ours, our_facts, peer, peer_facts):
        worst = 0
        for a, b in _strips(ours.out, peer.out):
            worst = max(worst, int(np.abs(a.astype(np.int16) - b).max(initial=0)))
        return None if most is None else worst <= most, f"largest difference {worst}"

    return check


def mean_difference():
    """Tells how far the values differ on average, and at most."""

    def check(ours, our_facts, peer, peer_facts):
        total = count = worst = 0
        for a, b in _strips(ours.out, peer.out):
            difference = np.abs(a.astype(np.int16) - b)
            total, count = total + int(difference.sum()), count + difference.size
            worst = max(worst, int(difference.max(initial=0)))
        return None, f"mean difference {total / count:.2f}, largest {worst}"

    return check


def close_tiles(most):
    """As many tiles, and no value of an image differs by more than ``most``."""

    def check(ours, our_facts, peer, peer_facts):
        worst = 0
        with h5py.File(ours.out) as a, h5py.File(peer.out) as b:
            count = len(a["images"]), len(b["images"])
            for index in range(min(count)):
                difference = np.abs(a["images"][index].astype(np.int16) - b["images"][index])
                worst = max(worst, int(difference.max()))
        return count[0] == count[1] and worst <= most, f"{count[0]} and {count[1]} tiles, largest difference {worst}"

    return check


def _strips(ours, peer):
    """The common part of two rasters, some rows at a time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(ours) as a, rasterio.open(peer) as b:
            width, height = min(a.width, b.width), min(a.height, b.height)
            for top in range(0, height, ROWS):
                window = Window(0, top, width, min(ROWS, height - top))
                yield a.read(window=window), b.read(window=window)
