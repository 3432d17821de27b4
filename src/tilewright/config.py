"""The config: the one place that describes a parameter.

From these models come the defaults, the JSON schema in ``workflow/schemas``, ``config/README.md``, and the error for a
misspelt key. Data only: nothing here computes, so no result depends on this module (what a step depends on reaches it as
the values in ``settings``).
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _not_reserved(name: str) -> str:
    if name in ("any", "ignore"):
        raise ValueError("is reserved: any stands for all classes together, ignore for pixels that do not count")
    return name


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
ClassName = Annotated[Name, AfterValidator(_not_reserved)]
Share = Annotated[float, Field(ge=0, le=1)]
LossName = Literal["bce", "dice", "focal", "tversky", "lovasz"]
BlendName = Literal["mean", "pyramid", "hann", "gaussian"]
Dialect = Literal["column_major", "row_major", "coco"]


class Section(BaseModel):
    """Base of all sections: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PixelClass(Section):
    """A class of pixels. Classes may overlap."""

    labels: list[str] = Field([], description="Annotation labels that it takes; none: the label of its own name.")
    color: str | None = Field(
        None, pattern=r"^#[0-9a-fA-F]{6}$", description="Colour in overlays and in QuPath; none: one from the palette."
    )


class Annotations(Section):
    """How outlines are read and drawn."""

    pixel_rule: Literal["center", "all_touched"] = Field(
        "center", description="Pixels that an outline covers: those whose centre lies inside, or all that it touches."
    )
    unlabelled: str | None = Field(None, description="Label given to outlines without one; none: they are reported.")
    ignore: list[str] = Field([], description="Labels whose pixels count neither in the loss nor in the metrics.")
    discard: list[str] = Field([], description="Labels that are left out on purpose.")
    rle_order: Literal["column_major", "row_major"] = Field(
        "column_major", description="Pixel order of run-length-encoded outlines (csv)."
    )


class Limits(Section):
    """Bounds on what an input may ask for; inputs are not trusted."""

    max_pixels: int = Field(20_000_000_000, gt=0, description="Largest slide, in pixels.")
    max_vertices: int = Field(20_000_000, gt=0, description="Most vertices in one file of outlines.")


class Slides(Section):
    """How slides are opened."""

    crop_to_bounds: bool = Field(
        True,
        description="Slides count from the corner of the scanned part, where the format marks it (MRXS, SCN), as in QuPath; "
        "false: from the corner of the whole slide.",
    )


class Scale(Section):
    """A resolution at which slides are kept: a factor or a pixel size."""

    factor: float | None = Field(
        None, ge=1, description="Pixels of the slide in one pixel of this scale, along an edge."
    )
    mpp: float | None = Field(None, gt=0, description="Micrometres in one pixel of this scale.")

    @model_validator(mode="after")
    def _one_of_both(self) -> "Scale":
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


class TileSet(Section):
    """Tiles cut from one scale."""

    scale: Name = Field(description="Name of the scale that tiles are cut from.")
    size: int = Field(512, ge=32, multiple_of=32, description="Edge of a tile, in pixels of the scale.")
    overlap: float = Field(0.0, ge=0, lt=1, description="Share of a tile's edge that it has in common with the next.")
    objects: bool = Field(False, description="Also cut a tile centred on every outline.")
    background: Share = Field(1.0, description="Share of the grid tiles without any class that are kept.")
    min_tissue: Share = Field(0.05, description="Grid tiles with a smaller share of tissue are left out.")
    seed: int = Field(0, description="Chooses which background tiles are kept.")


class Folds(Section):
    """How training slides are divided for cross-validation."""

    count: int = Field(5, ge=2, description="Number of folds; each group of the sheet lies in exactly one.")
    seed: int = Field(0, description="Changes which groups meet in a fold.")
    stratify: str | None = Field(None, description="Column of the sheet whose values each fold should share evenly.")
    file: str | None = Field(
        None, description="A csv (shard, group, fold) to use instead, as `tilewright split` writes."
    )


class Inference(Section):
    """How a slide is predicted: overlapping windows, blended by weights."""

    window: int = Field(512, ge=32, multiple_of=32, description="Edge of a window, in pixels of the model's scale.")
    overlap: float = Field(0.25, ge=0, lt=1, description="Least share of a window that it has in common with the next.")
    blend: BlendName = Field("pyramid", description="Weight of a pixel by its place in the window.")
    batch_size: int = Field(4, ge=1, description="Windows predicted together.")
    tta: Literal["none", "flips", "d4"] = Field("none", description="Test-time augmentation, averaged.")
    threads: int = Field(1, ge=1, description="Processor threads; they decide how sums are rounded.")
    skip_background: bool = Field(True, description="Leave out windows without tissue; their probability is 0.")


