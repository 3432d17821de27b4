"""Where corrections of outlines lie, by the column ``corrections`` of the sheet."""

from pathlib import Path

from tilewright.project.project import Project
from tilewright.project.rows import NO_CORRECTIONS, Row

FOLDER = "corrections"
"""Beside the sheet, unless the sheet names another one."""


def corrections_file(project: Project, slide: str) -> Path | None:
    """The file of corrections of a slide, whether it is there or not; None: the sheet wants none.

    Raises:
        StopIteration: there is no such slide.
    """
    return _file_of(project, next(row for row in project.sheet if row.slide == slide))


def corrected_files(project: Project, shard: str) -> list[Path]:
    """The files of corrections of a shard that are there."""
    named = (_file_of(project, row) for row in project.shard(shard) if row.annotations)
    return list(dict.fromkeys(file for file in named if file and file.is_file()))


def _file_of(project: Project, row: Row) -> Path | None:
    if row.corrections == NO_CORRECTIONS:
        return None
    named = project.sheet.path.parent / (row.corrections or FOLDER)
    return named if named.suffix == ".geojson" else named / f"{row.slide}.geojson"


def stray_files(project: Project) -> list[Path]:
    """Files in folders of corrections that belong to no slide."""
    own = {_file_of(project, row) for row in project.sheet}
    folders = {file.parent for row in project.sheet if not row.corrections.endswith(".geojson")
               and (file := _file_of(project, row))}  # fmt: skip
    return sorted(file for folder in folders for file in folder.glob("*.geojson") if file not in own)
