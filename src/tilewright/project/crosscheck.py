"""What a config says about slides and ensembles that its sheet and its bundles must bear out."""

from collections.abc import Iterator
from pathlib import Path

from tilewright.project.config import Config, Model, TileSet
from tilewright.project.corrected import correction_problems
from tilewright.project.places import Places, parent
from tilewright.project.project import Project
from tilewright.project.rows import Sheet
from tilewright.runtime.errors import Problem, UserError, did_you_mean


def sheet_problems(config: Config, sheet: Sheet) -> Iterator[Problem]:
    """Names of slides, sources, groups, roles, examples and columns that the sheet does not have.

    Folds read from their own output; places of corrections that are none.
    """
    yield from correction_problems(sheet)
    written = Path(Places.of(config.pathvars).folds())
    if config.folds.file and Path(config.folds.file).resolve() == written.resolve():
        remedy = "Copy the file to another place, and name that."
        yield Problem("config, folds.file", "is the file that the step split writes.", remedy)
    for column in config.evaluation.columns:
        if sheet.rows and not sheet.rows[0].has_column(column):
            yield Problem(
                "config, evaluation.columns", f'{sheet.path} has no column "{column}".', "Add it, or leave it out."
            )
    slides = [row.slide for row in sheet]
    for slide in config.bundle.examples:
        if slide not in slides:
            what = f'{sheet.path} has no slide "{slide}".'
            yield Problem("config, bundle.examples", what, did_you_mean(slide, slides))
    for name, model in config.models.items():
        yield from _unknown_values(f"models.{name}.sampling", model, config, sheet)
        for kind in set(model.validate_on) - set(_kinds(model, config)):
            what, remedy = (
                f"the tile set {model.tiles} has no {kind} tiles.",
                "Set objects: true or scattered there, or leave it out.",
            )
            yield Problem(f"config, models.{name}.validate_on", what, remedy)
        if len(model.targets) > 1 and model.tiles in config.tiles and config.tiles[model.tiles].at == "random":
            what = f"tiles of {model.tiles} lie at random places, where no objects are known, only masks."
            remedy = "Set at: grid there, or leave mask alone."
            yield Problem(f"config, models.{name}.targets", what, remedy)
        if model.pseudo and not any(row.role == "test" for row in sheet):
            remedy = "Give slides without outlines the role test, or leave out pseudo."
            yield Problem(f"config, models.{name}.pseudo", f"{sheet.path} has no test slides to label.", remedy)


def ensemble_problems(project: Project) -> Iterator[Problem]:
    """Ensembles that cannot be made of their members, or have nothing to predict; spreads of nothing."""
    yield from _own_results(project)
    yield from _empty_spreads(project)
    for name, spec in project.config.ensembles.items():
        for needed in (project.members, project.bounds):
            try:
                needed(name)
            except UserError as error:
                yield from error.problems
        if spec.weights == "fit" and (obstacle := project.obstacle(name)):
            what, remedy = (
                f"weights cannot be fitted, as {obstacle.why}.",
                f"Leave out weights: fit; or {obstacle.remedy}.",
            )
            yield Problem(f"config, ensembles.{name}", what, remedy)
        if not project.predicted(name):
            what = f"{project.sheet.path} has no slide for it to predict."
            remedy = "Give slides the role test; training slides are predicted where there are folds."
            yield Problem(f"config, ensembles.{name}", what, remedy)


def _kinds(model: Model, config: Config) -> list[str]:
    """The kinds of tiles that a model's tile set has; any, of one that the config does not have."""
    tiles = config.tiles.get(model.tiles, TileSet(scale=model.tiles, objects=True, scattered=1))
    kinds = {"grid": True, "background": True, "object": tiles.objects, "scattered": tiles.scattered > 0}
    return [kind for kind, is_cut in kinds.items() if is_cut]


def _empty_spreads(project: Project) -> Iterator[Problem]:
    """Spreads of single networks, or of slides that are not there."""
    config, bundled = project.config, project.bundled
    asked = {f"models.{name}.inference": [name] for name in config.models if project.asks_spread(name)}
    for bundle in (name for name, spec in config.bundles.items() if spec.spread and name in bundled.bundles):
        asked[f"bundles.{bundle}"] = [name for name, one in bundled.members.items() if one.bundle == bundle]
    for key, members in asked.items():
        where = f"config, {key}.spread"
        own = [name for name, used in project.spreading.items() if {*used} & {*members}]
        if not project.tested:
            what = f"{project.sheet.path} has no slide that no fold has seen."
            yield Problem(where, what, "Give slides without outlines the role test, or leave it out.")
        elif not own:
            remedy = "Name it in an ensemble, with a weight above 0; or leave it out."
            yield Problem(where, "no ensemble counts it.", remedy)
        elif not any(project.tells_spread(name, project.tested[0]) for name in own):
            what = "one network alone predicts, and there is no other that it could differ from."
            yield Problem(where, what, "Train more folds, or leave it out.")


def _own_results(project: Project) -> Iterator[Problem]:
    """Bundles and saved predictions that lie where this run writes: they would be its input and its output."""
    places, config = Places.of(project.config.pathvars), project.config
    members, ensembles = (*project.known("model"), *config.predictions), config.ensembles
    written = {
        *(Path(parent(places.probabilities(name))).resolve() for name in members),
        *(Path(parent(places.ensembles(name))).resolve() for name in ensembles),
        *(Path(places.bundle(name)).resolve() for name in ensembles),
    }
    named = {f"predictions.{name}.folder": one.folder for name, one in config.predictions.items()}
    named |= {f"bundles.{name}.path": one.path for name, one in config.bundles.items()}
    for key, path in named.items():
        whole = Path(path).resolve()
        if written & {whole, *whole.parents}:
            remedy = "Copy what is there to another place, and name that."
            yield Problem(f"config, {key}", f"{path} is where this run writes results of its own.", remedy)


def _unknown_values(where: str, model: Model, config: Config, sheet: Sheet) -> Iterator[Problem]:
    trained = [row for row in sheet if row.role != "test"]
    roles = ["train", "external", *(["pseudo"] if model.pseudo else [])]
    known = {
        "kind": _kinds(model, config),
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
