"""GeoJSON, as QuPath writes it: a FeatureCollection, a list of features, one feature, or one bare geometry."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tilewright.annotations.model import Draft, Unusable
from tilewright.runtime.errors import AnnotationError, Problem

GEOMETRIES = {"Polygon", "MultiPolygon", "GeometryCollection"}


def is_geojson(document: Any) -> bool:
    """Whether a parsed file is GeoJSON that may hold outlines."""
    if isinstance(document, list):
        return not document or any(isinstance(item, dict) and item.get("type") == "Feature" for item in document)
    return isinstance(document, dict) and document.get("type") in {"Feature", "FeatureCollection", *GEOMETRIES}


def read_geojson(document: Any, path: Path) -> Iterator[Draft]:
    """Drafts of all features of a parsed file, of which ``is_geojson`` holds.

    Raises:
        AnnotationError: a FeatureCollection without features.
    """
    features = document
    if isinstance(document, dict):
        kind = document["type"]
        features = [document] if kind == "Feature" else [{"type": "Feature", "geometry": document}]
        if kind == "FeatureCollection":
            features = document.get("features")
    if not isinstance(features, list):
        remedy = "Export the outlines from QuPath as GeoJSON, as a FeatureCollection."
        raise AnnotationError(Problem(str(path), "is a FeatureCollection without a list of features.", remedy))
    for number, feature in enumerate(features, start=1):
        yield _draft(feature, f"feature {number}")


def _draft(feature: Any, origin: str) -> Draft:
    if not isinstance(feature, dict) or feature.get("type") != "Feature":
        return Draft("", Unusable("is not a GeoJSON feature"), origin)
    properties = feature.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    return Draft(_label(properties.get("classification")), feature.get("geometry"), origin, properties)


def _label(classification: Any) -> str:
    """The class of a feature: a text, or QuPath's object with a name or the names of a derived class."""
    if isinstance(classification, dict):
        names = classification.get("names")
        derived = ": ".join(map(str, names)) if isinstance(names, list) else ""
        classification = classification.get("name") or derived
    return classification.strip() if isinstance(classification, str) else ""
