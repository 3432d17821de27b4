"""Sections about the data: classes, outlines, scales, tiles, folds."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from tilewright.project.config.base import IGNORE, Edge, Label, Name, Section, Share, UserPath
from tilewright.project.folders import Layout

TilesAt = Literal["grid", "random"]
ObjectKind = Literal["annotation", "detection", "cell", "nucleus"]
PixelRule = Literal["center", "all_touched"]
Resampling = Literal["area", "bicubic"]


def _by_name(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class LayoutUse(Section):
    """How the slide sheet is written from a folder whose layout is known, as by `tilewright sheet`."""

    name: Layout = Field(description="Name of the layout.")
    per_shard: int | None = Field(
        None, description="For kidney and qupath: most slides that share a shard; none: one slide a shard."
    )
    test_unlabelled: bool = Field(
        False, description="For vasculature: tiles of train/ without complete outlines become test slides."
    )
    group: Literal["tile"] | None = Field(
        None,
        description="tile: for vasculature, tiles are divided at random, and their folds are written beside the sheet "
        "(NAME.folds.csv), for folds.file; none: a whole slide is a group.",
    )


LayoutByName = Annotated[LayoutUse | None, BeforeValidator(_by_name, json_schema_input_type=Layout | LayoutUse | None)]
"""A layout by its name alone, or with options."""


class PixelClass(Section):
    """A class of pixels. Classes may overlap."""

    labels: list[Label] = Field([], description="Annotation labels that it takes; none: the label of its own name.")
    color: str | None = Field(
        None, pattern=r"^#[0-9a-fA-F]{6}$", description="Colour in overlays and in QuPath; none: one from the palette."
    )


class Annotations(Section):
    """How outlines are read and drawn."""

    pixel_rule: PixelRule = Field(
        "center", description="Pixels that an outline covers: those whose centre lies inside, or all that it touches."
    )
    objects: list[ObjectKind] = Field(
        ["annotation"],
        min_length=1,
        description="Objects of QuPath that are outlines: annotations, detections, cells, the nuclei of cells. What "
        "says nothing of its kind is an annotation; tiles and cores of arrays never are outlines. What is labelled as "
        "region or ignore counts whatever it is.",
    )
    unlabelled: Label | None = Field(
        None,
        description="Label given to outlines without one; none: they are reported. One that holds other outlines is a "
        "frame and gets none.",
    )
    values: dict[int, Label] = Field(
        {},
        description="Labels of the values of label images whose values are classes, such as {1: tumor, 255: ignore}; "
        "ignore: pixels that do not count; 0 is background unless it is named. none: each value is an object.",
    )
    region: list[Label] = Field(
        ["Region*"],
        description="Labels of the regions that are annotated: where a slide has any, nothing outside of them counts.",
    )
    ignore: list[Label] = Field(
        ["Ignore*"], description="Labels whose pixels count neither in the loss nor in the metrics."
    )
    discard: list[Label] = Field([], description="Labels that are left out on purpose.")
    rle_order: Literal["column_major", "row_major"] = Field(
        "column_major", description="Pixel order of run-length-encoded outlines (csv)."
    )

    @property
    def ignored(self) -> list[str]:
        """Labels whose pixels do not count, those of values of label images among them."""
        return [*self.ignore, *({IGNORE} & set(self.values.values()))]


class Limits(Section):
    """Bounds on what an input may ask for; inputs are not trusted."""

    max_pixels: int = Field(20_000_000_000, gt=0, description="Largest slide, in pixels.")
    max_vertices: int = Field(20_000_000, gt=0, description="Most vertices in one file of outlines.")


DEFAULT_LIMITS = Limits()


class Slides(Section):
    """How slides are opened."""

    crop_to_bounds: bool = Field(
        True,
        description="Slides count from the corner of the scanned part, where the format marks it (MRXS, SCN), as in "
        "QuPath; false: from the corner of the whole slide.",
    )
    levels: bool = Field(
        True,
        description="Scales are averaged from the coarsest level of a slide that is fine enough and shows the same "
        "picture; false: from level 0.",
    )


class Scale(Section):
    """A resolution at which slides are kept: a factor or a pixel size."""

    factor: float | None = Field(
        None, ge=1, description="Pixels of the slide in one pixel of this scale, along an edge."
    )
    mpp: float | None = Field(None, gt=0, description="Micrometres in one pixel of this scale.")

    resample: Resampling = Field(
        "area",
        description="How pixels of the slide become one of this scale: area: their mean; bicubic: OpenCV's bicubic "
        "interpolation at its centre, without smoothing, of the full resolution.",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.factor is None) == (self.mpp is None):
            raise ValueError("give either factor or mpp")
        return self


class Tissue(Section):
    """What counts as tissue: pixels that are coloured or darker than the background, and not black."""

    method: Literal["color", "none"] = Field("color", description="none: the whole slide is tissue.")
    min_chroma: float = Field(0.04, ge=0, le=1, description="Least spread between the channels (largest - smallest).")
    max_brightness: float = Field(0.86, ge=0, le=1, description="Grey pixels at most this bright are tissue too.")
    min_brightness: float = Field(0.04, ge=0, le=1, description="Darker pixels are border or pen, not tissue.")
    smooth: float = Field(
        2.0, ge=0, description="Sigma of the smoothing before the thresholds, in pixels of the scale."
    )


class Blank(Section):
    """Grid tiles that show nothing: dark, evenly bright, or black in part; brightness counts from 0 to 255."""

    dark: float = Field(10, ge=0, le=255, description="Tiles with a lower mean of all pixels and channels are blank.")
    bright: float = Field(205, ge=0, le=255, description="Tiles with a higher mean are blank, if they are flat.")
    flat: float = Field(20, ge=0, description="Bright tiles are flat below this standard deviation.")
    black: Share = Field(
        0.1, description="Tiles are blank with a larger share of pixels whose mean of channels is below dark."
    )
    keep: Share = Field(0.05, description="Share of the blank tiles that is kept all the same, chosen by seed.")


class TileSet(Section):
    """Tiles cut from one scale."""

    scale: Name = Field(description="Name of the scale that tiles are cut from.")
    size: Edge = Field(
        512,
        description="Edge of a tile, in pixels of the scale: a multiple of 32, or [width, height], of which what is "
        "missing to multiples of 32 is mirrored for the network.",
    )
    overlap: float = Field(0.0, ge=0, lt=1, description="Share of a tile's edge that it has in common with the next.")
    at: TilesAt = Field(
        "grid",
        description="Where the tiles of training lie: on the grid, as they were cut; or random: at places drawn anew "
        "in each epoch, at most half a tile from one of the grid. Validation is on the grid either way.",
    )
    objects: bool = Field(False, description="Also cut a tile centred on every outline.")
    background: Share = Field(1.0, description="Share of the grid tiles without any class that are kept.")
    background_inside: list[Label] = Field(
        [],
        description="Labels of the sheet's column anatomy; grid tiles without any class whose centre lies in none of "
        "these outlines are left out, on slides with such a file.",
    )
    scattered: int = Field(
        0,
        ge=0,
        description="Tiles without any class that are cut at random places of each slide, their centres in "
        "background_inside where that is given: 25 places are tried for a tile, then 25 within 25 pixels of the slide "
        "of these outlines, within 50, and so on.",
    )
    min_tissue: Share = Field(0.05, description="Grid and scattered tiles with a smaller share of tissue are left out.")
    blank: Blank | None = Field(
        None, description="Leaves out grid tiles that show nothing, with a class or without; none: by min_tissue alone."
    )
    seed: int = Field(
        0, description="Chooses which background and blank tiles are kept, and the places of scattered ones."
    )

    @model_validator(mode="after")
    def _random_places_are_of_the_grid(self) -> Self:
        if self.at == "random" and (self.objects or self.scattered):
            raise ValueError("at: random reads tiles near those of the grid; leave objects and scattered out")
        return self

    @property
    def cut(self) -> Self:
        """The tile set as far as what is cut depends on it: where training reads tiles changes none of them."""
        return self.model_copy(update={"at": "grid"})


class Folds(Section):
    """How training slides are divided for cross-validation."""

    count: int = Field(5, ge=2, description="Number of folds; each group of the sheet lies in exactly one.")
    selected: list[Annotated[int, Field(ge=0)]] | None = Field(
        None,
        min_length=1,
        description="The folds that are trained, validated and scored, such as [0]; test slides are predicted by "
        "these. none: all.",
    )
    seed: int = Field(0, description="Changes which groups meet in a fold.")
    stratify: str | None = Field(None, description="Column of the sheet whose values each fold should share evenly.")
    file: UserPath | None = Field(
        None, description="A csv (shard, group, fold) to use instead, such as an edited copy of results/folds.csv."
    )

    @model_validator(mode="after")
    def _selected_are_there(self) -> Self:
        for fold in self.selected or ():
            if fold >= self.count:
                raise ValueError(f"selected: there is no fold {fold}; the folds are 0 to {self.count - 1}")
        return self
