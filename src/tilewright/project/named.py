"""Slides that somebody names on the command line: images, folders, patterns, or a sheet; all to be predicted."""

import csv
import glob
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tilewright.project.folders import images_in
from tilewright.project.naming import unique_names
from tilewright.project.rows import SKIP, Row
from tilewright.project.sheetfile import examine_sheet, missing_files
from tilewright.runtime.errors import Problem, UserError, raise_all

COLUMNS = ("slide", "image", "role", "group", "shard", "region", "mpp", "white")
SHEETS = (".csv", ".tsv")
ASIDE = {"role": "test", "annotations": "", "anatomy": "", "labelled": "", "group": "all"}
"""What a sheet says beside that does not count: its slides are predicted, whatever else they are for."""


def sheet_of(rows: Iterable[Row], skipped: Iterable[str] = ()) -> str:
    """The text of the slide sheet of some slides that are to be predicted, and of others that are left out."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        region = ",".join(map(str, row.region)) if row.region else ""
        mpp, white = ("" if value is None else value for value in (row.mpp, row.white))
        writer.writerow((row.slide, row.image, "test", row.shard, row.shard, region, mpp, white))
    writer.writerows((slide, "", SKIP, "", "", "", "", "") for slide in skipped)
    return stream.getvalue()


def named_slides(named: Sequence[str]) -> tuple[list[Row], list[str]]:
    """The slides of images, folders of images and patterns, or those of one sheet; and those that it skips.

    Args:
        named: files, folders, patterns such as ``scans/*.svs``; or a csv or tsv with the columns slide and image, and
            region, mpp, white, shard, role (skip) where they are needed.

    Raises:
        UserError: what is not there, everything at once; or there is no image at all.
    """
    sheets = [text for text in named if Path(text).suffix.lower() in SHEETS]
    if sheets and len(named) > 1:
        what = "is a sheet, beside which no other images can be named."
        raise UserError(Problem(sheets[0], what, "Add the images to the sheet, or leave it out."))
    return _of_sheet(Path(sheets[0])) if sheets else (list(_of_images(named)), [])


def _of_sheet(path: Path) -> tuple[list[Row], list[str]]:
    roots = [path.parent, Path()]
    sheet, problems = examine_sheet(path, roots, None, ASIDE)
    raise_all(UserError, [*problems, *missing_files(sheet, roots)])
    return [row.model_copy(update={"image": _whole(row.image)}) for row in sheet], list(sheet.skipped)


def _of_images(named: Sequence[str]) -> Iterator[Row]:
    images: dict[Path, None] = {}
    problems = []
    for text in named:
        found = list(_images_of(text))
        images |= dict.fromkeys(map(_whole, found))
        if not found:
            folder = Path(text).is_dir()
            what = "holds no image." if folder else "there is no such image."
            problems.append(Problem(text, what, "Name images, a folder of them, a pattern in quotes, or a sheet."))
    raise_all(UserError, problems)
    for image, name in zip(images, unique_names(list(images)), strict=True):
        yield Row.model_validate({"slide": name, "image": str(image), "role": "test"})


def _images_of(text: str) -> Iterator[Path]:
    path = Path(text).expanduser()
    if path.is_dir():
        yield from images_in(path)
    elif path.exists():
        yield path
    else:
        yield from (Path(found) for found in sorted(glob.glob(str(path))))  # noqa: PTH207 - a whole path may be a pattern


def _whole(path: Path) -> Path:
    return path if "://" in str(path) else path.absolute()