class Network(Section):
    """A network and how it is trained."""

    architecture: str = Field("Unet", description="Name of a segmentation_models_pytorch architecture.")
    encoder: str = Field("timm-tf_efficientnet_lite0", description="Name of a segmentation_models_pytorch encoder.")
    encoder_weights: str | None = Field(
        None,
        description="none: random; lite0: ImageNet weights of the installed package (tf_efficientnet_lite0, offline); "
        "imagenet: downloaded; or a .safetensors file.",
    )
    options: dict[str, int | float | str | bool | list[int] | None] = Field(
        {}, description="Further arguments of the architecture, such as decoder_attention_type: scse."
    )
    tiles: Name = Field(description="Name of the tile set that it is trained on.")
    mean: list[float] = Field([0.485, 0.456, 0.406], description="Mean of the channels of its input, 0 to 1.")
    std: list[float] = Field([0.229, 0.224, 0.225], description="Standard deviation of the channels of its input.")
    loss: dict[LossName, float] = Field({"bce": 1.0, "dice": 1.0}, description="Loss terms and their weights.")
    augmentation: Literal["none", "flips", "strong"] = Field("strong", description="Named set of augmentations.")
    balance: Literal["none", "source", "class"] = Field(
        "none", description="Draw tiles with equal probability, or so that sources or classes come equally often."
    )
    crop: int | None = Field(None, ge=32, multiple_of=32, description="Edge of the crop trained on; none: the tile.")
    optimizer: Literal["adamw", "adam"] = Field("adamw", description="Optimiser.")
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate.")
    weight_decay: float = Field(1e-2, ge=0, description="Weight decay.")
    schedule: Literal["constant", "cosine", "linear"] = Field("cosine", description="Decay of the learning rate.")
    warmup: Share = Field(0.05, description="Share of all steps over which the learning rate rises.")
    epochs: int = Field(30, ge=1, description="Epochs.")
    tiles_per_epoch: int | None = Field(None, ge=1, description="Tiles drawn in an epoch; none: as many as there are.")
    batch_size: int = Field(8, ge=1, description="Tiles in a batch.")
    precision: Literal["auto", "32", "16", "bf16"] = Field(
        "auto", description="Arithmetic; auto: 16-bit mixed on a GPU, 32-bit on a CPU."
    )
    workers: int = Field(0, ge=0, description="Processes that load tiles.")
    threads: int = Field(1, ge=1, description="Processor threads of the network; they decide how sums are rounded.")
    seed: int = Field(0, description="Seed of weights, order and augmentation.")


class Model(Network):
    """A network, how it is trained and how it predicts."""

    inference: Inference = Field(Inference(), description="How slides are predicted.")


class Calibration(Section):
    """How thresholds are found, on out-of-fold slides only."""

    threshold: Share | None = Field(None, description="A fixed threshold; none: the best one for each class.")
    aim: Literal["pooled", "slide"] = Field(
        "pooled", description="Dice to maximise: of all slides as one, or the mean over slides."
    )
    min_area: int = Field(0, ge=0, description="Smaller objects are dropped; in pixels of the slide.")


class Ensemble(Section):
    """A weighted mean of models, and what is made of it."""

    models: dict[Name, float] = Field(description="Models and their weights.")
    calibration: Calibration = Field(Calibration(), description="How thresholds are found.")


class Segmentation(Section):
    """How objects are made of probabilities."""

    confidence: Literal["mean", "max"] = Field("mean", description="Confidence of an object from its probabilities.")


class Evaluation(Section):
    """How predictions are compared with outlines."""

    iou: float = Field(0.5, gt=0, le=1, description="Overlap (intersection over union) at which an object is found.")


class Submission(Section):
    """The table of run-length-encoded predictions of the test slides."""

    dialect: Dialect = Field(
        "column_major",
        description="column_major: id, predicted (kidney); row_major: the same by rows (Sartorius); "
        "coco: id, height, width, prediction_string with confidences (vasculature).",
    )
    rows: Literal["slide", "object"] = Field(
        "slide", description="One row a slide or one row an object (not for coco)."
    )
    classes: list[Name] = Field([], description="Classes to write; none: all. With several, a column class is added.")


class Report(Section):
    """What the report shows."""

    overlays: int = Field(12, ge=0, description="Most slides shown with outlines of truth and prediction.")
    max_edge: int = Field(1600, ge=100, description="Longest edge of a picture, in pixels.")


class Config(Section):
    """Everything that a run of the graph depends on besides the slides themselves."""

    sheet: str = Field("config/slides.csv", description="The slide sheet (csv or tsv), from the working directory.")
    data: str | None = Field(None, description="Folder in which images and outlines are looked for first.")
    classes: dict[ClassName, PixelClass] = Field(min_length=1, description="Classes by name.")
    annotations: Annotations = Field(Annotations(), description="How outlines are read and drawn.")
    limits: Limits = Field(Limits(), description="Bounds on inputs.")
    slides: Slides = Field(Slides(), description="How slides are opened.")
    scales: dict[Name, Scale] = Field(min_length=1, description="Scales by name.")
    one_pass: list[Name] = Field(
        [],
        description="Scales that are made in one pass over each slide, which saves decoding it again for each; "
        "but editing one of them makes all of them anew. Others have jobs of their own.",
    )
    tissue: Tissue = Field(Tissue(), description="What counts as tissue.")
    tiles: dict[Name, TileSet] = Field(min_length=1, description="Tile sets by name.")
    folds: Folds = Field(Folds(), description="Cross-validation.")
    models: dict[Name, Model] = Field(min_length=1, description="Models by name.")
    ensembles: dict[Name, Ensemble] = Field(min_length=1, description="Ensembles by name.")
    segmentation: Segmentation = Field(Segmentation(), description="Objects.")
    evaluation: Evaluation = Field(Evaluation(), description="Metrics.")
    submission: Submission = Field(Submission(), description="The submission file.")
    report: Report = Field(Report(), description="The report.")
    pathvars: dict[str, str] = Field({}, description="Snakemake's folders: results, logs, benchmarks.")
    rerun_on_code_change: bool = Field(True, description="Run steps again when their code has changed.")

    @property
    def roots(self) -> list[Path]:
        """Folders in which images and outlines are looked for, first one first."""
        return [Path(self.data or "."), Path(self.sheet).parent, Path()]
