"""Slides and outlines to cross-validated segmentations, one small step at a time."""

__all__ = ["__version__"]


def __getattr__(name: str) -> str:
    """The version, read when it is asked for: reading it takes a tenth of the time in which a short step starts."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version

    return version("tilewright")
