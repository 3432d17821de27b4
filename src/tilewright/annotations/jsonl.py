"""The HuBMAP vasculature competition's JSONL.

One image a line: ``{"id", "annotations": [{"type", "coordinates"}]}``.
"""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tilewright.annotations.files import in_utf8, lines, parse_json, read_bytes
from tilewright.annotations.geometry import packed
from tilewright.annotations.ids import Id
from tilewright.annotations.model import Draft, Unusable
from tilewright.annotations.shared import Grouped
from tilewright.project.config import Limits
from tilewright.runtime.errors import AnnotationError, Problem

LINES = "lines"
_VALUE = r'"id"\s*:\s*("(?:[^"\\]|\\.)*"|-?\d+\b(?![.eE]))'
FIRST, ANYWHERE = re.compile(rf"\ufeff?\s*\{{\s*{_VALUE}"), re.compile(_VALUE)
LABELS = ("type", "class", "label", "category")
REMEDY = 'Each line is {"id": ..., "annotations": [{"type": ..., "coordinates": ...}]}.'


def group_lines(path: Path, limits: Limits) -> Grouped:
    """The lines of each id with their numbers; lines without an id that can be made out belong to all."""
    found: dict[str, list[tuple[int, str]]] = {}
    unknown: list[tuple[int, str]] = []
    for number, line in lines(in_utf8(read_bytes(path, limits))):
        text = line.decode("utf-8", errors="surrogateescape")
        name = _id_of(text)
        (unknown if name is None else found.setdefault(name, [])).append((number, text))
    return Grouped(LINES, [Id(name) for name in found], list(found.values()), unknown)


def _id_of(line: str) -> str | None:
    """The id of a line, which need not be whole; it is parsed as a whole only where the id does not stand first."""
    with suppress(ValueError, RecursionError):
        if first := FIRST.match(line):
            return str(json.loads(first[1])).strip()
        record = json.loads(line.removeprefix("\ufeff"))
        return str(record["id"]).strip() if isinstance(record, dict) and "id" in record else None
    return str(json.loads(later[1])).strip() if (later := ANYWHERE.search(line)) else None


def read_lines(entries: Iterable[tuple[int, str]], path: Path) -> Iterator[Draft]:
    """Drafts of some lines with their numbers.

    Raises:
        AnnotationError: one is broken.
    """
    for number, text in entries:
        record = _record(text.encode("utf-8", errors="surrogateescape"), path, number)
        yield from _drafts(record["annotations"], number)


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
        label = next((annotation[key] for key in LABELS if annotation.get(key)), "")
        geometry = packed({"type": "Polygon", "coordinates": annotation.get("coordinates")})
        yield Draft(label.strip() if isinstance(label, str) else "", geometry, origin)
