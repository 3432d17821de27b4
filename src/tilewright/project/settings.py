"""What each step depends on: the part of the config that reaches it, as canonical JSON (keys sorted).

A rule passes ``settings(...)`` of its step, so that editing a key reruns only the steps whose settings hold it. Models
here are read back by the steps from the option ``--settings``. Classes stand in alphabetical order everywhere, so that the order
of keys in the config means nothing. Data only.
"""

from typing import Self

from tilewright.project.config import (
    Annotations,
    BlendName,
    Calibration,
    Config,
    Folds,
    Inference,
    Model,
    Network,
    Report,
    Scale,
    Section,
    Segmentation,
    Slides,
    Submission,
    TileSet,
    Tissue,
)

PALETTE = ("#1b9e77", "#d95f02", "#7570b3", "#e7298a", "#66a61e", "#e6ab02", "#a6761d")


class StepSettings(Section):
    """Base of the settings of the steps."""


class RasterizeSettings(StepSettings):
    """Of ``rasterize``: which labels belong to which class, how they are drawn, and where slides begin."""

    classes: dict[str, list[str]]
    annotations: Annotations
    slides: Slides = Slides()

    @classmethod
    def of(cls, config: Config) -> Self:
        return cls(
            classes={name: spec.labels or [name] for name, spec in config.classes.items()},
            annotations=config.annotations,
            slides=config.slides,
        )


class DownscaleSettings(StepSettings):
    """Of ``downscale``: the scales that it writes and what counts as tissue."""

    scales: dict[str, Scale]
    tissue: Tissue
    slides: Slides = Slides()

    @classmethod
    def of(cls, config: Config, scale: str) -> Self:
        return cls(scales={scale: config.scales[scale]}, tissue=config.tissue, slides=config.slides)

    @classmethod
    def of_one_pass(cls, config: Config) -> Self:
        scales = {name: config.scales[name] for name in config.one_pass}
        return cls(scales=scales, tissue=config.tissue, slides=config.slides)


class TileSettings(StepSettings):
    """Of ``tile``: the tile set and the names of the classes."""

    tiles: TileSet
    classes: list[str]

    @classmethod
    def of(cls, config: Config, tiles: str) -> Self:
        return cls(tiles=config.tiles[tiles], classes=sorted(config.classes))


class SplitSettings(StepSettings):
    """Of ``split``: how groups are divided."""

    folds: Folds

    @classmethod
    def of(cls, config: Config) -> Self:
        return cls(folds=config.folds)


class TrainSettings(StepSettings):
    """Of ``train``: network, classes, scale of its tiles, folds as they must be; not the workers, which change nothing."""

    network: Network
    classes: list[str]
    scale: Scale
    folds: Folds

    @classmethod
    def of(cls, config: Config, model: str) -> Self:
        network = config.models[model].model_dump(exclude={"inference", "workers"})
        scale = config.scales[config.tiles[config.models[model].tiles].scale]
        return cls(network=Network(**network), classes=sorted(config.classes), scale=scale, folds=config.folds)


class PseudoSettings(StepSettings):
    """Of ``pseudo``: tiles of a model, the weights of the models that label them, and how sure they must be."""

    tiles: TileSet
    classes: list[str]
    weights: dict[str, float]
    min_confidence: float

    @classmethod
    def of(cls, config: Config, model: str) -> Self:
        spec = config.models[model]
        assert spec.pseudo, "only asked for by models with pseudo-labels"
        return cls(
            tiles=config.tiles[spec.tiles],
            classes=sorted(config.classes),
            weights=config.ensembles[spec.pseudo.source].models,
            min_confidence=spec.pseudo.min_confidence,
        )


class PredictSettings(StepSettings):
    """Of ``predict``: windows and blending."""

    inference: Inference

    @classmethod
    def of(cls, config: Config, model: str) -> Self:
        return cls(inference=config.models[model].inference)


