"""What all orders share: they are written for a job, named by their content, and read by its step.

An order holds the part of the config that a step depends on, and of the slides it works on only the columns that it
reads. Its file is named by a hash of its content, so that a rule which passes the path runs again exactly when the
content changes.
"""

import hashlib
import json
import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import ValidationError

from tilewright.project.config import Section
from tilewright.project.naming import Identity, Namesake
from tilewright.project.project import Project
from tilewright.project.rows import COLUMNS, Row
from tilewright.runtime.errors import DataError, Problem, UserError
from tilewright.runtime.hashed import DIGITS


class StepRow(Section):
    """What a step is told of a slide: the columns that it reads, and no others."""

    slide: str

    @classmethod
    def of(cls, row: Row) -> Self:
        """The columns of a row."""
        return cls.of_row(row)

    @classmethod
    def of_row(cls, row: Row, **others: Any) -> Self:
        """The columns of a row, and what else the step is told of it."""
        columns = [name for name in cls.model_fields if name in COLUMNS]
        return cls(**{name: getattr(row, name) for name in columns} | others)


class AnatomyRow(StepRow):
    """A slide whose larger structures may be asked for.

    Attributes:
        anatomy: their outlines; None where none is asked for, and so are the following.
        image: by whose name they are found in a file that slides share.
        namesakes: other slides that the same id there might mean.
    """

    anatomy: Path | None = None
    image: Path | None = None
    namesakes: tuple[Namesake, ...] = ()

    @property
    def identity(self) -> Identity:
        """By what its outlines are found."""
        return Identity(self.slide, self.image, self.namesakes)

    @classmethod
    def of_project(cls, project: Project, row: Row, *, asked: bool) -> Self:
        """The columns of a row, and what its structures are found by where they are asked for."""
        if asked and row.anatomy:
            return cls.of_row(row, namesakes=project.namesakes("anatomy", row.slide))
        return cls.of_row(row, anatomy=None, image=None, namesakes=())


class Order(Section):
    """Base of the orders of all steps."""


AnyOrder = TypeVar("AnyOrder", bound=Order)


def write_order(order: Order, place: Callable[[str], str]) -> str:
    """Write an order where there is none like it.

    Args:
        order: what a job works by.
        place: gives the path for a hash.

    Returns:
        The path.

    Raises:
        DataError: it cannot be written.
    """
    return write_named(json.dumps(order.model_dump(mode="json"), sort_keys=True, separators=(",", ":")), place)


def settings_digest(order: Order, named: Mapping[str, str], inputs: Collection[str]) -> str:
    """A hash of what a job is told, without the folders in which its files lie.

    Inputs are listed once, however many slides have them, so that which of them are the same counts too.

    Args:
        order: what it works by.
        named: what its command says besides.
        inputs: paths of its inputs; where a text is one of them, its last part counts.
    """
    seen: dict[str, int] = {}

    def told(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(name): told(value[name]) for name in sorted(value, key=str)}
        if isinstance(value, list | tuple):
            return [told(one) for one in value]
        if isinstance(value, Path) or (isinstance(value, str) and value in inputs):
            return [Path(value).name, seen.setdefault(str(value), len(seen))]
        return value

    return _digest(json.dumps([told(order.model_dump()), dict(named)], sort_keys=True, default=str).encode())


def write_named(text: str, place: Callable[[str], str]) -> str:
    """Write a text into the file that is named by its hash, if there is none, and return the path.

    Args:
        text: what the file says.
        place: gives the path for a hash.

    Raises:
        DataError: it cannot be written.
    """
    content = text.encode()
    path = place(_digest(content))
    # not synced, unlike results: there are thousands, and one that a crash has cut short is written again
    if not _is_whole(path, len(content)):
        private = Path(f"{path}.{os.getpid()}.partial")
        try:
            private.parent.mkdir(parents=True, exist_ok=True)
            private.write_bytes(content)
            private.replace(path)
        except OSError as error:
            remedy = "Free space, change the permissions, or choose another folder (pathvars, results)."
            raise DataError(Problem(path, f"cannot be written ({error.strerror}).", remedy)) from error
    return path


def _is_whole(path: str, size: int) -> bool:
    try:
        return os.stat(path).st_size == size  # noqa: PTH116 - for every job of the graph; a Path costs as much as the rest
    except OSError:
        return False


def read_order(kind: type[AnyOrder], path: Path) -> AnyOrder:
    """Read the order of a step. A file that is not named by a hash is taken as it is.

    Raises:
        DataError: the file is missing or damaged.
        UserError: it is no order of this step; everything that is wrong with it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        what, remedy = f"cannot be read ({error.strerror}).", "Name the order that snakemake wrote."
        raise DataError(Problem(str(path), what, remedy)) from error
    written = _is_digest(path.stem)
    if written and path.stem != _digest(content):
        remedy = "Delete it and run snakemake again, which writes it anew."
        raise DataError(Problem(str(path), "was damaged or edited: it is not what was written.", remedy))
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        if written:
            remedy = "Name one of the step's own, or, after an update of tilewright, run snakemake again."
            raise UserError(Problem(str(path), "is no order of this step.", remedy)) from error
        raise UserError([_problem(path, each) for each in error.errors()]) from error


def _problem(path: Path, error: Any) -> Problem:
    where = ", ".join([str(path), *([".".join(map(str, error["loc"]))] if error["loc"] else [])])
    return Problem(where, f"{error['msg']}.", "Correct it.")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:DIGITS]


def _is_digest(stem: str) -> bool:
    return len(stem) == DIGITS and set(stem) <= set("0123456789abcdef")
