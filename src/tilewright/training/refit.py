"""Train a model on all training slides, for as long as its folds were trained to their best."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tilewright.project.orders import TrainOrder
from tilewright.project.places import CARD, HISTORY
from tilewright.runtime.documents import read_document
from tilewright.runtime.errors import DataError, Problem
from tilewright.runtime.failures import remedy_for
from tilewright.training.architectures import spelt_out
from tilewright.training.course import course_of
from tilewright.training.encoders import first_line
from tilewright.training.fitting import Sources, fit

APART = {"start", "batch_size", "workers", "final", "mean", "std"}
"""Keys in which a fold may differ from the training on all slides: what it started from, and what it found."""


def refit(
    order: TrainOrder,
    *,
    model: str,
    fitted: Sequence[Path],
    out: Path,
    tiles: Path,
    pseudo: Path,
    workers: int = 0,
    scaled: Path | None = None,
) -> None:
    """Train a model on all shards, without validation.

    How good it is on other slides, nothing tells but the scores of the folds, which learnt from fewer slides.

    Args:
        order: network, classes, scale, where each shard stands, and which shards pseudo-labels come from.
        model: name of the model.
        fitted: folders of the trained folds, as ``train`` writes them: how many epochs and steps, and which weights are
            kept, is what most of them found best.
        out: folder for the outputs, which are those of ``train``; its folder ``state`` holds what an interrupted
            training needs.
        tiles: folder of the tile archives, ``{shard}.h5``.
        pseudo: folder of the archives that ``pseudo`` writes for this training, ``{shard}.h5``; used if the network has
            pseudo-labels.
        workers: processes that load tiles, for each device; they change no result.
        scaled: folder of the scaled shards at the scale of the tiles; needed if they lie at random places.

    Raises:
        UserError: a network or an optimiser that cannot be built, weights to start from that do not fit it, or another
            process that trains the same.
        DataError: a fold that cannot be read, no tiles to train on, or a training that diverges.
    """
    told = [_told(folder, order) for folder in fitted]
    course = course_of([card for card, _ in told], [history for _, history in told], order.network)
    sources, title = Sources(tiles, pseudo, scaled), f"{model}, all training slides"
    fit(order, title=title, fold=None, sources=sources, out=out, workers=workers, course=course)


def _told(folder: Path, order: TrainOrder) -> tuple[dict[str, Any], pd.DataFrame]:
    """What the training of a fold tells: its description and its history.

    Raises:
        DataError: one of them cannot be read, or is of another training.
    """
    card = read_document(folder / CARD, folder)
    remedy = "Delete the folder and run the same command again."
    try:
        history = pd.read_csv(folder / HISTORY)
        if card["best_epoch"] not in set(history["epoch"]) or history["learning_rate"].isna().any():
            raise ValueError("it ends before the best epoch")
    except (OSError, ValueError, KeyError) as error:
        what = f"cannot be used ({first_line(error)})."
        raise DataError(Problem(str(folder / HISTORY), what, remedy_for(error, remedy))) from error
    wanted = spelt_out(order.network).model_dump(mode="json", exclude=APART)
    if other := [key for key, value in wanted.items() if card["network"].get(key) != value]:
        what = f"was trained in another way: {', '.join(other)}."
        raise DataError(Problem(str(folder), what, remedy))
    return card, history
