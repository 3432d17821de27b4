"""Tables of run lengths (csv, tsv): one row a slide or one row an object, as in Kaggle's competitions.

Columns are found by name, whatever their case: the id (``id``, ``ImageId`` ..., else the first), the run lengths
(``rle``, ``annotation``, ``EncodedPixels`` ...), and if there are any the class and the image's height and width.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from tilewright.annotations.files import load_table
from tilewright.annotations.ids import Id
from tilewright.annotations.model import Draft, Unusable
from tilewright.annotations.shared import Grouped
from tilewright.annotations.traced import areas_of_masks, parts_of_runs
from tilewright.pixels.grid import Size
from tilewright.pixels.rle import decode_column_major, decode_row_major
from tilewright.pixels.runs import Runs
from tilewright.project.config import Annotations, Limits
from tilewright.runtime.errors import AnnotationError, DataError, Problem

IDS = ("id", "imageid", "image_id", "slide", "image", "filename", "file_name")
CODES = ("rle", "encoding", "encodedpixels", "annotation", "predicted", "expected")
LABELS = ("class", "label", "cell_type", "type")
SIZES = ("width", "height")
EMPTY = {"", "nan", "-1"}
TABLE = "table"
TOGETHER = 64
"""Objects that are outlined together, which takes less time than one by one."""


def group_table(path: Path, limits: Limits) -> Grouped:
    """The rows of each id: number, run lengths, label, and width and height as far as they are told.

    Raises:
        AnnotationError: there is no column of run lengths, or none of ids.
    """
    table = load_table(path, limits)
    columns = {name.lower(): name for name in table.header}
    code = _column(columns, CODES)
    identity = _column(columns, IDS) or next(iter(table.header), "")
    if not code or identity == code:
        what = (
            f"has no column of {'ids' if code else 'run lengths'}. Columns found: {', '.join(table.header) or 'none'}."
        )
        raise AnnotationError(Problem(str(path), what, f"Name one of {', '.join(IDS if code else CODES)}."))
    told = [_column(columns, names) for names in (LABELS, *((size,) for size in SIZES))]
    rows: dict[str, list[Any]] = {}
    for record in table.records:
        cells = [record.values.get(name, "") for name in (code, *told)]
        rows.setdefault(record.values[identity], []).append((record.line, *cells))
    return Grouped(TABLE, [Id(name) for name in rows], list(rows.values()))


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
        _check_size(stated, size, f"{path}, row {number}")
        if code.strip().lower() not in EMPTY:
            yield code, label.strip(), f"row {number}"


def _column(columns: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((columns[name] for name in names if name in columns), "")


def _check_size(stated: Sequence[str], size: Size, where: str) -> None:
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
