"""A zip with one file of outlines, as QuPath exports it where "compress" is ticked."""

import zipfile
from pathlib import Path, PurePosixPath

from tilewright.runtime.errors import AnnotationError, Problem

INSIDE = (".geojson", ".json", ".jsonl", ".ndjson")
"""How files of outlines in a zip end."""


def outlines_inside(path: Path) -> list[str]:
    """Names of the files of outlines in a zip, without hidden ones; none where it is no zip."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [PurePosixPath(name) for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile):
        return []
    seen = (name for name in names if not any(part.startswith((".", "__MACOSX")) for part in name.parts))
    return [str(name) for name in seen if name.suffix.lower() in INSIDE]


def only_inside(path: Path) -> str:
    """The name of the one file of outlines in a zip.

    Raises:
        AnnotationError: there is none, or there are several.
    """
    names = outlines_inside(path)
    if len(names) != 1:
        what = f"is a zip with {len(names)} files of outlines ({', '.join(names[:3])})." if names else _why(path)
        remedy = "Unpack it and name a file in the sheet, or export one GeoJSON for each slide."
        raise AnnotationError(Problem(str(path), what, remedy))
    return names[0]


def _why(path: Path) -> str:
    if zipfile.is_zipfile(path):
        return f"is a zip without a file of outlines ({', '.join(INSIDE)})."
    return "is no zip that can be read; it may be cut off."
