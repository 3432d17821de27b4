"""Files of outlines that do not say of what image they are, and that slides of several images have in common."""

from collections.abc import Iterator
from pathlib import Path

from tilewright.annotations.files import suffix_of
from tilewright.annotations.geojson import names_images
from tilewright.annotations.labels import LABEL_IMAGES
from tilewright.project.config import Limits
from tilewright.project.rows import Row, Sheet
from tilewright.runtime.errors import AnnotationError, Problem


def taken_twice(sheet: Sheet, limits: Limits) -> Iterator[Problem]:
    """Warn of files whose outlines all slides get that name them, and that slides of two images do.

    Args:
        sheet: all slides.
        limits: bounds on what is read.
    """
    files: dict[Path, list[Row]] = {}
    for row in sheet:
        if row.annotations is not None and "annotations" not in sheet.missing.get(row.slide, {}):
            files.setdefault(row.annotations.resolve(), []).append(row)
    for rows in files.values():
        first = rows[0]
        other = next((row for row in rows if row.image.resolve() != first.image.resolve()), None)
        if other and first.annotations and _is_of_any(first.annotations, limits):
            slides = " and ".join(f"{row.slide} (image {row.image})" for row in (first, other))
            what = f"does not say of which image it is, and all its outlines are drawn on slides {slides}"
            more = len({row.image.resolve() for row in rows}) - 2
            what += f", and on {more} more." if more else "."
            remedy = "Give each image a file of its own, unless they show the same."
            yield Problem(str(first.annotations), what, remedy)


def _is_of_any(path: Path, limits: Limits) -> bool:
    """Whether all outlines of a file are those of whatever slide names it; what cannot be read is told elsewhere."""
    suffix = suffix_of(path)
    try:
        return suffix in LABEL_IMAGES or (suffix in (".json", ".geojson") and not names_images(path, limits))
    except AnnotationError:
        return False
