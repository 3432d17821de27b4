"""Objects as gzipped GeoJSON for QuPath: a FeatureCollection, written feature by feature.

Coordinates are x before y in pixels of the whole image, where pixel 0, 0 reaches from 0 to 1. The id of an object
is the same in each file of its slide, so that QuPath can replace it.
"""

import gzip
import io
import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from tilewright.project.config.results import ExportedKind
from tilewright.runtime.atomic import atomic_path

LEVEL = 5
"""Of gzip: half the time of 6, and outlines along pixels come out no larger."""

NAMESPACE = uuid.UUID("6d1c1f0e-58c3-4f0b-9c55-1b0c8d5a7e42")
"""Of the ids of objects; another one makes all of them other objects."""


class FeatureWriter:
    """Writes features one a line; made by ``feature_writer``."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._before = stream, "\n"

    def write(self, feature: Mapping[str, Any]) -> None:
        """Append a feature."""
        self._stream.write(self._before + json.dumps(feature, separators=(",", ":")))
        self._before = ",\n"


@contextmanager
def feature_writer(path: Path) -> Iterator[FeatureWriter]:
    """Create a gzipped FeatureCollection, whole or not at all; the same features give the same bytes."""
    with (
        atomic_path(path) as private,
        private.open("wb") as file,
        gzip.GzipFile("", "wb", compresslevel=LEVEL, fileobj=file, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="\n") as stream,
    ):
        stream.write('{"type":"FeatureCollection","features":[')
        yield FeatureWriter(stream)
        stream.write("\n]}\n")


def object_id(slide: str, name: str, x: int, y: int) -> str:
    """The id of an object: a UUID that follows from whose it is and where it lies.

    Args:
        slide: its slide.
        name: its class.
        x: column of the first pixel of its first row, in the whole image; no other object of the class has it.
        y: that row.
    """
    return str(uuid.uuid5(NAMESPACE, json.dumps([slide, name, x, y])))


def path_object(
    kind: ExportedKind,
    identity: str,
    geometry: dict[str, Any],
    name: str,
    color: str,
    measurements: dict[str, float],
) -> dict[str, Any]:
    """A Feature that QuPath reads as an object.

    Args:
        kind: what it is there.
        identity: its UUID.
        geometry: a GeoJSON geometry.
        name: its class.
        color: colour of the class, "#rrggbb".
        measurements: named numbers shown beside it.
    """
    rgb = [int(color[index : index + 2], 16) for index in (1, 3, 5)]
    properties = {
        "objectType": kind,
        "classification": {"name": name, "color": rgb},
        "measurements": measurements,
    }
    return {"type": "Feature", "id": identity, "geometry": geometry, "properties": properties}
