"""Objects: probabilities at their own scale become masks and objects at the size of the slide.

In: ``{slide}.tif`` of an ensemble (uint8, one band a class, 255 is certain) and the thresholds of ``calibrate``. Out,
with coordinates in pixels of level 0, x before y: ``{slide}.mask.tif`` (bit ``k`` of a pixel is class ``k`` of the
tag "classes"), the same for viewers as ``{slide}.mask.ome.tif``, ``{slide}.objects.parquet`` (counted from the corner
of the used part of the slide) and ``{slide}.geojson.gz`` (counted from the corner of the whole image). Strips of
``STRIP`` rows go through; an object is written once the strip after its last row has passed, so objects are numbered
by the strip of their last row, then by class, then by first pixel.
"""

from collections.abc import Mapping
from pathlib import Path

import shapely

from tilewright.annotations.anatomy import structure
from tilewright.inference.calibration import read_bounds
from tilewright.pixels.finder import ObjectFinder, seedings
from tilewright.pixels.grid import Frame
from tilewright.pixels.rasters import Raster, open_raster
from tilewright.pixels.thresholds import scored_strips
from tilewright.project.config import DEFAULT_LIMITS, Limits
from tilewright.project.orders import SegmentOrder
from tilewright.project.places import probability_file, segment_file, viewer_file
from tilewright.project.project import Bounds
from tilewright.runtime.atomic import atomic_directory
from tilewright.runtime.errors import DataError, Problem
from tilewright.runtime.progress import note, track
from tilewright.segments.ometiff import write_ome_tiff
from tilewright.segments.writing import Export, object_writer


def segment(
    order: SegmentOrder, *, probabilities: Path, calibration: Path, out: Path, limits: Limits = DEFAULT_LIMITS
) -> None:
    """Make masks and objects of the probabilities of every slide of a shard.

    A pixel belongs to a class where its probability reaches the threshold, or where it lies in a small hole. Pixels
    of a class that share an edge or a corner are an object; where the networks tell which pixels lie between objects,
    each pixel is of the object whose seed is nearest; objects may be cut where they are narrow. Those that are smaller
    than the class's least area, or that the config filters out, are left out.

    Args:
        order: the slides, classes with their colours, and what becomes an object.
        probabilities: folder with ``{slide}.tif``.
        calibration: json with "thresholds" (0 to 1) and "min_area" (pixels of the slide) by class; not read where the
            order gives them.
        out: the folder to write; appears whole or not at all.
        limits: the most vertices that are read; they refuse input and change no result.

    Raises:
        DataError: probabilities or calibration are missing or do not fit the classes.
    """
    bounds = order.bounds or read_bounds(calibration, list(order.colors))
    with atomic_directory(out) as folder:
        for row in order.rows:
            path = probability_file(probabilities, row.slide)
            with open_raster(path, list(bounds)) as raster:
                frame = _frame(raster, path)
                inside = structure(row.identity, row.anatomy, order.segmentation.inside, frame, limits)
                counts = _segment_slide(row.slide, raster, frame, bounds, order, inside, folder)
            note(f"slide {row.slide}: objects: {', '.join(f'{count} of {name}' for name, count in counts.items())}")


def _segment_slide(
    slide: str,
    raster: Raster,
    frame: Frame,
    bounds: Mapping[str, Bounds],
    order: SegmentOrder,
    inside: shapely.Geometry | None,
    folder: Path,
) -> dict[str, int]:
    """Write the files of a slide; the number of objects of each class."""
    seeded = seedings(raster.classes, bounds, order.segmentation.seeds)
    finders = {
        name: ObjectFinder(frame, own, order.segmentation, inside, seeded.get(name)) for name, own in bounds.items()
    }
    strips = scored_strips(
        raster,
        frame,
        [own.threshold for own in bounds.values()],
        enlarge=order.segmentation.enlarge,
        mixes=[seeding.mix for seeding in seeded.values()],
        with_pixels=bool(seeded),
    )
    counts = dict.fromkeys(bounds, 0)
    export = Export(slide, frame, order.colors, order.segmentation.object_type, sharing=bool(seeded))
    with object_writer(folder, export) as writer:
        for strip in track(strips, f"objects of {slide}"):
            settled = frame.height
            seeds = dict(zip(seeded, strip[len(bounds) :], strict=True))
            for bit, (name, scored) in enumerate(zip(bounds, strip, strict=False)):
                found = finders[name].push(scored, seeds[name].strip.runs if name in seeds else None)
                writer.mask.add(bit, found.added)
                writer.mask.remove(bit, found.removed)
                writer.write(name, found.objects)
                counts[name] += len(found.objects)
                settled = min(settled, found.settled)
            writer.mask.write_until(settled)
    write_ome_tiff(segment_file(folder, slide), order.colors, viewer_file(folder, slide))
    return counts


def _frame(raster: Raster, path: Path) -> Frame:
    frame = Frame.of(raster)
    if raster.size != frame.size:
        what = f"holds {raster.size.width} x {raster.size.height} pixels"
        wanted = f"expected {frame.size.width} x {frame.size.height}"
        remedy = f"Delete {path.parent} and run the same command again."
        raise DataError(Problem(str(path), f"{what}; {wanted}.", remedy))
    return frame
