"""Orders of the steps from trained networks to the report."""

from pathlib import Path
from typing import Any, Self

from tilewright.project.config import (
    BlendName,
    Calibration,
    Inference,
    PixelRule,
    Report,
    Section,
    Segmentation,
    Slides,
    Submission,
)
from tilewright.project.orders.base import Order, StepRow
from tilewright.project.project import Assignment, Project
from tilewright.project.rows import Region, Role


class PredictOrder(Order):
    """Of ``predict``: the slides, windows and blending."""

    slides: list[str]
    inference: Inference

    @classmethod
    def of(cls, project: Project, model: str, shard: str) -> Self:
        return cls(slides=_names(project, shard), inference=project.config.models[model].inference)


class SeamsOrder(Order):
    """Of ``seams``: the slides of a shard, the windows of a model, and others to compare."""

    slides: list[str]
    inference: Inference
    max_edge: int
    overlaps: list[float]
    blends: list[BlendName]

    @classmethod
    def of(cls, project: Project, model: str) -> Self:
        slides = _names(project, project.shards_of_fold(0)[0])
        return cls(slides=slides, inference=project.config.models[model].inference, **project.config.seams.model_dump())


class EnsembleOrder(Order):
    """Of ``ensemble``: the slides, the model of each member, the weights of the models, or that they are fitted."""

    slides: list[str]
    members: list[str]
    weights: dict[str, float]
    fit: bool = False

    @classmethod
    def of(cls, project: Project, ensemble: str, shard: str) -> Self:
        spec = project.config.ensembles[ensemble]
        members = [model for model in project.members(ensemble) for _ in project.folds_of(shard)]
        return cls(slides=_names(project, shard), members=members, weights=spec.models, fit=spec.weights == "fit")


class TruthRow(StepRow):
    """A slide with known truth."""

    shard: str
    labelled: tuple[str, ...]


class CalibrateRow(TruthRow):
    """The same with the source that its scores are told by."""

    source: str = "all"


class _FittingOrder(Order):
    """What is fitted on training slides: their folds, and the classes."""

    folds: list[Assignment]
    classes: list[str]


class WeighOrder(_FittingOrder):
    """Of ``weigh``: also the slides, and the models, the one at the ensemble's scale first."""

    rows: list[TruthRow]
    models: list[str]

    @classmethod
    def of(cls, project: Project, ensemble: str) -> Self:
        return cls(**_fitting(project, TruthRow), models=project.members(ensemble))


class CalibrateOrder(_FittingOrder):
    """Of ``calibrate``: also the slides, and what is fitted and towards which aim."""

    rows: list[CalibrateRow]
    calibration: Calibration

    @classmethod
    def of(cls, project: Project, ensemble: str) -> Self:
        spec = project.config.ensembles[ensemble].calibration
        return cls(**_fitting(project, CalibrateRow), calibration=spec)


class SegmentRow(StepRow):
    """A slide that objects are found on.

    Attributes:
        anatomy: outlines of larger structures; None where none is asked for.
    """

    anatomy: Path | None = None


class SegmentOrder(Order):
    """Of ``segment``: classes with their colours, and how objects are made."""

    rows: list[SegmentRow]
    colors: dict[str, str]
    segmentation: Segmentation

    @classmethod
    def of(cls, project: Project, shard: str) -> Self:
        spec = project.config.segmentation
        rows = [
            SegmentRow(slide=row.slide, anatomy=row.anatomy if spec.inside else None) for row in project.shard(shard)
        ]
        return cls(rows=rows, colors=project.colors, segmentation=spec)


class EncodeRow(StepRow):
    """A slide of the submission."""

    shard: str


class EncodeOrder(Order):
    """Of ``encode``: the test slides and the form of the submission."""

    rows: list[EncodeRow]
    submission: Submission
    classes: list[str]

    @classmethod
    def of(cls, project: Project) -> Self:
        submission = project.config.submission
        rows = [EncodeRow.of(row) for row in project.rows("test")]
        return cls(rows=rows, submission=submission, classes=submission.classes or project.classes)


class MeasureRow(StepRow):
    """A slide that is segmented."""

    shard: str


class MeasureOrder(Order):
    """Of ``measure``: the segmented slides, the classes, and the scale of each ensemble."""

    rows: list[MeasureRow]
    classes: list[str]
    scales: dict[str, str]

    @classmethod
    def of(cls, project: Project) -> Self:
        segmented = {*project.validated, *project.tested}
        return cls(
            rows=[MeasureRow.of(row) for row in project.sheet if row.shard in segmented],
            classes=project.classes,
            scales={name: project.grid_scale(name) for name in sorted(project.config.ensembles)},
        )


class EvaluateRow(CalibrateRow):
    """A slide with outlines and a prediction that may be compared with them."""

    role: Role


class EvaluateOrder(Order):
    """Of ``evaluate``: slides, classes, what outlines cover, when an object is found, how far boundaries may differ."""

    rows: list[EvaluateRow]
    classes: list[str]
    pixel_rule: PixelRule = "center"
    iou: float
    boundary: int

    @classmethod
    def of(cls, project: Project) -> Self:
        spec = project.config.evaluation
        return cls(
            rows=[EvaluateRow.of(row) for row in project.rows("train", "test") if row.annotations],
            classes=project.classes,
            pixel_rule=project.config.annotations.pixel_rule,
            iou=spec.iou,
            boundary=spec.boundary,
        )


class ReportRow(StepRow):
    """A slide of the report.

    Attributes:
        annotated: whether the sheet names outlines of it.
    """

    image: Path
    region: Region | None = None
    shard: str
    group: str
    role: Role
    source: str
    labelled: tuple[str, ...]
    annotated: bool


class ReportModel(Section):
    """What the report tells of a model."""

    architecture: str
    encoder: str | None
    encoder_weights: str
    start: str | None = None
    tiles: str
    loss: dict[str, float | dict[str, float]]
    epochs: int


class ReportOrder(Order):
    """Of ``report``: the slides and what is shown of them."""

    sheet: str
    rows: list[ReportRow]
    folds: list[Assignment]
    colors: dict[str, str]
    scales: list[str]
    report: Report
    models: dict[str, ReportModel]
    ensembles: dict[str, dict[str, float]]
    slides: Slides = Slides()

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
            folds=list(project.folds.values()),
            colors=project.colors,
            scales=project.grid_scales,
            report=config.report,
            models={
                name: ReportModel(**{field: getattr(model, field) for field in ReportModel.model_fields})
                for name, model in config.models.items()
            },
            ensembles={name: ensemble.models for name, ensemble in config.ensembles.items()},
            slides=config.slides,
        )


def _names(project: Project, shard: str) -> list[str]:
    return [row.slide for row in project.shard(shard)]


def _fitting(project: Project, row: type[TruthRow]) -> dict[str, Any]:
    """Fields of what is fitted on the slides with out-of-fold probabilities."""
    return {
        "rows": [row.of(each) for each in project.rows("train")],
        "folds": list(project.folds.values()),
        "classes": project.classes,
    }
