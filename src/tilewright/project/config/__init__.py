"""The config: the one place that describes a parameter.

From these models come the defaults, the JSON schema in ``workflow/schemas``, ``config/README.md``, and the error for a
misspelt key. No result depends on this package: what a step depends on reaches it as the values of its order.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from tilewright.project.config.base import (
    ANY,
    IGNORE,
    ClassName,
    Edge,
    Name,
    Section,
    Share,
    UserPath,
    width_and_height,
)
from tilewright.project.config.data import (
    DEFAULT_LIMITS,
    Annotations,
    Blank,
    Folds,
    LayoutByName,
    LayoutUse,
    Limits,
    ObjectKind,
    PixelClass,
    PixelRule,
    Scale,
    Slides,
    TilesAt,
    TileSet,
    Tissue,
)
from tilewright.project.config.results import (
    BlendName,
    BundleText,
    BundleUse,
    Calibration,
    Credits,
    Dialect,
    Ensemble,
    Evaluation,
    Inference,
    Predictions,
    Report,
    Seams,
    Segmentation,
    Split,
    Submission,
    Windows,
)
from tilewright.project.config.training import LossName, Network, Pseudo
from tilewright.project.places import FINAL, part_of

__all__ = [
    "ANY", "DEFAULT_LIMITS", "IGNORE", "Annotations", "Blank", "BlendName", "BundleText", "BundleUse", "Calibration",
    "ClassName", "Config", "Credits", "Dialect", "Edge", "Ensemble", "Evaluation", "Folds", "Inference", "LayoutUse",
    "Limits", "LossName", "Model", "Name", "Network", "ObjectKind", "PixelClass", "PixelRule", "Predictions", "Pseudo",
    "Report", "Scale", "Seams", "Section", "Segmentation", "Share", "Slides", "Split", "Submission", "TileSet",
    "TilesAt", "Tissue", "Windows", "width_and_height",
]  # fmt: skip


class Model(Network):
    """A network, how it is trained and how it predicts."""

    inference: Inference = Field(Inference(), description="How slides are predicted.")

    @model_validator(mode="after")
    def _has_its_members(self) -> Self:
        if self.inference.members in ("final", "both") and not self.final:
            raise ValueError(f"inference.members: {self.inference.members} needs final: true")
        return self

    def going_out(self, folds: Sequence[int]) -> list[str]:
        """The parts, of those with the folds, that predict test slides and go into bundles."""
        members = self.inference.members
        kept = ("final" if self.final else "folds") if members == "auto" else members
        return [*([] if kept == "final" else map(part_of, folds)), *([] if kept == "folds" else [FINAL])]


class Config(Section):
    """Everything that a run of the graph depends on besides the slides themselves."""

    sheet: UserPath = Field(
        "config/slides.csv",
        description="The slide sheet (csv or tsv), from the working directory or else beside the config.",
    )
    data: UserPath | None = Field(None, description="Folder in which images and outlines are looked for first.")
    layout: LayoutByName = Field(
        None,
        description="Layout of the folder data, by name or as a section with options; where the slide sheet is "
        "missing, it is written from that folder first. A sheet that is there is never written over.",
    )
    bundles: dict[Name, BundleUse] = Field(
        {}, description="Bundles by name: models that were trained elsewhere, as members of ensembles."
    )
    predictions: dict[Name, Predictions] = Field(
        {}, description="Saved probabilities by name, as members of ensembles without any model."
    )
    classes: dict[ClassName, PixelClass] = Field(
        {}, validate_default=True, description="Classes by name. Needed, unless bundles are all there is."
    )
    annotations: Annotations = Field(Annotations(), description="How outlines are read and drawn.")
    limits: Limits = Field(DEFAULT_LIMITS, description="Bounds on inputs.")
    slides: Slides = Field(Slides(), description="How slides are opened.")
    scales: dict[Name, Scale] = Field(
        {}, validate_default=True, description="Scales by name. Needed, unless bundles are all there is."
    )
    one_pass: list[Name] = Field(
        [],
        description="Scales that are made in one pass over each slide, which saves decoding it again for each; "
        "but editing one of them makes all of them anew. Others have jobs of their own.",
    )
    tissue: Tissue = Field(Tissue(), description="What counts as tissue.")
    tiles: dict[Name, TileSet] = Field(
        {}, validate_default=True, description="Tile sets by name. Needed where models are trained."
    )
    folds: Folds = Field(Folds(), description="Cross-validation.")
    models: dict[Name, Model] = Field(
        {}, validate_default=True, description="Models by name. Needed, unless bundles or predictions are all there is."
    )
    ensembles: dict[Name, Ensemble] = Field(min_length=1, description="Ensembles by name.")
    seams: Seams = Field(Seams(), description="Seams between windows.")
    segmentation: Segmentation = Field(Segmentation(), description="Objects.")
    evaluation: Evaluation = Field(Evaluation(), description="Metrics.")
    submission: Submission = Field(Submission(), description="The submission file.")
    report: Report = Field(Report(), description="The report.")
    bundle: BundleText = Field(BundleText(), description="The bundles.")
    pathvars: dict[str, str] = Field({}, description="Snakemake's folders: results, logs, benchmarks.")
    rerun_on_code_change: bool = Field(
        True,
        description="Run steps again when their code has changed; false: what other versions of the code have made is "
        "taken. To switch it computes nothing.",
    )
    kept: bool | UserPath = Field(
        True,
        description="Where what steps have made is kept, so that nothing is computed twice: true: in results/.kept, "
        "or in .kept of results that lie elsewhere; a folder: there, for all checkouts and machines that name it; "
        "false: nowhere.",
    )

    @field_validator("kept", mode="before")
    @classmethod
    def _switch(cls, kept: Any) -> Any:
        """Snakemake gives ``kept=false`` of ``--config`` or a profile as a text, which would be a folder so named."""
        if isinstance(kept, str) and "://" in kept:
            raise ValueError(f'"{kept}" is no folder: results are kept in one that this machine sees')
        known = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False, "": False}
        return known.get(kept.strip().lower(), kept) if isinstance(kept, str) else kept

    @field_validator("classes", "scales", "tiles", "models")
    @classmethod
    def _needed(cls, section: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """A config trains models, unless it names others."""
        elsewhere = ["bundles"] if info.field_name in ("classes", "scales") else ["bundles", "predictions"]
        if not section and not any(info.data.get(name, True) for name in elsewhere):
            raise PydanticCustomError("missing", "Field required")
        return section

    @field_validator("classes")
    @classmethod
    def _sorted(cls, classes: dict[str, PixelClass]) -> dict[str, PixelClass]:
        """Bits of masks and bands of probabilities follow the names, so that the order of keys means nothing."""
        return dict(sorted(classes.items()))

    @property
    def is_cross_validated(self) -> bool:
        """Whether training slides are divided into folds: to train models, or since the config asks for folds."""
        return bool(self.models) or "folds" in self.model_fields_set

    def learns_objects(self, tiles: str) -> bool:
        """Whether a model that is trained on a tile set learns of objects, beside where they are."""
        return any(model.tiles == tiles and len(model.targets) > 1 for model in self.models.values())

    @property
    def labels(self) -> dict[str, list[str]]:
        """The annotation labels that each class takes."""
        return {name: spec.labels or [name] for name, spec in self.classes.items()}

    @property
    def roots(self) -> list[Path]:
        """Folders in which images and outlines are looked for, first one first."""
        return [Path(self.data or "."), Path(self.sheet).parent, Path()]
