"""Slides and outlines to cross-validated segmentations, one small step at a time.

What a notebook needs: ``docs/python.md``. Each name is loaded when it is first used, so that the command line starts
quickly.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tilewright.annotations import read_outlines
    from tilewright.cli import run_step
    from tilewright.inference.loading import load_model
    from tilewright.pixels.grid import Window
    from tilewright.pixels.rle import decode_rle, encode_rle
    from tilewright.project.orders import make_order
    from tilewright.slides import open_slide
    from tilewright.tiles.folding import read_project

__version__ = version("tilewright")
__all__ = [
    "Window", "__version__", "decode_rle", "encode_rle", "load_model", "make_order", "open_slide", "read_outlines",
    "read_project", "run_step",
]  # fmt: skip

_HOMES = {
    "Window": "tilewright.pixels.grid",
    "decode_rle": "tilewright.pixels.rle",
    "encode_rle": "tilewright.pixels.rle",
    "load_model": "tilewright.inference.loading",
    "make_order": "tilewright.project.orders",
    "open_slide": "tilewright.slides",
    "read_outlines": "tilewright.annotations",
    "read_project": "tilewright.tiles.folding",
    "run_step": "tilewright.cli",
}


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tilewright' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
