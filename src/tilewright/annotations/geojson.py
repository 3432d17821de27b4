"""GeoJSON, as QuPath writes it: a FeatureCollection, a list of features, one feature, or one bare geometry.

Collections and lists are read feature by feature, whatever their length.
"""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from tilewright.annotations.files import open_text
from tilewright.annotations.geometry import packed
from tilewright.annotations.ids import Id, Ids
from tilewright.annotations.jsonstream import JsonReader
from tilewright.annotations.model import FOUND, NUCLEUS, Draft, Unusable
from tilewright.project.config import Limits
from tilewright.project.naming import Identity
from tilewright.runtime.errors import AnnotationError, Problem

GEOMETRIES = {"Polygon", "MultiPolygon", "GeometryCollection"}
OTHERS = {"images", "annotations", "categories", "geometry", "geometries", "coordinates"}
"""Keys of other documents: a file that has one of them before any features is no collection."""

IMAGES = {"image", "image_name", "imagename", "file_name", "filename"}
"""Members that name an image, whatever their case."""


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


def stream_features(path: Path, limits: Limits, slide: Identity) -> Iterator[Draft]:
    """Drafts of the features of a file of which ``holds_features`` is true, read one by one.

    Where a file names images, what is outlined on that of the slide is taken, and what no image is named for; QuPath's
    files name none.

    Raises:
        AnnotationError: the file is not valid JSON, a list without a single feature, or names other images alone.
    """
    own = ""
    for number, (feature, image) in enumerate(_features(path, limits), start=1):
        if image and not own:
            own = _image_there(path, limits, slide)
        if image in ("", own):
            yield from _drafts(feature, f"feature {number}")


def _image_there(path: Path, limits: Limits, slide: Identity) -> str:
    """What a file calls the image of a slide."""
    images = list(dict.fromkeys(image for _, image in _features(path, limits) if image))
    ids = Ids([Id(image) for image in images])
    place = ids.find(slide, path)
    if place is None:
        raise ids.missing(slide, path)
    return images[place]


def _features(path: Path, limits: Limits) -> Iterator[tuple[Any, str]]:
    """The features of a file, and the image that each is said to be of; empty: none is named."""
    whole = ""
    with open_text(path, limits) as read:
        reader = JsonReader(read, path)
        if reader.peek() == "[":
            yield from ((feature, _image_of(feature)) for feature in _listed(reader, path))
        else:
            for key in reader.members():
                if key == "features":
                    yield from ((feature, _image_of(feature) or whole) for feature in reader.elements())
                else:
                    whole = _image_named({key: reader.value()}) or whole
        reader.finish()


def _listed(reader: JsonReader, path: Path) -> Iterator[Any]:
    known: set[bool] = set()
    for item in reader.elements():
        known.add(isinstance(item, dict) and item.get("type") == "Feature")
        yield item
    if known == {False}:
        raise not_outlines(path)


def _image_of(feature: Any) -> str:
    properties = feature.get("properties") if isinstance(feature, dict) else None
    return _image_named(properties) if isinstance(properties, dict) else ""


def _image_named(members: dict[str, Any]) -> str:
    """The image that some members of JSON name; empty: none."""
    named = (value.strip() for key, value in members.items() if key.lower() in IMAGES and isinstance(value, str))
    return next(named, "")


def not_outlines(path: Path) -> AnnotationError:
    """The error for JSON that is something else."""
    what = "is JSON, but neither GeoJSON, nor COCO, nor the vasculature competition's lines."
    return AnnotationError(Problem(str(path), what, "Export the outlines from QuPath as GeoJSON."))


def is_single(document: Any) -> bool:
    """Whether a parsed file is one feature or one bare geometry."""
    return isinstance(document, dict) and document.get("type") in {"Feature", *GEOMETRIES}


def read_single(document: dict[str, Any]) -> Iterator[Draft]:
    """The draft of a parsed file of which ``is_single`` is true."""
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
