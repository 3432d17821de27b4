"""GeoJSON, as QuPath writes it: a FeatureCollection, a list of features, one feature, or one bare geometry.

Collections and lists are read feature by feature, whatever their length.
"""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tilewright.annotations.files import open_text, parse_json, read_bytes
from tilewright.annotations.geometry import packed
from tilewright.annotations.ids import Id, Ids
from tilewright.annotations.jsonstream import JsonReader
from tilewright.annotations.model import FOUND, NUCLEUS, Draft, Finding, Unusable
from tilewright.project.config import Limits
from tilewright.project.naming import Identity
from tilewright.runtime.errors import AnnotationError, Problem

GEOMETRIES = {"Polygon", "MultiPolygon", "GeometryCollection"}
OTHERS = {"images", "annotations", "categories", "geometry", "geometries", "coordinates"}
"""Keys of other documents: a file that has one of them before any features is no collection."""

IMAGES = {"image", "image_name", "imagename", "file_name", "filename"}
"""Members that name an image, whatever their case."""
HOLDERS = ("properties", "metadata")
"""Members that may hold such."""
AFTER = object()
"""In place of a feature: what follows is said behind all of them."""


def holds_features(path: Path, limits: Limits) -> bool:
    """Whether a file begins like a collection or a list of features; what is wrong with it is not said here."""
    try:
        with open_text(path, limits) as read:
            reader = JsonReader(read, path)
            return reader.peek() == "[" or (reader.peek() == "{" and _to_features(reader))
    except AnnotationError:
        return False


def _to_features(reader: JsonReader) -> bool:
    """Go on to the list of features of a collection; False: there is none."""
    for key in reader.members():
        if key == "features":
            return reader.peek() == "["
        if key in OTHERS:
            return False
        reader.value()
    return False


def stream_features(path: Path, limits: Limits, slide: Identity) -> Iterator[Draft | Finding]:
    """Drafts of the features of a file of which ``holds_features`` is true, read one by one.

    Where a file names images, what is outlined on that of the slide is taken, and what no image is named for; QuPath's
    files name none.

    Raises:
        AnnotationError: the file is not valid JSON, a list without a single feature, or names other images alone.
    """
    own, nameless = "", 0
    for number, (feature, image) in enumerate(_features(path, limits), start=1):
        if image and not own:
            own, told = _image_there(path, limits, slide)
            yield from [Finding("noticed", str(path), told)] if told else []
        nameless += not image
        if feature is AFTER:
            if image != own and nameless:
                raise Ids([Id(image)]).missing(slide, path)
        elif image in ("", own):
            yield from _drafts(feature, f"feature {number}")


def _image_there(path: Path, limits: Limits, slide: Identity) -> tuple[str, str]:
    """What a file calls the image of a slide, and what is to be said of it."""
    images = list(dict.fromkeys(image for _, image in _features(path, limits) if image))
    ids = Ids([Id(image) for image in images])
    place = ids.find(slide, path)
    if place is None:
        raise ids.missing(slide, path)
    return images[place], ids.moved(slide, path)


def names_images(path: Path, limits: Limits) -> bool:
    """Whether a file of JSON says of what image its outlines are, or holds no features.

    Raises:
        AnnotationError: it is not valid JSON.
    """
    if holds_features(path, limits):
        return any(image for _, image in _features(path, limits))
    document = parse_json(read_bytes(path, limits), path)
    return not is_single(document) or bool(image_of(document))


def _features(path: Path, limits: Limits) -> Iterator[tuple[Any, str]]:
    """The features of a file, and the image that each is said to be of; empty: none is named.

    Last comes ``AFTER`` with the image that a file names for all its features behind them, if it does.
    """
    whole, passed = "", False
    with open_text(path, limits) as read:
        reader = JsonReader(read, path)
        if reader.peek() == "[":
            yield from _listed(reader, path)
        else:
            for key in reader.members():
                if key == "features":
                    yield from ((feature, image_of(feature) or whole) for feature in reader.elements())
                    passed = True
                elif image := image_of({key: reader.value()}):
                    whole = whole or image
                    if passed:
                        yield AFTER, whole
        reader.finish()


