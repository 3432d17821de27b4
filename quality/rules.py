"""Compare rules for thresholds on the out-of-fold probabilities of a finished run, nested by group.

``python quality/rules.py CONFIG`` where ``snakemake`` has run. Prints, for each ensemble and class, the pooled Dice
when the threshold for each group is what a rule finds on all others; and the same for one half.
"""

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tilewright import read_project
from tilewright.inference.calibrate import slide_histograms
from tilewright.inference.judging import dice_of
from tilewright.inference.rules import RULES, fitted_threshold
from tilewright.pixels.histograms import BINS, Histogram, counts_at
from tilewright.project.config.results import ThresholdRule
from tilewright.project.orders import CalibrateOrder
from tilewright.project.places import Places, probability_file, scaled_mask_file
from tilewright.project.project import Project

Groups = list[list[Histogram]]


def main() -> None:
    """Print the table of each ensemble."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    project = read_project(parser.parse_args().config)
    print("| ensemble, class | groups | half | " + " | ".join(RULES) + " |")
    print("| --- |" + " --- |" * (len(RULES) + 2))
    for ensemble in project.config.ensembles:
        for name, groups in histograms(project, ensemble).items():
            found = [nested(groups, lambda _: 0.5), *(nested(groups, finder(rule)) for rule in RULES)]
            print(f"| {ensemble}, {name} | {len(groups)} | " + " | ".join(f"{dice:.3f}" for dice in found) + " |")


def finder(rule: ThresholdRule) -> Callable[[Groups], float]:
    """A function that finds a threshold on groups."""
    return lambda groups: fitted_threshold(groups, "pooled", rule)


def nested(groups: Groups, find: Callable[[Groups], float]) -> float:
    """Pooled Dice of all groups, each at the threshold that is found on the others."""
    counts = [
        counts_at(slide, max(1, math.ceil(find(_others(groups, own)) * (BINS - 1) - 1e-6)))
        for own, group in enumerate(groups)
        for slide in group
    ]
    return dice_of(counts, "pooled") if len(groups) > 1 else float(np.nan)


def histograms(project: Project, ensemble: str) -> dict[str, Groups]:
    """Of each class the out-of-fold histograms of the slides of each group."""
    order, places = CalibrateOrder.of(project, ensemble), Places.of(project.config.pathvars)
    group_of = {one.shard: one.group for one in order.folds}
    found: dict[str, dict[str, list[Histogram]]] = {name: {} for name in order.classes}
    for row in order.rows:
        probability = probability_file(Path(places.ensembles(ensemble, row.shard)), row.slide)
        truth = scaled_mask_file(Path(places.scaled(project.grid_scale(ensemble), row.shard)), row.slide)
        for name, histogram in slide_histograms(row.labelled, probability, truth, order.classes).items():
            found[name].setdefault(group_of[row.shard], []).append(histogram)
    return {name: list(groups.values()) for name, groups in found.items()}


def _others(groups: Sequence[list[Histogram]], own: int) -> Groups:
    return [group for place, group in enumerate(groups) if place != own]


if __name__ == "__main__":
    main()
