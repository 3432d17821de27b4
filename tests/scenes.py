"""Slides of touching disks with what a network might say of them, for tests of objects that are fitted and judged."""

import numpy as np
import shapely
from rasterio.features import rasterize

from tilewright.annotations.model import Annotation
from tilewright.inference.judging import KnownSlide
from tilewright.masks.outlines import outline_writer
from tilewright.pixels.grid import Frame, Size
from tilewright.pixels.histograms import Histogram
from tilewright.pixels.rasters import create_raster
from tilewright.project.config import Calibration, Segmentation
from tilewright.project.orders import CalibrateOrder, SegmentRow
from tilewright.project.orders.results import ObjectsOrder
from tilewright.project.places import mask_file, outlines_file, probability_file

HEIGHT, WIDTH = 70, 90
FRAME = Frame(0, 0, WIDTH, HEIGHT, Size(WIDTH, HEIGHT))
NOTHING = Histogram(np.zeros(256, np.int64), np.zeros(256, np.int64))


def order_of_objects(*names, rows=(), folds=(), segmentation=None, fit_confidence=True, **calibration):
    """An order of ``calibrate`` for the F1 of objects of the class cell on some slides."""
    return CalibrateOrder(
        rows=list(rows),
        folds=list(folds),
        classes=["cell"],
        calibration=Calibration(**{"aim": "objects", "min_area": "fit", "overlap": 0.5, **calibration}),
        objects=ObjectsOrder(
            rows=[SegmentRow(slide=name) for name in names],
            segmentation=segmentation or Segmentation(),
            pixel_rule="center",
            fit_confidence=fit_confidence,
        ),
    )


def write_slide(folder, name, probability, shapes, ignored=(), factor=1, *, touching=False):
    """A slide of one class on disk, as the steps before ``calibrate`` leave it; probabilities reduced by a factor.

    With ``touching`` they have a band of the pixels near two shapes.
    """
    (folder / "p").mkdir(parents=True, exist_ok=True)
    none = (shapely.box(-2, -2, -1, -1), 0)
    bits = [rasterize([*some, none], (HEIGHT, WIDTH)).astype(np.uint8) for some in (shapes, ignored)]
    with create_raster(mask_file(folder, name), FRAME.size, tags=FRAME.tags(["cell"])) as raster:
        raster.write(bits[0] | bits[1] << 1, 0, 0)
    with outline_writer(outlines_file(folder, name), FRAME, {"cell": ["cell"]}, ["dust"]) as writer:
        writer.write([*(Annotation("cell", one) for one in shapes), *(Annotation("dust", one) for one in ignored)])
    path = probability_file(folder / "p", name)
    frame = Frame(0, 0, WIDTH, HEIGHT, Size(WIDTH, HEIGHT), factor)
    bands = {"cell": probability}
    if touching:
        near = sum(rasterize([shape.buffer(1), none], (HEIGHT, WIDTH)) for shape in shapes)
        bands["cell:touching"] = np.where(near > 1, 200, 0).astype(np.uint8)
    with create_raster(path, frame.size, bands=len(bands), tags=frame.tags(list(bands))) as raster:
        raster.write(np.stack(list(bands.values()))[:, ::factor, ::factor], 0, 0)
    files = path, mask_file(folder, name), outlines_file(folder, name)
    return KnownSlide(name, 0, name, "all", NOTHING, *files)


def scene(seed):
    """Touching disks of unlike sizes, and what a network might say of them and of specks."""
    draw = np.random.default_rng(seed)
    shapes = [
        shapely.Point(*draw.uniform((4, 4), (WIDTH - 4, HEIGHT - 4))).buffer(draw.uniform(2, 9)) for _ in range(14)
    ]
    specks = [shapely.Point(*draw.uniform((4, 4), (WIDTH - 4, HEIGHT - 4))).buffer(2) for _ in range(9)]
    value = np.zeros((HEIGHT, WIDTH))
    for number, one in enumerate([*shapes, *specks]):
        sure = draw.uniform(0.6, 1) if number < len(shapes) else draw.uniform(0.35, 0.8)
        value = np.maximum(value, rasterize([one.buffer(draw.uniform(-0.5, 1))], (HEIGHT, WIDTH)) * sure)
    noisy = 255 * value + draw.normal(0, 12, value.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), shapes, [shapely.box(0, 0, 20, 15)]
