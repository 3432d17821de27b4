"""COCO: one JSON with images, categories and annotations as polygons, lists of counts or compressed counts."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tilewright.annotations.files import names_slide, no_outlines
from tilewright.annotations.model import Draft, Unusable
from tilewright.annotations.tables import drafts_of_runs
from tilewright.pixels.grid import Size
from tilewright.pixels.rle import decode_coco_counts
from tilewright.runtime.errors import AnnotationError, Problem


def is_coco(document: Any) -> bool:
    """Whether a parsed file is a COCO file with annotations."""
    return isinstance(document, dict) and all(isinstance(document.get(key), list) for key in ("images", "annotations"))


def read_coco(document: Any, path: Path, slide: str, size: Size) -> Iterator[Draft]:
    """Drafts of the annotations of one image, found by its id or file name.

    Raises:
        AnnotationError: no image is the slide, or the file gives it another size.
    """
    images = [image for image in document["images"] if isinstance(image, dict)]
    chosen = [image for image in images if any(names_slide(image.get(key), slide) for key in ("file_name", "id"))]
    if not chosen:
        raise no_outlines(path, slide, [image.get("file_name") or image.get("id") for image in images])
    for image in chosen:
        stated = (image.get("width", size.width), image.get("height", size.height))
        if stated != size:
            here, there = (f"{width} x {height}" for width, height in (stated, size))
            what = f"the image of slide {slide} is {here} here, but {there} pixels."
            raise AnnotationError(Problem(str(path), what, "Outlines of another size do not fit; export them again."))
    ids = {str(image.get("id")) for image in chosen}
    categories = document.get("categories")
    names = {str(item.get("id")): str(item.get("name", "")) for item in categories or [] if isinstance(item, dict)}
    for number, annotation in enumerate(document["annotations"], start=1):
        if not isinstance(annotation, dict):
            yield Draft("", Unusable("is not an annotation"), f"annotation {number}")
        elif str(annotation.get("image_id")) in ids:
            label = names.get(str(annotation.get("category_id")), "")
            yield from _drafts(annotation, label, f"annotation {number}", size)


def _drafts(annotation: dict[str, Any], label: str, origin: str, size: Size) -> Iterator[Draft]:
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, list) and segmentation:
        parts = [[_pairs(part)] for part in segmentation]
        yield Draft(label, {"type": "MultiPolygon", "coordinates": parts}, origin)
    elif isinstance(segmentation, dict):
        if segmentation.get("size", [size.height, size.width]) != [size.height, size.width]:
            stated = segmentation["size"]
            yield Draft(label, Unusable(f"is encoded for an image of another size (height, width: {stated})"), origin)
            return
        counts: Any = segmentation.get("counts")
        yield from drafts_of_runs(
            lambda: decode_coco_counts(counts, size.height, size.width), label, origin, parts=False
        )
    else:
        yield Draft(label, Unusable("has no outline"), origin)


def _pairs(flat: Any) -> Any:
    """The points of x, y, x, y ...; whatever else it is, its check is left to the geometry."""
    if not isinstance(flat, list) or len(flat) % 2:
        return None
    return [flat[index : index + 2] for index in range(0, len(flat), 2)]
