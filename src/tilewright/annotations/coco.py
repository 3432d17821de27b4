"""COCO: one JSON with images, categories and annotations as polygons, lists of counts or compressed counts."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tilewright.annotations.ids import Id
from tilewright.annotations.model import Draft, Finding, Unusable
from tilewright.annotations.shared import Grouped
from tilewright.annotations.tables import drafts_of_runs
from tilewright.pixels.grid import Size
from tilewright.pixels.rle import decode_coco_counts
from tilewright.runtime.errors import AnnotationError, Problem, listed

COCO = "coco"


def is_coco(document: Any) -> bool:
    """Whether a parsed file is a COCO file with annotations."""
    return isinstance(document, dict) and all(isinstance(document.get(key), list) for key in ("images", "annotations"))


def group_images(document: Any, path: Path) -> Grouped:
    """The images of a file with what is outlined on each, and what is to be said of the others.

    Of an image its sizes as stated, and of each annotation number, label and segmentation. Images that share an id have
    the same annotations, so that they are told apart by name and refused when one is asked for. What belongs to all:
    numbers of what is no annotation, and number and image of annotations of which the file has no image; whether these
    are all that there are.

    Raises:
        AnnotationError: two categories have one id.
    """
    sizes: dict[Id, list[Any]] = {}
    owner: dict[Id, str] = {}
    for image in document["images"]:
        if isinstance(image, dict):
            name, number = _text(image.get("file_name")), _text(image.get("id"))
            one = Id(name, number) if name else Id(number)
            sizes.setdefault(one, []).append((_length(image.get("width")), _length(image.get("height"))))
            owner[one] = number
    alike: dict[str, list[str]] = {}
    for one, number in owner.items():
        alike.setdefault(number, []).append(str(one))
    outlined, strays = _by_image(document, _labels(document, path))
    _to_numbers(outlined, owner)
    entries = [
        {"sizes": sizes[one], "alike": alike[number], "annotations": outlined.get(number, [])}
        for one, number in owner.items()
    ]
    orphans = [(each[0], number) for number in outlined if number not in alike for each in outlined[number]]
    common = {"strays": strays, "orphans": orphans, "none": not outlined.keys() & alike.keys()}
    return Grouped(COCO, list(owner), entries, common)


def _length(value: Any) -> Any:
    """A width or height as a number, also where a program wrote it as text or with a point."""
    try:
        return int(float(value))
    except (TypeError, ValueError):
        return value


def _text(value: Any) -> str:
    """An id or a name as text; whole numbers that are stored as real ones are whole."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value).strip()


def _labels(document: Any, path: Path) -> dict[str, str]:
    """The name of each category by its id."""
    labels: dict[str, str] = {}
    for item in document.get("categories") or []:
        if isinstance(item, dict):
            number, name = _text(item.get("id")), _text(item.get("name"))
            if labels.setdefault(number, name) != name:
                what = f'the categories "{labels[number]}" and "{name}" have the same id {number}.'
                raise AnnotationError(Problem(str(path), what, "Number the categories anew, each its own."))
    return labels


def _to_numbers(outlined: dict[str, list[Any]], owner: Mapping[Id, str]) -> None:
    """Give annotations that name the file of their image in place of its id to that id, where only one has the name."""
    numbers: dict[str, set[str]] = {}
    for one, number in owner.items():
        numbers.setdefault(one.name, set()).add(number)
    for name in [name for name in outlined if len(numbers.get(name, ())) == 1]:
        (number,) = numbers[name]
        if name not in owner.values():
            outlined.setdefault(number, []).extend(outlined.pop(name))


def _by_image(document: Any, labels: Mapping[str, str]) -> tuple[dict[str, list[Any]], list[int]]:
    """Number, label and segmentation of the annotations of each image, by its id; and numbers of what is none.

    The label of a category that the file does not have is none: null.
    """
    found: dict[str, list[Any]] = {}
    strays = []
    for number, annotation in enumerate(document["annotations"], start=1):
        if isinstance(annotation, dict):
            category = _text(annotation.get("category_id"))
            label = labels.get(category, None if labels and category else "")
            own = found.setdefault(_text(annotation.get("image_id")), [])
            own.append((number, label, annotation.get("segmentation")))
        else:
            strays.append(number)
    return found, strays


def read_image(
    entry: dict[str, Any], common: dict[str, Any], path: Path, slide: str, size: Size
) -> Iterator[Draft | Finding]:
    """Drafts of the annotations of one image.

    Annotations of images that the file does not have are told; where all are such, they are unusable outlines of each.

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
    for number in common["strays"]:
        yield Draft("", Unusable("is not an annotation"), f"annotation {number}")
    yield from _orphans(common["orphans"], path, alone=common["none"])
    for number, label, segmentation in entry["annotations"]:
        if label is None:
            yield Draft("", Unusable("has a category that the file does not name"), f"annotation {number}")
        else:
            yield from _drafts(segmentation, label, f"annotation {number}", size)


def _orphans(orphans: Sequence[tuple[int, str]], path: Path, *, alone: bool) -> Iterator[Draft | Finding]:
    """What is said of annotations of which the file has no image."""
    if alone:
        for number, image in orphans:
            why = f'is of the image with the id "{image}", which no image of the file has'
            yield Draft("", Unusable(why), f"annotation {number}")
    elif orphans:
        images = listed([f'"{image}"' for image in dict.fromkeys(image for _, image in orphans)], 5)
        what = f"{len(orphans)} of its annotations are of images that it does not have (id {images}): not drawn."
        yield Finding("noticed", str(path), what)


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
