"""Tables of run lengths (csv, tsv): one row a slide or one row an object, as in Kaggle's competitions.

Columns are found by name, whatever their case: the id (``id``, ``ImageId`` ..., else the first), the run lengths
(``rle``, ``annotation``, ``EncodedPixels`` ...), and if there are any the class and the image's height and width.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tilewright.annotations.files import load_table, names_slide, no_outlines
from tilewright.annotations.model import Draft, Unusable
from tilewright.annotations.traced import area_of_runs, parts_of_runs
from tilewright.pixels.grid import Size
from tilewright.pixels.rle import decode_column_major, decode_row_major
from tilewright.pixels.runs import Runs
from tilewright.project.config import Annotations
from tilewright.runtime.errors import AnnotationError, DataError, Problem

IDS = ("id", "imageid", "image_id", "slide", "image", "filename", "file_name")
CODES = ("rle", "encoding", "encodedpixels", "annotation", "predicted", "expected")
LABELS = ("class", "label", "cell_type", "type")
EMPTY = {"", "nan", "-1"}


def read_run_lengths(path: Path, slide: str, size: Size, options: Annotations) -> Iterator[Draft]:
    """A draft for each object of a slide: its rows, or the connected parts of its only row.

    Raises:
        AnnotationError: there is no column of run lengths, no row of the slide, or the sizes differ.
    """
    table = load_table(path)
    columns = list(table.columns)
    code = _column(columns, CODES)
    if not code:
        what = f"has no column of run lengths. Columns found: {', '.join(columns)}."
        raise AnnotationError(Problem(str(path), what, f"Name one of {', '.join(CODES)}."))
    identity = _column(columns, IDS) or columns[0]
    mine = table[[names_slide(value, slide) for value in table[identity]]]
    if mine.empty:
        raise no_outlines(path, slide, table[identity])
    label = _column(columns, LABELS)
    for position, row in zip(mine.index, mine.to_dict("records"), strict=True):
        origin = f"row {position + 2}"
        _check_size(row, size, f"{path}, {origin}")
        if row[code].strip().lower() not in EMPTY:
            yield from _drafts(
                row[code], row[label].strip() if label else "", origin, size, options, whole=len(mine) == 1
            )


def _column(columns: list[str], names: tuple[str, ...]) -> str:
    return next((name for name in names if name in columns), "")


def _check_size(row: Mapping[Any, str], size: Size, where: str) -> None:
    """A row that states another size than the image's was encoded on another image."""
    for name, pixels in (("width", size.width), ("height", size.height)):
        if row.get(name, "") not in {"", str(pixels), f"{pixels}.0"}:
            what = f"the {name} is {row[name]} here, but the slide's is {pixels} pixels."
            raise AnnotationError(Problem(where, what, "Run lengths mean nothing on an image of another size."))


def _drafts(text: str, label: str, origin: str, size: Size, options: Annotations, *, whole: bool) -> Iterator[Draft]:
    decode = decode_column_major if options.rle_order == "column_major" else decode_row_major
    yield from drafts_of_runs(lambda: decode(text, size.height, size.width), label, origin, parts=whole)


def drafts_of_runs(decode: Callable[[], Runs], label: str, origin: str, *, parts: bool) -> Iterator[Draft]:
    """The outline of encoded pixels, or of each connected part of them; an unusable draft if they cannot be decoded."""
    try:
        runs = decode()
        if not parts:
            yield Draft(label, area_of_runs(runs), origin)
            return
    except DataError as error:
        problem = error.problems[0]
        yield Draft(
            label, Unusable(f"cannot be decoded: {' '.join((problem.what, problem.remedy)).strip(' .')}"), origin
        )
        return
    except Unusable as reason:
        yield Draft(label, reason, origin)
        return
    for number, area in enumerate(parts_of_runs(runs), start=1):
        yield Draft(label, area, f"{origin}, part {number}")
