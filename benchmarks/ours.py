"""What is measured of tilewright, and what it makes for others to measure: all calls of tilewright are here.

Measured functions are generators as ``child.py`` wants them. A step runs in a project: a folder with ``slides.csv``,
one slide "s" with its outlines, and the results of the steps.
"""

import json
import os
import tempfile
from pathlib import Path

import numpy as np
from shared import area_facts, numbered, read_shapes, text_facts

from tilewright.annotations import Annotation, read_outlines
from tilewright.masks import rasterize as masks
from tilewright.pixels import measuring, rle, runs
from tilewright.pixels.components import ComponentTracker
from tilewright.pixels.grid import BLOCK, Frame, Size, blocks
from tilewright.pixels.rasters import create_raster, open_raster
from tilewright.pixels.seals import append_seal
from tilewright.pixels.strips import Strip, strips_of_bits
from tilewright.pixels.thresholds import SCORES
from tilewright.project.bundled import Bundled
from tilewright.project.config import Annotations, Config, Limits
from tilewright.project.orders import DownscaleOrder, EncodeOrder, RasterizeOrder, SegmentOrder, TileOrder
from tilewright.project.project import Project
from tilewright.project.sheetfile import read_sheet
from tilewright.runtime.documents import write_document
from tilewright.scales import downscale as scales
from tilewright.segments import encode as submission
from tilewright.segments import rlestream
from tilewright.segments import segment as objects
from tilewright.slides import open_slide
from tilewright.tiles import tile as tiles

SLIDE = "s"
THREADS = len(os.sched_getaffinity(0))
CLASSES = {"nucleus": ["nucleus"]}
STEPS = ("rasterize", "downscale", "tile", "probabilities", "segment", "encode")


def draw(outlines, out):
    """Draw outlines (WKB in a parquet file) that are in memory, on one or several slides."""
    yield
    slides = read_shapes(outlines)
    drawn = [([Annotation("nucleus", shape) for shape in shapes], frame(*size)) for size, shapes in slides]
    del slides
    yield
    for number, (annotations, place) in enumerate(drawn):
        masks.draw(annotations, place, numbered(out, number), classes=CLASSES)
    yield


def encode_array(mask, order):
    """Encode an array in memory."""
    yield
    with open_raster(Path(mask)) as raster:
        pixels = raster.read()[0].view(np.bool_)
    yield
    if order == "coco":
        facts = text_facts([rle.encode_coco_counts(runs.Runs.from_mask(pixels))])
    else:
        facts = text_facts(_texts(_strips(pixels), order, *pixels.shape))
    yield
    yield facts


def encode_file(mask, order):
    """Encode a mask file."""
    yield
    with open_raster(Path(mask)) as raster:
        width, height = raster.size
    yield
    facts = text_facts(_texts((strip for (strip,) in strips_of_bits(Path(mask), [0])), order, height, width))
    yield
    yield facts


def _strips(pixels):
    """The strips of an array."""
    height, width = pixels.shape
    for top in range(0, height, BLOCK):
        part = runs.Runs.from_mask(pixels[top : top + BLOCK])
        moved = runs.Runs(part.row + top, part.start, part.stop, height, width)
        yield Strip(top, min(top + BLOCK, height), moved)


def _texts(strips, order, height, width):
    """The encoding in pieces."""
    if order == "row":
        return rlestream.stream_row_major(strips)
    return rlestream.stream_column_major(strips, height, width, Path(tempfile.gettempdir()))


def downscale_image(image, factor, out, levels=True):
    """Write an image at a lower resolution."""
    import openslide  # noqa: F401 - what the step would import on its way, as those of the others are imported here
    import scipy.sparse  # noqa: F401

    yield
    yield
    with open_slide(Path(image), threads=THREADS) as slide:
        scales.downscale_image(slide, {Path(out): slide.frame.scaled(factor)}, THREADS, levels=levels)
    yield


def components(mask):
    """Components of a mask file and the tables of their areas and centres."""
    yield
    with open_raster(Path(mask)) as raster:
        width, height = raster.size
    yield
    tracker = ComponentTracker(height, width, values=SCORES)
    tables = []
    for (strip,) in strips_of_bits(Path(mask), [0]):
        values, lengths = np.empty(len(strip.runs), SCORES), strip.runs.lengths()
        values["sum"], values["largest"], values["count"] = 255.0 * lengths, 255.0, lengths
        closed = tracker.push(strip, values)
        found = measuring.measure(closed, use_max=False)
        tables.append((found.area, found.x, found.y))
    yield
    yield area_facts(*(np.concatenate(column) for column in zip(*tables, strict=True)))


def run_step(project, step, out=None):
    """Run a step of a project by its public function; ``out`` only tells others where it writes."""
    work = _step(Path(project), step)
    yield
    yield
    work()
    yield


