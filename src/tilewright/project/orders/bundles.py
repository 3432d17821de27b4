"""Orders of what is given away."""

from typing import Literal, Self

from tilewright.project.bundle import FORMAT
from tilewright.project.config import BundleText, Section, Segmentation, Slides, Tissue, Windows
from tilewright.project.orders.base import Order, StepRow
from tilewright.project.orders.training import pseudo_labelled
from tilewright.project.project import Project


class PackRow(StepRow):
    """A slide that a bundle tells of."""

    shard: str


class PackMember(Section):
    """A model of the ensemble, and how it predicts."""

    name: str
    inference: Windows


class PackOrder(Order):
    """Of ``pack``: what is told of an ensemble beside what its training and its calibration have found.

    Attributes:
        format: version of the format of bundles.
        ensemble: its name.
        text: the words of those who made it.
        colors: the colour of each class.
        members: the models, the one at the ensemble's scale first.
        folds: number of folds.
        weights: weights of the models.
        fit: whether they are fitted instead.
        aim: what thresholds are fitted towards.
        seen: the slides that the models were trained on, pseudo-labelled ones among them.
        examples: the slides of which a picture is shown.
    """

    format: int
    ensemble: str
    text: BundleText
    colors: dict[str, str]
    members: list[PackMember]
    folds: int
    weights: dict[str, float]
    fit: bool
    aim: Literal["pooled", "slide"]
    tissue: Tissue
    slides: Slides
    segmentation: Segmentation
    seen: list[PackRow]
    examples: list[PackRow]

    @classmethod
    def of(cls, project: Project, ensemble: str) -> Self:
        config = project.config
        spec = config.ensembles[ensemble]
        return cls(
            format=FORMAT,
            ensemble=ensemble,
            text=config.bundle,
            colors=project.colors,
            members=[
                PackMember(name=model, inference=_windows(config.models[model].inference))
                for model in project.members(ensemble)
            ],
            folds=config.folds.count,
            weights=spec.models,
            fit=spec.weights == "fit",
            aim=spec.calibration.aim,
            tissue=config.tissue,
            slides=config.slides,
            segmentation=config.segmentation,
            seen=[PackRow.of(row) for shard in seen_shards(project, ensemble) for row in project.shard(shard)],
            examples=[PackRow.of(row) for row in project.sheet if row.slide in config.bundle.examples],
        )


def seen_shards(project: Project, ensemble: str) -> list[str]:
    """The shards that a model of an ensemble was trained on, with their outlines or with pseudo-labels."""
    labelled = {
        shard: None
        for model in project.members(ensemble)
        for fold in range(project.config.folds.count)
        for shard in pseudo_labelled(project, model, fold)
    }
    return [*project.folds, *labelled]


def _windows(inference: Windows) -> Windows:
    """Without what belongs to the machine."""
    return Windows(**inference.model_dump(include=set(Windows.model_fields)))
