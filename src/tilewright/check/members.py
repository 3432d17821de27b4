"""What is wrong with the members of ensembles: bundles, saved predictions, and slides that a bundle has seen."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tilewright.check.findings import Findings
from tilewright.project.crosscheck import ensemble_problems
from tilewright.project.orders import saved_file
from tilewright.project.project import Project
from tilewright.runtime.errors import Problem, listed
from tilewright.runtime.hashed import file_print


def check_members(project: Project, findings: Findings) -> None:
    """Look whether each ensemble can be made of its members.

    Args:
        project: config, sheet and bundles, which are right each for itself.
        findings: takes what is wrong.
    """
    problems = list(ensemble_problems(project))
    findings.errors["config"] += problems
    if not problems:
        findings.errors["config"] += _missing_predictions(project)
        findings.warnings["images"] += _seen_slides(project)


def _missing_predictions(project: Project) -> Iterator[Problem]:
    """Slides without saved predictions."""
    for name, spec in project.config.predictions.items():
        ensembles = [each for each, ensemble in project.config.ensembles.items() if name in ensemble.models]
        shards = dict.fromkeys(shard for each in ensembles for shard in project.predicted(each))
        rows = [row for shard in shards for row in project.shard(shard)]
        missing = [row.slide for row in rows if saved_file(Path(spec.folder), row.shard, row.slide) is None]
        if missing:
            what = f"{len(missing)} slide(s) have no file in {spec.folder}: {listed(missing)}."
            remedy = "Save SLIDE.tif or SLIDE.npy there, itself or in a folder for each shard."
            yield Problem(f"config, predictions.{name}", what, remedy)


def _seen_slides(project: Project) -> Iterator[Problem]:
    """Slides that thresholds, weights or scores come from, and that a bundle was trained on."""
    print_of = cache(file_print)
    used = {name: spec.models for name, spec in project.config.ensembles.items()}
    places = {
        f"bundles.{name}": (bundle, [each for each in used if name in used[each]])
        for name, bundle in project.bundled.bundles.items()
    }
    places |= {
        f"models, start {path}": (bundle, [each for each in used if path in project.starts(each)])
        for path, bundle in project.bundled.starts.items()
    }
    for place, (bundle, ensembles) in places.items():
        judged = {row.slide: row.image for each in ensembles for row in project.evaluated_rows(each)}
        seen = set(bundle.trained_on)
        found = [slide for slide, image in judged.items() if image.is_file() and print_of(image) in seen]
        if found:
            what = f"the bundle was trained on the files of slides that it is judged by here: {listed(found)}."
            remedy = "Their scores are too good; judge by other slides, or bear it in mind."
            yield Problem(f"config, {place}", what, remedy)
