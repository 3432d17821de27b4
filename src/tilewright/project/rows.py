"""The slide sheet: one row a slide. Each column is described here and nowhere else.

From ``Row`` come what a step is told, the schema, ``config/README.md``, and the errors for wrong values. Only
``slide`` and ``image`` are needed; columns that are not described here are kept as text. Imports nothing heavy,
because the Snakefile reads it.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationInfo, model_validator
from pydantic_core import PydanticCustomError

from tilewright.project.storage import local_path, url_of
from tilewright.runtime.errors import did_you_mean
from tilewright.runtime.tables import Encoding

Role = Literal["train", "test", "external"]
NO_CORRECTIONS = "none"
"""Text of the column corrections for a slide whose outlines are taken as they are."""
SKIP = "skip"
"""In place of a role: the slide of the row is left out of everything."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
OUT_OF_FOLD, TEST = "out_of_fold", "test"
SETS = {"train": OUT_OF_FOLD, "test": TEST}
"""The set that slides of each role are scored in."""
NO_CLASS = "none"
"""Text of the column labelled for a slide on which no class is completely annotated."""


class Region(NamedTuple):
    """A rectangle of the slide in pixels of level 0."""

    x: int
    y: int
    width: int
    height: int


def wrong(what: str, remedy: str = "") -> PydanticCustomError:
    """The error of a value: what is wrong, and what to do."""
    return PydanticCustomError("cell", "{what}", {"what": what, "remedy": remedy})


def _column(info: ValidationInfo) -> str:
    return info.field_name or ""


def _name(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str) and not NAME.fullmatch(value):
        remedy = "Names start with a letter or digit and hold letters, digits, dots, hyphens and underscores."
        raise wrong(f'{_column(info)} "{value}" is not a valid name.', remedy)
    return value


def _file(value: Any, info: ValidationInfo) -> Any:
    if isinstance(value, str) and "://" in value:
        if (stored := local_path(value)) is None:
            remedy = "Write it as s3://bucket/folder/file."
            raise wrong(f'{_column(info)} "{value}" is no URL of a file.', remedy)
        return stored
    return value


def _role(value: Any) -> Any:
    if value not in get_args(Role):
        raise wrong(f'role "{value}" is unknown.', did_you_mean(str(value), [*get_args(Role), SKIP]))
    return value


def _labelled(value: Any, info: ValidationInfo) -> Any:
    """Classes by name; the context may name those that there are."""
    names = value
    if isinstance(value, str):
        names = () if value == NO_CLASS else tuple(part.strip() for part in value.split(";"))
    known: Collection[str] | None = (info.context or {}).get("classes")
    if known is not None and (others := [name for name in names if name not in known]):
        parts = [part.strip() for part in others[0].split(",")]
        apart = len(parts) > 1 and set(parts) <= set(known)
        remedy = f'Separate classes by a semicolon: "{";".join(parts)}".' if apart else did_you_mean(others[0], known)
        raise wrong(f'labelled: "{others[0]}" is no class of the config.', remedy)
    return names


def _mpp(value: Any) -> Any:
    if isinstance(value, str) and value.strip().lower() in UNKNOWN:
        return None
    try:
        mpp = float(value.replace(",", ".") if isinstance(value, str) else value)
    except ValueError:
        mpp = 0.0
    if not 0.01 <= mpp <= 100:
        raise wrong(f'mpp "{value}" is no pixel size.', "Give micrometres a pixel, between 0.01 and 100.")
    return mpp


def _white(value: Any) -> Any:
    text = str(value).strip().removesuffix(".0")  # as pandas writes a column with gaps
    if not text.isdecimal() or not 1 <= int(text) <= 65_535:
        raise wrong(f'white "{value}" is no value of a pixel.', "Give a whole number from 1 to 65535, such as 4095.")
    return int(text)


