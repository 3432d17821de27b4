"""Stains that are stronger or weaker."""

import math
from dataclasses import dataclass

import numpy as np

from tilewright.training.recoloring import Change

STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
"""Optical densities of haematoxylin, eosin and DAB in red, green and blue (Ruifrok and Johnston 2001)."""
UNMIXED = np.linalg.inv(STAINS)
IDENTITY = np.eye(3)


@dataclass(frozen=True)
class StainJitter:
    """Changes the amount of each stain (Tellez et al. 2018).

    Colours become optical densities, these become amounts of haematoxylin, eosin and a third stain, each of which is
    multiplied by 1 ± ``scale`` and raised by ± ``shift``; then all the way back. As all steps but the logarithm are
    linear, one matrix does it.

    Attributes:
        scale: largest relative change of an amount.
        shift: largest change of an amount.
    """

    scale: float = 0.2
    shift: float = 0.03

    def change(self, generator: np.random.Generator) -> Change:
        """Draw the changes."""
        factors, shifts = generator.uniform(-1, 1, (2, 3)) * [[self.scale], [self.shift]]
        # a density is log 256 - log (1 + colour), so that white has none
        more = UNMIXED @ (factors[:, None] * STAINS)
        values = np.empty((4, 3), np.float32)
        values[:3] = more.T + IDENTITY
        values[3] = -math.log(256) * more.sum(axis=0) - shifts @ STAINS
        return Change("stains", values.ravel())
