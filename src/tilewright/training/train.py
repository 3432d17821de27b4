"""Train one fold of a model and write what prediction and people need; the files are those of ``fitting``."""

from pathlib import Path

from tilewright.project.orders import TrainOrder
from tilewright.tiles.split import require_folds
from tilewright.training.fitting import Sources, fit


def train(
    order: TrainOrder,
    *,
    model: str,
    fold: int,
    folds: Path,
    tiles: Path,
    pseudo: Path,
    out: Path,
    scaled: Path | None = None,
    workers: int = 0,
) -> None:
    """Train a model on all shards that are not in a fold, and choose the epoch that is best on the fold.

    An interrupted training goes on from its last epoch, with the same result as an uninterrupted one. With several
    devices, Lightning starts this program again for each further one.

    Args:
        order: network, classes, scale, where each shard stands, and which shards pseudo-labels come from.
        model: name of the model.
        fold: the fold that is validated on.
        folds: ``folds.csv``.
        tiles: folder of the tile archives, ``{shard}.h5``.
        pseudo: folder of the archives that ``pseudo`` writes for this fold, ``{shard}.h5``; used if the network has
            pseudo-labels.
        scaled: folder of the scaled shards at the scale of the tiles; needed if they lie at random places.
        out: folder for the outputs; its folder ``state`` holds what an interrupted training needs.
        workers: processes that load tiles, for each device; they change no result.

    Raises:
        UserError: a network or an optimiser that cannot be built, weights to start from that do not fit it, or another
            process that trains the same fold.
        DataError: folds that are not those of sheet and config, no tiles to train on or to validate on, or a training
            that diverges.
    """
    require_folds(folds, order.folds)
    sources = Sources(tiles, pseudo, scaled)
    fit(order, title=f"{model}, fold {fold}", fold=fold, sources=sources, out=out, workers=workers)
