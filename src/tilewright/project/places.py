"""Every path under the folder of results, once: for rules, steps, check and report alike. Imports nothing heavy.

``Places`` gives what a job writes; an argument that is left out stays a wildcard of Snakemake, so that the same words
serve the outputs of a rule (``places.masks()``) and one of them (``places.masks("a1")``). The functions give the
files of a slide in the folder of its shard, the constants those of a model and of an ensemble's scores.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tilewright.project.storage import expanded
from tilewright.runtime.errors import Problem, UserError, did_you_mean, raise_all

NETWORK, CARD, HISTORY, CURVES = "model.safetensors", "model.json", "history.csv", "curves.png"
BATCH = "batch.jpg"
"""Files of a trained fold: its weights, how to build the network, one row an epoch, the same as a picture."""
FINAL = "final"
"""The part of a model that is trained on all training slides; the others are ``fold0``, ``fold1`` and so on."""
SPREAD = "spread"
"""What stands in the names of maps of how far those that predict are apart."""
PART = r"fold\d+|final"
"""A pattern of parts."""
WEIGHTS = (Path(NETWORK).suffix, ".pt", ".pth", ".zip")
"""How files end that a training may start from; a zip is a bundle."""
SLIDE_SCORES, OBJECT_SCORES, MISTAKES, SUMMARY = "slides.csv", "objects.csv", "mistakes.csv", "summary.json"
"""Files of an ensemble's scores."""
SUSPECTS, SOURCES = "suspects.csv", "sources.csv"
"""Files of what an ensemble contradicts of the outlines."""
PAGE, SPREADS = "index.html", "spread.csv"
"""The page of the report, beside its pictures; test slides by how far those that predict them are apart."""
BUNDLE, MODEL_CARD, EXAMPLES = "bundle.json", "README.md", "examples"
"""Of a bundle: what it says of itself, the same for people, and the folder of small pictures of slides."""
WEIGHTS_SUFFIX, ONNX_SUFFIX = ".safetensors", ".onnx"
"""How files of weights end in a bundle, and networks with their weights."""
PATHVAR = re.compile(r"<(\w+)>")
"""A path that another path speaks of."""


