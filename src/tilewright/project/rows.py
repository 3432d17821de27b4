"""The slide sheet: one row a slide, checked row by row. Imports nothing heavy, because the Snakefile reads it.

Columns: ``slide``, ``image``, ``annotations``, ``role`` (train, test, external), ``group``, ``shard``, ``source``,
``labelled`` (classes completely annotated, separated by ``;``; empty: all; ``none``: none), ``mpp`` (micrometres a
pixel), ``region`` (x,y,width,height in pixels of the slide), ``anatomy`` (a file of outlines of larger structures). Only ``slide`` and ``image`` are needed. Other columns are
kept as text.
"""

import csv
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from tilewright.project.storage import local_path
from tilewright.runtime.errors import Problem, UserError, did_you_mean, nearest, raise_all

Role = Literal["train", "test", "external"]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
COLUMN_HELP = {
    "slide": "Name of the slide, unique; case does not count.",
    "image": "Image file, looked for in the config's data, beside the sheet and in the working directory, or a URL such as "
    "s3://bucket/slide.svs.",
    "annotations": "File of its outlines; empty for a test slide without outlines.",
    "role": "train (default), test, or external: trained on and never validated on.",
    "group": "Patient or block, never split across folds; default: the slide.",
    "shard": "Unit of work; give many small images one shard, within one group and role; default: the slide.",
    "source": "Scanner, site or data set, for balance and error analysis; default: all.",
    "labelled": "Classes that are completely annotated, separated by ;. Empty: all. none: none.",
    "mpp": "Micrometres in a pixel, if the file does not say or says it wrongly.",
    "region": "x,y,width,height in pixels, in quotes: the only part that is used.",
    "anatomy": "File of outlines of larger structures, such as cortex, in which objects must lie (segmentation.inside) or tiles of background (background_inside).",
}
COLUMNS = tuple(COLUMN_HELP)


