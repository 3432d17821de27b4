"""A config, its slide sheet and its folds, together: what a user asks for. Imports nothing heavy."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tilewright.project.config import Config, Section
from tilewright.project.rows import Role, Row, Sheet

PALETTE = ("#1b9e77", "#d95f02", "#7570b3", "#e7298a", "#66a61e", "#e6ab02", "#a6761d")


class Assignment(Section):
    """Where a shard stands in the cross-validation.

    Attributes:
        shard: name of the shard.
        group: its group.
        fold: the fold that validates on it; None: external.
    """

    shard: str
    group: str
    fold: int | None


@dataclass(frozen=True)
class Project:
    """What a user wrote, checked, and what follows from it.

    Attributes:
        config: every parameter.
        sheet: the slides.
        folds: the assignment of each shard that is trained on, by shard, in the order of the sheet.
    """

    config: Config
    sheet: Sheet
    folds: Mapping[str, Assignment]

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the bits of masks and of the bands of probabilities."""
        return list(self.config.classes)

    @property
    def colors(self) -> dict[str, str]:
        """The colour of each class: the config's, else the next of the palette."""
        specs = self.config.classes.items()
        return {name: spec.color or PALETTE[place % len(PALETTE)] for place, (name, spec) in enumerate(specs)}

    @cached_property
    def _shards(self) -> dict[str, list[Row]]:
        shards: dict[str, list[Row]] = {}
        for row in self.sheet:
            shards.setdefault(row.shard, []).append(row)
        return shards

    def known(self, wildcard: str) -> Collection[str]:
        """What a wildcard of the rules may be: names of shards, models and so on."""
        config = self.config
        known: Mapping[str, Collection[str]] = {
            "shard": self._shards, "scale": config.scales, "tiles": config.tiles, "model": config.models,
            "ensemble": config.ensembles, "fold": self._folds,
        }  # fmt: skip
        return known[wildcard]

    @cached_property
    def _folds(self) -> set[str]:
        return {str(fold) for fold in self.selected}

    def shard(self, name: str) -> list[Row]:
        """The rows of a shard."""
        return self._shards[name]

    def rows(self, *roles: Role) -> list[Row]:
        """The rows with one of the roles, in the order of the sheet."""
        return [row for row in self.sheet if row.role in roles]

    @property
    def selected(self) -> list[int]:
        """The folds that are trained, by number."""
        folds = self.config.folds
        return list(range(folds.count)) if folds.selected is None else sorted(folds.selected)

    def shards_of_fold(self, fold: int) -> list[str]:
        """The shards that a fold validates on."""
        return [shard for shard, one in self.folds.items() if one.fold == fold]

    @property
    def validated(self) -> list[str]:
        """Shards of the folds that are trained: those with out-of-fold probabilities."""
        return [shard for shard, one in self.folds.items() if one.fold in self.selected]

    @property
    def first_validated(self) -> str:
        """The first shard that the first of the trained folds validates on."""
        return self.shards_of_fold(self.selected[0])[0]

    @property
    def validated_rows(self) -> list[Row]:
        """Slides with out-of-fold probabilities, in the order of the sheet."""
        shards = set(self.validated)
        return [row for row in self.rows("train") if row.shard in shards]

    @property
    def tested(self) -> list[str]:
        """Shards of test slides."""
        return self.sheet.shards("test")

    @property
    def evaluated(self) -> list[str]:
        """Shards with outlines and a prediction that may be compared with them."""
        return [shard for shard in (*self.validated, *self.tested) if any(row.annotations for row in self.shard(shard))]

    @property
    def evaluated_rows(self) -> list[Row]:
        """Slides with outlines and a prediction that may be compared with them, in the order of the sheet."""
        shards = set(self.evaluated)
        return [row for row in self.sheet if row.shard in shards and row.annotations]

    def scale_of(self, model: str) -> str:
        """Name of the scale that a model works at: that of the tiles it is trained on."""
        return self.config.tiles[self.config.models[model].tiles].scale

    def members(self, ensemble: str) -> list[str]:
        """Names of the models of an ensemble; the first one works at the finest scale and gives the ensemble's."""

        def pixel(model: str) -> tuple[float, str]:
            scale = self.config.scales[self.scale_of(model)]
            return (scale.factor or scale.mpp or 0.0, model)

        return sorted(self.config.ensembles[ensemble].models, key=pixel)

    def grid_scale(self, ensemble: str) -> str:
        """Name of the scale of an ensemble's probabilities: the finest of its models."""
        return self.scale_of(self.members(ensemble)[0])

    @property
    def grid_scales(self) -> list[str]:
        """Names of the scales of all ensembles, each once."""
        return list(dict.fromkeys(map(self.grid_scale, self.config.ensembles)))

    def folds_of(self, shard: str) -> Sequence[int]:
        """The folds whose models predict a shard: the one that did not see it, else all."""
        own = self.folds.get(shard)
        return self.selected if own is None or own.fold is None else [own.fold]

    def labels_a_round(self, model: str, shard: str) -> bool:
        """Whether single folds of a model label a shard for another one, by the key pseudo."""
        rounds = (spec.pseudo for spec in self.config.models.values())
        sources = {one.source for one in rounds if one}
        return shard not in self.folds and any(model in self.config.ensembles[source].models for source in sources)
