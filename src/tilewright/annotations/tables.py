"""Tables of run lengths (csv, tsv): one row a slide or one row an object, as in Kaggle's competitions.

Columns are found by name, whatever their case and with or without underscores: the id (``file_name``, ``ImageId`` ...,
else ``id``, else the first), the run lengths (``rle``, ``annotation``, ``EncodedPixels`` ...), and if there are any the
class (``class``, ``label``, ``ClassId`` ...) and the image's height and width.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from tilewright.annotations.files import load_table
from tilewright.annotations.ids import Id, Ids
from tilewright.annotations.model import Draft, Unusable
from tilewright.annotations.shared import Grouped
from tilewright.annotations.traced import areas_of_masks, parts_of_runs
from tilewright.pixels.grid import Size
from tilewright.pixels.rle import decode_column_major, decode_row_major
from tilewright.pixels.runs import Runs
from tilewright.project.config import Annotations, Limits
from tilewright.project.naming import Identity
from tilewright.runtime.errors import AnnotationError, DataError, Problem
from tilewright.runtime.tables import Table

IDS = (
    "filename", "imagefilename", "imagefile", "imagepath", "imagename", "imgname", "image", "img", "imageid", "imgid",
    "slidename", "slideid", "slide", "id",
)  # fmt: skip
"""Columns of ids, as ``plain_name`` writes them, the surest first: an ``id`` beside another may number rows."""
CODES = ("rle", "encoding", "encodedpixels", "annotation", "predicted", "expected")
LABELS = (
    "class", "classname", "label", "labelname", "category", "categoryname", "celltype", "tissuetype", "type",
    "classification", "classid", "labelid", "categoryid",
)  # fmt: skip
SIZES = ("width", "height")
LIKE_A_CLASS = re.compile("class|label|categ|type")
FEW = 20
"""Values of a column up to which it may be one of classes."""
EMPTY = {"", "nan", "-1"}
TABLE = "table"
TOGETHER = 64
"""Objects that are outlined together, which takes less time than one by one."""


def group_table(path: Path, limits: Limits) -> Grouped:
    """The rows of each id: number, run lengths, label, and width and height as far as they are told.

    What belongs to all: the rows of each id of other columns that could be the ids, and what is to be said of columns.

    Raises:
        AnnotationError: there is no column of run lengths, or none of ids.
    """
    table = load_table(path, limits)
    identity, code, *told = columns_of(table.header, path)
    named = _columns(table.header, IDS)
    rows: dict[str, list[Any]] = {}
    for record in table.records:
        cells = [record.values.get(name, "") for name in (code, *told)]
        rows.setdefault(record.values[identity], []).append((record.line, *cells))
    rivals = {name: _lines(table, name) for name in named[1:] if not _numbers_rows(table, name)}
    unread = [name for name in table.header if name not in {code, *named, identity, *told}] if not told[0] else []
    common = {
        "ids": identity,
        "rivals": rivals,
        "told": _doubt([name for name in unread if _is_class(table, name, rows)]),
    }
    return Grouped(TABLE, [Id(name) for name in rows], list(rows.values()), common)


def columns_of(header: Sequence[str], path: Path, codes: tuple[str, ...] = CODES) -> tuple[str, str, str, str, str]:
    """The columns of ids, run lengths, classes, widths and heights; the last three are empty where there are none.

    Args:
        header: all columns.
        path: the table, for messages.
        codes: what columns of run lengths are called, as ``IDS``.

    Raises:
        AnnotationError: there is no column of run lengths, or none of ids.
    """
    code = next(iter(_columns(header, codes)), "")
    identity = next(iter(_columns(header, IDS)), "") or next(iter(header), "")
    if not code or identity == code:
        what = f"has no column of {'ids' if code else 'run lengths'}. Columns found: {', '.join(header) or 'none'}."
        raise AnnotationError(Problem(str(path), what, "Name one of ImageId, file_name, id; and EncodedPixels or rle."))
    label, width, height = (next(iter(_columns(header, names)), "") for names in (LABELS, *((size,) for size in SIZES)))
    return identity, code, label, width, height


def _lines(table: Table, column: str) -> dict[str, list[int]]:
    """The lines of each value of a column."""
    found: dict[str, list[int]] = {}
    for record in table.records:
        found.setdefault(record.values[column], []).append(record.line)
    return found


def _numbers_rows(table: Table, column: str) -> bool:
    values = [record.values[column] for record in table.records]
    return any(values == [str(number) for number in range(first, first + len(values))] for first in (0, 1))


def _is_class(table: Table, column: str, rows: Mapping[str, Sequence[Any]]) -> bool:
    """Whether a column could be one of classes: by its name, or as few values differ between objects of an image."""
    if LIKE_A_CLASS.search(plain_name(column)):
        return True
    value = {record.line: record.values[column] for record in table.records}
    if not 1 < len(set(value.values())) <= FEW:
        return False
    return any(len({value[line] for line, *_ in entries}) > 1 for entries in rows.values())


def _doubt(columns: Sequence[str]) -> str:
    if not columns:
        return ""
    named = " and ".join(f'"{name}"' for name in columns[:5])
    return f'the class of its outlines is not told: {named} may be it, and is not read. Call it "class" if so.'


def refuse_rivals(common: Any, who: Identity, path: Path, rows: Sequence[Sequence[Any]] | None) -> None:
    """Refuse a table of which two columns could be the ids of a slide, and name other rows.

    Args:
        common: what belongs to all ids of the table.
        who: the slide.
        path: the table.
        rows: those that the chosen column gives the slide; None: none.

    Raises:
        AnnotationError: it is not certain which rows are the slide's.
    """
    own = [row[0] for row in rows or ()]
    for column, lines in common["rivals"].items():
        names = list(lines)
        place = Ids([Id(name) for name in names]).find(who, path)
        if place is not None and (others := lines[names[place]]) != own:
            here = f"row {own[0]}" if own else "no row"
            what = (
                f'the column "{common["ids"]}" gives slide {who.slide} {here}, the column "{column}" row {others[0]}.'
            )
            remedy = "Keep the one that names images, or rename the other so that it is no id."
            raise AnnotationError(Problem(str(path), what, remedy))


def read_run_lengths(rows: Sequence[Sequence[Any]], path: Path, size: Size, options: Annotations) -> Iterator[Draft]:
    """A draft for each object of a slide: its rows, or the connected parts of its only row.

    Raises:
        AnnotationError: the sizes differ.
    """
    decode = decode_column_major if options.rle_order == "column_major" else decode_row_major
    encoded = (
        (partial(decode, code, size.height, size.width), label, origin)
        for code, label, origin in _encoded(rows, path, size)
    )
    if len(rows) == 1:
        for pixels, label, origin in encoded:
            yield from drafts_of_runs(pixels, label, origin, parts=True)
    while batch := list(islice(encoded, TOGETHER)):
        masks = [decoded(pixels) for pixels, _, _ in batch]
        areas = areas_of_masks([mask for mask in masks if isinstance(mask, Runs)])
        for (_, label, origin), mask in zip(batch, masks, strict=True):
            yield Draft(label, next(areas) if isinstance(mask, Runs) else mask, origin)


def _encoded(rows: Sequence[Sequence[Any]], path: Path, size: Size) -> Iterator[tuple[str, str, str]]:
    """Run lengths, label and origin of the rows that are not empty."""
    for number, code, label, *stated in rows:
        check_size(stated, size, f"{path}, row {number}")
        if code.strip().lower() not in EMPTY:
            yield code, label.strip(), f"row {number}"


def _columns(header: Sequence[str], names: tuple[str, ...]) -> list[str]:
    """The columns that have one of some names, in the order of these."""
    return [column for name in names for column in header if plain_name(column) == name]


def plain_name(column: str) -> str:
    """The name of a column in lower case, without what stands between words."""
    return re.sub(r"[\s_-]", "", column.lower())


def check_size(stated: Sequence[str], size: Size, where: str) -> None:
    """A row that states another size than the image's was encoded on another image."""
    for name, told, pixels in zip(SIZES, stated, size, strict=True):
        if told not in {"", str(pixels), f"{pixels}.0"}:
            what = f"the {name} is {told} here, but the slide's is {pixels} pixels."
            raise AnnotationError(Problem(where, what, "Run lengths mean nothing on an image of another size."))


def drafts_of_runs(decode: Callable[[], Runs], label: str, origin: str, *, parts: bool) -> Iterator[Draft]:
    """The outline of encoded pixels, or of each connected part of them; an unusable draft if they cannot be decoded."""
    mask = decoded(decode)
    if isinstance(mask, Unusable):
        yield Draft(label, mask, origin)
    elif parts:
        for number, area in enumerate(parts_of_runs(mask), start=1):
            yield Draft(label, area, f"{origin}, part {number}")
    else:
        yield Draft(label, next(areas_of_masks([mask])), origin)


def decoded(decode: Callable[[], Runs]) -> Runs | Unusable:
    """Encoded pixels, or why there are none."""
    try:
        runs = decode()
    except DataError as error:
        problem = error.problems[0]
        return Unusable(f"cannot be decoded: {' '.join((problem.what, problem.remedy)).strip(' .')}")
    return runs if len(runs) else Unusable("has no pixels")
