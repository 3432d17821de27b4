"""COCO: one JSON with images, categories and annotations as polygons, lists of counts or compressed counts."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tilewright.annotations.ids import Id
from tilewright.annotations.model import Draft, Unusable
from tilewright.annotations.shared import Grouped
from tilewright.annotations.tables import drafts_of_runs
from tilewright.pixels.grid import Size
from tilewright.pixels.rle import decode_coco_counts
from tilewright.runtime.errors import AnnotationError, Problem

COCO = "coco"


def is_coco(document: Any) -> bool:
    """Whether a parsed file is a COCO file with annotations."""
    return isinstance(document, dict) and all(isinstance(document.get(key), list) for key in ("images", "annotations"))


def group_images(document: Any) -> Grouped:
    """The images of a file with what is outlined on each, and numbers of what is no annotation.

    Of an image its sizes as stated, and of each annotation number, label and segmentation. Images that share an id have
    the same annotations, so that they are told apart by name and refused when one is asked for.
    """
    sizes: dict[Id, list[Any]] = {}
    owner: dict[Id, str] = {}
    for image in document["images"]:
        if isinstance(image, dict):
            name, number = str(image.get("file_name") or ""), str(image.get("id"))
            one = Id(name, number) if name else Id(number)
            sizes.setdefault(one, []).append((image.get("width"), image.get("height")))
            owner[one] = number
    alike: dict[str, list[str]] = {}
    for one, number in owner.items():
        alike.setdefault(number, []).append(str(one))
    outlined, strays = _by_image(document)
    entries = [
        {"sizes": sizes[one], "alike": alike[number], "annotations": outlined.get(number, [])}
        for one, number in owner.items()
    ]
    return Grouped(COCO, list(owner), entries, strays)


def _by_image(document: Any) -> tuple[dict[str, list[Any]], list[int]]:
    """Number, label and segmentation of the annotations of each image, by its id; and numbers of what is none."""
    categories = (item for item in document.get("categories") or [] if isinstance(item, dict))
    labels = {str(item.get("id")): str(item.get("name", "")) for item in categories}
    found: dict[str, list[Any]] = {}
    strays = []
    for number, annotation in enumerate(document["annotations"], start=1):
        if isinstance(annotation, dict):
            label = labels.get(str(annotation.get("category_id")), "")
            own = found.setdefault(str(annotation.get("image_id")), [])
            own.append((number, label, annotation.get("segmentation")))
        else:
            strays.append(number)
    return found, strays


def read_image(entry: dict[str, Any], strays: Iterable[int], path: Path, slide: str, size: Size) -> Iterator[Draft]:
    """Drafts of the annotations of one image.

    Raises:
        AnnotationError: the file gives the image another size, or its id to others as well.
    """
    if len(entry["alike"]) > 1:
        what = (
            f"{' and '.join(entry['alike'][:5])} have the same id, so that it is not certain whose outlines are whose."
        )
        raise AnnotationError(Problem(f"{path} (slide {slide})", what, "Number the images anew, each its own."))
    for width, height in entry["sizes"]:
        stated = (size.width if width is None else width, size.height if height is None else height)
        if stated != size:
            here, there = (f"{width} x {height}" for width, height in (stated, size))
            what = f"the image of slide {slide} is {here} here, but {there} pixels."
            raise AnnotationError(Problem(str(path), what, "Outlines of another size do not fit; export them again."))
    for number in strays:
        yield Draft("", Unusable("is not an annotation"), f"annotation {number}")
    for number, label, segmentation in entry["annotations"]:
        yield from _drafts(segmentation, label, f"annotation {number}", size)


def _drafts(segmentation: Any, label: str, origin: str, size: Size) -> Iterator[Draft]:
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
