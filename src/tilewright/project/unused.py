"""What a folder holds that its sheet does not use: images and files of outlines, in folders below as well."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tilewright.project.folders import Record, is_hidden, is_image, outlines_ending
from tilewright.project.storage import expanded
from tilewright.project.zipped import outlines_inside
from tilewright.runtime.atomic import MARKS
from tilewright.runtime.errors import listed

FOREIGN = (".gif", ".nd2", ".vsi", ".lif", ".heic", ".ome.zarr", ".zarr", ".oir", ".oib", ".lsm")
"""How images end that are not read."""
LINES = (".jsonl", ".ndjson")


class Unused(NamedTuple):
    """Files of a folder that no row names, from the folder.

    Attributes:
        outlines: files of outlines.
        images: images.
        foreign: images of kinds that are not read.
    """

    outlines: list[str]
    images: list[str]
    foreign: list[str]

    @classmethod
    def of(cls, folder: Path, records: Iterable[Record], roots: Sequence[Path]) -> "Unused":
        """Compare a folder with the rows of its sheet.

        Args:
            folder: the folder.
            records: the rows.
            roots: folders from which rows name their files.
        """
        named = {
            os.path.realpath(root / expanded(record[column]))
            for record in records
            for column in ("image", "annotations", "anatomy")
            if record.get(column)
            for root in roots
        }
        left = [path for path in _files(folder) if os.path.realpath(path) not in named]
        return cls(
            [_from(path, folder) for path in left if _has_outlines(path)],
            [_from(path, folder) for path in left if is_image(path)],
            [_from(path, folder) for path in left if path.name.lower().endswith(FOREIGN)],
        )

    def told(self) -> Iterator[str]:
        """A line for each kind of which there are some."""
        if self.outlines:
            yield f"files of outlines without a slide ({len(self.outlines)}): {listed(self.outlines)}"
        if self.images:
            yield f"images that are no slides of the sheet ({len(self.images)}): {listed(self.images)}"
        if self.foreign:
            yield f"images of kinds that are not read, to export as TIFF ({len(self.foreign)}): {listed(self.foreign)}"


def _has_outlines(path: Path) -> bool:
    """Whether a file is one of outlines, or a zip with several, of which a slide can have none."""
    if outlines_ending(path) or path.suffix.lower() in LINES:
        return True
    return path.suffix.lower() == ".zip" and len(outlines_inside(path)) > 1


def _files(folder: Path) -> Iterator[Path]:
    """The files of a folder and those below; hidden ones and what steps of this project wrote are passed over."""
    for place, below, names in os.walk(folder):
        if any(mark in names for mark in MARKS):
            below.clear()
            continue
        below[:] = sorted(name for name in below if not is_hidden(name))
        yield from (Path(place) / name for name in sorted(names) if not is_hidden(name))


def _from(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
