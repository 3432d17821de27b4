"""The order of the report."""

from typing import Self

from pydantic import Field

from tilewright.project.bundle import Bundle
from tilewright.project.config import Model, Pseudo, Report, Section
from tilewright.project.orders.base import Order
from tilewright.project.orders.data import DownscaleRow
from tilewright.project.project import Assignment, Bounds, Project
from tilewright.project.rows import Role


class ReportRow(DownscaleRow):
    """A slide of the report.

    Attributes:
        annotated: whether the sheet names outlines of it.
    """

    shard: str
    group: str
    role: Role
    source: str
    labelled: tuple[str, ...]
    annotated: bool


class ReportModel(Section):
    """What the report tells of a model.

    Attributes:
        going_out: the parts (``fold0``, ``final``) that predict test slides.
        labelled_elsewhere: the ensemble whose pseudo-labels it learns from, if that holds what was not trained here.
    """

    going_out: list[str]
    architecture: str
    encoder: str | None
    encoder_weights: str
    start: str | None = None
    tiles: str
    loss: dict[str, float | dict[str, float]]
    epochs: int
    labelled_elsewhere: str = ""


class ReportBundle(Section):
    """What the report tells of a bundle.

    Attributes:
        title: what its makers call it.
        licence: theirs.
        trained_on: hashes of the files of the slides that it has seen.
    """

    title: str
    licence: str
    trained_on: list[str]

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """A bundle."""
        return cls(title=bundle.credits.title, licence=bundle.credits.licence, trained_on=bundle.trained_on)


class ReportEnsemble(Section):
    """What the report tells of an ensemble.

    Attributes:
        weights: of its members.
        scale: name of its scale.
        bounds: what becomes an object of each class, where nothing was fitted; None: ``calibrate`` has fitted it.
        evaluated: slides that are compared with outlines, those that something was fitted on among them.
        audited: whether outlines were compared with networks that have not seen them.
        fit: whether weights were fitted.
        bundles: the bundles in it, by name.
        starts: the bundles that its trainings started from, by path.
        saved: names of the saved predictions in it.
        spread: test slides of which it tells how far those that predict them are apart.
    """

    weights: dict[str, float]
    scale: str
    bounds: dict[str, Bounds] | None
    evaluated: list[str]
    audited: bool
    fit: bool
    bundles: dict[str, ReportBundle]
    starts: dict[str, ReportBundle]
    saved: list[str]
    spread: list[str] = Field([])

    @classmethod
    def of(cls, project: Project, name: str) -> Self:
        """An ensemble of a project."""
        members, bounds = project.config.ensembles[name].models, project.bounds(name)
        bundles = {each: bundle for each, bundle in project.bundled.bundles.items() if each in members}
        return cls(
            weights=project.weights(name),
            audited=bool(project.audited(name)),
            scale=project.grid_scale(name),
            bounds=bounds,
            evaluated=[row.slide for row in project.evaluated_rows(name)],
            fit=project.config.ensembles[name].weights == "fit",
            bundles={each: ReportBundle.of(bundle) for each, bundle in bundles.items()},
            starts={path: ReportBundle.of(project.bundled.starts[path]) for path in project.starts(name)},
            saved=[each for each in members if each in project.config.predictions],
            spread=[row.slide for row in project.rows("test") if project.tells_spread(name, row.shard)],
        )


class ReportOrder(Order):
    """Of ``report``: the slides and what is shown of them."""

    sheet: str
    rows: list[ReportRow]
    skipped: list[str] = Field([])
    folds: list[Assignment]
    colors: dict[str, str]
    report: Report
    models: dict[str, ReportModel]
    ensembles: dict[str, ReportEnsemble]
    columns: list[str] = Field([])
    crop_to_bounds: bool = True

    @classmethod
    def of(cls, project: Project) -> Self:
        config = project.config
        columns = set(ReportRow.model_fields) - {"annotated"}
        return cls(
            sheet=str(project.sheet.path),
            rows=[
                ReportRow(**{name: getattr(row, name) for name in columns}, annotated=row.annotations is not None)
                for row in project.sheet
            ],
            skipped=list(project.sheet.skipped),
            folds=list(project.folds.values()),
            colors=project.colors,
            report=config.report,
            models={
                name: ReportModel(
                    **{
                        field: getattr(model, field)
                        for field in ReportModel.model_fields
                        if field in Model.model_fields
                    },
                    going_out=project.going_out(name),
                    labelled_elsewhere=_elsewhere(project, model.pseudo),
                )
                for name, model in config.models.items()
            },
            ensembles={name: ReportEnsemble.of(project, name) for name in config.ensembles},
            columns=config.evaluation.columns,
            crop_to_bounds=config.slides.crop_to_bounds,
        )


def _elsewhere(project: Project, pseudo: Pseudo | None) -> str:
    """The ensemble that labels, if a member of it was not trained here."""
    return pseudo.source if pseudo and set(project.weights(pseudo.source)) - set(project.config.models) else ""
