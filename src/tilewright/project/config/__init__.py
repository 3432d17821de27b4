"""The config: the one place that describes a parameter.

From these models come the defaults, the JSON schema in ``workflow/schemas``, ``config/README.md``, and the error for a
misspelt key. No result depends on this package: what a step depends on reaches it as the values of its order.
"""

from pathlib import Path

from pydantic import Field, field_validator

from tilewright.project.config.base import ANY, IGNORE, ClassName, Name, Section, Share
from tilewright.project.config.data import (
    DEFAULT_LIMITS,
    Annotations,
    Folds,
    Limits,
    PixelClass,
    PixelRule,
    Scale,
    Slides,
    TileSet,
    Tissue,
)
from tilewright.project.config.results import (
    BlendName,
    BundleText,
    Calibration,
    Credits,
    Dialect,
    Ensemble,
    Evaluation,
    Inference,
    Report,
    Seams,
    Segmentation,
    Split,
    Submission,
    Windows,
)
from tilewright.project.config.training import LossName, Network

__all__ = [
    "ANY", "DEFAULT_LIMITS", "IGNORE", "Annotations", "BlendName", "BundleText", "Calibration", "ClassName", "Config",
    "Credits", "Dialect", "Ensemble", "Evaluation", "Folds", "Inference", "Limits", "LossName", "Model", "Name",
    "Network", "PixelClass", "PixelRule", "Report", "Scale", "Seams", "Section", "Segmentation", "Share", "Slides",
    "Split", "Submission", "TileSet", "Tissue", "Windows",
]  # fmt: skip


class Model(Network):
    """A network, how it is trained and how it predicts."""

    inference: Inference = Field(Inference(), description="How slides are predicted.")


class Config(Section):
    """Everything that a run of the graph depends on besides the slides themselves."""

    sheet: str = Field("config/slides.csv", description="The slide sheet (csv or tsv), from the working directory.")
    data: str | None = Field(None, description="Folder in which images and outlines are looked for first.")
    classes: dict[ClassName, PixelClass] = Field(min_length=1, description="Classes by name.")
    annotations: Annotations = Field(Annotations(), description="How outlines are read and drawn.")
    limits: Limits = Field(DEFAULT_LIMITS, description="Bounds on inputs.")
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
    seams: Seams = Field(Seams(), description="Seams between windows.")
    segmentation: Segmentation = Field(Segmentation(), description="Objects.")
    evaluation: Evaluation = Field(Evaluation(), description="Metrics.")
    submission: Submission = Field(Submission(), description="The submission file.")
    report: Report = Field(Report(), description="The report.")
    bundle: BundleText = Field(BundleText(), description="The bundles.")
    pathvars: dict[str, str] = Field({}, description="Snakemake's folders: results, logs, benchmarks.")
    rerun_on_code_change: bool = Field(
        True, description="Run steps again when their code has changed; to switch it runs them all once."
    )

    @field_validator("classes")
    @classmethod
    def _sorted(cls, classes: dict[str, PixelClass]) -> dict[str, PixelClass]:
        """Bits of masks and bands of probabilities follow the names, so that the order of keys means nothing."""
        return dict(sorted(classes.items()))

    @property
    def labels(self) -> dict[str, list[str]]:
        """The annotation labels that each class takes."""
        return {name: spec.labels or [name] for name, spec in self.classes.items()}

    @property
    def roots(self) -> list[Path]:
        """Folders in which images and outlines are looked for, first one first."""
        return [Path(self.data or "."), Path(self.sheet).parent, Path()]
