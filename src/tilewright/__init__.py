"""Slides and outlines to cross-validated segmentations, one small step at a time."""

from importlib.metadata import version

__version__ = version("tilewright")
__all__ = ["__version__"]
