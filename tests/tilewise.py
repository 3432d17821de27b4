"""Objects of a tile as the graph finds them, as label images, to compare with what finds them elsewhere."""

import numpy as np

from tilewright.pixels.finder import ObjectFinder, seedings
from tilewright.pixels.grid import Frame, Size
from tilewright.pixels.rasters import create_raster, open_raster
from tilewright.pixels.thresholds import scored_strips


def labels_of(values, names, bounds, segmentation, folder):
    """The objects of each class of a tile.

    Args:
        values: probabilities times 255, uint8[bands, rows, columns].
        names: of the bands.
        bounds: of each class.
        segmentation: what becomes an object.
        folder: for a file on the way.

    Returns:
        By class the number of the object of each pixel, from 1 on, int64[rows, columns].
    """
    size = Size(values.shape[2], values.shape[1])
    frame = Frame(0, 0, *size, size)
    with create_raster(folder / "tile.tif", size, bands=len(names), tags=frame.tags(names)) as raster:
        raster.write(values, 0, 0)
    seeded = seedings(names, bounds, segmentation.seeds)
    finders = {name: ObjectFinder(frame, own, segmentation, None, seeded.get(name)) for name, own in bounds.items()}
    labels = {name: np.zeros((size.height, size.width), np.int64) for name in bounds}
    with open_raster(folder / "tile.tif") as raster:
        mixes, thresholds = [one.mix for one in seeded.values()], [own.threshold for own in bounds.values()]
        for strip in scored_strips(raster, frame, thresholds, mixes=mixes, with_pixels=bool(seeded)):
            seeds = dict(zip(seeded, strip[len(bounds) :], strict=True))
            for name, scored in zip(bounds, strip, strict=False):
                found = finders[name].push(scored, seeds[name].strip.runs if name in seeds else None).objects
                runs, after = found.runs, labels[name].max() + 1
                for row, start, stop, owner in zip(runs.row, runs.start, runs.stop, found.owner, strict=True):
                    labels[name][row, start:stop] = owner + after
    return labels


def same_partition(one, other):
    """Whether two label images have the same objects, whatever their numbers."""
    pairs = np.unique(np.stack([one.ravel(), other.ravel()]), axis=1)
    once = [len(np.unique(side)) == pairs.shape[1] for side in pairs]
    return all(once) and bool(((one == 0) == (other == 0)).all())
