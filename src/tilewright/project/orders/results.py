"""Orders of the steps from trained networks to the report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field

from tilewright.project.bundle import Bundle, BundleMember
from tilewright.project.config import (
    BlendName,
    Calibration,
    Inference,
    PixelRule,
    Section,
    Segmentation,
    Submission,
)
from tilewright.project.config.results import Enlarging
from tilewright.project.orders.base import AnatomyRow, Order, StepRow
from tilewright.project.project import Assignment, Bounds, Project
from tilewright.project.rows import Role, Row

SAVED = (".tif", ".tiff", ".npy")
"""How the names of saved probabilities end."""


class BundledModel(Section):
    """A model of a bundle, as a job is told of it.

    Attributes:
        member: what the bundle says of it.
        hashes: the SHA-256 of each of its files of weights.
    """

    member: BundleMember
    hashes: list[str]

    @classmethod
    def of(cls, bundle: Bundle, member: BundleMember) -> Self:
        """A member of a bundle."""
        return cls(member=member, hashes=[bundle.files[one.file].sha256 for one in member.weights])


class PredictOrder(Order):
    """Of ``predict``: the slides, the networks that predict them, windows and blending, and what is kept.

    Attributes:
        parts: the part of the model (``fold0``, ``final``) that each network is.
        averaged: those whose mean is the model's; the others label a further round.
        bundled: the model, if it comes from a bundle.
    """

    slides: list[str]
    parts: list[str]
    averaged: list[str]
    inference: Inference
    bundled: BundledModel | None = None

    @classmethod
    def of(cls, project: Project, model: str, shard: str) -> Self:
        if model in project.bundled.members:
            own = project.bundled.members[model]
            return cls(
                slides=_names(project, shard),
                parts=own.spec.parts,
                averaged=own.spec.parts,
                inference=Inference(**own.spec.inference.model_dump(), spread=project.has_spread(model, shard)),
                bundled=BundledModel.of(project.bundled.bundles[own.bundle], own.spec),
            )
        inference, parts = project.config.models[model].inference, project.loaded_parts(model, shard)
        spread = project.has_spread(model, shard)
        wanted = {*inference.keep, *(["folds"] if project.labels_a_round(model, shard) else [])}
        kept = sorted(wanted if len(parts) > 1 else wanted - {"folds"})
        return cls(
            slides=_names(project, shard),
            parts=parts,
            averaged=project.parts_of(model, shard),
            inference=inference.model_copy(update={"keep": kept, "members": "auto", "spread": spread}),
        )


_MEAN_ALONE: dict[str, Any] = {"keep": [], "spread": False, "depth": "uint8", "members": "auto"}
"""Of a model's inference where nothing but its mean is asked for."""


class AdoptRow(StepRow):
    """A slide whose probabilities were saved.

    Attributes:
        file: where they are; None: nowhere.
    """

    file: Path | None


class AdoptOrder(Order):
    """Of ``adopt``: the saved probabilities of a shard, and the classes of their bands."""

    rows: list[AdoptRow]
    folder: Path
    shard: str
    classes: list[str]

    @classmethod
    def of(cls, project: Project, predictions: str, shard: str) -> Self:
        folder = project.config.predictions[predictions].folder
        rows = [
            AdoptRow(slide=row.slide, file=saved_file(Path(folder), shard, row.slide)) for row in project.shard(shard)
        ]
        return cls(rows=rows, folder=Path(folder), shard=shard, classes=project.classes)


def saved_file(folder: Path, shard: str, slide: str) -> Path | None:
    """Saved probabilities of a slide, in the folder of its shard or in the folder itself; None: there are none."""
    places = (place / f"{slide}{suffix}" for place in (folder / shard, folder) for suffix in SAVED)
    return next((place for place in places if place.is_file()), None)


