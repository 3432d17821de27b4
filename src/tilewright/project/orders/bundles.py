"""Orders of what is given away."""

from pathlib import Path
from typing import Self

from pydantic import Field

from tilewright.project.bundle import FORMAT
from tilewright.project.config import BundleText, Section, Segmentation, Slides, Tissue, Windows
from tilewright.project.config.results import Aim
from tilewright.project.orders.base import Order, StepRow
from tilewright.project.orders.results import BundledModel
from tilewright.project.orders.training import pseudo_labelled
from tilewright.project.project import Project


class PackRow(StepRow):
    """A slide that a bundle tells of."""

    shard: str


class PackMember(Section):
    """A model of the ensemble.

    Attributes:
        name: its name among the members.
        inference: how it predicts.
        parts: its parts that go out, of a model that was trained here.
        bundle: name of the bundle that it comes from; empty: it was trained here.
        model: what that bundle says of it.
    """

    name: str
    inference: Windows
    parts: list[str] = Field([])
    bundle: str = ""
    model: BundledModel | None = None

    @classmethod
    def of(cls, project: Project, name: str) -> Self:
        """A member of an ensemble."""
        if name not in project.bundled.members:
            return cls(name=name, inference=_windows(project.model(name).inference), parts=project.going_out(name))
        own = project.bundled.members[name]
        model = BundledModel.of(project.bundled.bundles[own.bundle], own.spec)
        return cls(name=name, inference=own.spec.inference, bundle=own.bundle, model=model)


class PackOrder(Order):
    """Of ``pack``: what is told of an ensemble beside what its training and its calibration have found.

    Attributes:
        format: version of the format of bundles.
        ensemble: its name.
        text: the words of those who made it.
        colors: the colour of each class.
        members: the models, the one at the ensemble's scale first.
        bundles: the bundles that the others come from, by name.
        starts: the bundles that the trainings started from.
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
    bundles: dict[str, Path]
    starts: list[Path]
    weights: dict[str, float]
    fit: bool
    aim: Aim
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
            members=[PackMember.of(project, name) for name in project.members(ensemble)],
            bundles={name: Path(use.path) for name, use in config.bundles.items() if name in spec.models},
            starts=[Path(path) for path in project.starts(ensemble)],
            weights=project.weights(ensemble),
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
        for model in project.trained(ensemble)
        for part in project.going_out(model)
        for shard in pseudo_labelled(project, model, part)
    }
    return [*(project.folds if project.trained(ensemble) else ()), *labelled]


def _windows(inference: Windows) -> Windows:
    """Without what belongs to the machine."""
    return Windows(**inference.model_dump(include=set(Windows.model_fields)))
