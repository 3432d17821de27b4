"""What networks see at the outlines of a slide, and what they see where there is none: a table with a row for each.

Outlines go through some thousands at a time, from top to bottom, so that what is held does not grow with their number.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import shapely
from shapely.geometry import mapping

from tilewright.evaluation.suspects import Counterparts, look, unclaimed
from tilewright.masks.outlines import in_image, recorded_outlines
from tilewright.pixels.grid import Frame, Window
from tilewright.pixels.instances import Instances, instances_of_outlines
from tilewright.pixels.rasters import Raster
from tilewright.pixels.runs import Runs, intersection_area, union
from tilewright.pixels.strips import runs_of_bits
from tilewright.pixels.tracing import trace
from tilewright.project.config import PixelRule
from tilewright.project.orders import CalibrateRow
from tilewright.project.places import mask_file, objects_file, outlines_file
from tilewright.segments.predictions import Layer, open_prediction, read_columns

TOGETHER = 20_000
"""Outlines that are looked at together."""
SAME = 0.8
"""From this intersection over union on, two outlines are one that was drawn twice."""
APART = 0.1
"""Classes of which less than this share of the smaller one lies in the other exclude each other."""
PLACE = ("x", "y", "left", "top", "width", "height", "area")


@dataclass(frozen=True)
class Slide:
    """A slide as it is outlined and as it is predicted.

    Attributes:
        name: the slide.
        frame: of the slide.
        classes: those that are completely outlined on it.
        masks: outlined pixels of each.
        ignored: pixels that do not count.
        layers: what is predicted of each.
        outlines: their table.
        objects: the table of what is predicted.
    """

    name: str
    frame: Frame
    classes: list[str]
    masks: list[Runs]
    ignored: Runs
    layers: list[Layer]
    outlines: pd.DataFrame
    objects: pd.DataFrame

    @classmethod
    def read(cls, row: CalibrateRow, classes: list[str], masks: Path, segments: Path) -> "Slide":
        """Read what lies in the folders of its shard."""
        names = [name for name in classes if name in row.labelled]
        *own, ignored = runs_of_bits(mask_file(masks, row.slide), [*map(classes.index, names), len(classes)], classes)
        prediction = open_prediction(segments, row.slide, names)
        outlines = recorded_outlines(outlines_file(masks, row.slide), ("class", *PLACE, "geometry"))
        columns = read_columns(objects_file(segments, row.slide), ("class", "object", *PLACE))
        return cls(
            row.slide, prediction.frame, names, own, ignored, prediction.layers(),
            outlines.sort_values("top", kind="stable"), pd.DataFrame(columns).set_index("object"),
        )  # fmt: skip

    def alternatives(self, place: int) -> list[int]:
        """The classes that exclude a class, by their places, after itself.

        A nucleus lies in a gland and is no alternative to it; an object of one kind of nuclei is none of another.
        """
        own = self.masks[place]
        others = (other for other in range(len(self.classes)) if other != place)
        return [place, *(other for other in others if _exclude(own, self.masks[other]))]

    def drawn(self, chosen: Sequence[int]) -> dict[int, dict[str, Any]]:
        """The geometry of some outlines as GeoJSON, in pixels of the image, by their place in the table."""
        rows = self.outlines.loc[list(chosen), "geometry"]
        shapes = in_image(rows.to_numpy(dtype=object), self.frame)
        return {int(place): mapping(shape) for place, shape in zip(rows.index, shapes, strict=True)}

    def traced(self, name: str, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
        """The geometry of some predicted objects of a class likewise, by their numbers."""
        layer = self.layers[self.classes.index(name)]
        chosen = np.isin(layer.number, list(numbers))
        place, held = np.cumsum(chosen) - 1, chosen[layer.owner]
        shapes = trace(layer.runs.take(held), place[layer.owner[held]], self.frame.x, self.frame.y)
        return {int(number): shape for number, shape in zip(layer.number[chosen], shapes, strict=True)}

    def twice(self) -> dict[int, float]:
        """The outlines that repeat an earlier one of their class, by their place in the table, and the overlap."""
        shapes = self.outlines["geometry"].to_numpy(dtype=object)
        later, earlier = shapely.STRtree(shapes).query(shapes)
        places = self.outlines.index.to_numpy()
        classes = self.outlines["class"].to_numpy()
        chosen = (places[earlier] < places[later]) & (classes[earlier] == classes[later])
        later, earlier = later[chosen], earlier[chosen]
        boxes, areas = shapely.box(*shapely.bounds(shapes).T), shapely.area(shapes)
        for areas_of, of in ((shapely.area(boxes), boxes), (areas, shapes)):  # boxes first, which cost nothing
            common = shapely.area(shapely.intersection(of[later], of[earlier]))
            overlap = common / np.maximum(areas_of[later] + areas_of[earlier] - common, 1e-9)
            same = overlap >= SAME
            later, earlier, overlap = later[same], earlier[same], overlap[same]
        found: dict[int, float] = {}
        for place, value in zip(places[later].tolist(), overlap.tolist(), strict=True):
            found[place] = max(value, found.get(place, 0.0))
        return found

    def claimed(self, place: int) -> Runs:
        """Pixels where no object of a class can be missing: of the class, of its alternatives, and ignored ones."""
        return reduce(union, [self.masks[one] for one in self.alternatives(place)], self.ignored)

    def with_counterparts(self, table: pd.DataFrame, place: int, found: Counterparts) -> pd.DataFrame:
        """A table of outlines of a class with the predicted object that each belongs to, and how far apart they lie."""
        number = np.append(self.layers[place].number, 0)[found.object]
        centers = self.objects.reindex(number)
        return table.assign(
            object=number,
            object_area=found.area,
            overlap=found.overlap,
            apart_right=table["x"].to_numpy() - centers["x"].to_numpy(),
            apart_down=table["y"].to_numpy() - centers["y"].to_numpy(),
        )


def unclaimed_table(slide: Slide, raster: Raster) -> pd.DataFrame:
    """The predicted objects that nobody has outlined: columns class, ``PLACE``, object, and score from 0 to 1.

    Args:
        slide: the slide.
        raster: its probabilities.
    """
    parts = []
    for place, layer in enumerate(slide.layers):
        chosen = slide.alternatives(place)
        areas = slide.outlines.loc[slide.outlines["class"].isin([slide.classes[one] for one in chosen]), "area"]
        usual = float(areas.median()) if len(areas) else 0.0
        bands = [raster.classes.index(slide.classes[one]) for one in chosen]
        score = unclaimed(raster, bands, Instances.of(layer.runs, layer.owner), slide.claimed(place), usual)
        parts.append(slide.objects.loc[layer.number].reset_index().assign(score=score))
    return pd.concat(parts, ignore_index=True)


def _exclude(one: Runs, other: Runs) -> bool:
    return intersection_area(one, other) <= APART * min(one.area(), other.area())


def outline_table(slide: Slide, raster: Raster, rule: PixelRule) -> pd.DataFrame:
    """What networks see at each outline: where it lies, columns of ``Looks``, and its counterpart.

    Args:
        slide: the slide.
        raster: its probabilities.
        rule: which pixels an outline covers.

    Returns:
        Indexed by the place in the table of outlines; columns class, ``PLACE``; ``seen CLASS`` for each class of the
        slide, without a value where that is no alternative; beside, right, down; twice: the overlap with an earlier
        outline that it repeats, else 0; object (0: none), its object_area, their overlap, and
        apart_right, apart_down: from its centre to that of the outline.
    """
    parts = [part for place in range(len(slide.classes)) for part in _looked(slide, place, raster, rule)]
    table = pd.concat(parts)
    return table.assign(twice=table.index.map(slide.twice()).fillna(0.0))


def _looked(slide: Slide, place: int, raster: Raster, rule: PixelRule) -> Iterator[pd.DataFrame]:
    frame, name = slide.frame, slide.classes[place]
    window = Window(frame.x, frame.y, frame.width, frame.height)
    chosen, claimed = slide.alternatives(place), slide.claimed(place)
    bands = [raster.classes.index(slide.classes[one]) for one in chosen]
    predicted = Instances.of(slide.layers[place].runs, slide.layers[place].owner)
    own = slide.outlines[slide.outlines["class"] == name]
    for first in range(0, max(len(own), 1), TOGETHER):  # a table without a row has the same columns
        rows = own.iloc[first : first + TOGETHER]
        shapes = in_image(rows["geometry"].to_numpy(dtype=object), frame)
        outlined = instances_of_outlines(shapes, window, rule)
        counts = 2 * outlined.outside(slide.ignored).area() >= np.maximum(outlined.area(), 1)
        looks = look(raster, bands, outlined, claimed)
        table = rows.drop(columns="geometry").assign(beside=looks.beside, right=looks.right, down=looks.down)
        for column, one in enumerate(chosen):
            table[f"seen {slide.classes[one]}"] = looks.seen[:, column]
        yield slide.with_counterparts(table, place, Counterparts.of(outlined, predicted))[counts]
