"""A sample submission: the rows that a competition asks for, in its order."""

import csv
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tilewright.project.orders import EncodeOrder, EncodeRow
from tilewright.runtime.errors import Problem, UserError, listed

ID = "id"
REMEDY = "Name a csv with the column id, or leave out submission.sample."


@dataclass(frozen=True)
class Sample:
    """What a sample submission asks for.

    Attributes:
        path: the file.
        columns: of its header.
        ids: each once, in the order of their first rows.
        sizes: height and width of the images by id, as far as columns say them.
    """

    path: Path
    columns: tuple[str, ...]
    ids: tuple[str, ...]
    sizes: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def rows(self, rows: Sequence[EncodeRow], skipped: Sequence[str] = ()) -> list[EncodeRow]:
        """The slides that the sample names, in its order; those that are skipped have no shard.

        Args:
            rows: the test slides of the sheet.
            skipped: slides that are left out, of which there is no prediction.

        Raises:
            UserError: it names ids that are no test slides.
        """
        known = {slide: EncodeRow(slide=slide, shard="") for slide in skipped} | {row.slide: row for row in rows}
        if unknown := [each for each in self.ids if each not in known]:
            what = f"names {len(unknown)} id(s) that are no test slides of the sheet: {listed(unknown)}."
            remedy = "Add them to the sheet with the role test, or name another file by submission.sample."
            raise UserError(Problem(str(self.path), what, remedy))
        return [known[each] for each in self.ids]


def sample_of(order: EncodeOrder) -> Sample | None:
    """The sample submission that an order names, if it does.

    Where an id may have several rows, all of them stand at the place of its first one in the sample.

    Raises:
        UserError: the file is missing, is no table, or holds no column id or no ids; an id stands there twice though
            each has one row; or it does not say the size of a skipped image that a row needs.
    """
    spec = order.submission
    if spec.sample is None:
        return None
    path = Path(spec.sample)
    header, *records = _records(path) or [[]]
    if ID not in header:
        what, remedy = f'the column "{ID}" is missing.', f"Columns found: {', '.join(header) or 'none'}."
        raise UserError(Problem(f"{path}, header", what, remedy))
    place = header.index(ID)
    counts = Counter(record[place] for record in records if len(record) > place and record[place])
    if not counts:
        raise UserError(Problem(str(path), "holds no ids.", REMEDY))
    several = spec.dialect != "coco" and (spec.rows == "object" or len(order.classes) > 1)
    if not several and (twice := [each for each, count in counts.items() if count > 1]):
        what = f"{len(twice)} id(s) stand there more than once: {listed(twice)}."
        remedy = "This submission has one row an id: remove the others. Several need submission.rows: object."
        raise UserError(Problem(str(path), what, remedy))
    sizes = _sizes(header, records, place)
    if spec.dialect == "coco" and (unsized := [each for each in order.skipped if each in counts and each not in sizes]):
        what = f"names slides with the role skip, and their rows need the size of the image: {listed(unsized)}."
        remedy = "Add columns height and width, as the competition's own sample has them, or take the slides out of it."
        raise UserError(Problem(str(path), what, remedy))
    return Sample(path, tuple(header), tuple(counts), sizes)


def header_of(order: EncodeOrder) -> list[str]:
    """The columns of a submission."""
    if order.submission.dialect == "coco":
        return ["id", "height", "width", "prediction_string"]
    return ["id", "class", "predicted"] if len(order.classes) > 1 else ["id", "predicted"]


def differences(sample: Sample, order: EncodeOrder) -> list[str]:
    """What of a submission will not be as in the sample: slides that are left out, and columns."""
    named, header, told = set(sample.ids), header_of(order), []
    if left := [row.slide for row in order.rows if row.slide not in named]:
        told.append(f"does not name {len(left)} test slide(s), which are left out: {listed(left)}")
    if header != list(sample.columns):
        told.append(f"has the columns {', '.join(sample.columns)}; written are {', '.join(header)}")
    return told


def _sizes(header: Sequence[str], records: Sequence[Sequence[str]], place: int) -> dict[str, tuple[str, str]]:
    """Height and width by id, where the columns are there and hold whole numbers."""
    if not {"height", "width"} <= set(header):
        return {}
    height, width = header.index("height"), header.index("width")
    full = [record for record in records if len(record) == len(header)]
    return {
        record[place]: (record[height], record[width])
        for record in full if record[height].isdecimal() and record[width].isdecimal()
    }  # fmt: skip


def _records(path: Path) -> list[list[str]]:
    csv.field_size_limit(sys.maxsize)  # an earlier submission serves as a sample, with run lengths of any length
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            return [[cell.strip() for cell in record] for record in csv.reader(stream) if any(record)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(Problem(str(path), f"cannot be read ({error}).", REMEDY)) from error