class SeamsOrder(Order):
    """Of ``seams``: the slides of a shard, the windows of a model, and others to compare."""

    slides: list[str]
    inference: Inference
    max_edge: int
    overlaps: list[float]
    blends: list[BlendName]

    @classmethod
    def of(cls, project: Project, model: str) -> Self:
        slides = _names(project, project.first_validated)
        inference = project.model(model).inference.model_copy(update=_MEAN_ALONE)
        return cls(slides=slides, inference=inference, **project.config.seams.model_dump())


class EnsembleOrder(Order):
    """Of ``ensemble``: the slides, the members, their weights, or that these are fitted.

    Attributes:
        spread: whether a map is written of how far they are apart.
        within: the members that have one of their folds.
    """

    slides: list[str]
    members: list[str]
    weights: dict[str, float]
    fit: bool = False
    spread: bool = False
    within: list[str] = Field([])

    @classmethod
    def of(cls, project: Project, ensemble: str, shard: str) -> Self:
        spec = project.config.ensembles[ensemble]
        members = project.members(ensemble)
        weights = project.weights(ensemble)
        return cls(
            slides=_names(project, shard),
            members=members,
            weights=weights,
            fit=spec.weights == "fit",
            spread=project.tells_spread(ensemble, shard),
            within=[name for name in members if project.has_spread(name, shard)],
        )


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


class SegmentRow(AnatomyRow):
    """A slide that objects are found on."""


class ObjectsOrder(Section):
    """How objects are made and compared with outlines, where they are what is fitted.

    Attributes:
        rows: the slides, as ``segment`` is told of them.
        segmentation: how objects are made.
        pixel_rule: which pixels an outline covers.
        fit_confidence: whether the least confidence is fitted.
    """

    rows: list[SegmentRow]
    segmentation: Segmentation
    pixel_rule: PixelRule
    fit_confidence: bool

    @classmethod
    def of_project(cls, project: Project) -> Self:
        """How a project makes objects of its slides with out-of-fold probabilities."""
        spec = project.config.segmentation
        return cls(
            rows=[_segment_row(project, row) for row in project.validated_rows],
            segmentation=spec.model_copy(update={"object_type": "annotation"}),  # how they are exported fits nothing
            pixel_rule=project.config.annotations.pixel_rule,
            fit_confidence="min_confidence" not in spec.model_fields_set,
        )


class CalibrateOrder(_FittingOrder):
    """Of ``calibrate``: also the slides, and what is fitted and towards which aim.

    Attributes:
        enlarge: as objects are made, if their sizes are fitted.
        objects: how objects are made, if they are the aim.
    """

    rows: list[CalibrateRow]
    calibration: Calibration
    enlarge: Enlarging = "bilinear"
    objects: ObjectsOrder | None = None

    @classmethod
    def of(cls, project: Project, ensemble: str) -> Self:
        spec = project.config.ensembles[ensemble].calibration
        told: dict[str, Any] = {}
        if spec.aim == "objects":
            told["objects"] = ObjectsOrder.of_project(project)
            spec = spec.model_copy(update={"min_area": "fit" if spec.least is None else spec.least})
        else:
            # another overlap is nothing to an aim that knows none
            spec = spec.model_copy(update={"overlap": Calibration().overlap})
            if spec.min_area == "fit":
                told["enlarge"] = project.config.segmentation.enlarge
        return cls(**_fitting(project, CalibrateRow), calibration=spec, **told)


class SegmentOrder(Order):
    """Of ``segment``: classes with their colours, and how objects are made.

    Attributes:
        bounds: what becomes an object of each class; None: what ``calibrate`` has found.
    """

    rows: list[SegmentRow]
    colors: dict[str, str]
    segmentation: Segmentation
    bounds: dict[str, Bounds] | None = None

    @classmethod
    def of(cls, project: Project, ensemble: str, shard: str) -> Self:
        spec = project.config.segmentation
        rows = [_segment_row(project, row) for row in project.shard(shard)]
        return cls(rows=rows, colors=project.colors, segmentation=spec, bounds=project.bounds(ensemble))