@dataclass(frozen=True)
class Places:
    """Paths of what jobs write.

    Attributes:
        results: the folder of all results.
        logs: messages of the jobs.
        benchmarks: times and memory of the jobs.
    """

    results: str = "results"
    logs: str = "results/logs"
    benchmarks: str = "results/benchmarks"

    @classmethod
    def of(cls, pathvars: Mapping[str, str]) -> Self:
        """The places that the config's pathvars name, which may speak of each other as Snakemake's do.

        Raises:
            UserError: one speaks of a name that is not there, or of itself; or one is none that is asked for.
        """
        named = {"results": cls.results, "logs": "<results>/logs", "benchmarks": "<results>/benchmarks", **pathvars}
        asked = ("results", "logs", "benchmarks")
        used = {*asked, *(found for path in named.values() for found in PATHVAR.findall(path))}
        raise_all(UserError, [
            Problem(f"config, pathvars.{name}", "no path is called so or speaks of it.", did_you_mean(name, asked))
            for name in pathvars if name not in used
        ])  # fmt: skip
        return cls(*(os.path.normpath(expanded(_resolved(name, named))) for name in asked))

    def order(self, rule: str, digest: str) -> str:
        """What a job works by, named by its content."""
        return f"{self.results}/.orders/{rule}/{digest}.json"

    def job(self, rule: str, digest: str) -> str:
        """What a job takes and gives, named by its content."""
        return f"{self.results}/.jobs/{rule}/{digest}.json"

    def kept(self) -> str:
        """Folder of what is kept of results that were made before.

        All configs whose results lie below one folder ``results`` of the working directory have it in common.
        """
        parts = self.results.split("/")
        below = parts.index(type(self).results) + 1 if type(self).results in parts and parts[0] else len(parts)
        return "/".join([*parts[:below], ".kept"])

    def claim(self) -> str:
        """Whose results these are: the configs and the slides of the last run."""
        return f"{self.results}/.run.json"

    def index(self) -> str:
        """Folder of what ``rasterize`` leaves of files of outlines that many slides share."""
        return f"{self.results}/.outlines"

    def log(self, job: str) -> str:
        """Messages of a job, such as ``predict/{model}/{shard}``."""
        return f"{self.logs}/{job}.log"

    def benchmark(self, job: str) -> str:
        """Time and memory of a job."""
        return f"{self.benchmarks}/{job}.tsv"

    def masks(self, shard: str = "{shard}") -> str:
        """Folder of ``rasterize``: masks and outlines of a shard."""
        return f"{self.results}/masks/{shard}"

    def scaled(self, scale: str = "{scale}", shard: str = "{shard}") -> str:
        """Folder of ``downscale``: images, masks and tissue of a shard at a scale."""
        return f"{self.results}/scaled/{scale}/{shard}"

    def tiles(self, tiles: str = "{tiles}", shard: str = "{shard}") -> str:
        """Archive of ``tile``."""
        return str(archive_file(Path(f"{self.results}/tiles/{tiles}"), shard))

    def folds(self) -> str:
        """Table of ``split``."""
        return f"{self.results}/folds.csv"

    def pseudo(self, model: str = "{model}", part: str = "{part}", shard: str = "{shard}") -> str:
        """Archive of ``pseudo``: tiles of a test shard that a part of a model learns from."""
        return str(archive_file(Path(f"{self.results}/pseudo/{model}/{part}"), shard))

    def model(self, model: str = "{model}", part: str = "fold{fold}") -> str:
        """Folder of ``train``, or with the part ``FINAL`` of ``refit``: a trained part of a model."""
        return str(part_folder(Path(self.all_models()), model, part))

    def all_models(self) -> str:
        """Folder of the trained models, as ``part_folder`` names what is in it."""
        return f"{self.results}/models"

    def network(self, model: str = "{model}", part: str = "fold{fold}") -> str:
        """Weights of a trained part."""
        return f"{self.model(model, part)}/{NETWORK}"

    def card(self, model: str = "{model}", part: str = "fold{fold}") -> str:
        """How to build the network of a trained part."""
        return f"{self.model(model, part)}/{CARD}"

    def history(self, model: str = "{model}", part: str = "fold{fold}") -> str:
        """Losses and scores of a training, a row an epoch."""
        return f"{self.model(model, part)}/{HISTORY}"

    def curves(self, model: str = "{model}", part: str = "fold{fold}") -> str:
        """The same as a picture."""
        return f"{self.model(model, part)}/{CURVES}"

    def batch(self, model: str = "{model}", part: str = "fold{fold}") -> str:
        """A batch of a training as its network sees it, as a picture."""
        return f"{self.model(model, part)}/{BATCH}"

    def probabilities(self, model: str = "{model}", shard: str = "{shard}") -> str:
        """Folder of ``predict``: probabilities of a shard by a model."""
        return f"{self.all_probabilities()}/{model}/{shard}"

    def all_probabilities(self) -> str:
        """Folder of the probabilities of all models: ``{model}/{shard}/``."""
        return f"{self.results}/probabilities"

    def seams(self, model: str = "{model}") -> str:
        """Document of ``seams``."""
        return f"{self.results}/seams/{model}.json"

    def weights(self, ensemble: str = "{ensemble}") -> str:
        """Document of ``weigh``."""
        return f"{self.results}/weights/{ensemble}.json"

    def ensembles(self, ensemble: str = "{ensemble}", shard: str = "{shard}") -> str:
        """Folder of ``ensemble``: mean probabilities of a shard."""
        return f"{self.results}/ensembles/{ensemble}/{shard}"

    def calibration(self, ensemble: str = "{ensemble}") -> str:
        """Document of ``calibrate``."""
        return f"{self.results}/calibration/{ensemble}.json"

    def segments(self, ensemble: str = "{ensemble}", shard: str = "{shard}") -> str:
        """Folder of ``segment``: masks and objects of a shard."""
        return f"{self.results}/segments/{ensemble}/{shard}"

    def submission(self, ensemble: str = "{ensemble}") -> str:
        """Table of ``encode``."""
        return f"{self.results}/submission/{ensemble}.csv"

    def slides(self) -> str:
        """Table of ``measure``: what each class amounts to on each slide."""
        return f"{self.results}/slides.csv"

    def metrics(self, ensemble: str = "{ensemble}") -> str:
        """Folder of ``evaluate``."""
        return f"{self.results}/metrics/{ensemble}"

    def audit(self, ensemble: str = "{ensemble}") -> str:
        """Folder of ``audit``."""
        return f"{self.results}/audit/{ensemble}"

    def bundle(self, ensemble: str = "{ensemble}") -> str:
        """Folder of ``pack``: all that a prediction by an ensemble needs."""
        return f"{self.results}/bundles/{ensemble}"

    def report(self) -> str:
        """Folder of ``report``."""
        return f"{self.results}/report"


def moved(pathvars: Mapping[str, str], below: str) -> dict[str, str]:
    """The config's pathvars, with all that are no parts of others below a folder; absolute ones stay."""
    named = {"results": Places.results, **pathvars}
    return {name: path if PATHVAR.match(path) else str(Path(below, path)) for name, path in named.items()}


