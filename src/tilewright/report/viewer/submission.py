"""A file of predictions as a competition takes them, whoever wrote it, read once and kept by slide on disk.

Three forms, told by their columns: a row a slide or a class of it, or a row an object, both as run lengths (``rle``,
``predicted``, ``annotation``, ``EncodedPixels`` ..., with a column of classes or none); and a row a slide with number
of the class, confidence and COCO's code of each object (``prediction_string``, HuBMAP vasculature). Columns are found
as those of outlines are (``annotations.tables``).
"""

import json
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Literal, NamedTuple, get_args

from tilewright.annotations.files import HEAD, open_text, suffix_of
from tilewright.annotations.ids import Id, Ids
from tilewright.annotations.tables import CODES, columns_of, plain_name
from tilewright.project.config import DEFAULT_LIMITS
from tilewright.project.naming import Identity
from tilewright.project.orders import ReportRow
from tilewright.runtime.errors import AnnotationError, Problem, UserError, did_you_mean, listed, raise_all
from tilewright.runtime.tables import SAVE, refuse_packed, rows_of

RunOrder = Literal["column_major", "row_major"]
ORDERS: tuple[RunOrder, ...] = get_args(RunOrder)
PREDICTION_STRING = "predictionstring"
NUMBER = re.compile(r"\d{1,9}(\.0)?")
"""A number of a class; tables with gaps write 1.0 for 1."""
SHORT = 60
"""Characters of an id that are told."""
TOGETHER = 1 << 22
"""Characters of the file that are read at a time."""
END = re.compile(r"\r\n|\r|\n")
REMEDY = "Name a table of run lengths: id, rle; id, class, rle; or id, height, width, prediction_string."


class Line(NamedTuple):
    """A row of the file.

    Attributes:
        number: of its line, from 1; the header's is counted.
        code: its run lengths, or its words.
        label: its class; empty: not told.
        width: of the image; empty: not told.
        height: likewise.
    """

    number: int
    code: str
    label: str
    width: str
    height: str


@dataclass(frozen=True)
class Submission:
    """A file of predictions.

    Attributes:
        path: the file.
        has_words: whether its rows hold number, confidence and code of each object in turn.
        classes: names of the classes by number; of a file that tells no classes the one that all of it is about.
        order: how the pixels of run lengths count.
        places: where the rows of each id begin in ``store``.
        store: the rows, a line of JSON each.
    """

    path: Path
    has_words: bool
    classes: tuple[str, ...]
    order: RunOrder
    places: dict[str, "array[int]"]
    store: Path

    def lines(self, name: str) -> Iterator[Line]:
        """The rows of an id, in their order."""
        with self.store.open("rb") as stream:
            for place in self.places[name]:
                stream.seek(place)
                yield Line(*json.loads(stream.readline()))

    def class_of(self, label: str) -> str | None:
        """The class that a label means, by its name or its number from 0; none: the only one. None: there is none."""
        if not label:
            return self.classes[0] if len(self.classes) == 1 else None
        if NUMBER.fullmatch(label) and label not in self.classes:
            number = int(float(label))
            return self.classes[number] if number < len(self.classes) else None
        return next((name for name in self.classes if name.lower() == label.lower()), None)

    def slides(self, rows: Sequence[ReportRow]) -> dict[str, str]:
        """The id of each slide that the file names.

        Raises:
            AnnotationError: two ids mean a slide, or one means slides of several images.
        """
        names = list(self.places)
        ids, found, images = Ids([Id(name) for name in names]), dict[str, str](), dict[str, ReportRow]()
        for row in rows:
            place = ids.find(Identity(row.slide, row.image), self.path)
            if place is None:
                continue
            name = found[row.slide] = names[place]
            if (other := images.setdefault(name, row)).image != row.image:
                what = f'the id "{name}" means slide {row.slide} ({row.image}) and {other.slide} ({other.image}) alike.'
                raise AnnotationError(Problem(str(self.path), what, "Write the names of slides as ids."))
        return found


def read_submission(
    path: Path, folder: Path, known: Sequence[str], asked: Sequence[str], order: RunOrder
) -> Submission:
    """Read a file once; its rows wait on disk.

    Args:
        path: the file.
        folder: where they do.
        known: the classes of the run.
        asked: those that the file is about, in its order; none: all.
        order: how the pixels of run lengths count.

    Raises:
        AnnotationError: it cannot be read, is no table of run lengths, or holds no rows.
        UserError: classes that the run does not have, or nothing that says which class a row is of.
    """
    unknown = [name for name in asked if name not in known]
    raise_all(UserError, [
        Problem("--classes", f'there is no class "{name}".', did_you_mean(name, known)) for name in unknown
    ])  # fmt: skip
    try:
        with open_text(path, DEFAULT_LIMITS) as read, NamedTemporaryFile(dir=folder, delete=False) as store:
            header, records = rows_of(_lines(read, path), path)
            identity, *cells = columns_of(header, path, (PREDICTION_STRING, *CODES))
            places, labels = dict[str, "array[int]"](), dict[str, int]()
            for record in records:
                line = Line(record.line, *(record.values.get(name, "") for name in cells))
                places.setdefault(record.values[identity], array("q")).append(store.tell())
                labels.setdefault(line.label, line.number)
                store.write(json.dumps(line).encode() + b"\n")
    except UserError as error:
        raise AnnotationError(error.problems) from error
    has_words = plain_name(cells[0]) == PREDICTION_STRING
    found = Submission(path, has_words, tuple(asked or known), order, places, Path(store.name))
    if not places:
        raise AnnotationError(Problem(str(path), "holds no rows.", REMEDY))
    if not has_words:
        raise_all(UserError, list(_strange(found, labels)))
    return found


def _strange(found: Submission, labels: dict[str, int]) -> Iterator[Problem]:
    """What is to be said of labels that are no classes."""
    for label, line in labels.items():
        if found.class_of(label) is None:
            where = f"{found.path}, row {line}"
            if label:
                counted = ", ".join(f"{number} {name}" for number, name in enumerate(found.classes))
                remedy = f"Numbers count from 0: {counted}; --classes names others."
                remedy = remedy if NUMBER.fullmatch(label) else did_you_mean(label, found.classes)
                yield Problem(where, f'there is no class "{label[:SHORT]}".', remedy)
            else:
                what = f"tells no class, and the run has several: {listed(found.classes)}."
                yield Problem(where, what, f"Say which one it is of: --classes {found.classes[0]}")


def _lines(read: Callable[[int], str], path: Path) -> Iterator[str]:
    """The lines of a file, each with its end.

    Raises:
        UserError: it is no text.
    """
    if path.is_file() and suffix_of(path) == path.suffix.lower():  # what comes through a pipe is there once
        with path.open("rb") as stream:
            refuse_packed(stream.read(HEAD), path)
    for number, line in enumerate(_split(read), start=1):
        if "\0" in line:
            raise UserError(Problem(f"{path}, row {number}", "holds bytes that are no text.", SAVE))
        yield line


def _split(read: Callable[[int], str]) -> Iterator[str]:
    """The lines of a text that comes in parts, whichever way they end."""
    rest = ""
    while text := read(TOGETHER):
        # a part may end between the two characters of an end
        held = "\r" if text.endswith("\r") else ""
        *whole, rest = END.split(rest + text.removesuffix("\r"))
        rest += held
        yield from (f"{line}\n" for line in whole)
    if rest := rest.removesuffix("\r"):
        yield rest
