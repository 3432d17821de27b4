"""Where corrections of outlines lie, by the column ``corrections`` of the sheet."""

import os
from collections.abc import Iterator
from pathlib import Path

from tilewright.project.project import Project
from tilewright.project.rows import NO_CORRECTIONS, Row, Sheet
from tilewright.runtime.errors import Problem

FOLDER = "corrections"
"""Beside the sheet, unless the sheet names another one."""
SUFFIX = ".geojson"


def corrections_file(project: Project, slide: str) -> Path | None:
    """The file of corrections of a slide, whether it is there or not; None: the sheet wants none.

    Raises:
        StopIteration: there is no such slide.
    """
    return _file_of(project.sheet, next(row for row in project.sheet if row.slide == slide))


def corrected_files(project: Project, shard: str) -> list[Path]:
    """The files of corrections of a shard that are there."""
    named = (_file_of(project.sheet, row) for row in project.shard(shard) if row.annotations)
    return list(dict.fromkeys(file for file in named if file and file.is_file()))


def stray_files(project: Project) -> list[Path]:
    """Files in folders of corrections that belong to no slide with outlines."""
    own = {
        os.path.normpath(file) for row in project.sheet if row.annotations and (file := _file_of(project.sheet, row))
    }
    named = (_file_of(project.sheet, row) for row in project.sheet if not row.corrections.endswith(SUFFIX))
    folders = {file.parent for file in named if file}
    return sorted(file for folder in folders for file in folder.glob(f"*{SUFFIX}") if os.path.normpath(file) not in own)


def correction_problems(sheet: Sheet) -> Iterator[Problem]:
    """Places that the sheet names for corrections and that are none; files that several slides have.

    A folder that it names must be there, so that a wrong name is told; the default one comes with the first correction.
    """
    taken: dict[str, str] = {}
    for row in sheet:
        file, where = _file_of(sheet, row), f"{sheet.where(row)}, corrections"
        if file is None:
            continue
        if other := taken.get(os.path.normpath(file)):
            what = f'"{file}" is the file of slide {other} already.'
            yield Problem(where, what, "Give each slide a file, or name a folder.")
        taken[os.path.normpath(file)] = row.slide
        named = sheet.path.parent / row.corrections
        if not row.corrections or named.suffix == SUFFIX:
            continue
        if named.is_file():
            yield Problem(where, f'"{row.corrections}" is no {SUFFIX} file.', f"Name a folder, or a file {SUFFIX}.")
        elif not named.is_dir():
            what = f'there is no folder "{named}".'
            yield Problem(where, what, "Make it, or leave the cell empty; none: none is applied.")


def _file_of(sheet: Sheet, row: Row) -> Path | None:
    if row.corrections == NO_CORRECTIONS:
        return None
    named = sheet.path.parent / (row.corrections or FOLDER)
    return named if named.suffix == SUFFIX else named / f"{row.slide}{SUFFIX}"
