"""A config, its slide sheet and its folds, together: what a user asks for. Imports nothing heavy."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from tilewright.project.bundled import Bundled, bundles_of_start
from tilewright.project.config import Config, Model, Scale, Section
from tilewright.project.naming import Namesake, namesakes
from tilewright.project.places import FINAL, part_of
from tilewright.project.rows import Role, Row, Sheet
from tilewright.runtime.errors import Problem, UserError, did_you_mean, listed

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


class Bounds(NamedTuple):
    """What becomes an object of a class.

    Attributes:
        threshold: least probability of a pixel, 0 to 1.
        min_area: least area, in pixels of the slide.
        min_confidence: least confidence, 0 to 1.
        seed: the level that the seeds of objects exceed, where a network tells which pixels are between objects.
    """

    threshold: float
    min_area: int
    min_confidence: float = 0.0
    seed: float = 0.5


class Obstacle(NamedTuple):
    """Why nothing can be fitted for an ensemble, and how it could be."""

    why: str
    remedy: str


class _Pixels(NamedTuple):
    """How large a pixel of a member is, as far as it is known."""

    factor: float | None
    mpp: float | None


@dataclass(frozen=True)
class Project:
    """What a user wrote, checked, and what follows from it.

    Attributes:
        config: every parameter.
        sheet: the slides.
        folds: the assignment of each shard that is trained on, by shard, in the order of the sheet.
        bundled: the bundles that the config names.
    """

    config: Config
    sheet: Sheet
    folds: Mapping[str, Assignment]
    bundled: Bundled

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
            "shard": self._shards, "scale": self.scales, "tiles": config.tiles, "fold": self._folds,
            "part": [*map(part_of, self.selected), FINAL],
            "model": [*config.models, *self.bundled.members], "ensemble": config.ensembles,
            "predictions": config.predictions,
        }  # fmt: skip
        return known[wildcard]

    @cached_property
    def _folds(self) -> set[str]:
        return {str(fold) for fold in self.selected}

    def shard(self, name: str) -> list[Row]:
        """The rows of a shard.

        Raises:
            UserError: there is no such shard; says where the slide of that name stands, if there is one.
        """
        if name not in self._shards:
            own = next(
                (f"Slide {row.slide} stands in shard {row.shard}. " for row in self.sheet if row.slide == name), ""
            )
            remedy = f"{own}Shards: {listed(list(self._shards))}."
            raise UserError(Problem(str(self.sheet.path), f'has no shard "{name}".', remedy))
        return self._shards[name]

    def rows(self, *roles: Role) -> list[Row]:
        """The rows with one of the roles, in the order of the sheet."""
        return [row for row in self.sheet if row.role in roles]

    def namesakes(self, column: str, slide: str) -> list[Namesake]:
        """Other slides that an id might mean in the file that a column names for a slide."""
        return self._namesakes[column].get(slide, [])

    @cached_property
    def _namesakes(self) -> dict[str, Mapping[str, list[Namesake]]]:
        return {column: namesakes(self.sheet, column) for column in ("annotations", "anatomy")}

    @cached_property
    def selected(self) -> list[int]:
        """The folds that are trained, by number."""
        folds = self.config.folds
        return list(range(folds.count)) if folds.selected is None else sorted(folds.selected)

    def shards_of_fold(self, fold: int) -> list[str]:
        """The shards that a fold validates on."""
        return [shard for shard, one in self.folds.items() if one.fold == fold]

    @cached_property
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

    @cached_property
    def tested(self) -> list[str]:
        """Shards of test slides."""
        return self.sheet.shards("test")

    def is_annotated(self, shard: str) -> bool:
        """Whether a slide of a shard has outlines."""
        return any(row.annotations for row in self.shard(shard))

    def evaluated(self, ensemble: str) -> list[str]:
        """Shards with outlines and a prediction that may be compared with them."""
        return [shard for shard in self.predicted(ensemble) if self.is_annotated(shard)]

    def audited(self, ensemble: str) -> list[str]:
        """The shards of ``audited_rows``."""
        return list(dict.fromkeys(row.shard for row in self.audited_rows(ensemble)))

    def audited_rows(self, ensemble: str) -> list[Row]:
        """Slides with a class that is outlined, predicted by networks of an ensemble that have not seen them."""
        return [row for row in self.evaluated_rows(ensemble) if row.shard in self.folds and row.labelled]

    def evaluated_rows(self, ensemble: str) -> list[Row]:
        """Slides with outlines and a prediction that may be compared with them, in the order of the sheet.

        Those that thresholds or weights are fitted on are among them.
        """
        shards = set(self.evaluated(ensemble))
        return [row for row in self.sheet if row.shard in shards and row.annotations]

    @property
    def scales(self) -> Mapping[str, Scale]:
        """Every scale that slides are kept at, by name."""
        return self.bundled.scales

    def scale_of(self, member: str) -> str:
        """Name of the scale of a member's probabilities: of a model, that of the tiles it is trained on."""
        if member in self.config.models:
            return self.config.tiles[self.config.models[member].tiles].scale
        if member in self.config.predictions:
            # those of bundles may be given in another way
            scales = self.config.scales or self.scales
            return self.config.predictions[member].scale or min(scales, key=self._pixel)
        return self.bundled.scale_of[member]

    def _pixel(self, scale: str) -> float:
        return self.scales[scale].factor or self.scales[scale].mpp or 0.0

    def model(self, name: str) -> Model:
        """What the config says of a model that is trained here.

        Raises:
            UserError: it is a member of a bundle.
        """
        if name not in self.config.models:
            remedy = did_you_mean(name, self.config.models)
            raise UserError(Problem("order", f"{name} is no model that is trained here.", remedy))
        return self.config.models[name]

    def weights(self, ensemble: str) -> dict[str, float]:
        """The weight of each member of an ensemble; the members of a bundle share its own."""
        weights: dict[str, float] = {}
        models = self.config.ensembles[ensemble].models
        for name, weight in models.items():
            if name not in self.bundled.bundles:
                weights[name] = weight
                continue
            own = self.bundled.weights(name)
            # only ratios count: a bundle alone is added up, and rounded, as where it was made
            share = 1.0 if len(models) == 1 else weight / sum(own.values())
            weights |= {member: each * share for member, each in own.items()}
        return weights

    def members(self, ensemble: str) -> list[str]:
        """Names of the members of an ensemble; the first one has the finest scale, which is the ensemble's.

        Of those with equal pixels one of this project is: what a bundle calls the same factor may be another size.

        Raises:
            UserError: some members work by factor, others by pixel size.
        """
        names = list(self.weights(ensemble))
        sizes = {name: self._pixels(name) for name in names}
        for way in ("factor", "mpp"):
            found = {name: size for name, own in sizes.items() if (size := getattr(own, way)) is not None}
            if len(found) == len(names):
                return sorted(names, key=lambda name: (found[name], name in self.bundled.members, name))
        what = f"the ensemble {ensemble} mixes scales by factor and by mpp, whose order is unknown."
        raise UserError(Problem("config, ensembles", what, "Give all scales of an ensemble in one way."))

    def _pixels(self, member: str) -> "_Pixels":
        if member in self.bundled.members:
            own = self.bundled.members[member]
            return _Pixels(own.spec.scale.factor, own.mpp)
        scale = self.scales[self.scale_of(member)]
        return _Pixels(scale.factor, scale.mpp)

    def grid_scale(self, ensemble: str) -> str:
        """Name of the scale of an ensemble's probabilities: the finest of its members."""
        return self.scale_of(self.members(ensemble)[0])

    def trained(self, ensemble: str) -> list[str]:
        """The models of an ensemble that this project trains."""
        return [name for name in self.config.ensembles[ensemble].models if name in self.config.models]

    def starts(self, ensemble: str) -> list[str]:
        """Paths of the bundles that the models of an ensemble started from: what those have seen, these have."""
        models = (self.config.models[name] for name in self.trained(ensemble))
        return list(dict.fromkeys(path for model in models for path in bundles_of_start(model, self.config)))

    def obstacle(self, ensemble: str) -> Obstacle | None:
        """Why thresholds and weights cannot be fitted; None: training slides are predicted by what did not see them."""
        if not self.validated:
            return Obstacle("no training slide lies in a fold", "give training slides and the section folds")
        saved = set(self.config.predictions) & set(self.config.ensembles[ensemble].models)
        if seen := [name for name in sorted(saved) if not self.config.predictions[name].out_of_fold]:
            remedy = "out_of_fold: true, if each training slide was predicted by what has not seen it"
            return Obstacle(f"training slides may have been seen by {', '.join(seen)}", f"give predictions {remedy}")
        return None

    def is_calibrated(self, ensemble: str) -> bool:
        """Whether thresholds are fitted."""
        return self.obstacle(ensemble) is None

    def is_packed(self, ensemble: str) -> bool:
        """Whether a bundle can be made: the models of all members are there, and thresholds have been fitted."""
        saved = set(self.config.predictions) & set(self.config.ensembles[ensemble].models)
        return self.is_calibrated(ensemble) and not saved

    def predicted(self, ensemble: str) -> list[str]:
        """The shards that an ensemble predicts: the test shards, and those that it is calibrated on."""
        return [*(self.validated if self.is_calibrated(ensemble) else ()), *self.tested]

    def bounds(self, ensemble: str) -> dict[str, Bounds] | None:
        """What becomes an object of each class, for an ensemble that is not calibrated here; None: it is.

        It has the thresholds of the config, else those of its one bundle.

        Raises:
            UserError: a class has neither.
        """
        obstacle = self.obstacle(ensemble)
        if obstacle is None:
            return None
        spec = self.config.ensembles[ensemble]
        calibration, found = spec.calibration, self._bounds_of_bundle(spec.models)
        given = {name: calibration.fixed(name) for name in self.classes}
        if missing := [name for name in self.classes if given[name] is None and name not in found]:
            what = f"it cannot be calibrated, as {obstacle.why}, and has no threshold for {', '.join(missing)}."
            remedy = f"Give calibration.threshold, which a single bundle brings along; or {obstacle.remedy}."
            raise UserError(Problem(f"config, ensembles.{ensemble}", what, remedy))
        own = {name: found.get(name, Bounds(0.0, 0)) for name in self.classes}
        return {
            name: own[name]._replace(
                threshold=own[name].threshold if threshold is None else threshold,
                min_area=own[name].min_area if calibration.least is None else calibration.least,
            )
            for name, threshold in given.items()
        }

    def _bounds_of_bundle(self, models: Iterable[str]) -> dict[str, Bounds]:
        named = [name for name in models if name in self.bundled.bundles]
        classes = self.bundled.bundles[named[0]].classes if len(named) == 1 else []
        return {one.name: Bounds(*one.bounds) for one in classes}

    def trained_parts(self, model: str) -> list[str]:
        """The parts of a model that are trained."""
        return [*map(part_of, self.selected), *([FINAL] if self.config.models[model].final else [])]

    def going_out(self, model: str) -> list[str]:
        """The parts of a model that predict test slides, and go into bundles."""
        return self.config.models[model].going_out(self.selected)

    def parts_of(self, model: str, shard: str) -> list[str]:
        """The parts of a model that predict a shard: the fold that did not see it, else those that go out."""
        own = self.folds.get(shard)
        return self.going_out(model) if own is None or own.fold is None else [part_of(own.fold)]

    def loaded_parts(self, model: str, shard: str) -> list[str]:
        """The same with the folds that label a shard for another model, or whose spread is told."""
        asked = self.labels_a_round(model, shard) or self.has_spread(model, shard)
        folds = map(part_of, self.selected) if asked else ()
        return sorted({*self.parts_of(model, shard), *folds}, key=self.trained_parts(model).index)

    def has_spread(self, model: str, shard: str) -> bool:
        """Whether the spread of the folds of a member is told for a shard: none of them has seen it."""
        asked = self.asks_spread(model) or any(model in members for members in self.spreading.values())
        return shard not in self.folds and asked and len(self.folds_of(model)) > 1

    def tells_spread(self, ensemble: str, shard: str) -> bool:
        """Whether an ensemble writes how far those that predict a shard are apart, which no fold has seen."""
        members = self.spreading.get(ensemble, [])
        return shard not in self.folds and (len(members) > 1 or any(self.has_spread(name, shard) for name in members))

    @cached_property
    def spreading(self) -> dict[str, list[str]]:
        """Of each ensemble with a member that asks for its spread all members that count: they tell theirs as well."""
        weights = {name: self.weights(name) for name in self.config.ensembles}
        counted = {name: [member for member, weight in own.items() if weight] for name, own in weights.items()}
        return {name: members for name, members in counted.items() if any(map(self.asks_spread, members))}

    def asks_spread(self, model: str) -> bool:
        """Whether the spread of the folds of a member is asked for by its own key."""
        if model in self.bundled.members:
            return self.config.bundles[self.bundled.members[model].bundle].spread
        return model in self.config.models and self.config.models[model].inference.spread

    def folds_of(self, model: str) -> list[str]:
        """The parts of a member that are folds."""
        if model in self.bundled.members:
            return [part for part in self.bundled.members[model].spec.parts if part != FINAL]
        return list(map(part_of, self.selected))

    def labels_a_round(self, model: str, shard: str) -> bool:
        """Whether the folds of a model label a shard for another one, by the key pseudo."""
        rounds = (spec.pseudo for spec in self.config.models.values())
        sources = {one.source for one in rounds if one}
        labelling = any(model in self.config.ensembles[source].models for source in sources)
        return labelling and shard not in self.folds
