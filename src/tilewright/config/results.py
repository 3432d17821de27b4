"""Sections about what is made of trained networks: predictions, ensembles, objects, submissions, the report."""

from typing import Literal

from pydantic import Field

from tilewright.config.base import Name, Section, Share

BlendName = Literal["mean", "pyramid", "hann", "gaussian"]
Dialect = Literal["column_major", "row_major", "coco"]


class Inference(Section):
    """How a slide is predicted: overlapping windows, blended by weights."""

    window: int = Field(512, ge=32, multiple_of=32, description="Edge of a window, in pixels of the model's scale.")
    overlap: float = Field(0.25, ge=0, lt=1, description="Least share of a window that it has in common with the next.")
    blend: BlendName = Field("pyramid", description="Weight of a pixel by its place in the window.")
    batch_size: int = Field(4, ge=1, description="Windows predicted together.")
    tta: Literal["none", "flips", "d4"] = Field("none", description="Test-time augmentation, averaged.")
    threads: int = Field(1, ge=1, description="Processor threads; they decide how sums are rounded.")
    skip_background: bool = Field(True, description="Leave out windows without tissue; their probability is 0.")


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
