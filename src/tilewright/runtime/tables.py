"""Tables as people make them: csv of any program, separator and encoding.

In: a file. Out: its header and its rows as texts, with the lines that they end in. Imports nothing heavy.
"""

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from tilewright.runtime.errors import Problem, UserError, listed

Encoding = Literal["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
SEPARATORS = (",", ";", "\t", "|")
LONGEST = 2**31 - 1
"""Characters that a value may have; the csv module's own limit is shorter than a mask in run lengths."""
NO_NAME = re.compile(r"(Unnamed: \d+)?")
"""The header of a column without a name, in a file or as pandas writes one that it has read."""
SAVE = "Save it as CSV UTF-8 (in Excel and LibreOffice: Save As) and name that file."
PACKED = {
    b"PK\x03\x04": "is a workbook of Excel or LibreOffice (or another zip), not a table as text.",
    b"\xd0\xcf\x11\xe0": "is a workbook of an old Excel, not a table as text.",
    b"\x1f\x8b": "is packed by gzip.",
}
"""How files begin that are no text, and what is said of them."""
MARKS: dict[bytes, Encoding] = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True)
class Record:
    """A row of a table.

    Attributes:
        line: number of the line that it ends in, from 1; the header's is counted.
        values: texts by column, without blanks around them; empty where the row is too short.
        surplus: values beyond the header that are not empty.
    """

    line: int
    values: dict[str, str]
    surplus: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table as text.

    Attributes:
        header: names of the columns, without those that have none, such as the index that pandas writes.
        records: the rows that are not empty.
        encoding: how it was read; cp1252 is a guess, for what is no UTF-8.
    """

    header: tuple[str, ...]
    records: tuple[Record, ...]
    encoding: Encoding


def read_table(path: Path) -> Table:
    """Read a csv or tsv: separated by commas, semicolons, tabs or bars, in UTF-8, UTF-16, UTF-32 or Windows-1252.

    Raises:
        UserError: it cannot be read, is no text, or has two columns of one name.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        remedy = "Name the file of the table." if path.is_dir() else "Look at its permissions and at the drive."
        raise UserError(Problem(str(path), f"cannot be read ({error.strerror}).", remedy)) from error
    return table_of(data, path)


def table_of(data: bytes, path: Path) -> Table:
    """As ``read_table``, of the bytes of a file, whose name tells the separator and is told in errors."""
    text, encoding = decoded(data, path)
    header, records = rows_of(io.StringIO(text, newline=""), path)
    return Table(header, tuple(records), encoding)


def rows_of(lines: Iterable[str], path: Path) -> tuple[tuple[str, ...], Iterator[Record]]:
    """The header of a table, as of ``Table``, and its rows, which are read as they are asked for.

    Args:
        lines: of the table, each with its end; a value may go on in the next.
        path: whose name tells the separator and is told in errors.

    Raises:
        UserError: it has two columns of one name; and when rows are asked for, one that is none.
    """
    csv.field_size_limit(LONGEST)
    separator, rest = _separator(iter(lines), is_tsv=".tsv" in path.suffixes)
    reader = csv.reader(rest, delimiter=separator)
    with _valid(reader, path):
        header = [name.strip() for name in next(reader, [])]
    _check_header(header, path)
    return tuple(name for name in header if not NO_NAME.fullmatch(name)), _records(reader, header, path)


@contextmanager
def _valid(reader: Any, path: Path) -> Iterator[None]:
    """Turn what the csv module finds wrong into an error that names the row."""
    try:
        yield
    except csv.Error as error:
        raise UserError(Problem(f"{path}, row {reader.line_num}", f"is no row of a table ({error}).", SAVE)) from error


def decoded(data: bytes, path: Path) -> tuple[str, Encoding]:
    """The text of a table, and its encoding: by its mark, else UTF-8, else what Excel on Windows writes.

    Raises:
        UserError: it is no text.
    """
    refuse_packed(data, path)
    encoding = encoding_of(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        row = data.count(b"\n", 0, error.start) + 1
        what = f"is text neither in UTF-8 nor in Windows-1252 (byte {error.start}, row {row})."
        raise UserError(Problem(str(path), what, SAVE)) from error
    if "\0" in text:
        row = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(Problem(f"{path}, row {row}", "holds bytes that are no text.", SAVE))
    return text, encoding


def refuse_packed(head: bytes, path: Path) -> None:
    """Refuse what is no text by how it begins.

    Raises:
        UserError: it is packed, or a workbook.
    """
    for start, what in PACKED.items():
        if head.startswith(start):
            raise UserError(Problem(str(path), what, SAVE if start != b"\x1f\x8b" else "Unpack it (gunzip)."))


def encoding_of(data: bytes) -> Encoding:
    """The encoding of a text by its mark, by the zeros that UTF-16 has between letters, else by what fits."""
    for mark, encoding in MARKS.items():
        if data.startswith(mark):
            return encoding
    head = data[:200]
    for first, wide in ((0, "utf-16-be"), (1, "utf-16-le")):
        if len(head) > 3 and head[first::2].count(0) > 0.9 * len(head[first::2]):
            return wide  # type: ignore[return-value]
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8-sig"


def _separator(lines: Iterator[str], *, is_tsv: bool) -> tuple[str, Iterator[str]]:
    """The separator, as Excel's first line ``sep=`` says or as most of the header has it; and the lines from it on."""
    line = next(lines, "")
    if stated := re.fullmatch(r'"?sep=(.)"?\s*', line, re.IGNORECASE):
        return stated[1], lines
    counts = {each: len(next(csv.reader([line], delimiter=each), [])) for each in SEPARATORS}
    separator = "\t" if is_tsv and counts["\t"] > 1 else max(SEPARATORS, key=lambda each: counts[each])
    return separator, chain([line], lines)


def _check_header(header: list[str], path: Path) -> None:
    twice = [name for name, count in Counter(header).items() if count > 1 and not NO_NAME.fullmatch(name)]
    if twice:
        what = f"columns are named twice: {listed(twice)}."
        raise UserError(Problem(f"{path}, header", what, "Take one of them out, or give it another name."))


def _records(reader: Any, header: list[str], path: Path) -> Iterator[Record]:
    named = [(place, name) for place, name in enumerate(header) if not NO_NAME.fullmatch(name)]
    with _valid(reader, path):
        for row in reader:
            values = [value.strip() for value in row]
            if any(values):
                found = {name: values[place] if place < len(values) else "" for place, name in named}
                yield Record(reader.line_num, found, tuple(value for value in values[len(header) :] if value))
