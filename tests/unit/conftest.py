"""Trainings of a second on the tiles of the tiny project."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tilewright.masks.rasterize import rasterize
from tilewright.project.config import Annotations, Folds, Network, Scale, TileSet, Tissue
from tilewright.project.settings import DownscaleSettings, RasterizeSettings, SplitSettings, TileSettings, TrainSettings
from tilewright.scales.downscale import downscale
from tilewright.tiles.archive import TrainingShard
from tilewright.tiles.split import split
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

    def settings(self, **options):
        folds = Folds(count=2, file=str(self.folder / "folds.csv"))
        return TrainSettings(network=self.network(**options), classes=CLASSES, scale=Scale(factor=1), folds=folds)

    def places(self):
        sheet = self.folder / "slides" / "slides.csv"
        inputs = {"folds": self.folder / "folds.csv", "tiles": self.folder / "t", "pseudo": self.folder / "pseudo"}
        return {**inputs, "sheet": sheet, "data": sheet.parent}

    def shards(self):
        return [TrainingShard(self.folder / "t" / f"{shard}.h5") for shard in SHARDS]

    def __call__(self, out, fold=0, workers=0, **options):
        """The files of a training by name."""
        from tilewright.training.train import train

        train("tiny", fold=fold, **self.places(), settings=self.settings(**options), out=out, workers=workers)
        return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


@pytest.fixture(scope="session")
def trained(tmp_path_factory, new_project):
    """A function that trains on the tiles of the tiny project."""
    project = new_project(tmp_path_factory.mktemp("tiled") / "project")
    folder = project.folder
    common = {"sheet": project.sheet, "data": project.sheet.parent}
    masks = RasterizeSettings(classes={name: [name] for name in CLASSES}, annotations=Annotations())
    scale = DownscaleSettings(scales={"full": Scale(factor=1)}, tissue=Tissue())
    tiles = TileSettings(tiles=TileSet(scale="full", size=64, overlap=0.25), classes=CLASSES)
    for shard in SHARDS:
        rasterize(shard, **common, settings=masks, out=folder / "m" / shard)
        downscale(shard, **common, masks=folder / "m" / shard, settings=scale, out=[folder / "s" / shard])
        places = {"scaled": folder / "s" / shard, "masks": folder / "m" / shard}
        tile(shard, **common, **places, settings=tiles, out=folder / "t" / f"{shard}.h5")
    split(**common, settings=SplitSettings.model_validate({"folds": {"count": 2}}), out=folder / "folds.csv")
    options = {key: value for key, value in project.config()["models"]["far"].items() if key != "inference"}
    return Trainings(folder, {**options, "tiles": "small", "augmentation": "strong", "epochs": 3, "batch_size": 8})


@pytest.fixture(scope="session")
def whole(trained, tmp_path_factory):
    """The outputs of an uninterrupted training."""
    return trained(tmp_path_factory.mktemp("whole"))
