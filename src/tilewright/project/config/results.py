"""Sections about what is made of trained networks: predictions, ensembles, objects, submissions, the report."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from tilewright.project.config.base import ClassName, Edge, Label, Name, Section, Share, UserPath

BlendName = Literal["mean", "pyramid", "hann", "gaussian", "discard", "minimum"]
Enlarging = Literal["bilinear", "bicubic"]
ThresholdRule = Literal["best", "bootstrap", "one_se", "shrunk"]
Aim = Literal["pooled", "slide", "objects"]
ExportedKind = Literal["annotation", "detection"]
Dialect = Literal["column_major", "row_major", "coco"]


class Windows(Section):
    """How a slide is cut into windows, and what is made of them."""

    window: Edge = Field(
        512,
        description="Edge of a window, in pixels of the model's scale: a multiple of 32, or [width, height].",
    )
    overlap: float = Field(0.25, ge=0, lt=1, description="Least share of a window that it has in common with the next.")
    blend: BlendName = Field(
        "pyramid",
        description="Weight of a pixel by its place in the window; discard: the outer half of the overlap does not "
        "count; minimum: the least of all windows, which at a threshold is their logical AND.",
    )
    tta: Literal["none", "flips", "d4"] = Field("none", description="Test-time augmentation, averaged.")
    tta_scales: list[Annotated[float, Field(ge=0.25, le=4)]] = Field(
        [1.0], min_length=1, description="Sizes at which each window is predicted, relative to its own; averaged."
    )
    skip_background: bool = Field(True, description="Leave out windows without tissue; their probability is 0.")


def _way(threshold: Any) -> str:
    return "[by class]" if isinstance(threshold, Mapping) else "[number]"


Thresholds = Annotated[
    Annotated[Share, Tag("[number]")] | Annotated[dict[ClassName, Share], Tag("[by class]")], Discriminator(_way)
]
"""One for all classes, or by class. What is wrong is said of the way that was chosen alone."""


class Inference(Windows):
    """How a slide is predicted: overlapping windows, blended by weights."""

    members: Literal["auto", "folds", "final", "both"] = Field(
        "auto",
        description="What predicts test slides, and goes into bundles: the mean of the folds, the model that was "
        "trained on all training slides (final), or the mean of them all; auto: final where there is one, else folds.",
    )
    batch_size: int | None = Field(
        None, ge=1, description="Windows predicted together; none: 4, on a GPU as many as fit into its memory."
    )
    threads: int = Field(1, ge=1, description="Processor threads; they decide how sums are rounded.")
    keep: list[Literal["folds", "views"]] = Field(
        [],
        description="Maps that are written beside the mean of a slide: folds: of each fold (SLIDE.fold0.tif), where "
        "several predict it, and of the final one; views: of each view of the test-time augmentation "
        "(SLIDE.view0.tif).",
    )
    spread: bool = Field(
        False,
        description="Write how far the folds are apart at each pixel beside the mean (SLIDE.spread.tif), for slides "
        "that none of them has seen; ensembles join it with how far their members are, the viewer shows it, and the "
        "report lists the test slides by it. Where the final model predicts, all folds predict as well.",
    )
    depth: Literal["uint8", "float16"] = Field(
        "uint8", description="Type of the model's probabilities on disk: 0 to 255, or 0 to 1 in half precision."
    )


class Calibration(Section):
    """How thresholds are found, on out-of-fold slides only."""

    threshold: Thresholds | None = Field(
        None,
        description="A fixed threshold, or one by class; none, and for classes that are not named: what rule finds "
        "for each class.",
    )
    rule: ThresholdRule = Field(
        "shrunk",
        description="How a threshold follows from the slides. best: the best for them all; shrunk: the mean of that, "
        "with as many votes as there are groups, and of one half with two; one_se: the nearest to one half that is "
        "not worse by more than a standard error; bootstrap: the mean of the best for draws of groups.",
    )
    aim: Aim = Field(
        "pooled",
        description="What to maximise. pooled: Dice of all slides as one; slide: the mean Dice of slides; objects: F1 "
        "of the objects of all slides, for which threshold, least size and least confidence are fitted together.",
    )
    overlap: Annotated[float, Field(ge=0.5, le=1)] | Literal["mean"] = Field(
        0.5,
        description="With aim: objects, the intersection over union from which on an object is found; mean: the mean "
        "F1 over 0.50, 0.55, ... 0.95, for which small objects, whose outlines are never that exact, count less.",
    )
    min_area: Annotated[int, Field(ge=0)] | Literal["fit"] = Field(
        0,
        description="Smaller objects are dropped, in pixels of the slide; fit: the size that is best for each class, "
        "as it is with aim: objects where no size is given.",
    )

    def fixed(self, name: str) -> float | None:
        """The threshold that a class is given; None: none."""
        return self.threshold.get(name) if isinstance(self.threshold, dict) else self.threshold

    @property
    def least(self) -> int | None:
        """The least size that somebody gave; None: it is fitted, or left to a bundle."""
        return self.min_area if isinstance(self.min_area, int) and "min_area" in self.model_fields_set else None


class BundleUse(Section):
    """A bundle whose models predict here."""

    path: UserPath = Field(description="Its folder or zip, from the working directory.")
    spread: bool = Field(False, description="As models.*.inference.spread, of its models of several folds.")


class Predictions(Section):
    """Probabilities that lie on disk, of another run or another program."""

    folder: UserPath = Field(
        description="Folder with SLIDE.tif or SLIDE.npy, itself or in a folder for each shard: a band a class, 0 to "
        "255 or as floats from 0 to 1, of the slide's size at any factor."
    )
    scale: Name | None = Field(None, description="Scale that they are brought to; none: the finest of all scales.")
    out_of_fold: bool = Field(
        False,
        description="Each training slide was predicted by a model that has not seen it, nor a slide of its group; only "
        "then thresholds and weights are fitted with these predictions.",
    )


class Ensemble(Section):
    """A weighted mean of models, and what is made of it."""

    models: dict[Name, Annotated[float, Field(ge=0)]] = Field(
        min_length=1, description="Models, bundles and predictions, with their weights."
    )
    weights: Literal["given", "fit"] = Field(
        "given",
        description="given: those of the models; fit: the convex combination with the least squared error out of fold.",
    )
    calibration: Calibration = Field(Calibration(), description="How thresholds are found.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not any(self.models.values()):
            raise ValueError("models: a weight must be above 0")
        if self.weights == "fit" and set(self.models.values()) != {1.0}:
            raise ValueError("weights: fit finds the weights of the models; leave theirs at 1")
        return self


class Split(Section):
    """How touching objects are cut."""

    distance: float = Field(6, gt=0, description="Least distance of two centres, in pixels of the slide.")
    neck: Share = Field(0.85, description="A cut is narrower than this share of the width of the narrower part.")


class Seeds(Section):
    """How objects grow from seeds, where a network tells more than their masks.

    A seed is where mask - border x (rim) - touching x (between objects) exceeds a level, one half unless it is fitted;
    where only distances are told, where these do. Lengths are pixels of the scale of the probabilities.
    """

    border: float = Field(
        0.25, ge=0, description="Weight of the rims of objects; twice as much where no pixels between objects are told."
    )
    touching: float = Field(2.0, ge=0, description="Weight of the pixels between objects.")
    least: int = Field(8, ge=1, description="Seeds of fewer pixels are none.")
    reach: int = Field(
        8,
        ge=1,
        le=64,
        description="Pixels of the mask that are farther from a seed are not of its object; four times as far where "
        "only distances are told, whose seeds are small.",
    )


class Segmentation(Section):
    """How objects are made of probabilities."""

    enlarge: Enlarging = Field(
        "bilinear",
        description="How probabilities are brought to the size of the slide, before the threshold; bicubic: OpenCV's.",
    )

    confidence: Literal["mean", "max"] = Field(
        "mean", description="Confidence of an object: the mean or the largest probability of its pixels."
    )
    fill_holes: int = Field(0, ge=0, description="Holes of at most so many pixels of the slide are filled.")
    seeds: Seeds | None = Field(
        Seeds(),
        description="Tells touching objects apart by what a network says of them beside the mask (models.*.targets); "
        "none: the mask alone counts.",
    )
    split: Split | None = Field(
        None,
        description="Cuts touching objects where they are narrow, if no network tells them apart; none: they are one.",
    )
    min_confidence: Share = Field(
        0.0,
        description="Objects with less confidence are left out; fitted for each class where an ensemble has "
        "aim: objects and none is given here.",
    )
    max_area: int | None = Field(None, ge=1, description="Larger objects are left out; in pixels of the slide.")
    inside: list[Label] = Field(
        [],
        description="Labels of the sheet's column anatomy; objects whose centre lies in none of these outlines are "
        "left out, on slides with such a file.",
    )
    object_type: ExportedKind = Field(
        "annotation",
        description="What the objects are in QuPath: annotations, which can be edited, or detections, of which it "
        "shows hundreds of thousands fast. To read such a file as outlines: annotations.objects.",
    )


class Evaluation(Section):
    """How predictions are compared with outlines."""

    iou: float = Field(0.5, gt=0, le=1, description="Overlap (intersection over union) at which an object is found.")
    center_min_area: int = Field(
        0,
        ge=0,
        description="Predicted objects with fewer pixels of the slide do not count in the scores by centres "
        "(center_precision, center_recall, center_f1).",
    )
    columns: list[str] = Field(
        [],
        description="Columns of the sheet that stand beside the scores of each slide in slides.csv, such as age or "
        "sex of the donor, for an analysis of errors.",
    )
    suspect: float = Field(
        0.5,
        gt=0,
        le=1,
        description="From this contradiction on, by networks that have not seen its slide, audit lists an outline, or "
        "an object that nobody has outlined.",
    )
    boundary: int = Field(3, ge=0, description="Largest distance of boundaries that agree, in pixels of the slide.")


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
    sample: UserPath | None = Field(
        None,
        description="A sample_submission.csv: the ids of its column id are written in its order, and no others; none: "
        "all test slides in the order of the sheet.",
    )


class Seams(Section):
    """How the seams between windows are measured, on a part of one slide for each model."""

    max_edge: int = Field(1024, ge=64, description="Longest edge of the part, in pixels of the model's scale.")
    overlaps: list[Annotated[float, Field(ge=0, lt=1)]] = Field(
        [], description="Further overlaps to compare; none: the model's own."
    )
    blends: list[BlendName] = Field([], description="Further blends to compare; none: the model's own.")


class Report(Section):
    """What the report shows."""

    overlays: int = Field(12, ge=0, description="Most slides shown with outlines of truth and prediction.")
    max_edge: int = Field(1600, ge=100, description="Longest edge of a picture, in pixels.")
    samples: int = Field(2, ge=0, description="Samples of outlines shown of each source and class.")
    mistakes: int = Field(6, ge=0, description="Objects shown of each class and kind: merged, cut, missed, false.")
    compare: list[Name] = Field(
        [], max_length=2, description="Two ensembles that are shown side by side; none: the first two."
    )

    @field_validator("compare")
    @classmethod
    def _two(cls, names: list[str]) -> list[str]:
        if names and len(set(names)) != 2:
            raise ValueError("name two ensembles, or none")
        return names


class Credits(Section):
    """What is told of a work: how it is called, who made it, and how it may be used."""

    title: str = Field("", description="Title; none: the name of the ensemble.")
    authors: list[str] = Field([], description="Who made it.")
    licence: str = Field("", description="Under which licence it may be used, such as CC-BY-4.0.")
    cite: str = Field("", description="What to cite.")


class BundleText(Credits):
    """What is told of the bundles, in the words of those who made them."""

    description: str = Field("", description="What it is for, and what it is not for.")
    examples: list[str] = Field(
        [], description="Slides of which a small picture is put into the bundles; without, no pixel of any slide is."
    )
