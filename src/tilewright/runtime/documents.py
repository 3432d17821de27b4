"""Results in JSON, with a checksum of what they say: a wrong digit is a digit, which no parser notices."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tilewright.runtime.atomic import write_text
from tilewright.runtime.errors import DataError, Problem
from tilewright.runtime.failures import remedy_for

CHECKSUM = "crc32"


def write_document(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as JSON, with the CRC-32 of the rest as its last member ``crc32``."""
    write_text(path, json.dumps({**content, CHECKSUM: _checksum(content)}, indent=2) + "\n")


def read_document(path: Path, output: Path | None = None) -> dict[str, Any]:
    """Read what ``write_document`` wrote, without the checksum.

    Args:
        path: the file.
        output: the folder to delete where the file is damaged; the file itself by default.

    Raises:
        DataError: the file is missing, no JSON, or does not say what was written.
    """
    remedy = f"Delete {output or path} and run the same command again."
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise DataError(Problem(str(path), f"cannot be read ({error}).", remedy_for(error, remedy))) from error
    return parse_document(text, str(path), remedy)


def parse_document(text: str | bytes, where: str, remedy: str, *, sealed: bool = True) -> dict[str, Any]:
    """The same for the text of a document, wherever it comes from.

    Args:
        text: the text, in UTF-8.
        where: what is named in an error.
        remedy: what is to be done about one.
        sealed: whether there must be a checksum; a document that somebody wrote by hand has none.

    Raises:
        DataError: it is no JSON, or does not say what was written.
    """
    try:
        content: dict[str, Any] = json.loads(text)
        checksum = content.pop(CHECKSUM) if sealed or CHECKSUM in content else _checksum(content)
    except (ValueError, RecursionError) as error:
        raise DataError(Problem(where, f"cannot be read ({error}).", remedy)) from error
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(Problem(where, f"has no {CHECKSUM}: it was damaged or edited.", remedy)) from error
    if checksum != _checksum(content):
        raise DataError(Problem(where, "was damaged or edited: it is not what was written.", remedy))
    return content


def _checksum(content: Mapping[str, Any]) -> str:
    """Of the values, not of their layout: the repr of a float is read as the same float."""
    return f"{zlib.crc32(json.dumps(content).encode()):08x}"