class Region(NamedTuple):
    """A rectangle of the slide in pixels of level 0."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Row:
    """A slide of the sheet.

    Attributes:
        slide: its name, unique in the sheet.
        image: path of the image, as found, or where it will lie once Snakemake has fetched it.
        annotations: path of its outlines, as found, or None.
        role: train; test; external (trained on, never validated on).
        group: patient or block; never split across folds.
        shard: the unit of work that it belongs to.
        source: scanner, site or data set.
        labelled: classes that are completely annotated; None: all.
        mpp: micrometres a pixel, overriding the file's; None: the file's.
        region: the only part that is used; None: the whole slide.
        number: line in the sheet, the header being 1.
        extra: the other columns.
        anatomy: path of the outlines of larger structures, as found, or None.
    """

    slide: str
    image: Path
    annotations: Path | None
    role: Role
    group: str
    shard: str
    source: str
    labelled: tuple[str, ...] | None
    mpp: float | None
    region: Region | None
    number: int
    extra: dict[str, str] = field(default_factory=dict)
    anatomy: Path | None = None

    def column(self, name: str) -> str:
        """The value of a column as text, whether the sheet defines it or the user added it."""
        return self.extra[name] if name in self.extra else str(getattr(self, name))


@dataclass(frozen=True)
class Sheet:
    """All rows, in the order of the file."""

    path: Path
    rows: tuple[Row, ...]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def shards(self, *roles: Role) -> list[str]:
        """Names of the shards with one of the roles (default: any), in order of appearance."""
        return list(dict.fromkeys(row.shard for row in self.rows if not roles or row.role in roles))

    def shard(self, name: str) -> list[Row]:
        """The rows of a shard.

        Raises:
            UserError: no row names this shard.
        """
        rows = [row for row in self.rows if row.shard == name]
        if not rows:
            known = did_you_mean(name, self.shards())
            raise UserError(Problem(str(self.path), f'no row has the shard "{name}".', known))
        return rows


def open_sheet(sheet: Path, data: Path, classes: Sequence[str] | None = None) -> Sheet:
    """The sheet of a step, which looks for images and outlines in ``data``, beside the sheet, and where it runs.

    Args:
        sheet: the slide sheet.
        data: folder in which images and outlines are looked for first.
        classes: names that the column labelled may hold; None: any.
    """
    return read_sheet(sheet, [data, sheet.parent, Path()], classes)


def read_shard(sheet: Path, data: Path, shard: str) -> list[Row]:
    """The rows of a shard, for a step that works on it.

    Args:
        sheet: the slide sheet.
        data: folder in which images and outlines are looked for first.
        shard: name of the shard.
    """
    return open_sheet(sheet, data).shard(shard)


def digest(rows: Iterable[Row], columns: Sequence[str]) -> str:
    """A short hash of some columns of rows: it changes when, and only when, one of their values does."""
    values = [[row.column(column) for column in columns] for row in rows]
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def read_sheet(path: Path, roots: Sequence[Path], classes: Sequence[str] | None) -> Sheet:
    """Read and check a slide sheet.

    Args:
        path: csv, or tsv by its suffix.
        roots: folders in which images and outlines are looked for.
        classes: names of the config's classes; None: not compared with the column labelled.

    Raises:
        UserError: everything that is wrong with the sheet, row by row.
    """
    sheet, problems = examine_sheet(path, roots, classes)
    raise_all(UserError, problems)
    return sheet


def examine_sheet(path: Path, roots: Sequence[Path], classes: Sequence[str] | None) -> tuple[Sheet, list[Problem]]:
    """As ``read_sheet``, but return the problems beside the rows that could be read."""
    problems: list[Problem] = []
    rows: list[Row] = []
    for number, record in _records(path):
        reader = _RowReader(path, number, record, roots, classes)
        if row := reader.read():
            rows.append(row)
        problems += reader.problems
    if not rows and not problems:
        problems.append(Problem(str(path), "the sheet has no rows.", "Add one row for each slide."))
    sheet = Sheet(path, tuple(rows))
    return sheet, problems + list(_problems_between(sheet))


def _records(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    if not path.is_file():
        raise UserError(
            Problem(str(path), "the slide sheet does not exist.", "Write it with `tilewright sheet LAYOUT FOLDER`.")
        )
    with path.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.DictReader(stream, delimiter="\t" if path.suffix == ".tsv" else ",", restkey="", restval="")
        header = [name.strip() for name in reader.fieldnames or []]
        reader.fieldnames = header
        missing = [name for name in ("slide", "image") if name not in header]
        raise_all(
            UserError,
            [
                Problem(f"{path}, header", f'the column "{name}" is missing.', f"Columns found: {', '.join(header)}.")
                for name in missing
            ],
        )
        for record in reader:
            if any(value for value in record.values()):
                where = reader.line_num
                surplus = record.pop("", None)
                if surplus:
                    record["surplus"] = ",".join(surplus)
                yield where, {key: (value or "").strip() for key, value in record.items()}


class _RowReader:
    """Reads one row and collects what is wrong with it."""

    def __init__(
        self, path: Path, number: int, record: dict[str, str], roots: Sequence[Path], classes: Sequence[str] | None
    ) -> None:
        self.path, self.number, self.record, self.roots, self.classes = path, number, record, roots, classes
        self.problems: list[Problem] = []

    def read(self) -> Row | None:
        slide = self._name("slide")
        row = Row(
            slide=slide,
            image=self._file("image", needed=True) or Path(),
            annotations=self._file("annotations", needed=False),
            role=self._role(),
            group=self._name("group", slide),
            shard=self._name("shard", slide),
            source=self.record.get("source", "") or "all",
            labelled=self._labelled(),
            mpp=self._mpp(),
            region=self._region(),
            number=self.number,
            extra={key: value for key, value in self.record.items() if key not in COLUMNS},
            anatomy=self._file("anatomy", needed=False),
        )
        if "surplus" in self.record:
            self._problem("there are more values than columns.", "A value that holds commas needs quotes.")
        if row.role != "test" and row.annotations is None and not self.problems:
            self._problem(
                f"a slide with the role {row.role} needs annotations.", 'Name a file, or use the role "test".'
            )
        return None if self.problems else row

    def _problem(self, what: str, remedy: str = "") -> None:
        slide = self.record.get("slide", "")
        self.problems.append(Problem(f"{self.path}, row {self.number} (slide {slide or '?'})", what, remedy))

    def _name(self, column: str, default: str = "") -> str:
        given = self.record.get(column, "")
        value = given or default
        if not NAME.fullmatch(value) and (given or not default):
            remedy = "Names start with a letter or digit and hold letters, digits, dots, hyphens and underscores."
            self._problem(f'{column} "{value}" is not a valid name.', remedy)
        return value

    def _file(self, column: str, *, needed: bool) -> Path | None:
        value = self.record.get(column, "")
        if not value:
            if needed:
                self._problem(f"{column} is empty.", "Name a file.")
            return None
        if "://" in value:
            stored = local_path(value)
            if stored is None:
                self._problem(f'{column} "{value}" is no URL of a file.', "Write it as s3://bucket/folder/file.")
            return stored
        if found := next((root / value for root in self.roots if (root / value).exists()), None):
            return found
        looked = " and in ".join(f"{root}/" for root in dict.fromkeys(self.roots))
        near = _nearest_file(value, self.roots)
        self._problem(
            f'{column} "{value}" not found.', f"Looked in {looked}." + (f" Nearest file there: {near}" if near else "")
        )
        return None

    def _role(self) -> Role:
        value = self.record.get("role", "") or "train"
        if value not in get_args(Role):
            self._problem(f'role "{value}" is unknown.', did_you_mean(value, get_args(Role)))
        return value  # type: ignore[return-value]

    def _labelled(self) -> tuple[str, ...] | None:
        value = self.record.get("labelled", "")
        if not value:
            return None
        names = () if value == "none" else tuple(part.strip() for part in value.split(";"))
        for name in names:
            if self.classes is not None and name not in self.classes:
                self._problem(f'labelled: "{name}" is no class of the config.', did_you_mean(name, self.classes))
        return names

    def _mpp(self) -> float | None:
        value = self.record.get("mpp", "")
        try:
            mpp = float(value) if value else None
        except ValueError:
            mpp = 0.0
        if mpp is not None and not 0.01 <= mpp <= 100:
            self._problem(f'mpp "{value}" is no pixel size.', "Give micrometres a pixel, between 0.01 and 100.")
        return mpp

    def _region(self) -> Region | None:
        value = self.record.get("region", "")
        if not value:
            return None
        parts = [part.strip() for part in value.split(",")]
        if len(parts) != 4 or not all(part.isdecimal() for part in parts) or 0 in map(int, parts[2:]):
            self._problem(f'region "{value}" is no rectangle.', "Give x,y,width,height in pixels, in quotes in a csv.")
            return None
        return Region(*map(int, parts))


def _nearest_file(value: str, roots: Sequence[Path]) -> str:
    wanted = Path(value)
    folders = [root / wanted.parent for root in roots]
    names = {entry.name: str(entry) for folder in folders if folder.is_dir() for entry in folder.iterdir()}
    return names.get(nearest(wanted.name, names), "")


def _problems_between(sheet: Sheet) -> Iterator[Problem]:
    """What is wrong between rows: names used twice, shards that mix groups or roles, groups that mix roles."""
    seen: dict[str, Row] = {}
    first: dict[str, Row] = {}
    for row in sheet:
        where = f"{sheet.path}, row {row.number} (slide {row.slide})"
        other = seen.setdefault(row.slide.lower(), row)
        if other is not row:
            what = f'slide "{row.slide}" is named in row {other.number} already.'
            yield Problem(where, what, "Give each slide a name of its own; case does not count.")
        start = first.setdefault(row.shard, row)
        for column in ("group", "role"):
            if row.column(column) != start.column(column):
                what = f'shard "{row.shard}" has the {column} "{row.column(column)}" here and "{start.column(column)}" in row {start.number}.'
                yield Problem(where, what, "A shard lies in one group and one role; use another shard name.")


def pseudo_shards(sheet: Iterable[Row], validated: Collection[str]) -> dict[str, str]:
    """Test shards that a fold may be pseudo-labelled on, with their groups: those of groups that it does not validate on."""
    return {row.shard: row.group for row in sheet if row.role == "test" and row.group not in validated}
