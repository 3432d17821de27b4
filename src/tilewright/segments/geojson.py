"""Objects as gzipped GeoJSON for QuPath: a FeatureCollection, written feature by feature.

Coordinates are x before y in pixels of the whole image, where pixel 0, 0 reaches from 0 to 1.
"""

import gzip
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from tilewright.runtime.atomic import atomic_path

LEVEL = 5
"""Of gzip: half the time of 6, and outlines along pixels come out no larger."""


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


def annotation(geometry: dict[str, Any], name: str, color: str, measurements: dict[str, float]) -> dict[str, Any]:
    """A Feature that QuPath reads as an annotation.

    Args:
        geometry: a GeoJSON geometry.
        name: its class.
        color: colour of the class, "#rrggbb".
        measurements: named numbers shown beside it.
    """
    rgb = [int(color[index : index + 2], 16) for index in (1, 3, 5)]
    properties = {
        "objectType": "annotation",
        "classification": {"name": name, "color": rgb},
        "measurements": measurements,
    }
    return {"type": "Feature", "geometry": geometry, "properties": properties}
