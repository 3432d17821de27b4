"""The door for the Snakefile: a project, and the inputs, orders and resources that the rules ask for.

Functions that take wildcards serve as input functions. Paths stand in ``project.places``, what a step is told in
``project.orders``. Imports nothing heavy, because every cluster job parses the Snakefile.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from tilewright.project.claim import refuse_others
from tilewright.project.config import Model
from tilewright.project.configfile import parse_config
from tilewright.project.corrected import corrected_files
from tilewright.project.jobs import Glance, Step, glancing, seen_files, write_job
from tilewright.project.orders import AdoptOrder, make_order, pseudo_labelled, seen_shards, wildcards_of, write_order
from tilewright.project.places import FINAL, Places, bundle_file, moved, parent, part_of, weights_file
from tilewright.project.project import Project
from tilewright.runtime.codeversion import code_version
from tilewright.tiles.folding import project_of


@dataclass(frozen=True)
class Graph:
    """A project as the rules ask for it.

    Attributes:
        project: config, sheet and folds.
        places: where everything lies.
    """

    project: Project
    places: Places

    @classmethod
    def load(cls, values: Mapping[str, Any], files: Iterable[str | Path] = (), below: str = "") -> "Graph":
        """The graph of a merged config.

        Args:
            values: the config as Snakemake has merged it.
            files: the files it came from, for line numbers.
            below: folder that the results lie below, as a workflow that uses this one as a module asks for.

        Raises:
            UserError: everything that is wrong with the config, or with the sheet; or the results are of other slides.
        """
        paths = [Path(file) for file in files]
        config = parse_config({**values, "pathvars": moved(values.get("pathvars") or {}, below)}, paths)
        project, places = project_of(config), Places.of(config.pathvars)
        refuse_others(places, paths, project.sheet)
        return cls(project, places)

    def order(self, rule: str) -> Callable[[Any], str]:
        """A function that writes the order of a job, if there is none like it, and gives its path."""
        names = wildcards_of(rule)

        @cache
        def written(*values: str) -> str:
            order = make_order(self.project, rule, **dict(zip(names, values, strict=True)))
            return write_order(order, lambda digest: self.places.order(rule, digest))

        return lambda wildcards: written(*(wildcards[name] for name in names))

    def job(self, rule: str, module: str) -> Callable[..., str]:
        """A function that writes what a job takes and gives, and gives the path of that file."""
        step = Step(rule, module.rpartition(".")[2], code_version(module))

        def written(wildcards: Any, input: Sequence[str], output: Sequence[str]) -> str:  # noqa: A002 - Snakemake's names
            given = dict(wildcards.items())
            return write_job(self.project, self.places, step, wildcards=given, inputs=list(input), outputs=list(output))

        return written

    def seen(self, *files: Callable[[Any], list[str]] | list[str]) -> Callable[[Any], str]:
        """A function that tells what the users' files among some inputs are: another one is a reason to run."""

        def written(wildcards: Any) -> str:
            paths = (path for each in files for path in (each(wildcards) if callable(each) else each))
            return seen_files(paths, self.places, self._glance)

        return written

    @cached_property
    def _glance(self) -> Glance:
        return glancing(self.places)

    @property
    def limits(self) -> str:
        """The limits of inputs as canonical JSON; a resource of the rules, so that another limit reruns nothing."""
        return json.dumps(self.project.config.limits.model_dump(), sort_keys=True, separators=(",", ":"))

    # files of the user

    def images(self, wildcards: Any) -> list[str]:
        """Image files of a shard."""
        return self._files(wildcards.shard, "image")

    def annotations(self, wildcards: Any) -> list[str]:
        """Files of outlines of a shard."""
        return self._files(wildcards.shard, "annotations")

    def corrections(self, wildcards: Any) -> list[str]:
        """Files of corrections of the outlines of a shard, as far as there are any."""
        return [str(path) for path in corrected_files(self.project, wildcards.shard)]

    def anatomy_of_objects(self, wildcards: Any) -> list[str]:
        """Files of larger structures of a shard, if objects must lie in them."""
        return self._anatomy(wildcards.shard, self.project.config.segmentation.inside)

    def anatomy_of_fitted_objects(self, wildcards: Any) -> list[str]:
        """Files of larger structures of the validated shards, if objects are fitted that must lie in them."""
        if self.project.config.ensembles[wildcards.ensemble].calibration.aim != "objects":
            return []
        labels = self.project.config.segmentation.inside
        return [path for shard in self.project.validated for path in self._anatomy(shard, labels)]

    def anatomy_of_tiles(self, wildcards: Any) -> list[str]:
        """Files of larger structures of a shard, if tiles of background must lie in them."""
        return self._anatomy(wildcards.shard, self.project.config.tiles[wildcards.tiles].background_inside)

    def anatomy_of_pseudo_tiles(self, wildcards: Any) -> list[str]:
        """The same for tiles that an ensemble labels."""
        tiles = self._model(wildcards).tiles
        return self._anatomy(wildcards.shard, self.project.config.tiles[tiles].background_inside)

    def encoder_weights(self, wildcards: Any) -> list[str]:
        """The file of encoder weights that a model starts from, if it names one."""
        model = self._model(wildcards)
        weights = model.encoder_weights
        return [] if model.start or weights in ("auto", "random", "imagenet") else [weights]

    def start_weights(self, wildcards: Any) -> list[str]:
        """The file of weights of the whole network that a part of a model starts from, if it names one."""
        start = self._model(wildcards).start_of(_part(wildcards))
        return [str(weights_file(Path(start)))] if start else []

    @property
    def folds_file(self) -> list[str]:
        """The csv of folds that the config names, if it does."""
        return [self.project.config.folds.file] if self.project.config.folds.file else []

    @property
    def sample_submission(self) -> list[str]:
        """The sample submission that the config names, if it does."""
        return [self.project.config.submission.sample] if self.project.config.submission.sample else []

    def _files(self, shard: str, column: str) -> list[str]:
        """Files of a shard, whether they are there or not."""
        return self.project.sheet.files(self.project.shard(shard), column)

    def _weights(self, ensembles: Iterable[str]) -> list[str]:
        fitted = [name for name in ensembles if self.project.config.ensembles[name].weights == "fit"]
        return [self.places.weights(name) for name in fitted]

    def _members(self, ensemble: str, shard: str) -> list[str]:
        return [self.places.probabilities(member, shard) for member in self.project.members(ensemble)]

    def _anatomy(self, shard: str, labels: Sequence[str]) -> list[str]:
        return self._files(shard, "anatomy") if labels else []

    # results that a job takes

    def masks(self, wildcards: Any) -> list[str]:
        """Masks of a shard, if there are outlines of its slides."""
        return [self.places.masks(wildcards.shard)] if self.project.is_annotated(wildcards.shard) else []

    def calibration(self, wildcards: Any) -> list[str]:
        """The thresholds of an ensemble, if they are fitted."""
        fitted = self.project.is_calibrated(wildcards.ensemble)
        return [self.places.calibration(wildcards.ensemble)] if fitted else []

    def evaluated_segments(self, wildcards: Any) -> list[str]:
        """Segmented shards that an ensemble is judged by."""
        ensemble = wildcards.ensemble
        return [self.places.segments(ensemble, shard) for shard in self.project.evaluated(ensemble)]

    def evaluated_masks(self, wildcards: Any) -> list[str]:
        """Their masks."""
        return [self.places.masks(shard) for shard in self.project.evaluated(wildcards.ensemble)]

    def audited(self, place: Callable[[str, str], str]) -> Callable[[Any], list[str]]:
        """A function that gives what an ensemble has at a place of the shards that its networks have not seen."""
        return lambda wildcards: [
            place(wildcards.ensemble, shard) for shard in self.project.audited(wildcards.ensemble)
        ]

    def audited_masks(self, wildcards: Any) -> list[str]:
        """Masks of those shards."""
        return [self.places.masks(shard) for shard in self.project.audited(wildcards.ensemble)]

    def scaled_for_tiles(self, wildcards: Any) -> str:
        """The scaled shard that a tile set is cut from."""
        return self.places.scaled(self.project.config.tiles[wildcards.tiles].scale, wildcards.shard)

    def scaled_for_model(self, wildcards: Any) -> str:
        """The scaled shard that a model predicts."""
        return self.places.scaled(self.project.scale_of(wildcards.model), wildcards.shard)

    def scaled_for_seams(self, wildcards: Any) -> str:
        """The scaled shard on which the seams of a model are measured: the first that the first fold did not see."""
        return self.places.scaled(self.project.scale_of(wildcards.model), self.project.first_validated)

    def scaled_for_predictions(self, wildcards: Any) -> str:
        """The scaled shard whose scale saved predictions are brought to."""
        return self.places.scaled(self.project.scale_of(wildcards.predictions), wildcards.shard)

    def saved(self, wildcards: Any) -> list[str]:
        """Files of saved predictions of a shard that are there: where one is not, its job says so."""
        order = AdoptOrder.of(self.project, wildcards.predictions, wildcards.shard)
        return [str(row.file) for row in order.rows if row.file]

    def seams_network(self, wildcards: Any) -> list[str]:
        """The network of a model whose seams are measured, with its description: that of the first trained fold."""
        return self._networks_of(wildcards.model, [part_of(self.project.selected[0])])

    def seams_model(self, wildcards: Any) -> str:
        """Its folder."""
        return self.places.model(wildcards.model, part_of(self.project.selected[0]))

    def networks(self, wildcards: Any) -> list[str]:
        """The networks that predict a shard, with their descriptions; of a bundle its description or its zip."""
        if path := self._bundle(wildcards.model):
            return [bundle_file(path)]
        return self._networks_of(wildcards.model, self.project.loaded_parts(wildcards.model, wildcards.shard))

    def networks_folders(self, wildcards: Any) -> list[str]:
        """Their folders; the bundle."""
        if path := self._bundle(wildcards.model):
            return [path]
        parts = self.project.loaded_parts(wildcards.model, wildcards.shard)
        return [self.places.model(wildcards.model, part) for part in parts]

    def _bundle(self, member: str) -> str | None:
        """The bundle of a member, if it comes from one."""
        own = self.project.bundled.members.get(member)
        return self.project.config.bundles[own.bundle].path if own else None

    def _networks_of(self, model: str, parts: Iterable[str]) -> list[str]:
        kinds = (self.places.network, self.places.card)
        return [place(model, part) for part in parts for place in kinds]

    def training_tiles(self, wildcards: Any) -> list[str]:
        """Archives of all shards that a model is trained on or validated on."""
        return [self.places.tiles(self._model(wildcards).tiles, shard) for shard in self.project.folds]

    def training_scaled(self, wildcards: Any) -> list[str]:
        """Scaled shards that a model is trained on, if its tiles are read at random places of them."""
        tiles = self.project.config.tiles[self._model(wildcards).tiles]
        shards = self.project.folds if tiles.at == "random" else ()
        return [self.places.scaled(tiles.scale, shard) for shard in shards]

    def scaled_folder(self, wildcards: Any) -> str:
        """Folder of the scaled shards at the scale of the tiles of a model."""
        return parent(self.places.scaled(self.project.config.tiles[self._model(wildcards).tiles].scale))

    def tiles_folder(self, wildcards: Any) -> str:
        """Folder of the archives of a model."""
        return parent(self.places.tiles(self._model(wildcards).tiles))

    def pseudo_tiles(self, wildcards: Any) -> list[str]:
        """Pseudo-labelled archives that a part of a model is trained on."""
        part = _part(wildcards)
        shards = pseudo_labelled(self.project, wildcards.model, part)
        return [self.places.pseudo(wildcards.model, part, shard) for shard in shards]

    def fitted(self, wildcards: Any) -> list[str]:
        """What the trained folds of a model tell of their trainings."""
        kinds = (self.places.card, self.places.history)
        return [place(wildcards.model, part_of(fold)) for fold in self.project.selected for place in kinds]

    def fitted_folders(self, wildcards: Any) -> list[str]:
        """Their folders."""
        return [self.places.model(wildcards.model, part_of(fold)) for fold in self.project.selected]

    def pseudo_members(self, wildcards: Any) -> list[str]:
        """Predictions that label a shard for a model."""
        pseudo = self._model(wildcards).pseudo
        assert pseudo, "only asked for by models with pseudo-labels"
        return self._members(pseudo.source, wildcards.shard)

    def predictions(self, wildcards: Any) -> list[str]:
        """Predictions of a shard that an ensemble averages."""
        return self._members(wildcards.ensemble, wildcards.shard)

    def fitted_weights(self, wildcards: Any) -> list[str]:
        """The weights of an ensemble, if they are fitted."""
        return self._weights([wildcards.ensemble])

    def out_of_fold(self, wildcards: Any) -> list[str]:
        """Out-of-fold probabilities of the members of an ensemble."""
        return [path for shard in self.project.validated for path in self._members(wildcards.ensemble, shard)]

    def truth(self, wildcards: Any) -> list[str]:
        """Scaled masks of the validated shards, at the scale of an ensemble."""
        scale = self.project.grid_scale(wildcards.ensemble)
        return [self.places.scaled(scale, shard) for shard in self.project.validated]

    def truth_folder(self, wildcards: Any) -> str:
        """Folder of the scaled shards at the scale of an ensemble."""
        return parent(self.places.scaled(self.project.grid_scale(wildcards.ensemble)))

    def trained(self, wildcards: Any) -> list[str]:
        """Weights and cards of the parts of the members of an ensemble that predict test slides."""
        models = self.project.trained(wildcards.ensemble)
        return [path for model in models for path in self._networks_of(model, self.project.going_out(model))]

    def bundles(self, wildcards: Any) -> list[str]:
        """The bundles in an ensemble or before its trainings, each by its description or its zip."""
        uses = self.project.config.bundles
        names = (name for name in self.project.config.ensembles[wildcards.ensemble].models if name in uses)
        paths = [*(uses[name].path for name in names), *self.project.starts(wildcards.ensemble)]
        return [bundle_file(path) for path in paths]

    def told_by_bundle(self, wildcards: Any) -> list[str]:
        """Scaled shards of the slides that the members of an ensemble have seen, and of examples."""
        examples = (row.shard for row in self.project.sheet if row.slide in self.project.config.bundle.examples)
        shards = dict.fromkeys((*seen_shards(self.project, wildcards.ensemble), *examples))
        scale = self.project.grid_scale(wildcards.ensemble)
        return [self.places.scaled(scale, shard) for shard in shards]

    # what the report shows

    @property
    def all_curves(self) -> list[str]:
        """Learning curves of all trainings."""
        models = self.project.config.models
        return [self.places.curves(model, part) for model in models for part in self.project.trained_parts(model)]

    @property
    def all_seams(self) -> list[str]:
        """Seams of all models."""
        return [self.places.seams(model) for model in self.project.config.models]

    @property
    def all_weights(self) -> list[str]:
        """Weights of all ensembles for which they are fitted."""
        return self._weights(self.project.config.ensembles)

    @property
    def all_segments(self) -> list[str]:
        """Segmented shards of all ensembles."""
        ensembles = self.project.config.ensembles
        return [self.places.segments(name, shard) for name in ensembles for shard in self.project.predicted(name)]

    @property
    def all_spreads(self) -> list[str]:
        """Test shards of all ensembles of which the spread is told."""
        project = self.project
        pairs = ((name, shard) for name in project.config.ensembles for shard in project.tested)
        return [self.places.ensembles(name, shard) for name, shard in pairs if project.tells_spread(name, shard)]

    @property
    def all_scaled(self) -> list[str]:
        """Scaled shards at the scales of all ensembles."""
        ensembles = self.project.config.ensembles
        wanted = (
            (self.project.grid_scale(name), shard) for name in ensembles for shard in self.project.predicted(name)
        )
        return list(dict.fromkeys(self.places.scaled(scale, shard) for scale, shard in wanted))

    @property
    def all_metrics(self) -> list[str]:
        """Scores of all ensembles that can be compared with outlines."""
        return [self.places.metrics(name) for name in self.project.config.ensembles if self.project.evaluated(name)]

    @property
    def all_audits(self) -> list[str]:
        """Audits of the outlines by all ensembles that can make one."""
        return [self.places.audit(name) for name in self.project.config.ensembles if self.project.audited(name)]

    @property
    def all_bundles(self) -> list[str]:
        """Bundles of all ensembles of which one can be made."""
        return [self.places.bundle(name) for name in self.project.config.ensembles if self.project.is_packed(name)]

    @property
    def all_calibrations(self) -> list[str]:
        """Thresholds of all ensembles for which they are fitted."""
        names = self.project.config.ensembles
        return [self.places.calibration(name) for name in names if self.project.is_calibrated(name)]

    @property
    def all_evaluated_masks(self) -> list[str]:
        """Masks of all shards that an ensemble is compared with."""
        found = (shard for name in self.project.config.ensembles for shard in self.project.evaluated(name))
        return [self.places.masks(shard) for shard in dict.fromkeys(found)]

    def _model(self, wildcards: Any) -> Model:
        return self.project.config.models[wildcards.model]


def _part(wildcards: Any) -> str:
    """The part of a model that a training gives: a fold, or what is trained on all slides."""
    fold = getattr(wildcards, "fold", None)
    return FINAL if fold is None else part_of(fold)