def run_steps(project, steps, out=None):
    """Run several steps as one piece of work; ``out`` as of ``run_step``."""
    return stages(*(_step(Path(project), step) for step in steps))


def ensure_steps(project, before):
    """Run the steps before ``before`` whose results are missing."""
    missing = [step for step in STEPS[: STEPS.index(before)] if not output_of(Path(project), step).exists()]
    return stages(*(_step(Path(project), step) for step in missing))


def stages(*work):
    """The stages of a measurement that finds its inputs: nothing but the work."""
    yield
    yield
    for one in work:
        one()
    yield


def output_of(project, step):
    """What a step of a project writes."""
    names = {"tile": "tiles.h5", "encode": "submission.csv", "segment": "segments/s"}
    return project / names.get(step, step)


def config():
    """The config of the studies here: one class, one scale."""
    network = {"tiles": "grid"}
    return Config(
        classes={"nucleus": {}},
        scales={"half": {"factor": 2}},
        tiles={"grid": {"scale": "half", "size": 512, "min_tissue": 0}},
        models={"model": network},
        ensembles={"all": {"models": {"model": 1}, "calibration": {"threshold": 0.5}}},
    )


def segment_order(study):
    """What ``segment`` is told, which reads its thresholds from a file as it does after a calibration."""
    return SegmentOrder.of(study, "all", SLIDE).model_copy(update={"bounds": None})


def study_of(folder):
    """The project of a folder: the config of the studies here and its sheet.

    Nothing is trained, so there are no folds.
    """
    used = config()
    sheet = read_sheet(folder / "slides.csv", [folder], list(CLASSES))
    return Project(used, sheet, folds={}, bundled=Bundled.read(used))


def _step(project, step):
    """A step of a project as a function without arguments."""
    study, out = study_of(project), {"out": output_of(project, step)}
    here = {name: output_of(project, name) for name in STEPS}
    if step == "rasterize":
        return lambda: masks.rasterize(RasterizeOrder.of(study, SLIDE), **out)
    if step == "downscale":
        order = DownscaleOrder.of(study, SLIDE, "half")
        return lambda: scales.downscale(order, masks=here["rasterize"], threads=THREADS, out=[out["out"]])
    if step == "tile":
        folders = {"scaled": here["downscale"], "masks": here["rasterize"]}
        return lambda: tiles.tile(TileOrder.of(study, SLIDE, "grid"), **folders, **out)
    if step == "probabilities":
        return lambda: _write_probabilities(here["downscale"], here["probabilities"])
    if step == "segment":
        limits = project / "calibration.json"
        write_document(limits, {"thresholds": {"nucleus": 0.5}, "min_area": {"nucleus": 0}})
        folders = {"probabilities": here["probabilities"], "calibration": limits}
        return lambda: objects.segment(segment_order(study), **folders, **out)
    return lambda: submission.encode(EncodeOrder.of(study), segments=here["segment"].parent, **out)


def _write_probabilities(scaled, out):
    """A certain network: 230 of 255 where the mask is, 20 elsewhere, as ``predict`` writes it."""
    out.mkdir(exist_ok=True)
    with open_raster(scaled / f"{SLIDE}.mask.tif") as mask:
        tags = Frame.of(mask).tags() | {"classes": json.dumps(list(CLASSES))}
        with create_raster(out / f"{SLIDE}.tif", mask.size, tags=tags) as raster:
            for window in blocks(mask.size, (mask.size.width, 512)):
                pixels = np.where(mask.read(window)[0] & 1, 230, 20).astype(np.uint8)
                raster.write(pixels, window.x, window.y)


def frame(width, height):
    """The whole of an image."""
    return Frame(0, 0, width, height, Size(width, height))


def kidney_shapes(path, width, height):
    """The outlines of a file of glomeruli, whatever their class."""
    options = Annotations(unlabelled="glomerulus")
    found = read_outlines(path, path.stem, Size(width, height), options, Limits())
    return [annotation.geometry for annotation in found.annotations]


def seal(path):
    """Let a TIFF of another program pass as one that a step wrote."""
    append_seal(path)


def empty_slide(path, width, height):
    """An image of a slide of which no pixel is written; only its size counts."""
    with create_raster(path, Size(width, height), bands=3):
        pass


def scaled_image(path, size, rows):
    """An image as steps write it, of ``rows(y, count)``: rows x columns x 3."""
    with create_raster(path, Size(*size), bands=3) as raster:
        for window in blocks(Size(*size), (size[0], BLOCK)):
            raster.write(np.moveaxis(rows(window.y, window.height), -1, 0), 0, window.y)


def write_mask(shapes, width, height, path):
    """A mask of outlines, for encoders and components."""
    masks.draw([Annotation("nucleus", shape) for shape in shapes], frame(width, height), path, classes=CLASSES)
