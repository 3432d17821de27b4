"""What each step depends on: the part of the config that reaches it, as canonical JSON.

A rule passes ``settings(...)`` of its step, so that editing a key reruns only the steps whose settings hold it. Models
here are read back by the steps from the option ``--settings``. Data only.
"""

from typing import Self

from tilewright.config import (
    Annotations,
    Calibration,
    Config,
    Folds,
    Inference,
    Limits,
    Model,
    Network,
    Report,
    Scale,
    Section,
    Segmentation,
    Submission,
    TileSet,
    Tissue,
)

PALETTE = ("#1b9e77", "#d95f02", "#7570b3", "#e7298a", "#66a61e", "#e6ab02", "#a6761d")


class RasterizeSettings(Section):
    """Of ``rasterize``: which labels belong to which class, and how they are drawn."""

    classes: dict[str, list[str]]
    annotations: Annotations
    limits: Limits

    @classmethod
    def of(cls, config: Config) -> Self:
        return cls(
            classes={name: spec.labels or [name] for name, spec in config.classes.items()},
            annotations=config.annotations,
            limits=config.limits,
        )


class DownscaleSettings(Section):
    """Of ``downscale``: the scale and what counts as tissue."""

    scale: Scale
    tissue: Tissue
    limits: Limits

    @classmethod
    def of(cls, config: Config, scale: str) -> Self:
        return cls(scale=config.scales[scale], tissue=config.tissue, limits=config.limits)


class TileSettings(Section):
    """Of ``tile``: the tile set and the names of the classes."""

    tiles: TileSet
    classes: list[str]

    @classmethod
    def of(cls, config: Config, tiles: str) -> Self:
        return cls(tiles=config.tiles[tiles], classes=list(config.classes))


class SplitSettings(Section):
    """Of ``split``: how groups are divided."""

    folds: Folds

    @classmethod
    def of(cls, config: Config) -> Self:
        return cls(folds=config.folds)


class TrainSettings(Section):
    """Of ``train``: the network, the names of the classes and the scale of its tiles."""

    network: Network
    classes: list[str]
    scale: Scale

    @classmethod
    def of(cls, config: Config, model: str) -> Self:
        network = config.models[model].model_dump(exclude={"inference"})
        scale = config.scales[config.tiles[config.models[model].tiles].scale]
        return cls(network=Network(**network), classes=list(config.classes), scale=scale)


class PredictSettings(Section):
    """Of ``predict``: windows and blending."""

    inference: Inference

    @classmethod
    def of(cls, config: Config, model: str) -> Self:
        return cls(inference=config.models[model].inference)


class EnsembleSettings(Section):
    """Of ``ensemble``: the weight of each model, and the scale of each model and of the result."""

    weights: dict[str, float]
    scales: dict[str, Scale]

    @classmethod
    def of(cls, config: Config, ensemble: str) -> Self:
        weights = config.ensembles[ensemble].models
        scales = {model: config.scales[scale_of(config, model)] for model in weights}
        return cls(weights=weights, scales=scales)


class CalibrateSettings(Section):
    """Of ``calibrate``: what is fitted and towards which aim."""

    calibration: Calibration
    classes: list[str]
    iou: float

    @classmethod
    def of(cls, config: Config, ensemble: str) -> Self:
        return cls(
            calibration=config.ensembles[ensemble].calibration,
            classes=list(config.classes),
            iou=config.segmentation.iou,
        )


class SegmentSettings(Section):
    """Of ``segment``: classes with their colours, and how objects are made."""

    colors: dict[str, str]
    segmentation: Segmentation

    @classmethod
    def of(cls, config: Config) -> Self:
        return cls(colors=class_colors(config), segmentation=config.segmentation)


class EncodeSettings(Section):
    """Of ``encode``: the form of the submission."""

    submission: Submission
    classes: list[str]

    @classmethod
    def of(cls, config: Config) -> Self:
        return cls(submission=config.submission, classes=config.submission.classes or list(config.classes))


class EvaluateSettings(Section):
    """Of ``evaluate``: the classes and when an object counts as found."""

    classes: list[str]
    iou: float

    @classmethod
    def of(cls, config: Config) -> Self:
        return cls(classes=list(config.classes), iou=config.segmentation.iou)


class ReportSettings(Section):
    """Of ``report``: what it shows."""

    colors: dict[str, str]
    report: Report
    models: dict[str, Model]
    ensembles: dict[str, dict[str, float]]
    folds: int

    @classmethod
    def of(cls, config: Config) -> Self:
        return cls(
            colors=class_colors(config),
            report=config.report,
            models=config.models,
            ensembles={name: ensemble.models for name, ensemble in config.ensembles.items()},
            folds=config.folds.count,
        )


def class_colors(config: Config) -> dict[str, str]:
    """The colour of each class: the config's, else the next of the palette."""
    return {
        name: spec.color or PALETTE[index % len(PALETTE)] for index, (name, spec) in enumerate(config.classes.items())
    }


def scale_of(config: Config, model: str) -> str:
    """Name of the scale that a model works at: that of the tiles it is trained on."""
    return config.tiles[config.models[model].tiles].scale


def grid_scale(config: Config, ensemble: str) -> str:
    """Name of the scale of an ensemble's probabilities: that of its first model."""
    return scale_of(config, next(iter(config.ensembles[ensemble].models)))
