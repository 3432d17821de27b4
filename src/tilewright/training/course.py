"""How the training on all slides goes: what the trainings of the folds have shown."""

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tilewright.project.config.training import Network
from tilewright.training.task import RAW, first_averaged

SWA = "swa"
KINDS = ("ema", SWA, RAW)
"""Of weights; of those that as many folds have kept, the first."""


class Course(NamedTuple):
    """A training that nothing is validated in.

    Attributes:
        epochs: after how many it ends; its learning rate falls as that of the folds, whose schedule may be longer.
        tiles: tiles drawn in an epoch, so that its steps are those of the folds.
        weights: kind of the weights that are kept: raw, ema or swa.
        reductions: share of the learning rate that the schedule plateau leaves in each epoch.
    """

    epochs: int
    tiles: int
    weights: str
    reductions: list[float]


def course_of(cards: Sequence[Mapping[str, Any]], histories: Sequence[pd.DataFrame], network: Network) -> Course:
    """What most folds have shown.

    Args:
        cards: ``model.json`` of each trained fold.
        histories: their ``history.csv``.
        network: how the folds were trained.

    Returns:
        As many epochs as the folds had at their best, in the median (a half is one more), and as many as SWA needs to
        begin if its weights are kept; the kind of weights that was best in most of them; of plateaus the median too.
    """
    epochs = math.floor(statistics.median(card["best_epoch"] + 1 for card in cards) + 0.5)
    kinds = Counter(card["best_weights"] for card in cards)
    weights = max(KINDS, key=lambda kind: kinds[kind])
    if weights == SWA:
        assert network.swa, "no fold has kept an average that there was none of"
        epochs = max(epochs, first_averaged(network.swa, network.epochs) + 1)
    return Course(
        epochs=epochs,
        tiles=round(statistics.median(card["epoch_tiles"] for card in cards)),
        weights=weights,
        reductions=_reductions(histories, network, epochs) if network.schedule == "plateau" else [1.0] * epochs,
    )


def _reductions(histories: Sequence[pd.DataFrame], network: Network, epochs: int) -> list[float]:
    """The median over the folds that came so far of the share of their peak rate; the warm-up is no reduction."""
    known = np.full((len(histories), epochs), np.nan)
    for row, history in zip(known, histories, strict=True):
        own = history["learning_rate"].to_numpy(float)
        row[: len(own)] = (own / own.max())[:epochs]
    known[:, : math.ceil(network.warmup * network.epochs)] = 1
    reductions: list[float] = np.nanmedian(known, axis=0).tolist()
    return reductions
