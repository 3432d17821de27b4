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
from tilewright.annotations.jsonstream import JsonReader
from tilewright.annotations.model import FOUND, NUCLEUS, Draft, Unusable
from tilewright.project.config import Limits
from tilewright.runtime.errors import AnnotationError, Problem

GEOMETRIES = {"Polygon", "MultiPolygon", "GeometryCollection"}
OTHERS = {"images", "annotations", "categories", "geometry", "geometries", "coordinates"}
"""Keys of other documents: a file that has one of them before any features is no collection."""


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


def stream_features(path: Path, limits: Limits) -> Iterator[Draft]:
    """Drafts of the features of a file of which ``holds_features`` is true, read one by one.

    Raises:
        AnnotationError: the file is not valid JSON, or a list without a single feature.
    """
    with open_text(path, limits) as read:
        reader = JsonReader(read, path)
        if reader.peek() == "[":
            yield from _listed(reader, path)
        else:
            for key in reader.members():
                if key == "features":
                    for number, feature in enumerate(reader.elements(), start=1):
                        yield from _drafts(feature, f"feature {number}")
                else:
                    reader.value()
        reader.finish()


def _listed(reader: JsonReader, path: Path) -> Iterator[Draft]:
    count = known = 0
    for count, item in enumerate(reader.elements(), start=1):
        known += isinstance(item, dict) and item.get("type") == "Feature"
        yield from _drafts(item, f"feature {count}")
    if count and not known:
        raise not_outlines(path)


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
