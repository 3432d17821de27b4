"""A large slide on its way to the submission, step by step."""

import csv
import sys

from parts import demo
from parts.clocks import seconds
from parts.pictures import TISSUE, write_slide

SLIDE = "slide"


def chain(setting):
    """Seconds of each step, with the network that was trained on the demo."""
    folder, edge = setting.folder / "chain", setting.size(20_000, 1500)
    folder.mkdir()
    write_slide(setting, folder / "slide.tif", edge)
    setting.tell("edge of the slide", edge, "pixels")
    setting.tell("share that shows tissue", round(3.1416 * TISSUE**2, 2))
    total = 0.0
    for name, step in _steps(setting, folder).items():
        took = seconds(step)
        total += took
        setting.tell(name, took, "s")
    setting.tell("all of them", total, "s")
    csv.field_size_limit(sys.maxsize)
    with (folder / "submission.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    runs = len(row["predicted"].split()) // 2
    setting.tell("runs of the submission", runs, "", "> 0", runs > 0)


def _steps(setting, folder):
    """The steps as functions without arguments."""
    from tilewright.inference.ensemble import ensemble
    from tilewright.inference.predict import predict
    from tilewright.project.config import Inference, Scale, Segmentation, Submission, Tissue
    from tilewright.project.orders import (
        DownscaleOrder,
        DownscaleRow,
        EncodeOrder,
        EncodeRow,
        EnsembleOrder,
        PredictOrder,
        SegmentOrder,
        SegmentRow,
    )
    from tilewright.project.project import Bounds
    from tilewright.scales.downscale import downscale
    from tilewright.segments.encode import encode
    from tilewright.segments.segment import segment

    scaling = DownscaleOrder(
        rows=[DownscaleRow(slide=SLIDE, image=folder / "slide.tif")],
        scales={"half": Scale(factor=2)}, classes=demo.NAMES, tissue=Tissue(), masks=False,
    )  # fmt: skip
    predicting = PredictOrder(
        slides=[SLIDE], parts=["fold0"], averaged=["fold0"], inference=Inference(window=setting.size(512, 128))
    )
    averaging = EnsembleOrder(slides=[SLIDE], members=["demo"], weights={"demo": 1.0})
    finding = SegmentOrder(
        rows=[SegmentRow(slide=SLIDE)], colors=dict.fromkeys(demo.NAMES, "#d95f02"), segmentation=Segmentation(),
        bounds={name: Bounds(0.5, 20) for name in demo.NAMES},
    )  # fmt: skip
    encoding = EncodeOrder(rows=[EncodeRow(slide=SLIDE, shard=SLIDE)], submission=Submission(), classes=demo.NAMES)
    maps, means, found = folder / "probabilities", folder / "ensemble", folder / "segments"
    return {
        "downscale": lambda: downscale(scaling, masks=folder, out=[folder / "scaled"], threads=min(2, setting.cores)),
        "predict": lambda: predict(
            predicting, models=[setting.folder / "models" / "fold0"], scaled=folder / "scaled", out=maps
        ),
        "ensemble": lambda: ensemble(averaging, members=[maps], weights=folder, out=means),
        "segment": lambda: segment(finding, probabilities=means, calibration=folder, out=found / SLIDE),
        "encode": lambda: encode(encoding, segments=found, out=folder / "submission.csv"),
    }
