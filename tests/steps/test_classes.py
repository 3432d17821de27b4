"""Masks, tiles and probabilities say which classes their bits and bands stand for, and every reader looks."""

import shutil
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
import rasterio
from ordering import order_of
from rasterio.errors import NotGeoreferencedWarning

from tilewright.evaluation.evaluate import evaluate
from tilewright.inference.calibrate import calibrate
from tilewright.inference.ensemble import ensemble
from tilewright.inference.pseudo import pseudo
from tilewright.inference.weigh import weigh
from tilewright.masks.rasterize import rasterize
from tilewright.pixels.grid import Frame
from tilewright.pixels.rasters import create_raster, open_raster
from tilewright.pixels.seals import append_seal
from tilewright.project.config import Annotations, Calibration, Scale, Segmentation, TileSet, Tissue
from tilewright.project.orders import (
    CalibrateOrder,
    DownscaleOrder,
    EnsembleOrder,
    EvaluateOrder,
    Labeller,
    PseudoOrder,
    RasterizeOrder,
    ReportRow,
    SegmentOrder,
    SegmentRow,
    TileOrder,
    WeighOrder,
)
from tilewright.project.project import Assignment
from tilewright.report.overlays import read_view
from tilewright.runtime.documents import write_document
from tilewright.runtime.errors import DataError
from tilewright.scales.downscale import downscale
from tilewright.segments.segment import segment
from tilewright.tiles.archive import TrainingShard
from tilewright.tiles.tile import tile
from tilewright.training.loaders import read_tiles

CLASSES = ["gland", "vessel"]
SHEET = Path("slides/slides.csv")
FOLDS = [Assignment(shard="a", group="a", fold=0), Assignment(shard="b", group="b", fold=1)]
FOLDS += [Assignment(shard="x1", group="x", fold=None)]


def swap(path):
    """Let a raster or an archive say that its classes stand in the other order, as one of another config would."""
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as archive:
            archive.attrs["classes"] = CLASSES[::-1]
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "r+") as file:
            file.update_tags(classes='["vessel", "gland"]')
    append_seal(path)


def chain(name):
    """A step of the chain on the shards of the training slides; with them the file in its input that is swapped."""
    order = {"folds": FOLDS, "classes": CLASSES, "roles": ["train"]}
    calibrated = {"calibration": Calibration(threshold=0.5, min_area="fit")}
    steps = {
        "downscale": lambda: downscale(
            order_of(DownscaleOrder, SHEET, "b", CLASSES, scales={"full": Scale(factor=1)}, tissue=Tissue()),
            masks=Path("m/b"), out=[Path("s/b")],
        ),
        "tile": lambda: tile(
            order_of(TileOrder, SHEET, "b", CLASSES, tiles=TileSet(scale="full", size=64)),
            scaled=Path("s/b"), masks=Path("m/b"), out=Path("t/b.h5"),
        ),
        "train": lambda: read_tiles([TrainingShard(Path("t/a.h5"))], [TrainingShard(Path("t/b.h5"))], CLASSES),
        "ensemble": lambda: ensemble(
            EnsembleOrder(slides=["b1", "b2"], members=["one", "two"], weights={"one": 1, "two": 1}),
            members=[Path("p/one/b"), Path("p/two/b")], weights=Path("w"), out=Path("mean/b"),
        ),
        "weigh": lambda: weigh(
            order_of(WeighOrder, SHEET, models=["one"], **order),
            folds=Path("folds.csv"), probabilities=Path("p"), scaled=Path("s"), out=Path("w.json"),
        ),
        "calibrate to a fixed size": lambda: calibrate(
            order_of(CalibrateOrder, SHEET, calibration=Calibration(threshold=0.5, min_area=0), **order),
            folds=Path("folds.csv"), probabilities=Path("e"), scaled=Path("s"), masks=Path("m"), out=Path("c.json"),
        ),
        "pseudo": lambda: pseudo(
            order_of(
                PseudoOrder, SHEET, "b", CLASSES, tiles=TileSet(scale="full", size=64), members=[Labeller(weight=1)],
                min_confidence=0.9,
            ),
            members=[Path("p/one/b")], scaled=Path("s/b"), out=Path("y/b.h5"),
        ),
        "calibrate": lambda: calibrate(
            order_of(CalibrateOrder, SHEET, **calibrated, **order),
            folds=Path("folds.csv"), probabilities=Path("e"), scaled=Path("s"), masks=Path("m"), out=Path("c.json"),
        ),
        "segment": lambda: segment(
            SegmentOrder(
                rows=[SegmentRow(slide="b1")], colors=dict.fromkeys(CLASSES, "#112233"), segmentation=Segmentation()
            ),
            probabilities=Path("e/b"), calibration=Path("c.json"), out=Path("g/b"),
        ),
        "evaluate": lambda: evaluate(
            order_of(EvaluateOrder, SHEET, "b", CLASSES, iou=0.5, boundary=1),
            masks=Path("m"), segments=Path("g"), out=Path("metrics"),
        ),
        "report": lambda: read_view(
            ReportRow(slide="b1", image=Path("slides/b1.png"), shard="b", group="b", role="train", source="one",
                      labelled=CLASSES, annotated=True),
            Path("m/b/b1.tif"), Path("g/b/b1.mask.tif"), Path("s/b/b1.image.tif"), CLASSES, 100,
        ),
    }  # fmt: skip
    return steps[name]