class SeamsSettings(StepSettings):
    """Of ``seams``: the windows of a model, and others to compare."""

    inference: Inference
    max_edge: int
    overlaps: list[float]
    blends: list[BlendName]

    @classmethod
    def of(cls, config: Config, model: str) -> Self:
        return cls(inference=config.models[model].inference, **config.seams.model_dump())


class EnsembleSettings(StepSettings):
    """Of ``ensemble``: the weight of each model, or that they are fitted."""

    weights: dict[str, float]
    fit: bool = False

    @classmethod
    def of(cls, config: Config, ensemble: str) -> Self:
        return cls(weights=config.ensembles[ensemble].models, fit=config.ensembles[ensemble].weights == "fit")


class WeighSettings(StepSettings):
    """Of ``weigh``: the models, the one at the ensemble's scale first, the classes, and folds as they must be."""

    models: list[str]
    classes: list[str]
    folds: Folds

    @classmethod
    def of(cls, config: Config, ensemble: str) -> Self:
        models = ensemble_models(config, ensemble)
        return cls(models=models, classes=sorted(config.classes), folds=config.folds)


class CalibrateSettings(StepSettings):
    """Of ``calibrate``: what is fitted and towards which aim, and folds as they must be."""

    calibration: Calibration
    classes: list[str]
    folds: Folds

    @classmethod
    def of(cls, config: Config, ensemble: str) -> Self:
        calibration = config.ensembles[ensemble].calibration
        return cls(calibration=calibration, classes=sorted(config.classes), folds=config.folds)


class SegmentSettings(StepSettings):
    """Of ``segment``: classes with their colours, and how objects are made."""

    colors: dict[str, str]
    segmentation: Segmentation

    @classmethod
    def of(cls, config: Config) -> Self:
        return cls(colors=class_colors(config), segmentation=config.segmentation)


class EncodeSettings(StepSettings):
    """Of ``encode``: the form of the submission."""

    submission: Submission
    classes: list[str]

    @classmethod
    def of(cls, config: Config) -> Self:
        return cls(submission=config.submission, classes=config.submission.classes or sorted(config.classes))


class EvaluateSettings(StepSettings):
    """Of ``evaluate``: the classes, when an object counts as found, and how far boundaries may lie apart."""

    classes: list[str]
    iou: float
    boundary: int

    @classmethod
    def of(cls, config: Config) -> Self:
        return cls(classes=sorted(config.classes), iou=config.evaluation.iou, boundary=config.evaluation.boundary)


class ReportSettings(StepSettings):
    """Of ``report``: what it shows."""

    colors: dict[str, str]
    report: Report
    models: dict[str, Model]
    ensembles: dict[str, dict[str, float]]
    folds: int
    slides: Slides = Slides()

    @classmethod
    def of(cls, config: Config) -> Self:
        return cls(
            colors=class_colors(config),
            report=config.report,
            models=config.models,
            ensembles={name: ensemble.models for name, ensemble in config.ensembles.items()},
            folds=config.folds.count,
            slides=config.slides,
        )


def class_colors(config: Config) -> dict[str, str]:
    """The colour of each class: the config's, else the next of the palette."""
    return {
        name: spec.color or PALETTE[index % len(PALETTE)]
        for index, (name, spec) in enumerate(sorted(config.classes.items()))
    }


def scale_of(config: Config, model: str) -> str:
    """Name of the scale that a model works at: that of the tiles it is trained on."""
    return config.tiles[config.models[model].tiles].scale


def ensemble_models(config: Config, ensemble: str) -> list[str]:
    """Names of the models of an ensemble; the first one works at the finest scale and gives the ensemble's."""

    def pixel(model: str) -> tuple[float, str]:
        scale = config.scales[scale_of(config, model)]
        return (scale.factor or scale.mpp or 0.0, model)

    return sorted(config.ensembles[ensemble].models, key=pixel)


def grid_scale(config: Config, ensemble: str) -> str:
    """Name of the scale of an ensemble's probabilities: the finest of its models."""
    return scale_of(config, ensemble_models(config, ensemble)[0])