def _resolved(name: str, named: Mapping[str, str]) -> str:
    path = named[name]
    for _ in named:
        path = PATHVAR.sub(lambda found: named.get(found[1], found[0]), path)
    if left := PATHVAR.search(path):
        what, known = f'"{named[name]}" leads to {left[0]}, which is no path.', ", ".join(f"<{one}>" for one in named)
        raise UserError(Problem(f"config, pathvars.{name}", what, f"Names that a path may speak of: {known}."))
    return path


def is_bundle(path: Path) -> bool:
    """Whether a path names a bundle: a zip, or a folder with a description."""
    return path.suffix == ".zip" or (path / BUNDLE).is_file()


def weights_file(start: Path) -> Path:
    """The file that says which weights a training starts from: of a folder what ``train`` wrote, or of a bundle."""
    if start.suffix in WEIGHTS:
        return start
    return start / BUNDLE if (start / BUNDLE).is_file() else start / NETWORK


def parent(path: str) -> str:
    """The folder of a path, wildcards or not."""
    return path.rpartition("/")[0]


def part_of(fold: int) -> str:
    """The part of a model that a fold validates on."""
    return f"fold{fold}"


def part_folder(models: Path, model: str, part: str) -> Path:
    """Folder of a trained part of a model below that of all models."""
    return models / model / part


def packed_weights(model: str, role: str, suffix: str = WEIGHTS_SUFFIX) -> str:
    """Place in a bundle of the weights of a model, by their role, such as ``fold0``."""
    return f"weights/{model}/{role}{suffix}"


def packed_example(slide: str) -> str:
    """Place in a bundle of the small picture of a slide."""
    return f"{EXAMPLES}/{slide}.jpg"


def described_in(bundle: str) -> str:
    """The description of a bundle that is a folder."""
    return f"{bundle}/{BUNDLE}"


def bundle_file(bundle: str) -> str:
    """The file of a bundle that tells when it has changed: its zip, or its description."""
    return bundle if Path(bundle).is_file() else described_in(bundle)


def folds_beside(sheet: Path) -> Path:
    """The table of folds that ``sheet`` writes beside a sheet, where a layout divides slides itself."""
    return sheet.with_suffix(".folds.csv")


def archive_file(folder: Path, shard: str) -> Path:
    """Tile archive of a shard."""
    return folder / f"{shard}.h5"


def index_file(folder: Path, digest: str) -> Path:
    """What is left of a file of outlines, named by its content."""
    return folder / f"{digest}.index"


def mask_file(masks: Path, slide: str) -> Path:
    """The mask that ``rasterize`` draws, at full size."""
    return masks / f"{slide}.tif"


def outlines_file(masks: Path, slide: str) -> Path:
    """The table of the outlines in that mask."""
    return masks / f"{slide}.outlines.parquet"


def image_file(scaled: Path, slide: str) -> Path:
    """The image of a slide at a scale."""
    return scaled / f"{slide}.image.tif"


def scaled_mask_file(scaled: Path, slide: str) -> Path:
    """The mask of a slide at a scale."""
    return scaled / f"{slide}.mask.tif"


def tissue_file(scaled: Path, slide: str) -> Path:
    """Where the tissue of a slide is, at a scale."""
    return scaled / f"{slide}.tissue.tif"


def probability_file(probabilities: Path, slide: str, part: str = "") -> Path:
    """Probabilities of a slide, a band for each class: the mean, or what one part of it says, such as ``fold0``."""
    return probabilities / (f"{slide}.{part}.tif" if part else f"{slide}.tif")


def spread_file(probabilities: Path, slide: str) -> Path:
    """How far those that predict a slide are apart at each pixel, one band."""
    return probability_file(probabilities, slide, SPREAD)


def segment_file(segments: Path, slide: str) -> Path:
    """The predicted mask of a slide, at full size."""
    return segments / f"{slide}.mask.tif"


def viewer_file(segments: Path, slide: str) -> Path:
    """The same as a pyramid for viewers."""
    return segments / f"{slide}.mask.ome.tif"


def objects_file(segments: Path, slide: str) -> Path:
    """The table of the predicted objects."""
    return segments / f"{slide}.objects.parquet"


def features_file(segments: Path, slide: str) -> Path:
    """Their outlines for QuPath."""
    return segments / f"{slide}.geojson.gz"


def folder(pattern: str) -> Callable[[Any], str]:
    """A function that gives the folder of a path with wildcards."""
    return lambda wildcards: parent(pattern).format(**dict(wildcards.items()))


def name_pattern(names: Iterable[str]) -> str:
    """A regular expression that matches these names and nothing else."""
    return "|".join(name.replace(".", r"\.") for name in names) or "(?!)"