def _region(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    parts = [part.strip() for part in value.split(",")]
    if len(parts) != 4 or not all(part.isdecimal() for part in parts) or 0 in map(int, parts[2:]):
        remedy = "Give x,y,width,height in pixels, in quotes in a csv."
        raise wrong(f'region "{value}" is no rectangle.', remedy)
    return Region(*map(int, parts))


Name = Annotated[str, Field(pattern=f"^{NAME.pattern}$"), BeforeValidator(_name)]
File = Annotated[Path, BeforeValidator(_file)]
UNKNOWN = ("nan", "na", "n/a", "none", "unknown")
"""How tables write a number that is not there."""
FILES = ("image", "annotations", "anatomy")
"""Columns that name files."""


class Row(BaseModel):
    """A slide of the sheet. Values are texts, as a csv has them, or what they were read as."""

    model_config = ConfigDict(frozen=True, extra="allow")

    slide: Name = Field(description="Name of the slide, unique; case does not count.")
    image: File = Field(
        description="Image file, looked for in the config's data, beside the sheet and in the working directory, or a "
        "URL such as s3://bucket/slide.svs."
    )
    annotations: File | None = Field(None, description="File of its outlines; empty for a test slide without outlines.")
    role: Annotated[Role, BeforeValidator(_role)] = Field(
        "train",
        description="train (default), test, external: trained on and never validated on; or skip: left out, as if the "
        "row were not there.",
    )
    group: str = Field("", description="Patient or block, never split across folds; default: the slide.")
    shard: Name = Field(
        "",
        description="Unit of work; give many small images one shard, within one group and role; default: the slide.",
    )
    source: str = Field("all", description="Scanner, site or data set, for balance and error analysis; default: all.")
    labelled: Annotated[tuple[str, ...], BeforeValidator(_labelled)] = Field(
        (), description="Classes that are completely annotated, separated by ;. Empty: all. none: none."
    )
    mpp: Annotated[float | None, BeforeValidator(_mpp)] = Field(
        None, description="Micrometres in a pixel, if the file does not say or says it wrongly."
    )
    white: Annotated[int, BeforeValidator(_white)] | None = Field(
        None,
        description="Value of white in the file's pixels, if the file does not say: 4095 where a camera stored 12 bits "
        "in 16.",
    )
    region: Annotated[Region, BeforeValidator(_region)] | None = Field(
        None, description="x,y,width,height in pixels, in quotes: the only part that is used."
    )
    anatomy: File | None = Field(
        None,
        description="File of outlines of larger structures, such as cortex, in which objects must lie "
        "(segmentation.inside) or tiles of background (background_inside).",
    )
    corrections: str = Field(
        "",
        description="File or folder of corrections of its outlines, from the sheet's folder on; default: the folder "
        "corrections, in which tilewright view --edit writes them; none: none is applied.",
    )
    _number: int = PrivateAttr(0)

    @model_validator(mode="before")
    @classmethod
    def _with_defaults(cls, values: Mapping[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Empty values are as good as none; a name that is not given is the slide's, and every class is labelled."""
        given = {name: value for name, value in values.items() if value != "" or name not in cls.model_fields}
        slide = given.get("slide", "")
        if NAME.fullmatch(slide):
            given = {"group": slide, "shard": slide, **given}
        return {"labelled": tuple((info.context or {}).get("classes") or ()), **given}

    @model_validator(mode="after")
    def _with_outlines(self, info: ValidationInfo) -> Self:
        self._number = (info.context or {}).get("number", 0)
        if self.role != "test" and self.annotations is None:
            what = f"a slide with the role {self.role} needs annotations."
            raise wrong(what, 'Name a file, or use the role "test".')
        return self

    @property
    def number(self) -> int:
        """Line in the sheet, the header being 1."""
        return self._number

    def column(self, name: str) -> str:
        """The value of a column as text, whether it is described here or the user added it."""
        extra = self.model_extra or {}
        return str(extra[name] if name in extra else getattr(self, name))

    def has_column(self, name: str) -> bool:
        """Whether the sheet has a column."""
        return name in type(self).model_fields or name in (self.model_extra or {})


COLUMNS = tuple(Row.model_fields)


ALSO_CALLED = {
    "group": {"patient", "patientid", "case", "caseid", "donor", "donorid", "subject", "subjectid", "block", "animal"},
    "role": {"split", "set", "subset", "partition", "usage", "phase"},
    "annotations": {"geojson", "outlines", "annotationfile", "labels", "mask", "masks"},
    "image": {"path", "file", "filename", "imagepath", "imagefile", "filepath", "slidepath", "wsi"},
    "mpp": {"pixelsize", "pixelsizeum", "micronsperpixel", "umperpixel", "umpx", "resolution"},
}
"""What sheets of others call a column, in small letters."""


def other_name_of(name: str) -> str:
    """The column that others call so; empty: none, or the name is one itself."""
    plain = re.sub(r"[^a-z]", "", name.lower())
    return next((column for column, names in ALSO_CALLED.items() if plain in names), "") if name not in COLUMNS else ""


def likely_column(name: str) -> str:
    """The column that a name is likely meant for which is none; empty if there is none, or the name is one."""
    plain = re.sub(r"[^a-z]", "", name.lower())
    near = get_close_matches(plain, COLUMNS, n=1, cutoff=0.83) if name not in COLUMNS else ()
    return near[0] if near else ""


def row_place(path: Path, number: int, slide: str) -> str:
    """File, line and slide of a row, for messages."""
    return f"{path}, row {number} (slide {slide or '?'})"


@dataclass(frozen=True)
class Sheet:
    """All rows, in the order of the file.

    Attributes:
        path: the file.
        rows: its rows; files are named by the paths where they were found.
        missing: of each slide the columns whose files were not found, with what the sheet names there. Such a path
            counts from the first folder in which files are looked for.
        encoding: how the file was read; cp1252 is a guess.
        skipped: slides of rows that are left out.
        columns: its columns, as the file has them.
    """

    path: Path
    rows: tuple[Row, ...]
    missing: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)
    encoding: Encoding = "utf-8-sig"
    skipped: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def shards(self, *roles: Role) -> list[str]:
        """Names of the shards with one of the roles (default: any), in order of appearance."""
        return list(dict.fromkeys(row.shard for row in self.rows if not roles or row.role in roles))

    def where(self, row: Row) -> str:
        """File, line and slide of a row, for messages."""
        return row_place(self.path, row.number, row.slide)

    def files(self, rows: Iterable[Row], column: str) -> list[str]:
        """The files that a column of some rows names, each once, whether they were found or not."""
        named = (getattr(row, column) for row in rows)
        return list(dict.fromkeys(str(path) for path in named if path is not None))

    @cached_property
    def absent(self) -> Set[str]:
        """All files that were not found."""
        return {str(getattr(row, column)) for row in self.rows for column in self.missing.get(row.slide, ())}

    def is_away(self, row: Row) -> bool:
        """Whether a file of a slide lies on object storage and has not been fetched."""
        paths = (getattr(row, column) for column in FILES)
        return any(path is not None and bool(url_of(path)) and not path.exists() for path in paths)


def pseudo_shards(sheet: Iterable[Row], validated: Collection[str]) -> dict[str, str]:
    """Test shards that a fold may be pseudo-labelled on, with their groups: those that it does not validate on."""
    return {row.shard: row.group for row in sheet if row.role == "test" and row.group not in validated}
