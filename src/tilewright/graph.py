"""What the Snakefile needs and nothing else: the config and the sheet, targets, settings.

Imports nothing heavy, because every cluster job parses the Snakefile.
"""

import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from tilewright.project import settings as step_settings
from tilewright.project.config import Config
from tilewright.project.configfile import parse_config
from tilewright.project.crosscheck import sheet_problems
from tilewright.project.rows import NAME, Sheet, digest, pseudo_shards, read_sheet
from tilewright.project.settings import ensemble_models, grid_scale, scale_of
from tilewright.runtime.errors import UserError, raise_all
from tilewright.runtime.gpu import visible_gpus
from tilewright.tiles.split import Assignment, assign_folds

LARGE_SHARD = 50_000_000
"""Bytes of images from which on decoding takes longer than starting the step."""


@dataclass(frozen=True)
class Workflow:
    """A config and its sheet, as the rules ask for them. Methods that take wildcards serve as input functions."""

    config: Config
    sheet: Sheet
    results: str

    @classmethod
    def load(cls, values: Mapping[str, Any], files: Iterable[str] = ()) -> "Workflow":
        """Check the merged config and read its sheet.

        Args:
            values: the config as Snakemake has merged it.
            files: the files it came from, for line numbers.

        Raises:
            UserError: everything that is wrong with the config, or with the sheet.
        """
        config = parse_config(values, [Path(file) for file in files])
        sheet = read_sheet(Path(config.sheet), config.roots, list(config.classes))
        raise_all(UserError, list(sheet_problems(config, sheet)))
        return cls(config, sheet, config.pathvars.get("results", "results"))

    @cached_property
    def folds(self) -> dict[str, Assignment]:
        """The assignment of each shard that is trained on."""
        return {one.shard: one for one in assign_folds(self.sheet, self.config.folds)}

    @cached_property
    def members(self) -> dict[str, list[Any]]:
        """The rows of each shard."""
        shards: dict[str, list[Any]] = {}
        for row in self.sheet:
            shards.setdefault(row.shard, []).append(row)
        return shards

    @property
    def data(self) -> str:
        """The folder in which images are looked for first."""
        return self.config.data or "."

    def settings(self, step: str) -> Callable[[Any], str]:
        """An input function that gives the settings of a step as canonical JSON; wildcards name what they are of."""
        model = getattr(step_settings, f"{step.capitalize()}Settings")
        names = [name for name in inspect.signature(model.of).parameters if name != "config"]

        @cache
        def text(*values: str) -> str:
            content = model.of(self.config, *values).model_dump(mode="json")
            return json.dumps(content, sort_keys=True, separators=(",", ":"))

        return lambda wildcards: text(*(wildcards[name] for name in names))

    @property
    def limits(self) -> str:
        """The limits of inputs as canonical JSON; a resource of the rules, so that another limit reruns nothing."""
        return json.dumps(self.config.limits.model_dump(), sort_keys=True, separators=(",", ":"))

    @property
    def one_pass_settings(self) -> str:
        """The settings of the scales that are made in one pass, as canonical JSON."""
        content = step_settings.DownscaleSettings.of_one_pass(self.config).model_dump(mode="json")
        return json.dumps(content, sort_keys=True, separators=(",", ":"))

    def rows(self, *columns: str) -> Callable[[Any], str]:
        """An input function that gives a hash of these columns of a shard, so that only their changes count."""
        return lambda wildcards: digest(self.members[wildcards.shard], ("slide", *columns))

    def all_rows(self, *columns: str, roles: Sequence[str] = ("train", "test", "external")) -> str:
        """A hash of these columns of all slides with one of the roles."""
        return digest((row for row in self.sheet if row.role in roles), ("slide", *columns))

    @property
    def evaluated_rows(self) -> str:
        """A hash of the columns that decide about metrics."""
        rows = (row for row in self.sheet if row.annotations and row.role != "external")
        return digest(rows, ("slide", "shard", "role", "source", "labelled"))

    @property
    def training_rows(self) -> str:
        """A hash of the columns that decide about folds and thresholds."""
        columns = ["role", "group", "shard", "labelled"]
        stratify = self.config.folds.stratify
        return self.all_rows(*columns, *([stratify] if stratify else []), roles=("train", "external"))

    @property
    def folds_file(self) -> list[str]:
        """The csv of folds that the config names, if it does."""
        return [self.config.folds.file] if self.config.folds.file else []

    def images(self, wildcards: Any) -> list[str]:
        """Image files of a shard."""
        return list(dict.fromkeys(str(row.image) for row in self.members[wildcards.shard]))

    def reading_threads(self, wildcards: Any) -> int:
        """Threads that decode a shard: two where it is large; small shards are faster side by side."""
        paths = [Path(path) for path in self.images(wildcards)]
        return 2 if sum(path.stat().st_size for path in paths if path.is_file()) > LARGE_SHARD else 1

    def annotations(self, wildcards: Any) -> list[str]:
        """Files of outlines of a shard."""
        rows = self.members[wildcards.shard]
        return list(dict.fromkeys(str(row.annotations) for row in rows if row.annotations))

    def anatomy_of_objects(self, wildcards: Any) -> list[str]:
        """Files of larger structures of a shard, if objects must lie in them."""
        return self._anatomy(wildcards.shard, self.config.segmentation.inside)

    def anatomy_of_tiles(self, wildcards: Any) -> list[str]:
        """Files of larger structures of a shard, if tiles of background must lie in them."""
        return self._anatomy(wildcards.shard, self.config.tiles[wildcards.tiles].background_inside)

    def anatomy_of_pseudo_tiles(self, wildcards: Any) -> list[str]:
        """The same for tiles that an ensemble labels."""
        tiles = self.config.models[wildcards.model].tiles
        return self._anatomy(wildcards.shard, self.config.tiles[tiles].background_inside)

    def _anatomy(self, shard: str, labels: Sequence[str]) -> list[str]:
        """Files of larger structures of a shard; none where no label is asked for."""
        if not labels:
            return []
        return list(dict.fromkeys(str(row.anatomy) for row in self.members[shard] if row.anatomy))

    def scale_of_tiles(self, wildcards: Any) -> str:
        """Folder of the scaled shard that a tile set is cut from."""
        return f"{self.results}/scaled/{self.config.tiles[wildcards.tiles].scale}/{wildcards.shard}"

    def pseudo_tiles(self, wildcards: Any) -> list[str]:
        """Pseudo-labelled archives that a fold of a model is trained on."""
        if self.config.models[wildcards.model].pseudo is None:
            return []
        validated = {one.group for one in self.folds.values() if one.fold == int(wildcards.fold)}
        folder = self.pseudo_folder(wildcards)
        return [f"{folder}/{shard}.h5" for shard in pseudo_shards(self.sheet, validated)]

    def pseudo_folder(self, wildcards: Any) -> str:
        """Folder of the pseudo-labelled archives of a fold of a model."""
        return f"{self.results}/pseudo/{wildcards.model}/fold{wildcards.fold}"

    def pseudo_rows(self, wildcards: Any) -> str:
        """A hash of the columns that decide which shards a model may be pseudo-labelled on."""
        return self.all_rows("shard", "group") if self.config.models[wildcards.model].pseudo else ""

    def encoder_weights(self, wildcards: Any) -> list[str]:
        """The file of encoder weights that a model starts from, if it names one."""
        weights = self.config.models[wildcards.model].encoder_weights
        return [] if weights in ("auto", "random", "imagenet") else [weights]

    def loading_workers(self, wildcards: Any) -> int:
        """Processes that load tiles, for each device."""
        return self.config.models[wildcards.model].workers

    def pseudo_members(self, wildcards: Any) -> list[str]:
        """Predictions that label a shard for a fold of a model: of that fold alone."""
        pseudo = self.config.models[wildcards.model].pseudo
        assert pseudo, "only asked for by models with pseudo-labels"
        return [
            f"{self.results}/probabilities/{model}/fold{wildcards.fold}/{wildcards.shard}"
            for model in ensemble_models(self.config, pseudo.source)
        ]

    def scale_of_model(self, wildcards: Any) -> str:
        """Folder of the scaled shard that a model predicts."""
        return f"{self.results}/scaled/{scale_of(self.config, wildcards.model)}/{wildcards.shard}"

    def training_tiles(self, wildcards: Any) -> list[str]:
        """Archives of all shards that a model is trained on or validated on."""
        tiles = self.config.models[wildcards.model].tiles
        return [f"{self.results}/tiles/{tiles}/{shard}.h5" for shard in self.folds]

    def tiles_folder(self, wildcards: Any) -> str:
        """Folder of the archives of a model."""
        return f"{self.results}/tiles/{self.config.models[wildcards.model].tiles}"

    def training_threads(self, wildcards: Any) -> int:
        """Threads that a training keeps busy: those of the network and the processes that load tiles."""
        model = self.config.models[wildcards.model]
        return (model.threads + model.workers) * model.devices

    def training_gpus(self, wildcards: Any) -> int:
        """GPUs that a training needs, where there are any."""
        return self.config.models[wildcards.model].devices if visible_gpus() else 0

    def prediction_threads(self, wildcards: Any) -> int:
        """Threads that a prediction keeps busy."""
        return self.config.models[wildcards.model].inference.threads

    @property
    def seams_shard(self) -> str:
        """The shard on which seams are measured: the first that fold 0 did not see."""
        return next((shard for shard, one in self.folds.items() if one.fold == 0), "")

    def seams_scaled(self, wildcards: Any) -> str:
        """Its folder at the scale of a model."""
        return f"{self.results}/scaled/{scale_of(self.config, wildcards.model)}/{self.seams_shard}"

    @property
    def all_seams(self) -> list[str]:
        """Seams of all models."""
        return [f"{self.results}/seams/{model}.json" for model in self.config.models]

    def predictions(self, wildcards: Any) -> list[str]:
        """Predictions of a shard that an ensemble averages: by the fold that did not see it, else by every fold."""
        own = self.folds.get(wildcards.shard)
        folds = range(self.config.folds.count) if own is None or own.fold is None else [own.fold]
        return [
            f"{self.results}/probabilities/{model}/fold{fold}/{wildcards.shard}"
            for model in ensemble_models(self.config, wildcards.ensemble)
            for fold in folds
        ]

    def weights_file(self, wildcards: Any) -> str:
        """The fitted weights of an ensemble."""
        return f"{self.results}/weights/{wildcards.ensemble}.json"

    def fitted_weights(self, wildcards: Any) -> list[str]:
        """That file, if the ensemble's weights are fitted."""
        return [self.weights_file(wildcards)] if self.config.ensembles[wildcards.ensemble].weights == "fit" else []

    def weighed_probabilities(self, wildcards: Any) -> list[str]:
        """Out-of-fold probabilities of the members of an ensemble."""
        return [
            f"{self.probabilities}/{model}/fold{one.fold}/{shard}"
            for model in ensemble_models(self.config, wildcards.ensemble)
            for shard, one in self.folds.items()
            if one.fold is not None
        ]

    @property
    def probabilities(self) -> str:
        """Folder of the probabilities of all models."""
        return f"{self.results}/probabilities"

    def truth(self, wildcards: Any) -> list[str]:
        """Scaled masks of the validated shards, at the scale of an ensemble."""
        scale = grid_scale(self.config, wildcards.ensemble)
        return [f"{self.results}/scaled/{scale}/{shard}" for shard in self.validated]

    def validated_probabilities(self, wildcards: Any) -> list[str]:
        """Out-of-fold probabilities of an ensemble."""
        return [f"{self.probabilities_folder(wildcards)}/{shard}" for shard in self.validated]

    def probabilities_folder(self, wildcards: Any) -> str:
        """Folder of the shards of an ensemble."""
        return f"{self.results}/ensembles/{wildcards.ensemble}"

    def results_folder(self, _wildcards: Any) -> str:
        """Folder of all results."""
        return self.results

    def masks_folder(self, _wildcards: Any) -> str:
        """Folder of the masks of all shards."""
        return f"{self.results}/masks"

    def segments_folder(self, wildcards: Any) -> str:
        """Folder of the segmented shards of an ensemble."""
        return f"{self.results}/segments/{wildcards.ensemble}"

    def truth_folder(self, wildcards: Any) -> str:
        """Folder of the scaled shards at the scale of an ensemble."""
        return f"{self.results}/scaled/{grid_scale(self.config, wildcards.ensemble)}"

    @property
    def all_curves(self) -> list[str]:
        """Histories of all models and folds."""
        folds = range(self.config.folds.count)
        return [
            f"{self.results}/models/{model}/fold{fold}/curves.png" for model in self.config.models for fold in folds
        ]

    @property
    def all_segments(self) -> list[str]:
        """Segmented shards of all ensembles."""
        shards = (*self.validated, *self.tested)
        return [f"{self.results}/segments/{name}/{shard}" for name in self.config.ensembles for shard in shards]

    @property
    def all_truth(self) -> list[str]:
        """Scaled shards at the scales of all ensembles."""
        scales = {grid_scale(self.config, name): None for name in self.config.ensembles}
        shards = (*self.validated, *self.tested)
        return [f"{self.results}/scaled/{scale}/{shard}" for scale in scales for shard in shards]

    @property
    def validated(self) -> list[str]:
        """Shards of the folds: those with out-of-fold probabilities."""
        return [shard for shard, one in self.folds.items() if one.fold is not None]

    @property
    def tested(self) -> list[str]:
        """Shards of test slides."""
        return self.sheet.shards("test")

    @property
    def evaluated(self) -> list[str]:
        """Shards with outlines and a prediction that may be compared with them."""
        labelled = {row.shard for row in self.sheet if row.annotations}
        return [shard for shard in (*self.validated, *self.tested) if shard in labelled]


def name_pattern(names: Iterable[str]) -> str:
    """A regular expression that matches these names and nothing else."""
    return "|".join(name.replace(".", r"\.") for name in names) or NAME.pattern
