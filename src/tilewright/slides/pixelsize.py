"""How large the pixels of a file are, along x and along y, by what its tags and texts say."""

import re
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from tilewright.runtime.errors import Problem, SlideError

MICROMETRES = {
    "pm": 1e-6, "nm": 1e-3, "nanometer": 1e-3, "um": 1.0, "micron": 1.0, "microns": 1.0, "micrometer": 1.0,
    "micrometre": 1.0, "mm": 1e3, "millimeter": 1e3, "cm": 1e4, "m": 1e6, "in": 25_400.0, "inch": 25_400.0,
}  # fmt: skip
INCH, CENTIMETRE = 2, 3
MICROSCOPES = (0.05, 20.0)
"""Micrometres in a pixel of a slide; below and above, a resolution is a screen's or a printer's."""
ANY = (1e-3, 1e3)
ALIKE = 1.025
"""How many times one edge may be the other for a pixel to count as a square."""


@dataclass(frozen=True)
class PixelSize:
    """Width and height of a pixel in micrometres; 0: unknown."""

    x: float = 0.0
    y: float = 0.0

    def within(self, least: float, most: float) -> "PixelSize":
        """The same, unknown where neither edge lies between two bounds."""
        return self if any(least <= edge <= most for edge in (self.x, self.y)) else PixelSize()

    def edge(self, path: Path) -> float | None:
        """The edge of a square pixel; the mean of both where they differ by little; None: unknown.

        Raises:
            SlideError: they differ by more.
        """
        known = [edge for edge in (self.x, self.y) if edge]
        if not known:
            return None
        if max(known) > ALIKE * min(known):
            what = f"its pixels of {self.x:g} x {self.y:g} um are not square."
            remedy = (
                "Save the image with square pixels and count outlines in those; or, where the file says it wrongly, "
                "give mpp in the sheet (tilewright apply: --mpp)."
            )
            raise SlideError(Problem(str(path), what, remedy))
        return sum(known) / len(known)


def number(text: str | None) -> float:
    """A length as a text gives it; 0 where it is none, such as "nan", "0,25" or "0.25 um"."""
    try:
        value = float(text or "")
    except ValueError:
        return 0.0
    return value if isfinite(value) and value > 0 else 0.0


def micrometres(length: float, unit: str) -> float:
    """A length in micrometres; 0 where the unit is none."""
    # the micro sign, the Greek letter, and the sign as ImageJ spells it out
    plain = re.sub("\u00b5|\u03bc|\\\\u00B5", "u", unit).strip().lower()
    return length * MICROMETRES.get(plain, 0.0)


def tagged_size(x: float, y: float, unit: int) -> PixelSize:
    """The size of a pixel from resolutions; those that screens and printers use say nothing.

    Args:
        x: pixels an inch or a centimetre, along x; 0: unknown.
        y: the same along y.
        unit: 2: inch; 3: centimetre.
    """
    length = {INCH: 25_400.0, CENTIMETRE: 10_000.0}.get(unit, 0.0)
    edges = (length / each if isfinite(each) and each > 0 else 0.0 for each in (x, y))
    return PixelSize(*edges).within(*MICROSCOPES)
