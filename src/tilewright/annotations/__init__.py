"""Outlines in: GeoJSON, JSONL, COCO, tables of run lengths, label images.

Coordinates are pixels of level 0 of the whole image, x before y, as real numbers: pixel (3, 5) covers x 3 to 4, y 5
to 6.
"""

from tilewright.annotations.model import Annotation, Draft, Finding, Outlines
from tilewright.annotations.read import read_outlines, stream_outlines

__all__ = ["Annotation", "Draft", "Finding", "Outlines", "read_outlines", "stream_outlines"]
