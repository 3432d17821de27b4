"""Read a slide sheet and say what is wrong with it, row by row; find the files that it names."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unicodedata import normalize

from pydantic import ValidationError

from tilewright.project.rows import FILES, SKIP, Row, Sheet, likely_column, other_name_of, row_place
from tilewright.project.storage import expanded
from tilewright.runtime.errors import Problem, UserError, listed, nearest_name, raise_all
from tilewright.runtime.tables import Record, Table, read_table

NEEDED = ("slide", "image")
COMPARED = 20
UNSET = re.compile(r"\$([A-Za-z_]\w*|\{\w+\})")
"""A variable of the environment that has no value, as it is left in a path."""
"""Missing files for which the names beside them are compared: one costs as much as there are files."""


def read_sheet(path: Path, roots: Sequence[Path], classes: Sequence[str] | None) -> Sheet:
    """Read and check a slide sheet.

    Files that are not there are no error here: they stop the jobs of their slides alone.

    Args:
        path: csv, or tsv by its suffix.
        roots: folders in which images and outlines are looked for.
        classes: names of the config's classes; None: not compared with the column labelled.

    Raises:
        UserError: everything that is wrong with the sheet, row by row; or not a single image is there.
    """
    sheet, problems = examine_sheet(path, roots, classes)
    raise_all(UserError, problems)
    if all("image" in sheet.missing.get(row.slide, ()) for row in sheet):
        absent = list(missing_files(sheet, roots))
        raise UserError(
            [*absent[:3], Problem(str(path), "not one of its images was found.", "Correct data, or the sheet.")]
        )
    return sheet


def examine_sheet(
    path: Path, roots: Sequence[Path], classes: Sequence[str] | None, fixed: Mapping[str, str] | None = None
) -> tuple[Sheet, list[Problem]]:
    """As ``read_sheet``, but return the problems beside the rows that could be read.

    Files that a row names are looked for whatever else is wrong with it; of rows that could be read, missing files
    stand in the sheet. Columns in ``fixed`` have its values in every row, whatever the sheet says.
    """
    table = _table(path)
    problems = list(_doubtful_columns(path, table.header))
    rows: list[Row] = []
    missing: dict[str, dict[str, Path]] = {}
    homes: Counter[tuple[str, str]] = Counter()
    folders = list(dict.fromkeys(map(str, roots)))
    skipped = tuple(each.values["slide"] for each in table.records if each.values.get("role") == SKIP)
    for each in (each for each in table.records if each.values.get("role") != SKIP):
        where, record = row_place(path, each.line, each.values["slide"]), each.values | dict(fixed or {})
        named = {column: record[column] for column in FILES if record.get(column) and "://" not in record[column]}
        places = {column: _find(file, folders) for column, file in named.items()}
        absent = {column: Path(named[column]) for column, place in places.items() if place is None}
        found = {column: place for column, place in places.items() if place is not None}
        homes.update((column, folder) for column, (folder, _) in found.items())
        record.update({column: file for column, (_, file) in found.items()})
        row, wrong = _read(each, record, where, classes)
        problems += wrong
        if row is None:
            problems += [not_found(where, column, file, roots) for column, file in absent.items()]
            continue
        if absent:
            missing[row.slide] = absent
        rows.append(row)
    if len(table.records) == len(skipped):
        what = "the sheet has no rows." if not skipped else "all its slides have the role skip."
        problems.append(Problem(str(path), what, "Add one row for each slide."))
    placed = tuple(_placed(row, missing.get(row.slide, {}), homes, folders) for row in rows)
    sheet = Sheet(path, placed, missing, table.encoding, skipped, tuple(table.header))
    return sheet, problems + list(_problems_between(sheet))


def read_records(path: Path) -> list[dict[str, str]]:
    """The rows of a sheet as texts by column, whatever else is wrong with them.

    Raises:
        UserError: it cannot be read, or a row has more values than there are columns.
    """
    table = _table(path)
    what, remedy = "more values than columns.", "A value that holds commas needs quotes."
    raise_all(UserError, [
        Problem(row_place(path, record.line, record.values["slide"]), what, remedy)
        for record in table.records if record.surplus
    ])  # fmt: skip
    return [record.values for record in table.records]


def missing_files(sheet: Sheet, roots: Sequence[Path]) -> Iterator[Problem]:
    """What is said of files that the sheet names and that are not there."""
    files = ((row, *named) for row in sheet for named in sheet.missing.get(row.slide, {}).items())
    for place, (row, column, file) in enumerate(files):
        yield not_found(sheet.where(row), column, file, roots, compare=place < COMPARED)


def not_found(where: str, column: str, file: Path, roots: Sequence[Path], *, compare: bool = True) -> Problem:
    """What is said of a file that is not there.

    Args:
        where: the row.
        column: the column that names it.
        file: as the sheet names it.
        roots: folders in which it was looked for.
        compare: name the file there whose name is nearest.
    """
    looked = " and in ".join(dict.fromkeys(f"{root.absolute()}/" for root in roots))
    near = _nearest_file(file, roots) if compare else ""
    unset = UNSET.search(str(file))
    told = f"The variable {unset[0]} is not set. " if unset else ""
    remedy = f"{told}Looked in {looked}." + (f" Nearest file there: {near}" if near else "")
    return Problem(where, f'{column} "{file}" not found.', remedy)


def _table(path: Path) -> Table:
    if not path.is_file() and not path.is_dir():
        remedy = (
            "Write it with `tilewright sheet LAYOUT FOLDER --out SHEET`, or name the layout of data by the key layout."
        )
        raise UserError(Problem(str(path.absolute()), "the slide sheet does not exist.", remedy))
    table = read_table(path)
    raise_all(UserError, [_missing_column(path, name, table.header) for name in NEEDED if name not in table.header])
    return table


def _missing_column(path: Path, name: str, header: Sequence[str]) -> Problem:
    found = f"Columns found: {', '.join(header)}." if header else "It has no header."
    near = next((each for each in header if name in (likely_column(each), other_name_of(each))), "")
    remedy = f'Rename the column "{near}", or add one. {found}' if near else found
    return Problem(f"{path}, header", f'the column "{name}" is missing.', remedy)


def _doubtful_columns(path: Path, header: Sequence[str]) -> Iterator[Problem]:
    """Columns that would be kept as the user's own, and are likely meant for one that is missing."""
    for name in header:
        if (meant := likely_column(name)) and meant not in header:
            what = f'did you mean "{meant}"? The column "{name}" means nothing.'
            yield Problem(f"{path}, header", what, f"Rename it to {meant}, or else to something less like it.")


