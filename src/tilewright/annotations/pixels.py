"""From pixels to outlines along pixel edges, so that drawing them by the centre rule gives the same pixels back."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import shapes
from rasterio.transform import Affine
from shapely import MultiPolygon, Polygon

from tilewright.annotations.geometry import polygonal
from tilewright.annotations.model import Area, Unusable
from tilewright.components import label
from tilewright.runs import Runs


def area_of_runs(runs: Runs) -> Area:
    """The outline of a mask, in pixels of its image; only the mask's bounds are in memory.

    Raises:
        Unusable: the mask is empty.
    """
    bounds = runs.bounds()
    mask = runs.to_mask(bounds)
    areas = dict(areas_of_labels(mask.astype(np.uint8), bounds.x, bounds.y))
    if not areas:
        raise Unusable("has no pixels")
    return areas[1]


def parts_of_runs(runs: Runs) -> Iterator[Area]:
    """The outline of each connected part of a mask (pixels that share a corner are connected), by first pixel."""
    component = label(runs)
    order = np.argsort(component, kind="stable")
    for chosen in np.split(order, np.flatnonzero(np.diff(component[order])) + 1):
        if len(chosen):
            yield area_of_runs(runs.take(chosen))


def areas_of_labels(labels: NDArray[Any], x: int = 0, y: int = 0) -> Iterator[tuple[int, Area]]:
    """The outline of each value above 0, by value.

    Args:
        labels: integers, rows x columns; GDAL traces at most 32 bits.
        x: column of the image at which the array starts.
        y: row of the image at which it starts.
    """
    parts: dict[int, list[Polygon]] = {}
    traced = shapes(labels, mask=labels > 0, connectivity=4, transform=Affine.translation(x, y))
    for geometry, value in traced:
        shell, *holes = geometry["coordinates"]
        parts.setdefault(int(value), []).append(Polygon(shell, holes))
    for value in sorted(parts):
        yield value, _united(parts[value])


def _united(parts: list[Polygon]) -> Area:
    """Parts that share at most corners as one area; rings that pass a corner twice are valid areas only when split."""
    area = parts[0] if len(parts) == 1 else MultiPolygon(parts)
    if area.is_valid:
        return area
    valid = polygonal(shapely.make_valid(area, method="structure", keep_collapsed=False))
    assert valid is not None, "pixels have an area"
    return valid
