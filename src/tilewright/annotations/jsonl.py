"""The HuBMAP vasculature competition's JSONL.

One image a line: ``{"id", "annotations": [{"type", "coordinates"}]}``.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tilewright.annotations.files import lines, names_slide, no_outlines, parse_json
from tilewright.annotations.geometry import packed
from tilewright.annotations.model import Draft, Unusable
from tilewright.runtime.errors import AnnotationError, Problem

REMEDY = 'Each line is {"id": ..., "annotations": [{"type": ..., "coordinates": ...}]}.'


def read_jsonl(data: bytes, path: Path, slide: str) -> Iterator[Draft]:
    """Drafts of the lines of one slide; other lines are not even parsed.

    Raises:
        AnnotationError: the slide's line is broken, or no line has its id.
    """
    found = False
    for number, line in lines(data):
        if slide.encode() in line:
            record = _record(line, path, number)
            if names_slide(record["id"], slide):
                found = True
                yield from _drafts(record["annotations"], number)
    if not found:
        raise no_outlines(path, slide, [_record(line, path, number)["id"] for number, line in lines(data)])


def _record(line: bytes, path: Path, number: int) -> dict[str, Any]:
    record = parse_json(line, path, number)
    if not isinstance(record, dict) or "id" not in record or not isinstance(record.get("annotations"), list):
        what = "is not an image with an id and annotations."
        raise AnnotationError(Problem(f"{path}, line {number}", what, REMEDY))
    return record


def _drafts(annotations: list[Any], number: int) -> Iterator[Draft]:
    for index, annotation in enumerate(annotations, start=1):
        origin = f"line {number}, annotation {index}"
        if not isinstance(annotation, dict):
            yield Draft("", Unusable("is not an annotation with a type and coordinates"), origin)
            continue
        label = annotation.get("type")
        geometry = packed({"type": "Polygon", "coordinates": annotation.get("coordinates")})
        yield Draft(label.strip() if isinstance(label, str) else "", geometry, origin)
