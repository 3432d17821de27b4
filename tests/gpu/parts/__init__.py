"""What there is to show on a device, by name. Modules are imported by the process that runs the part."""

from typing import NamedTuple


class Part(NamedTuple):
    """A part.

    Attributes:
        function: that shows it, called with its ``Setting``.
        seconds: that it takes on a GPU with 16 cores, as far as that can be told without one.
        needs: parts whose results it takes.
    """

    function: str
    seconds: int
    needs: tuple[str, ...] = ()


PARTS = {
    "device": Part("parts.arithmetic:device", 5),
    "losses": Part("parts.arithmetic:losses", 5),
    "colors": Part("parts.arithmetic:colors", 5),
    "averages": Part("parts.arithmetic:averages", 2),
    "norms": Part("parts.arithmetic:norms", 2),
    "blending": Part("parts.arithmetic:blending", 3),
    "step": Part("parts.arithmetic:step", 10),
    "demo": Part("parts.demo:make", 8),
    "agreement": Part("parts.demo:agreement", 30, ("demo",)),
    "training": Part("parts.rates:training", 40, ("demo",)),
    "prediction": Part("parts.rates:prediction", 25),
    "folds": Part("parts.rates:folds", 20),
    "chain": Part("parts.chain:chain", 60, ("demo", "agreement")),
    "lock": Part("parts.breaking:lock", 20, ("demo",)),
    "memory": Part("parts.breaking:memory", 25, ("demo", "agreement")),
    "killed": Part("parts.breaking:killed", 30, ("demo",)),
}

PRELOADED = (
    "torch",
    "tilewright.training.train",
    "tilewright.inference.predict",
    "tilewright.inference.ensemble",
    "tilewright.scales.downscale",
    "tilewright.segments.encode",
    "tilewright.segments.segment",
    "tilewright.masks.rasterize",
    "tilewright.tiles.tile",
)
"""Modules that take seconds to import."""


def with_needs(names):
    """Parts with those that they need, in the order of ``PARTS``."""
    wanted = set(names)
    for name in reversed(PARTS):
        if name in wanted:
            wanted |= set(PARTS[name].needs)
    return [name for name in PARTS if name in wanted]