class EncodeRow(StepRow):
    """A slide of the submission."""

    shard: str


class EncodeOrder(Order):
    """Of ``encode``: the test slides and the form of the submission.

    Attributes:
        skipped: slides that are left out; a sample that names one gets an empty row for it.
    """

    rows: list[EncodeRow]
    submission: Submission
    classes: list[str]
    skipped: list[str] = Field([])

    @classmethod
    def of(cls, project: Project) -> Self:
        submission = project.config.submission
        rows = [EncodeRow.of(row) for row in project.rows("test")]
        skipped = list(project.sheet.skipped)
        return cls(rows=rows, submission=submission, classes=submission.classes or project.classes, skipped=skipped)


class MeasureRow(StepRow):
    """A slide that is segmented."""

    shard: str


class MeasureOrder(Order):
    """Of ``measure``: the classes, and of each ensemble its scale and the slides that it has segmented."""

    rows: dict[str, list[MeasureRow]]
    classes: list[str]
    scales: dict[str, str]

    @classmethod
    def of(cls, project: Project) -> Self:
        shards = {name: set(project.predicted(name)) for name in project.config.ensembles}
        return cls(
            rows={
                name: [MeasureRow.of(row) for row in project.sheet if row.shard in own] for name, own in shards.items()
            },
            classes=project.classes,
            scales={name: project.grid_scale(name) for name in project.config.ensembles},
        )


class EvaluateRow(CalibrateRow):
    """A slide with outlines and a prediction that may be compared with them.

    Attributes:
        told: values of the columns that stand beside its scores, by column.
    """

    role: Role
    told: dict[str, str] = Field({})

    @classmethod
    def of(cls, row: Row, columns: Sequence[str] = ()) -> Self:
        """The columns of a row, with the values of some that stand beside its scores."""
        own = {name: getattr(row, name) for name in cls.model_fields if name != "told"}
        return cls(**own, told={name: row.column(name) for name in columns})


class EvaluateOrder(Order):
    """Of ``evaluate``: slides, classes, what outlines cover, when an object is found, how far boundaries differ."""

    rows: list[EvaluateRow]
    classes: list[str]
    pixel_rule: PixelRule = "center"
    iou: float
    boundary: int
    center_min_area: int = 0
    columns: list[str] = Field([])

    @classmethod
    def of(cls, project: Project, ensemble: str) -> Self:
        spec = project.config.evaluation
        return cls(
            rows=[EvaluateRow.of(row, spec.columns) for row in project.evaluated_rows(ensemble)],
            classes=project.classes,
            pixel_rule=project.config.annotations.pixel_rule,
            iou=spec.iou,
            boundary=spec.boundary,
            center_min_area=spec.center_min_area,
            columns=spec.columns,
        )


class AuditOrder(Order):
    """Of ``audit``: slides with out-of-fold probabilities, classes with their colours, and what is suspect."""

    rows: list[CalibrateRow]
    colors: dict[str, str]
    pixel_rule: PixelRule = "center"
    score: float

    @classmethod
    def of(cls, project: Project, ensemble: str) -> Self:
        return cls(
            rows=[CalibrateRow.of(row) for row in project.audited_rows(ensemble)],
            colors=project.colors,
            pixel_rule=project.config.annotations.pixel_rule,
            score=project.config.evaluation.suspect,
        )


def _segment_row(project: Project, row: Row) -> SegmentRow:
    return SegmentRow.of_project(project, row, asked=bool(project.config.segmentation.inside))


def _names(project: Project, shard: str) -> list[str]:
    return [row.slide for row in project.shard(shard)]


def _fitting(project: Project, row: type[TruthRow]) -> dict[str, Any]:
    """Fields of what is fitted on the slides with out-of-fold probabilities."""
    return {
        "rows": [row.of(each) for each in project.validated_rows],
        "folds": list(project.folds.values()),
        "classes": project.classes,
    }