def _read(
    source: Record, record: Mapping[str, str], where: str, classes: Sequence[str] | None
) -> tuple[Row | None, list[Problem]]:
    """A row, and what is wrong with it; a row that is wrong is no row."""
    problems: list[Problem] = []
    row = None
    try:
        row = Row.model_validate(record, context={"classes": classes, "number": source.line})
    except ValidationError as error:
        problems += [_problem(where, each) for each in error.errors()]
    if source.surplus:
        what = f"there are more values than columns: {listed(source.surplus, 3)}."
        problems.append(Problem(where, what, "A value that holds commas needs quotes."))
    return (None if problems else row), problems


def _problem(where: str, error: Any) -> Problem:
    if error["type"] == "missing":
        column = error["loc"][-1]
        return Problem(where, f"{column} is empty.", "Name the slide." if column == "slide" else "Name a file.")
    return Problem(where, error["ctx"]["what"], error["ctx"]["remedy"])


def _find(file: str, folders: Sequence[str]) -> tuple[str, str] | None:
    """The first folder that has a file, and its path there; texts, as objects take longer than the rest of a sheet."""
    for name in dict.fromkeys((file, expanded(file))):
        for folder in folders:
            path = os.path.join(folder, name)  # noqa: PTH118
            if os.path.exists(path):  # noqa: PTH110
                return folder, path
        if not name.isascii():
            for folder in folders:
                if path := _composed_alike(folder, name):
                    return folder, path
    return None


def _composed_alike(folder: str, name: str) -> str:
    """The path in a folder of which each part is that of a name as Unicode composes it; empty: there is none."""
    place = Path(folder)
    for part in Path(name).parts:
        there = place / part
        if not there.exists() and place.is_dir():
            there = next(
                (entry for entry in place.iterdir() if normalize("NFC", entry.name) == normalize("NFC", part)), there
            )
        place = there
    return str(place) if place.exists() else ""


def _placed(row: Row, absent: Mapping[str, Path], homes: Counter[tuple[str, str]], folders: Sequence[str]) -> Row:
    """A row whose missing files lie where those of most other rows do.

    So what a job is told is the same when a file comes and goes, and results that are there are not made again.
    """
    if not absent:
        return row
    every = {folder: sum(homes[column, folder] for column in FILES) for folder in folders}
    home = {column: max(folders, key=lambda folder: (homes[column, folder], every[folder])) for column in absent}
    return row.model_copy(update={column: Path(home[column]) / file for column, file in absent.items()})


def _nearest_file(wanted: Path, roots: Sequence[Path]) -> str:
    folders = [root / wanted.parent for root in roots]
    names = {entry.name: str(entry) for folder in folders if folder.is_dir() for entry in folder.iterdir()}
    return names.get(nearest_name(wanted.name, names), "")


def _problems_between(sheet: Sheet) -> Iterator[Problem]:
    """What is wrong between rows: names used twice, shards that mix groups or roles."""
    seen: dict[str, Row] = {}
    first: dict[str, Row] = {}
    for row in sheet:
        other = seen.setdefault(row.slide.lower(), row)
        if other is not row:
            what = f'slide "{row.slide}" is named in row {other.number} already.'
            yield Problem(sheet.where(row), what, "Give each slide a name of its own; case does not count.")
        start = first.setdefault(row.shard, row)
        for column in ("group", "role"):
            here, there = row.column(column), start.column(column)
            if here != there:
                what = f'shard "{row.shard}" has the {column} "{here}" here and "{there}" in row {start.number}.'
                yield Problem(sheet.where(row), what, "A shard lies in one group and one role; use another shard name.")
