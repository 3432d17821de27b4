"""Trainings of a second on the tiles of the tiny project."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from ordering import order_of

from tilewright.masks.rasterize import rasterize
from tilewright.project.config import Annotations, Folds, Network, Scale, TileSet, Tissue
from tilewright.project.orders import (
    DownscaleOrder,
    RasterizeOrder,
    SplitOrder,
    TileOrder,
    TrainOrder,
    split_rows,
    write_order,
)
from tilewright.project.sheetfile import read_sheet
from tilewright.scales.downscale import downscale
from tilewright.tiles.archive import TrainingShard
from tilewright.tiles.split import read_folds, split
from tilewright.tiles.tile import tile

CLASSES = ["gland", "vessel"]
SHARDS = ("a", "b", "x1")


@dataclass(frozen=True)
class Trainings:
    """Trains tiny networks on the archives and folds of a folder.

    Attributes:
        folder: holds slides, masks, scaled slides, tile archives (``t``) and folds.
        options: the network where a test asks for nothing else.
    """

    folder: Path
    options: dict

    def network(self, **options):
        return Network(**{**self.options, **options})

    def order(self, *, labelled=(), at="grid", **options):
        """An order; ``labelled`` are shards with pseudo-labels."""
        return TrainOrder(
            at=at,
            network=self.network(**options),
            classes=CLASSES,
            scale=Scale(factor=1),
            folds=read_folds(self.folder / "folds.csv"),
            pseudo={shard: shard for shard in labelled},
        )

    def places(self):
        return {"folds": self.folder / "folds.csv", "tiles": self.folder / "t", "pseudo": self.folder / "pseudo",
                "scaled": self.folder / "s"}  # fmt: skip

    def shards(self):
        return [TrainingShard(self.folder / "t" / f"{shard}.h5", scaled=self.folder / "s" / shard) for shard in SHARDS]

    def __call__(self, out, fold=0, workers=0, **options):
        """The files of a training by name."""
        from tilewright.training.train import train

        train(self.order(**options), model="tiny", fold=fold, **self.places(), out=out, workers=workers)
        return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}

    def by_command(self, order, out):
        """Train fold 0 as an order says, by the command line, and return what it told."""
        command = ["train", "--model", "tiny", "--fold", "0", "--out", out]
        for name, path in self.places().items():
            command += [f"--{name}", path]
        command += ["--order", write_order(order, lambda digest: f"{out.parent}/{digest}.json")]
        done = subprocess.run([sys.executable, "-m", "tilewright.cli", *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stderr


@pytest.fixture(scope="session")
def trained(tmp_path_factory, new_project):
    """A function that trains on the tiles of the tiny project."""
    project = new_project(tmp_path_factory.mktemp("tiled") / "project")
    folder = project.folder
    masks = {"classes": {name: [name] for name in CLASSES}, "annotations": Annotations()}
    scale = {"scales": {"full": Scale(factor=1)}, "tissue": Tissue()}
    tiles = TileSet(scale="full", size=64, overlap=0.25)
    for shard in SHARDS:
        rasterize(order_of(RasterizeOrder, project.sheet, shard, **masks), out=folder / "m" / shard)
        order = order_of(DownscaleOrder, project.sheet, shard, CLASSES, **scale)
        downscale(order, masks=folder / "m" / shard, out=[folder / "s" / shard])
        places = {"scaled": folder / "s" / shard, "masks": folder / "m" / shard}
        order = order_of(TileOrder, project.sheet, shard, CLASSES, tiles=tiles, objects="center")
        tile(order, **places, out=folder / "t" / f"{shard}.h5")
    rows = read_sheet(project.sheet, [project.sheet.parent], CLASSES).rows
    folds = Folds(count=2)
    trained_on = split_rows([row for row in rows if row.role != "test"], folds)
    split(SplitOrder(rows=trained_on, folds=folds), out=folder / "folds.csv")
    options = {key: value for key, value in project.config()["models"]["far"].items() if key != "inference"}
    return Trainings(folder, {**options, "tiles": "small", "augmentation": "strong", "epochs": 3, "batch_size": 8})


@pytest.fixture(scope="session")
def whole(trained, tmp_path_factory):
    """The outputs of an uninterrupted training."""
    return trained(tmp_path_factory.mktemp("whole"))