def _listed(reader: JsonReader, path: Path) -> Iterator[tuple[Any, str]]:
    """The features of a list, those of its collections among them."""
    known: set[bool] = set()
    for item in reader.elements():
        members = item if isinstance(item, dict) else {}
        inside = members.get("features") if members.get("type") == "FeatureCollection" else None
        known.add(isinstance(inside, list) or members.get("type") == "Feature")
        whole = image_of(members)
        yield from (
            (feature, image_of(feature) or whole) for feature in (inside if isinstance(inside, list) else [item])
        )
    if known == {False}:
        raise not_outlines(path)


def image_of(members: Any) -> str:
    """The image that a feature or a collection names, itself or in its properties or metadata; empty: none."""
    members = _parsed(members)
    if not isinstance(members, dict):
        return ""
    named = (value for key, value in members.items() if key.lower() in IMAGES)
    texts = ((each.get("name") if isinstance(each, dict) else each) for each in named)
    found = next((text.strip() for text in texts if isinstance(text, str) and text.strip()), "")
    return found or next((name for key in HOLDERS if (name := image_of(members.get(key)))), "")


def not_outlines(path: Path) -> AnnotationError:
    """The error for JSON that is something else."""
    what = "is JSON, but neither GeoJSON, nor COCO, nor the vasculature competition's lines."
    return AnnotationError(Problem(str(path), what, "Export the outlines from QuPath as GeoJSON."))


def is_single(document: Any) -> bool:
    """Whether a parsed file is one feature or one bare geometry."""
    return isinstance(document, dict) and document.get("type") in {"Feature", *GEOMETRIES}


def read_single(document: dict[str, Any], path: Path, slide: Identity) -> Iterator[Draft]:
    """The draft of a parsed file of which ``is_single`` is true.

    Raises:
        AnnotationError: it is of another image.
    """
    if (image := image_of(document)) and (ids := Ids([Id(image)])).find(slide, path) is None:
        raise ids.missing(slide, path)
    feature = document if document["type"] == "Feature" else {"type": "Feature", "geometry": document}
    yield from _drafts(feature, "feature 1")


def _drafts(feature: Any, origin: str) -> Iterator[Draft]:
    """A feature, and the nucleus that a cell of QuPath has beside its own outline."""
    if not isinstance(feature, dict) or feature.get("type") != "Feature":
        yield Draft("", Unusable("is not a GeoJSON feature"), origin)
        return
    properties = _parsed(feature.get("properties"))
    properties = properties if isinstance(properties, dict) else {}
    label, kind = _label(properties.get("classification")), _kind(feature, properties)
    yield Draft(label, packed(feature.get("geometry")), origin, properties, kind)
    for holder in (feature, properties):
        if nucleus := _parsed(holder.get("nucleusGeometry")):
            yield Draft(label, packed(nucleus), f"{origin}, nucleus", properties, NUCLEUS)
            return


def _kind(feature: dict[str, Any], properties: dict[str, Any]) -> str:
    """What an object is: as QuPath says it since 0.3, or before in its id."""
    stated = properties.get("objectType") or properties.get("object_type")
    if not isinstance(stated, str):
        older = re.fullmatch(r"(?:Path)?(\w+)Object", str(feature.get("id")))
        stated = {"TMACore": "tma_core"}.get(older[1], older[1]) if older else FOUND
    return stated.strip().lower()


def _label(classification: Any) -> str:
    """The class of a feature: a text, or QuPath's object with a name or the names of a derived class."""
    classification = _parsed(classification)
    if isinstance(classification, dict):
        classification = classification.get("name") or classification.get("names")
    if isinstance(classification, list):
        classification = ": ".join(map(str, classification))
    return classification.strip() if isinstance(classification, str) else ""


def _parsed(value: Any) -> Any:
    """A value; what programs without nested values write as text of JSON, as what it stands for."""
    if isinstance(value, str) and value.strip()[:1] in ("{", "["):
        with suppress(ValueError, RecursionError):
            return json.loads(value)
    return value
