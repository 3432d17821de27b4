"""JSON read piece by piece, so that a list of any length is never in memory as a whole.

By hand, on the decoder of the standard library: ijson 3.6.0 (yajl2_c) takes 1.4 times as long for 300 MB of outlines
(as long where they are indented) and 3.8 GB of memory for 40,000 opening brackets (here: refused in 1 ms), and names no
line. NaN and whole numbers from 2^63 end its reading; here they cost one outline at most.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from tilewright.annotations.files import valid_json

PIECE = 1 << 20
_DECODER = json.JSONDecoder()
_NO_SPACE = re.compile(r"[^ \t\r\n]")
_NUMBER_GOES_ON = ".eE"


class JsonReader:
    """Goes through a JSON text from value to value.

    Args:
        read: gives about as many further characters as asked for; empty text at the end.
        path: named in errors.
    """

    def __init__(self, read: Callable[[int], str], path: Path) -> None:
        self._read, self._path = read, path
        self._text, self._at = "", 0
        self._line, self._column = 1, 0

    def peek(self) -> str:
        """The next character that is no white space, which stays; empty at the end."""
        while True:
            found = _NO_SPACE.search(self._text, self._at)
            self._at = found.start() if found else len(self._text)
            if found:
                return found[0]
            if not self._more():
                return ""

    def accept(self, character: str) -> bool:
        """Whether the next character is this one, which is passed if so."""
        found = self.peek() == character
        self._at += found
        return found

    def expect(self, character: str) -> None:
        """Pass a character.

        Raises:
            AnnotationError: another one comes next.
        """
        if not self.accept(character):
            self._fail(json.JSONDecodeError(f"Expecting '{character}'", self._text, self._at))

    def value(self) -> Any:
        """The value that comes next.

        Raises:
            AnnotationError: it is not valid JSON.
        """
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if not self._more():
                    self._fail(error)
                continue
            except (RecursionError, ValueError) as error:
                self._fail(error)
            whole = end < len(self._text) and self._text[end] not in _NUMBER_GOES_ON
            if whole or not self._more():
                self._at = end
                return value

    def members(self) -> Iterator[str]:
        """The keys of the object that comes next; the caller takes the value after each."""
        self.expect("{")
        if self.accept("}"):
            return
        while True:
            key = self.value()
            self.expect(":")
            yield str(key)
            if not self.accept(","):
                break
        self.expect("}")

    def elements(self) -> Iterator[Any]:
        """The elements of the list that comes next."""
        self.expect("[")
        if self.accept("]"):
            return
        while True:
            yield self.value()
            if not self.accept(","):
                break
        self.expect("]")

    def finish(self) -> None:
        """Make sure that nothing follows.

        Raises:
            AnnotationError: something does.
        """
        if self.peek():
            self._fail(json.JSONDecodeError("Extra data", self._text, self._at))

    def _fail(self, error: Exception) -> NoReturn:
        with valid_json(self._path, self._line, self._column):
            raise error

    def _more(self) -> bool:
        """Read on, at least as much as waits, so that a long value is tried few times; at the end nothing changes."""
        more = self._read(max(PIECE, len(self._text) - self._at))
        if more:
            passed = self._text[: self._at]
            if "\n" in passed:
                self._line += passed.count("\n")
                self._column = len(passed) - passed.rindex("\n") - 1
            else:
                self._column += len(passed)
            self._text, self._at = self._text[self._at :] + more, 0
        return bool(more)
