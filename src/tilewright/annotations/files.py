"""Files of outlines as text, tables and JSON, with errors that name the line.

Files may be gzipped, or be the one file of outlines in a zip.
"""

import codecs
import gzip
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from tilewright.project.config import Limits
from tilewright.project.zipped import only_inside, outlines_inside
from tilewright.runtime.errors import AnnotationError, Problem, UserError
from tilewright.runtime.failures import remedy_for
from tilewright.runtime.tables import Table, encoding_of, table_of

BYTES_PER_VERTEX = 64
HEAD = 400
"""Bytes by which the encoding of a text is known."""


def suffix_of(path: Path) -> str:
    """The suffix that tells the format, in lower case and without .gz; of a zip with one file of outlines, theirs."""
    if path.suffix.lower() == ".zip" and len(names := outlines_inside(path)) == 1:
        return Path(names[0]).suffix.lower()
    return Path(path.stem if path.suffix.lower() == ".gz" else path.name).suffix.lower()


def read_bytes(path: Path, limits: Limits) -> bytes:
    """The bytes of a file, unpacked if it is gzipped.

    Raises:
        AnnotationError: the file cannot be read, or holds more than ``limits.max_vertices`` vertices could take.
    """
    most = limits.max_vertices * BYTES_PER_VERTEX + 1_000_000
    with _readable(path), _unpacked(path) as stream:
        data: bytes = stream.read(most + 1)
    if len(data) > most:
        raise _too_large(path, most, limits)
    return data


@contextmanager
def open_text(path: Path, limits: Limits) -> Iterator[Callable[[int], str]]:
    """A function that reads the next characters of a file, unpacked if it is gzipped; empty text at its end.

    Raises:
        AnnotationError: as of ``read_bytes``, when it is read; or the file is not text in UTF-8.
    """
    most = limits.max_vertices * BYTES_PER_VERTEX + 1_000_000
    with _readable(path), _unpacked(path) as stream:
        left, first = most, stream.read(HEAD)
        decoder = codecs.getincrementaldecoder(_encoding(first))()

        def read(count: int) -> str:
            nonlocal left, first
            with _readable(path):
                data, first = first or stream.read(count), b""
                left -= len(data)
                if left < 0:
                    raise _too_large(path, most, limits)
                text = decoder.decode(data, final=not data)
                return text if text or not data else read(count)

        yield read


@contextmanager
def _unpacked(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, or of what is in it."""
    match path.suffix.lower():
        case ".gz":
            with gzip.open(path) as unpacked:
                yield cast("IO[bytes]", unpacked)
        case ".zip":
            with zipfile.ZipFile(path) as archive, _inside(archive, only_inside(path)) as stream:
                yield stream
        case _:
            with path.open("rb") as stream:
                yield stream


def _inside(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    try:
        return archive.open(name)
    except RuntimeError as error:  # it asks for a password, or is packed in a way that is not known
        raise zipfile.BadZipFile(str(error)) from error


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        remedy = remedy_for(error, "Copy the file again.")
        raise AnnotationError(Problem(str(path), f"cannot be read ({error}).", remedy)) from error
    except UnicodeDecodeError as error:
        what = f"is not text in UTF-8 (byte {error.start}), but perhaps in Windows-1252 or Latin-1."
        raise AnnotationError(Problem(str(path), what, "Save or export the file again, as UTF-8.")) from error


def _encoding(head: bytes) -> str:
    """The encoding of a text by how it begins: UTF-8, unless a mark or the zeros of UTF-16 say otherwise."""
    found = encoding_of(head)
    return "utf-8-sig" if found == "cp1252" else found


def in_utf8(data: bytes) -> bytes:
    """The bytes of a text in UTF-8, whose encoding its beginning tells."""
    encoding = _encoding(data[:HEAD])
    return data if encoding == "utf-8-sig" else data.decode(encoding, errors="replace").encode()


def _too_large(path: Path, most: int, limits: Limits) -> AnnotationError:
    what = f"holds more than {most} bytes, more than limits.max_vertices ({limits.max_vertices}) vertices take."
    return AnnotationError(Problem(str(path), what, "Raise the limit if the file is meant to be so large."))


def parse_json(data: bytes, path: Path, first_line: int = 1) -> Any:
    """Parse JSON.

    Raises:
        AnnotationError: it is not JSON; names the line.
    """
    with _readable(path):
        text = data.decode(_encoding(data[:HEAD]))
    with valid_json(path, first_line):
        return json.loads(text)


@contextmanager
def valid_json(path: Path, first_line: int = 1, first_column: int = 0) -> Iterator[None]:
    """Turn what the JSON parser finds wrong into an error that names the file, the line and the column.

    Args:
        path: the file.
        first_line: number of the line that the parsed text begins in.
        first_column: characters of that line before the text.
    """
    try:
        yield
    except json.JSONDecodeError as error:
        where = f"{path}, line {first_line + error.lineno - 1}"
        column = error.colno + (first_column if error.lineno == 1 else 0)
        what = f"is not valid JSON ({error.msg}, column {column})."
        raise AnnotationError(Problem(where, what, "Export or download the file again; it may be cut off.")) from error
    except RecursionError as error:
        raise AnnotationError(Problem(str(path), "is nested too deeply to be outlines.")) from error
    except ValueError as error:
        # Python refuses to read it, as the time grows with the square of the digits
        raise AnnotationError(Problem(str(path), "holds a number of thousands of digits.")) from error


def load_table(path: Path, limits: Limits) -> Table:
    """A csv or tsv as text.

    Raises:
        AnnotationError: it cannot be read, or is no table.
    """
    try:
        return table_of(read_bytes(path, limits), path)
    except UserError as error:
        raise AnnotationError(error.problems) from error


def lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Lines that are not empty, with their numbers."""
    for number, line in enumerate(data.splitlines(), start=1):
        if line.strip():
            yield number, line
