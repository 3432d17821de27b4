"""Errors that are messages to a user: what is wrong, where, and what to do.

A step collects every ``Problem`` of one kind and raises them together. The command line prints them without a traceback
and exits with the error's code.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import ClassVar

OUT_OF_MEMORY = 137
"""Exit code where memory ran out: that of a process that the system kills for it."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        where: file, row, key, slide or feature, in the user's terms.
        what: one sentence.
        remedy: what to do about it; may be empty.
    """

    where: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  {self.remedy}" if self.remedy else text


class TilewrightError(Exception):
    """Base of all errors that the command line shows as a message."""

    exit_code: ClassVar[int] = 1

    def __init__(self, problems: Problem | Iterable[Problem] | str) -> None:
        if isinstance(problems, str):  # as PyTorch raises the error of a worker again
            problems = Problem("", problems)
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))

    def __reduce__(self) -> tuple[type, tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)


class UserError(TilewrightError):
    """The config, the sheet or an option is wrong."""

    exit_code = 2


class DataError(TilewrightError):
    """An image, an outline file or an artefact cannot be used."""

    exit_code = 3


class AnnotationError(DataError):
    """Outlines that cannot be read or belong to no class."""


class SlideError(DataError):
    """An image that cannot be read."""


class SlideMemoryError(SlideError):
    """An image for which the memory did not suffice; a cluster gives the next attempt more."""

    exit_code = OUT_OF_MEMORY


def no_such_file(path: Path) -> Problem:
    """What is said of a file of the sheet that is not there when a step needs it."""
    remedy = "Copy it there, or correct the sheet; `tilewright check` says where files were looked for."
    return Problem(str(path), "there is no such file.", remedy)


def raise_all(error: type[TilewrightError], problems: Sequence[Problem]) -> None:
    """Raise ``error`` with all problems, if there are any."""
    if problems:
        raise error(problems)


def nearest_name(name: str, known: Iterable[str]) -> str:
    """The known name most like ``name``, or an empty string when none is near."""
    lowered = {candidate.lower(): candidate for candidate in known}
    match = get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    return lowered[match[0]] if match else ""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A remedy sentence: the nearest known name, else the list of what is known."""
    names = list(known)
    if match := nearest_name(name, names):
        return f'Did you mean "{match}"?'
    return f"Known: {', '.join(names)}." if names else ""


def listed(names: Sequence[str], most: int = 10) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
