"""What networks see at the outlines of a slide, and what they see where there is none: a table with a row for each.

The slide goes by in strips, each some rows of blocks of its probabilities, from top to bottom. In memory are the masks
of a strip, the outlines and objects that reach it, and some numbers of each outline and object of the slide.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import pandas as pd
import shapely

from tilewright.evaluation.beliefs import add_beliefs, block_edges, in_pixels
from tilewright.evaluation.passing import Passed, Passing, Repeats
from tilewright.evaluation.shelf import Shelf, instances_of_pieces, pieces_of_runs, shelf
from tilewright.evaluation.suspects import VIEWS, Counterparts, Looks, Shared, reach, unclaimed, views
from tilewright.masks.outlines import in_image, packed_shapes, recorded_outlines
from tilewright.pixels.grid import Frame, Window
from tilewright.pixels.instances import Instances, instances_of_outlines, intersections
from tilewright.pixels.rasters import Raster
from tilewright.pixels.runs import Ints, intersection_area, union
from tilewright.pixels.strips import Strip, strips_between, strips_of_bits
from tilewright.project.config import PixelRule
from tilewright.project.orders import CalibrateRow
from tilewright.project.places import mask_file, objects_file, outlines_file
from tilewright.segments.predictions import Prediction, open_prediction, read_columns

BLOCKS = 1
"""Rows of blocks of probabilities in a strip."""
APART = 0.1
"""Classes of which less than this share of the smaller one lies in the other exclude each other."""
PLACE = ("x", "y", "left", "top", "width", "height", "area")
Strips = Callable[[], Iterator[list[Strip]]]


@dataclass(frozen=True)
class Slide:
    """A slide as it is outlined and as it is predicted.

    Attributes:
        frame: of the slide.
        classes: those that are completely outlined on it.
        strips: outlined pixels of each, and after them those that do not count.
        alternatives: the classes that exclude each class, by their places, after itself.
        outlines: a table for each class, by the first row of each: class, ``PLACE``, place in the file, and where its
            shape begins on the shelf, and its length there.
        shapes: as WKB, in pixels from the corner of the frame.
        objects: a table for each class, by the first pixel of each: class, ``PLACE``, object, pixels, and where its
            runs begin on the shelf, and their length there.
        runs: pieces as of ``pieces_of_runs``.
    """

    frame: Frame
    classes: list[str]
    strips: Strips
    alternatives: list[list[int]]
    outlines: list[pd.DataFrame]
    shapes: Shelf
    objects: list[pd.DataFrame]
    runs: Shelf


@contextmanager
def reading(row: CalibrateRow, classes: list[str], masks: Path, segments: Path, private: Path) -> Iterator[Slide]:
    """A slide as it lies in the folders of its shard.

    Args:
        row: the slide.
        classes: those of the masks.
        masks: folder with its mask and its outlines.
        segments: folder with what is predicted.
        private: an existing folder for what does not fit into memory; nothing stays there.
    """
    names = [name for name in classes if name in row.labelled]
    bits = [*map(classes.index, names), len(classes)]

    def strips() -> Iterator[list[Strip]]:
        return strips_of_bits(mask_file(masks, row.slide), bits, classes)

    prediction = open_prediction(segments, row.slide, names)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=private)))
        shapes, runs = (stack.enter_context(shelf(folder / name)) for name in ("shapes", "runs"))
        yield Slide(
            prediction.frame, names, strips, _alternatives(strips, len(names)),
            _outlines(outlines_file(masks, row.slide), names, shapes), shapes, _objects(prediction, runs), runs,
        )  # fmt: skip


def _alternatives(strips: Strips, count: int) -> list[list[int]]:
    """The classes that exclude each class, by their places, after itself.

    A nucleus lies in a gland and is no alternative to it; an object of one kind of nuclei is none of another.
    """
    common = np.zeros((count, count), np.int64)
    for strip in strips() if count > 1 else ():
        for one in range(count):
            for other in range(one + 1):
                common[one, other] += intersection_area(strip[one].runs, strip[other].runs)
    common += np.tril(common, -1).T
    area = np.diag(common)
    apart = common <= APART * np.minimum(area, area[:, np.newaxis])
    return [[one, *(other for other in range(count) if other != one and apart[one, other])] for one in range(count)]


def _outlines(path: Path, classes: Sequence[str], shapes: Shelf) -> list[pd.DataFrame]:
    """The outlines of each class of the file; their shapes go onto a shelf."""
    table = recorded_outlines(path, ("class", *PLACE))
    begin, length = shelved_shapes(path, shapes)
    table = table.assign(place=np.arange(len(table)), begin=begin, length=length)
    return [table[table["class"] == name].sort_values("top", kind="stable") for name in classes]


def shelved_shapes(path: Path, shapes: Shelf) -> tuple[Ints, Ints]:
    """Put the shapes of a table of outlines onto a shelf: where each begins and its length, both int64[n]."""
    put = [np.array(shapes.put(pieces)) for pieces in packed_shapes(path)]
    begin, length = np.concatenate([np.empty((2, 0), np.int64), *put], axis=1)
    return begin, length


def _objects(prediction: Prediction, runs: Shelf) -> list[pd.DataFrame]:
    """The predicted objects of each class; their runs go onto a shelf."""
    columns = read_columns(objects_file(prediction.folder, prediction.slide), ("class", "object", *PLACE, "first_x"))
    table = pd.DataFrame(columns).sort_values(["top", "first_x"], kind="stable")
    parts = [table[table["class"] == name].drop(columns="first_x") for name in prediction.classes]
    held = [np.zeros((len(part), 3), np.int64) for part in parts]
    indices = [pd.Index(part["object"]) for part in parts]
    for layers in prediction.closed():
        for layer, own, index in zip(layers, held, indices, strict=True):
            begin, length = runs.put(pieces_of_runs(layer.runs, layer.owner))
            pixels = Instances.of(layer.runs, layer.owner).area()
            own[index.get_indexer(layer.number)] = np.stack([pixels, begin, length], axis=1)
    return [
        part.assign(pixels=own[:, 0], begin=own[:, 1], length=own[:, 2]) for part, own in zip(parts, held, strict=True)
    ]


def inspected(slide: Slide, raster: Raster, rule: PixelRule) -> Iterator[tuple[int, tuple[pd.DataFrame, pd.DataFrame]]]:
    """What networks see at the outlines, and the predicted objects that nobody has outlined, some of a class at a time.

    Args:
        slide: the slide.
        raster: its probabilities.
        rule: which pixels an outline covers.

    Yields:
        The place of the class, and two tables. Outlines, where at least half of each counts: columns class, ``PLACE``;
        number (in the order of classes and first rows); outline (place in the file); ``seen CLASS`` for each class of
        the slide, without a value where that is no alternative; beside, right, down as of ``Looks``; twice: the overlap
        with an earlier outline that it repeats, else 0; object (0: none), its object_area, their overlap, and
        apart_right, apart_down: from its centre to that of the outline. Objects: columns class, ``PLACE``, object,
        number, score from 0 to 1, and begin and length of its runs on the shelf.
    """
    classes = [_Inspection(slide, place, raster, rule) for place in range(len(slide.classes))]
    edges = block_edges(raster, BLOCKS)
    for strips in strips_between(slide.strips(), edges):
        for place, each in enumerate(classes):
            yield place, each.see(strips)


class _Inspection:
    """A class of a slide while its strips go by."""

    def __init__(self, slide: Slide, place: int, raster: Raster, rule: PixelRule) -> None:
        self._slide, self._raster, self._rule = slide, raster, rule
        self._chosen = slide.alternatives[place]
        self._outlines, self._objects = slide.outlines[place], slide.objects[place]
        self._before = sum(len(table) for table in slide.outlines[:place]), sum(map(len, slide.objects[:place]))
        self._bands = [raster.classes.index(slide.classes[one]) for one in self._chosen]
        areas = pd.concat([slide.outlines[one]["area"] for one in self._chosen])
        self._usual = float(areas.median()) if len(areas) else 0.0
        width, top, height = (self._outlines[name].to_numpy() for name in ("width", "top", "height"))
        around, frame = reach(width, height) + 2, slide.frame
        first = np.minimum(np.floor(top).astype(np.int64) - around, frame.height - 1)
        last = np.minimum(np.ceil(top + height).astype(np.int64) + around, frame.height)
        self._outlined = Passing(first, last, (len(self._bands), VIEWS))
        self._repeats = Repeats(self._outlines["place"].to_numpy(), last)
        first, height = (self._objects[name].to_numpy(np.int64) for name in ("top", "height"))
        self._predicted = Passing(first, first + height, (len(self._bands), 1))
        nothing = np.empty(0, np.int64)
        self._shared = Shared(nothing, nothing, nothing)

    def see(self, strips: Sequence[Strip]) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Add the pixels of a strip; the rows of outlines and objects that are over, as of ``inspected``."""
        ignored = strips[-1].runs
        claimed = strips[-1]._replace(runs=reduce(union, [strips[one].runs for one in self._chosen], ignored))
        self._arrive(claimed.bottom)
        line = ignored.width + 1
        keys = claimed.top * line, claimed.bottom * line
        own, seen = self._outlined.pixels.between(*keys), self._predicted.pixels.between(*keys)
        self._outlined.counted += own.outside(ignored).area()
        for some, pixels in self._outlined.portions():
            sums = self._outlined.beliefs[..., some].reshape(len(self._bands), -1)
            add_beliefs(self._raster, views(pixels, claimed), self._bands, sums)
            self._outlined.beliefs[..., some] = sums.reshape(len(self._bands), VIEWS, -1)
        bare = seen.outside(claimed.runs)
        self._predicted.counted += bare.area()
        add_beliefs(self._raster, bare, self._bands, self._predicted.beliefs[:, 0])
        self._share(own, seen)
        outlined = self._outlined_table(self._outlined.leave(claimed.bottom))
        self._repeats.leave(claimed.bottom)
        return outlined, self._predicted_table(self._predicted.leave(claimed.bottom))

    def _arrive(self, bottom: int) -> None:
        frame = self._slide.frame
        number, (begin, length) = self._outlined.due(bottom), self._shelved(self._outlines)
        shapes = shapely.from_wkb(np.array(self._slide.shapes.get(begin[number], length[number]), object))
        window = Window(frame.x, frame.y, frame.width, frame.height)
        self._outlined.arrive(number, instances_of_outlines(in_image(shapes, frame), window, self._rule))
        self._repeats.arrive(number, shapes)
        number, (begin, length) = self._predicted.due(bottom), self._shelved(self._objects)
        pieces = self._slide.runs.get(begin[number], length[number])
        self._predicted.arrive(number, instances_of_pieces(pieces, frame.height, frame.width))

    def _share(self, outlined: Instances, predicted: Instances) -> None:
        """Keep which pixels of a strip outlines have in common with predicted objects."""
        order = np.argsort(predicted.starts)
        increasing = Instances(predicted.starts[order], predicted.stops[order], predicted.owner[order], predicted.count)
        one, other, pixels = intersections(outlined, increasing)
        more = Shared(self._outlined.number[one], self._predicted.number[other], pixels.area())
        self._shared = Shared.joined([self._shared, more])

    def _counterparts(self, passed: Passed) -> Counterparts:
        """The predicted objects that outlines which are over belong to, by number."""
        place = np.full(len(self._outlines), -1)
        place[passed.number] = np.arange(len(passed.number))
        over = place[self._shared.outlined] >= 0
        shared, self._shared = self._shared.take(over), self._shared.take(~over)
        own = Shared(place[shared.outlined], shared.predicted, shared.pixels)
        return Counterparts.of(own, passed.area, self._objects["pixels"].to_numpy())

    def _outlined_table(self, passed: Passed) -> pd.DataFrame:
        found, looks = self._counterparts(passed), Looks.of(in_pixels(self._raster, passed.beliefs), passed.area)
        rows = self._outlines.iloc[passed.number]
        seen = dict.fromkeys((f"seen {name}" for name in self._slide.classes), np.full(len(rows), np.nan))
        for column, one in enumerate(self._chosen):
            seen[f"seen {self._slide.classes[one]}"] = looks.seen[:, column]
        x, y, number = (np.append(self._objects[name].to_numpy(), 0)[found.object] for name in ("x", "y", "object"))
        known = found.object >= 0
        table = rows[["class", *PLACE]].assign(
            number=passed.number + self._before[0], outline=rows["place"], **seen,
            beside=looks.beside, right=looks.right, down=looks.down, twice=self._repeats.overlap[passed.number],
            object=number, object_area=found.area, overlap=found.overlap,
            apart_right=np.where(known, rows["x"] - x, np.nan), apart_down=np.where(known, rows["y"] - y, np.nan),
        )  # fmt: skip
        return table[2 * passed.counted >= np.maximum(passed.area, 1)]

    def _predicted_table(self, passed: Passed) -> pd.DataFrame:
        score = unclaimed(passed.area, passed.counted, in_pixels(self._raster, passed.beliefs)[:, 0], self._usual)
        rows = self._objects.iloc[passed.number].drop(columns="pixels")
        return rows.assign(number=passed.number + self._before[1], score=score)

    @staticmethod
    def _shelved(table: pd.DataFrame) -> tuple[Ints, Ints]:
        return table["begin"].to_numpy(), table["length"].to_numpy()
