"""What a config says about slides that its sheet must bear out."""

from collections.abc import Iterator
from pathlib import Path

from tilewright.project.config import Config, Model
from tilewright.project.places import Places
from tilewright.project.rows import Sheet
from tilewright.runtime.errors import Problem, did_you_mean


def sheet_problems(config: Config, sheet: Sheet) -> Iterator[Problem]:
    """Names of slides, sources, groups and roles in the models, and of examples, that the sheet does not have.

    Folds read from their own output.
    """
    written = Path(Places.of(config.pathvars).folds())
    if config.folds.file and Path(config.folds.file).resolve() == written.resolve():
        remedy = "Copy the file to another place, and name that."
        yield Problem("config, folds.file", "is the file that the step split writes.", remedy)
    slides = [row.slide for row in sheet]
    for slide in config.bundle.examples:
        if slide not in slides:
            what = f'{sheet.path} has no slide "{slide}".'
            yield Problem("config, bundle.examples", what, did_you_mean(slide, slides))
    for name, model in config.models.items():
        yield from _unknown_values(f"models.{name}.sampling", model, config, sheet)
        if model.pseudo and not any(row.role == "test" for row in sheet):
            remedy = "Give slides without outlines the role test, or leave out pseudo."
            yield Problem(f"config, models.{name}.pseudo", f"{sheet.path} has no test slides to label.", remedy)


def _unknown_values(where: str, model: Model, config: Config, sheet: Sheet) -> Iterator[Problem]:
    trained = [row for row in sheet if row.role != "test"]
    roles = ["train", "external", *(["pseudo"] if model.pseudo else [])]
    known = {
        "kind": ["grid", "background", *(["object"] if config.tiles[model.tiles].objects else [])],
        "class": [*sorted(config.classes), "none"],
        "role": roles,
        **{column: sorted({row.column(column) for row in trained}) for column in ("source", "group", "slide")},
    }
    named = {column: list(rates) for column, rates in model.sampling.rates.items() if isinstance(rates, dict)}
    for column, values in (*named.items(), ("slide", list(model.sampling.multipliers))):
        for value in values:
            if value not in known[column]:
                what = f'no tile to train on has the {column} "{value}".'
                yield Problem(f"config, {where}", what, did_you_mean(value, known[column]))
