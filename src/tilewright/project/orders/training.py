"""Orders of training and of its further rounds."""

from typing import Self

from tilewright.project.config import Network, Scale, Section, TilesAt, TileSet
from tilewright.project.orders.base import Order
from tilewright.project.orders.data import TileRow
from tilewright.project.places import FINAL, part_of
from tilewright.project.project import Assignment, Project
from tilewright.project.rows import pseudo_shards
from tilewright.runtime.errors import Problem, UserError


class TrainOrder(Order):
    """Of ``train``: network, classes, scale of its tiles, and what is trained and validated on; not the workers.

    Attributes:
        at: where the tiles of training lie.
        folds: where each shard stands.
        pseudo: the group of each shard that pseudo-labels may come from.
    """

    network: Network
    classes: list[str]
    scale: Scale
    at: TilesAt = "grid"
    folds: list[Assignment]
    pseudo: dict[str, str]

    @classmethod
    def of(cls, project: Project, model: str, fold: str) -> Self:
        return cls._of_part(project, model, part_of(int(fold)))

    @classmethod
    def of_final(cls, project: Project, model: str) -> Self:
        """Of ``refit``."""
        return cls._of_part(project, model, FINAL)

    @classmethod
    def _of_part(cls, project: Project, model: str, part: str) -> Self:
        spec = project.model(model)
        told = spec.model_dump(exclude={"inference", "workers", "final"})
        return cls(
            network=Network(**told | {"start": spec.start_of(part)}),
            classes=project.classes,
            scale=project.scales[project.scale_of(model)],
            at=project.config.tiles[spec.tiles].at,
            folds=list(project.folds.values()),
            pseudo=pseudo_labelled(project, model, part),
        )


def pseudo_labelled(project: Project, model: str, part: str) -> dict[str, str]:
    """The shards, with their groups, that an ensemble labels for a part of a model; none without pseudo-labels."""
    if project.config.models[model].pseudo is None:
        return {}
    validated = [] if part == FINAL else project.shards_of_fold(int(part.removeprefix("fold")))
    return pseudo_shards(project.sheet, {project.folds[shard].group for shard in validated})


class Labeller(Section):
    """A member that labels tiles.

    Attributes:
        part: which of its maps does, such as ``fold0``; empty: the only one.
        weight: how much it counts.
    """

    part: str = ""
    weight: float


class PseudoOrder(Order):
    """Of ``pseudo``: tiles of a model, the members that label them, in order, and how sure they must be."""

    rows: list[TileRow]
    tiles: TileSet
    classes: list[str]
    members: list[Labeller]
    min_confidence: float

    @classmethod
    def of(cls, project: Project, model: str, part: str, shard: str) -> Self:
        config = project.config
        spec = project.model(model)
        if spec.pseudo is None:
            raise UserError(Problem("order", f"the model {model} has no pseudo-labels.", "Name one with `pseudo`."))
        tiles, source = config.tiles[spec.tiles].cut, spec.pseudo.source
        weights = project.weights(source)
        # where nothing is validated, the mean may label: it has seen all that is trained on
        own = project.trained(source) if part != FINAL else []
        apart = {member for member in own if len(project.loaded_parts(member, shard)) > 1}
        asked, every = bool(tiles.background_inside), {"labelled": tuple(project.classes)}
        slides = [TileRow.of_project(project, row, asked=asked) for row in project.shard(shard)]
        return cls(
            # what the ensemble is not sure of does not count, so that every class is labelled
            rows=[row.model_copy(update=every) for row in slides],
            tiles=tiles,
            classes=project.classes,
            # what comes from elsewhere has no fold of this project
            members=[
                Labeller(part=part if member in apart else "", weight=weights[member])
                for member in project.members(source)
            ],
            min_confidence=spec.pseudo.min_confidence,
        )
