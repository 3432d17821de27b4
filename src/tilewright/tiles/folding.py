"""A project with its slides divided into folds, from its config. Imports nothing heavy."""

from pathlib import Path

from tilewright.project.bundled import Bundled
from tilewright.project.config import Config
from tilewright.project.configfile import read_config
from tilewright.project.crosscheck import ensemble_problems, sheet_problems
from tilewright.project.orders import split_rows
from tilewright.project.project import Project
from tilewright.project.sheet import ensure_sheet
from tilewright.project.sheetfile import read_sheet
from tilewright.runtime.errors import UserError, raise_all
from tilewright.tiles.split import assign_folds


def read_project(config: str | Path) -> Project:
    """A project from its config file; run where ``snakemake`` runs.

    Raises:
        UserError: everything that is wrong with the config, or with the sheet.

    Examples:
        >>> project = read_project("config/config.yaml")
        >>> [row.slide for row in project.rows("train")], project.classes
        (['nest_left', 'nest_right'], ['connective', 'inflammatory', 'neoplastic'])
    """
    return project_of(read_config(Path(config)))


def project_of(config: Config) -> Project:
    """A project from its config: reads bundles and the sheet, and divides the slides into folds.

    Where the config names a layout and the sheet is missing, that is written first.

    Raises:
        UserError: everything that is wrong with them.
    """
    bundled = Bundled.read(config)
    ensure_sheet(config)
    sheet = read_sheet(Path(config.sheet), config.roots, list(config.classes))
    raise_all(UserError, list(sheet_problems(config, sheet)))
    trained = [row for row in sheet if row.role != "test"] if config.is_cross_validated else []
    folds = assign_folds(split_rows(trained, config.folds), config.folds) if config.is_cross_validated else []
    project = Project(config, sheet, {one.shard: one for one in folds}, bundled)
    raise_all(UserError, list(ensemble_problems(project)))
    return project
