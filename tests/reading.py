"""Reading as tests of several files do it: pixels of a slide, outlines of a file, and why they are refused."""

import pytest

from tilewright import annotations
from tilewright.pixels.grid import Size, Window
from tilewright.project.config import Annotations, Limits
from tilewright.runtime.errors import AnnotationError, SlideError
from tilewright.slides import open_slide

SIZE = Size(100, 80)
"""Of the image that outlines lie in."""


def read_slide(path, **options):
    """All pixels of a slide, rows x columns x 3."""
    with open_slide(path, **options) as slide:
        return slide.read(Window(0, 0, *slide.size))


def slide_refusal(path):
    """What is said of a slide that is refused; it names the file."""
    with pytest.raises(SlideError) as caught:
        read_slide(path)
    assert str(path) in str(caught.value)
    return str(caught.value)


def read_outlines(path, slide="s", size=SIZE, limits=None, **options):
    """All outlines of a slide."""
    return annotations.read_outlines(path, slide, size, Annotations(**options), limits or Limits())


def outline_refusal(path, slide="s", **options):
    """What is said of outlines that are refused."""
    with pytest.raises(AnnotationError) as caught:
        read_outlines(path, slide, **options)
    return str(caught.value)


def findings(outlines, kind):
    """What was found of one kind: repaired, unusable."""
    return [finding.what for finding in outlines.findings if finding.kind == kind]
