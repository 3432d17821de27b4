"""Orders of the steps from outlines to tiles and folds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from tilewright.project.config import Annotations, Folds, PixelRule, Scale, Section, Slides, TileSet, Tissue
from tilewright.project.corrected import corrections_file
from tilewright.project.naming import Identity, Namesake
from tilewright.project.orders.base import AnatomyRow, Order, StepRow
from tilewright.project.project import Project
from tilewright.project.rows import Region, Role, Row
from tilewright.runtime.errors import Problem, UserError


class OpenedRow(StepRow):
    """A slide that is opened."""

    image: Path
    region: Region | None = None
    mpp: float | None = None


class DownscaleRow(OpenedRow):
    """A slide whose pixels are read."""

    white: int | None = None


class RasterizeRow(OpenedRow):
    """A slide whose outlines are read.

    Attributes:
        decisions: a file of corrections of its outlines; None: there is none.
        namesakes: other slides that an id in its file of outlines might mean.
    """

    annotations: Path | None = None
    decisions: Path | None = None
    namesakes: tuple[Namesake, ...] = ()

    @property
    def identity(self) -> Identity:
        """By what its outlines are found."""
        return Identity(self.slide, self.image, self.namesakes)

    @classmethod
    def of_project(cls, project: Project, row: Row) -> Self:
        """The columns of a row, its corrections if there are any, and what its outlines are found by."""
        file = corrections_file(project, row.slide) if row.annotations else None
        decisions = file if file and file.is_file() else None
        return cls.of_row(row, decisions=decisions, namesakes=project.namesakes("annotations", row.slide))


class RasterizeOrder(Order):
    """Of ``rasterize``: which labels belong to which class, how they are drawn, and where slides begin."""

    rows: list[RasterizeRow]
    classes: dict[str, list[str]]
    annotations: Annotations
    crop_to_bounds: bool = True

    @classmethod
    def of(cls, project: Project, shard: str) -> Self:
        config = project.config
        return cls(
            rows=[RasterizeRow.of_project(project, row) for row in project.shard(shard)],
            classes=config.labels,
            annotations=config.annotations,
            crop_to_bounds=config.slides.crop_to_bounds,
        )


class DownscaleOrder(Order):
    """Of ``downscale``: the scales that it writes, the classes of the masks, and what counts as tissue.

    Attributes:
        masks: whether there are masks: a shard without any outlines has none.
    """

    rows: list[DownscaleRow]
    scales: dict[str, Scale]
    classes: list[str]
    tissue: Tissue
    masks: bool = True
    slides: Slides = Slides()

    @classmethod
    def of(cls, project: Project, shard: str, scale: str) -> Self:
        return cls._of_scales(project, shard, [scale])

    @classmethod
    def of_one_pass(cls, project: Project, shard: str) -> Self:
        return cls._of_scales(project, shard, sorted(project.config.one_pass))

    @classmethod
    def _of_scales(cls, project: Project, shard: str, scales: Sequence[str]) -> Self:
        config = project.config
        return cls(
            rows=[DownscaleRow.of(row) for row in project.shard(shard)],
            scales={name: project.scales[name] for name in scales},
            masks=project.is_annotated(shard),
            classes=project.classes,
            tissue=config.tissue,
            slides=config.slides,
        )


class TileRow(AnatomyRow):
    """A slide that tiles are cut from."""

    source: str = "all"
    labelled: tuple[str, ...]


class TileOrder(Order):
    """Of ``tile``: the tile set and the names of the classes.

    Attributes:
        objects: which pixels the outline of an object covers; None: no network learns of objects.
    """

    rows: list[TileRow]
    tiles: TileSet
    classes: list[str]
    objects: PixelRule | None = None

    @classmethod
    def of(cls, project: Project, shard: str, tiles: str) -> Self:
        spec = project.config.tiles[tiles].cut
        asked = bool(spec.background_inside)
        rows = [TileRow.of_project(project, row, asked=asked) for row in project.shard(shard)]
        rule = project.config.annotations.pixel_rule if project.config.learns_objects(tiles) else None
        return cls(rows=rows, tiles=spec, classes=project.classes, objects=rule)


class SplitRow(Section):
    """A slide that is trained on.

    Attributes:
        stratum: its value of the column that each fold should share evenly.
    """

    shard: str
    group: str
    role: Role = "train"
    stratum: str = ""


class SplitOrder(Order):
    """Of ``split``: what is divided, and how."""

    rows: list[SplitRow]
    folds: Folds

    @classmethod
    def of(cls, project: Project) -> Self:
        # which folds are trained divides nothing
        folds = project.config.folds.model_copy(update={"selected": None})
        return cls(rows=split_rows(project.rows("train", "external"), folds), folds=folds)


def split_rows(rows: Sequence[Row], folds: Folds) -> list[SplitRow]:
    """What decides about the folds of some slides.

    Raises:
        UserError: the sheet lacks the column to stratify by.
    """
    column = folds.stratify
    if column and rows and not rows[0].has_column(column):
        raise UserError(Problem("config", f'folds.stratify: the sheet has no column "{column}".'))
    return [
        SplitRow(shard=row.shard, group=row.group, role=row.role, stratum=row.column(column) if column else "")
        for row in rows
    ]
