"""What the readers of layouts share: images in folders, their names, tables beside them, and refusals.

In: a folder of a data set. Out: parts of the records of a slide sheet. Imports nothing heavy.
"""

import re
from pathlib import Path
from typing import Literal, NoReturn

from tilewright.project.naming import IMAGE_SUFFIXES, composed, stems, valid_name
from tilewright.project.zipped import outlines_inside
from tilewright.runtime.errors import Problem, UserError
from tilewright.runtime.tables import read_table

Layout = Literal["kidney", "vasculature", "sartorius", "dsb2018", "qupath"]
Record = dict[str, str]
"""A row of the sheet to be: values by column."""
SHARD = 32
"""Images that share a shard, at most, where a layout fills shards."""
OUTLINES = (".geojson", ".json", ".geojson.gz", ".json.gz", ".geojson.zip", ".json.zip", ".zip")
"""How files of outlines end that lie beside images, in lower case, and which one counts where there are several."""
SERIES, DICOM_HEAD = re.compile(rb"\x20\0\x0e\0UI..([0-9.]+\0?)", re.DOTALL), 1 << 16
"""Where a file of DICOM names its series, and the bytes at its beginning that are searched for it."""
UNLABELLED = "unlabelled"
"""In place of the role, of an image among those for training that has no complete outlines."""


def train_and_test(folder: Path, layout: Layout, suffix: str) -> list[tuple[str, Path]]:
    """The images of the folders ``train`` and ``test``, with the folder's name."""
    found = [(role, image) for role in ("train", "test") for image in images_in(folder / role)]
    if not found:
        refuse(folder, layout, f"train/*{suffix} and test/*{suffix}")
    return found


def images_in(folder: Path) -> list[Path]:
    """The images in a folder, by how their names end, in the order of their names; none where there is no folder.

    Of a slide of DICOM, whose levels are files of one series, the largest file stands for all.
    """
    if not folder.is_dir():
        return []
    images = sorted(entry for entry in folder.iterdir() if is_image(entry) and entry.is_file())
    series: dict[bytes, list[Path]] = {}
    for image in images:
        if image.suffix.lower() == ".dcm" and (uid := _series_of(image)):
            series.setdefault(uid, []).append(image)
    levels = {level for files in series.values() for level in files}
    largest = {max(files, key=lambda file: file.stat().st_size) for files in series.values()}
    return [image for image in images if image not in levels or image in largest]


def _series_of(image: Path) -> bytes:
    """The UID of the series that a file of DICOM belongs to; empty where its beginning does not tell."""
    with image.open("rb") as stream:
        found = SERIES.search(stream.read(DICOM_HEAD))
    return found[1].rstrip(b"\0 ") if found else b""


def is_image(path: Path) -> bool:
    """Whether a file is an image by its name; those that systems hide, such as ``._a.tif``, are none."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(path.name)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is one that systems hide."""
    return name.startswith(".")


def outlines_ending(path: Path) -> str:
    """How the name of a file of outlines ends, one of ``OUTLINES``; empty: it is none."""
    ending = next((suffix for suffix in OUTLINES if path.name.lower().endswith(suffix)), "")
    if is_hidden(path.name) or (path.suffix.lower() == ".zip" and len(outlines_inside(path)) != 1):
        return ""
    return ending


class OutlineFiles:
    """The files of outlines in a folder, by their names without endings; of two of one name the first kind counts."""

    def __init__(self, folder: Path) -> None:
        kinds: dict[str, tuple[int, Path]] = {}
        for entry in sorted(folder.iterdir()) if folder.is_dir() else ():
            if (ending := outlines_ending(entry)) and entry.is_file():
                name, kind = composed(entry.name[: -len(ending)]), OUTLINES.index(ending)
                kinds[name] = min(kinds.get(name, (kind, entry)), (kind, entry))
        self._files = {name: entry for name, (_, entry) in kinds.items()}
        self._lowered: dict[str, list[Path]] = {}
        for name, entry in self._files.items():
            self._lowered.setdefault(name.lower(), []).append(entry)

    def of(self, image: Path) -> Path | None:
        """The file with the name of an image, with its ending or without; the case counts where several are alike."""
        names = dict.fromkeys((composed(image.name), *stems(image.name)))
        exact = (self._files[name] for name in names if name in self._files)
        alike = (self._lowered.get(name.lower(), []) for name in names)
        return next(exact, None) or next((files[0] for files in alike if len(files) == 1), None)


def safe_name(name: str) -> str:
    """A name that the sheet takes, with underscores for what it does not."""
    return valid_name(name) or "unnamed"


def relative(path: Path, folder: Path) -> str:
    """A file as the sheet names it, from the folder of the data set."""
    return path.relative_to(folder).as_posix()


def rows_of(path: Path, *needed: str) -> list[Record]:
    """Rows of a csv; none where there is no file.

    Args:
        path: the file.
        needed: columns without which it is of no use.

    Raises:
        UserError: it cannot be read, or a column is missing.
    """
    if not path.is_file():
        return []
    table = read_table(path)
    if missing := [name for name in needed if name not in table.header]:
        what = f"has no column {' and no column '.join(missing)}; it has {', '.join(table.header) or 'none'}."
        raise UserError(Problem(str(path), what, "Name the column so; or move the file away."))
    return [record.values for record in table.records]


def refuse(folder: Path, layout: Layout, looked: str) -> NoReturn:
    """Say that a folder does not have a layout, and what was looked for."""
    what = f"does not have the layout {layout}: not found: {looked}."
    raise UserError(Problem(str(folder), what, "Name the folder that holds these, or another layout."))