@pytest.fixture(scope="module")
def made(tmp_path_factory, new_project):
    """A folder in which every step of the chain has run; probabilities are certain of the masks."""
    folder = tmp_path_factory.mktemp("classes") / "project"
    new_project(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("folds.csv").write_text("shard,group,fold\na,a,0\nb,b,1\nx1,x,external\n")
        for shard in "ab":
            order = order_of(
                RasterizeOrder, SHEET, shard, classes={name: [name] for name in CLASSES}, annotations=Annotations()
            )
            rasterize(order, out=Path("m") / shard)
            order = order_of(DownscaleOrder, SHEET, shard, CLASSES, scales={"full": Scale(factor=1)}, tissue=Tissue())
            downscale(order, masks=Path("m") / shard, out=[Path("s") / shard])
            order = order_of(TileOrder, SHEET, shard, CLASSES, tiles=TileSet(scale="full", size=64))
            tile(order, scaled=Path("s") / shard, masks=Path("m") / shard, out=Path(f"t/{shard}.h5"))
            for mask in Path("s", shard).glob("*.mask.tif"):
                for place in (f"p/one/{shard}", f"p/two/{shard}", f"e/{shard}"):
                    certain(mask, Path(place) / mask.name.replace(".mask", ""))
        write_document(
            Path("c.json"), {"thresholds": dict.fromkeys(CLASSES, 0.5), "min_area": dict.fromkeys(CLASSES, 0)}
        )
        order = SegmentOrder(
            rows=[SegmentRow(slide=slide) for slide in ("b1", "b2")],
            colors=dict.fromkeys(CLASSES, "#112233"),
            segmentation=Segmentation(),
        )
        segment(order, probabilities=Path("e/b"), calibration=Path("c.json"), out=Path("g/b"))
    return folder


def certain(mask, out):
    """Probabilities of 255 where a mask has a class."""
    with open_raster(mask) as raster:
        bits, frame = raster.read()[0], Frame.of(raster)
    with create_raster(out, frame.size, bands=2, tags=frame.tags(CLASSES)) as raster:
        raster.write(np.stack([(bits >> bit & 1) * 255 for bit in range(2)]).astype(np.uint8), 0, 0)


@pytest.mark.parametrize(
    ("step", "file"),
    [
        ("downscale", "m/b/b1.tif"),
        ("tile", "s/b/b1.mask.tif"),
        ("train", "t/b.h5"),
        ("ensemble", "p/two/b/b1.tif"),
        ("weigh", "p/one/b/b1.tif"),
        ("weigh", "s/b/b1.mask.tif"),
        ("pseudo", "p/one/b/b1.tif"),
        ("calibrate", "e/b/b1.tif"),
        ("calibrate to a fixed size", "e/b/b1.tif"),
        ("calibrate to a fixed size", "s/b/b1.mask.tif"),
        ("calibrate", "s/b/b1.mask.tif"),
        ("calibrate", "m/b/b1.tif"),
        ("segment", "e/b/b1.tif"),
        ("evaluate", "m/b/b1.tif"),
        ("report", "m/b/b1.tif"),
        ("report", "g/b/b1.mask.tif"),
    ],
)
def test_a_step_refuses_what_holds_its_classes_in_another_order(made, tmp_path, monkeypatch, step, file):
    shutil.copytree(made, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    work = chain(step)
    work()
    swap(Path(file))
    other = r"holds the classes vessel, gland, not gland, vessel|different classes"
    with pytest.raises(DataError, match=other) as told:
        work()
    assert step == "ensemble" or str(told.value).startswith(file)
