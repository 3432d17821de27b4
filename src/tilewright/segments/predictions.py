"""What ``segment`` wrote of a slide, read back: masks as runs, with the objects that they belong to."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tilewright.pixels.components import ComponentTracker, components_of
from tilewright.pixels.grid import Frame
from tilewright.pixels.rasters import open_raster
from tilewright.pixels.runs import Ints, Runs, intersection_area, spread, union
from tilewright.pixels.strips import Strip, runs_of_bits, strips_of_bits
from tilewright.pixels.tables import reading_table
from tilewright.project.places import objects_file, segment_file
from tilewright.runtime.errors import DataError, Problem, UserError, did_you_mean

REMEDY = "Delete the folder and run the same command again."
RUNS = "runs"
"""The column of the pixels of objects that may share edges."""


@dataclass(frozen=True)
class Layer:
    """What is predicted of a class.

    Attributes:
        runs: pixels of the slide, counted from the corner of its used part.
        owner: the object of each run, int64[runs].
        number: of each object in the table of its slide, int64[objects].
        confidence: of each object, float64[objects].
    """

    runs: Runs
    owner: Ints
    number: Ints
    confidence: NDArray[np.float64]


@dataclass(frozen=True)
class _Listed:
    """The objects of a class in the table of their slide, sorted by first pixel.

    Attributes:
        first: key of the first pixel, ``row * width + column``, int64[n].
        number: int64[n].
        confidence: float64[n].
        pixels: of each object, where objects may share edges; None: each is a component of the mask.
    """

    first: Ints
    number: Ints
    confidence: NDArray[np.float64]
    pixels: "_Pixels | None" = None

    def within(self, runs: Runs) -> Layer:
        """The objects, with pixels of their own, that whole components of a mask hold.

        Args:
            runs: the mask.
        """
        assert self.pixels is not None, "asked for"
        lines, start = np.divmod(self.first, runs.width)
        held = covered_by(runs, lines * (runs.width + 1) + start)
        chosen = np.flatnonzero(held)
        return Layer(*self.pixels.of(chosen, runs), self.number[chosen], self.confidence[chosen])


@dataclass(frozen=True)
class _Pixels:
    """The runs of objects as the table has them.

    Attributes:
        top: row of each object, int64[n].
        left: column of it.
        offsets: where the values of each begin, in the order of the table, int64[rows + 1].
        values: row and column from top and left, and length, of each run after the other, int32.
        place: row of the table of each object, int64[n].
    """

    top: Ints
    left: Ints
    offsets: Ints
    values: NDArray[np.int32]
    place: Ints

    def of(self, chosen: Ints, mask: Runs) -> tuple[Runs, Ints]:
        """The runs of some objects by place, and of each its object, counted from 0 in the order chosen.

        Args:
            chosen: the objects, int64[k].
            mask: of whose size they are.
        """
        begin, end = self.offsets[self.place[chosen]] // 3, self.offsets[self.place[chosen] + 1] // 3
        row, column, length = self.values.reshape(-1, 3)[spread(begin, end)].astype(np.int64).T
        owner = np.repeat(np.arange(len(chosen)), end - begin)
        row, start = row + self.top[chosen][owner], column + self.left[chosen][owner]
        order = np.lexsort((start, row))
        row, start, length = row[order], start[order], length[order]
        return Runs(row, start, start + length, mask.height, mask.width), owner[order]


@dataclass(frozen=True)
class Amount:
    """How much is predicted of a class.

    Attributes:
        objects: number of objects.
        pixels: of the slide, of all objects together.
    """

    objects: int
    pixels: int


@dataclass(frozen=True)
class Prediction:
    """The predictions of a slide on disk.

    Attributes:
        folder: the folder of the slide's shard.
        slide: its name.
        classes: the classes to read, in this order.
        frame: where the masks lie in the image.
        bits: the bit of each class in the mask.
    """

    folder: Path
    slide: str
    classes: tuple[str, ...]
    frame: Frame
    bits: tuple[int, ...]

    @property
    def mask(self) -> Path:
        """The mask file."""
        return segment_file(self.folder, self.slide)

    def strips(self, name: str) -> Iterator[Strip]:
        """The mask of a class from top to bottom."""
        bit = self.bits[self.classes.index(name)]
        return (strip for (strip,) in strips_of_bits(self.mask, [bit]))

    def layers(self) -> list[Layer]:
        """The whole mask and all objects of each class.

        Raises:
            DataError: the mask does not belong to the objects.
        """
        masks, tables = runs_of_bits(self.mask, self.bits), self._listed()
        layers = [self._layer(runs, listed) for runs, listed in zip(masks, tables, strict=True)]
        self._check_counts([len(layer.number) for layer in layers], tables)
        return layers

    def batches(self) -> Iterator[list[Layer]]:
        """Objects in batches from top to bottom, one layer a class; those that overlap are in the same batch.

        Raises:
            DataError: the mask does not belong to the objects.
        """
        height, width = self.frame.height, self.frame.width
        tracker = ComponentTracker(height, width)
        waiting = [Runs.empty(height, width)] * len(self.classes)
        listed, counts = self._listed(), [0] * len(self.classes)
        for strips in strips_of_bits(self.mask, self.bits):
            covered = strips[0].runs
            for strip in strips[1:]:
                covered = union(covered, strip.runs)
            closed = tracker.push(strips[0]._replace(runs=covered)).runs
            layers = []
            for place, strip in enumerate(strips):
                runs = Runs.concatenate([(0, waiting[place]), (0, strip.runs)], height, width)
                inside = covered_by(closed, runs.intervals()[0])  # each lies in one or in none
                waiting[place] = runs.take(~inside)
                layers.append(self._layer(runs.take(inside), listed[place]))
                counts[place] += len(layers[-1].number)
            if len(closed):
                yield layers
        self._check_counts(counts, listed)

    def closed(self) -> Iterator[list[Layer]]:
        """Objects in batches from top to bottom, one layer a class, each as soon as its component ends.

        An object waits for none of another class, such as the structure that it lies in.

        Raises:
            DataError: the mask does not belong to the objects.
        """
        trackers = [ComponentTracker(self.frame.height, self.frame.width) for _ in self.classes]
        listed, counts = self._listed(), [0] * len(self.classes)
        for strips in strips_of_bits(self.mask, self.bits):
            ended = [tracker.push(strip).runs for tracker, strip in zip(trackers, strips, strict=True)]
            layers = [self._layer(runs, own) for runs, own in zip(ended, listed, strict=True)]
            counts = [count + len(layer.number) for count, layer in zip(counts, layers, strict=True)]
            yield layers
        self._check_counts(counts, listed)

    def amounts(self) -> dict[str, Amount]:
        """How much there is of each class, read in parts of the table."""
        counts, pixels = dict.fromkeys(self.classes, 0), dict.fromkeys(self.classes, 0)
        path = objects_file(self.folder, self.slide)
        with reading_table(path), pq.ParquetFile(path, page_checksum_verification=True) as table:
            for part in table.iter_batches(columns=["class", "area"]):
                names, areas = (column.to_numpy(zero_copy_only=False) for column in part.columns)
                for name in self.classes:
                    own = areas[names == name]
                    counts[name] += len(own)
                    pixels[name] += int(own.sum())
        return {name: Amount(counts[name], pixels[name]) for name in self.classes}

    @property
    def shares_edges(self) -> bool:
        """Whether objects of a class may share edges, so that they are no components of its mask."""
        path = objects_file(self.folder, self.slide)
        with reading_table(path):
            return RUNS in pq.read_schema(path).names

    def _layer(self, runs: Runs, listed: _Listed) -> Layer:
        if listed.pixels is not None:
            layer = listed.within(runs)
            if layer.runs.area() != runs.area() or intersection_area(layer.runs, runs) != runs.area():
                raise DataError(Problem(str(self.mask), "does not hold the pixels of the table beside it.", REMEDY))
            return layer
        owner = components_of(runs)
        _, first = np.unique(owner, return_index=True)
        keys = runs.row[first] * runs.width + runs.start[first]
        places = np.minimum(np.searchsorted(listed.first, keys), max(len(listed.first) - 1, 0))
        if len(keys) and (not len(listed.first) or (listed.first[places] != keys).any()):
            raise DataError(Problem(str(self.mask), "holds an object that is not in the table beside it.", REMEDY))
        return Layer(runs, owner, listed.number[places[: len(keys)]], listed.confidence[places[: len(keys)]])

    def _listed(self) -> list[_Listed]:
        sharing, path = self.shares_edges, objects_file(self.folder, self.slide)
        table = read_columns(path, ("class", "object", "top", "first_x", "confidence", *(["left"] if sharing else [])))
        offsets, values = _read_runs(path) if sharing else (None, None)
        first = table["top"] * self.frame.width + table["first_x"]
        result = []
        for name in self.classes:
            own = np.flatnonzero(table["class"] == name)
            own = own[np.argsort(first[own])]
            pixels = None
            if offsets is not None and values is not None:
                pixels = _Pixels(table["top"][own], table["left"][own], offsets, values, own)
            result.append(_Listed(first[own], table["object"][own], table["confidence"][own], pixels))
        return result

    def _check_counts(self, found: Sequence[int], listed: Sequence[_Listed]) -> None:
        for name, count, table in zip(self.classes, found, listed, strict=True):
            if count != len(table.first):
                what = f"holds {count} objects of {name}, but the table beside it {len(table.first)}."
                raise DataError(Problem(str(self.mask), what, REMEDY))


def open_prediction(folder: Path, slide: str, classes: Sequence[str]) -> Prediction:
    """What ``segment`` wrote of a slide.

    Args:
        folder: the folder of the slide's shard.
        slide: name of the slide.
        classes: classes to read.

    Raises:
        UserError: a class that the mask does not hold.
        DataError: the mask is missing or damaged.
    """
    path = segment_file(folder, slide)
    with open_raster(path) as raster:
        frame, known = Frame.of(raster), raster.classes
    for name in classes:
        if name not in known:
            raise UserError(Problem(str(path), f'holds no class "{name}".', did_you_mean(name, known)))
    return Prediction(folder, slide, tuple(classes), frame, tuple(known.index(name) for name in classes))


def read_columns(path: Path, columns: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
    """Columns of a table, such as an ``.objects.parquet``; texts are shared between rows.

    Raises:
        DataError: the file is missing or damaged.
    """
    with reading_table(path):
        table = pq.read_table(path, columns=columns and list(columns), page_checksum_verification=True)
    frame = table.to_pandas(strings_to_categorical=True)
    return {name: np.asarray(frame[name]) for name in frame.columns}


def _read_runs(path: Path) -> tuple[Ints, NDArray[np.int32]]:
    """Where the values of each object begin, and the values: three for each run."""
    with reading_table(path):
        column = pq.read_table(path, columns=[RUNS], page_checksum_verification=True)[RUNS].combine_chunks()
    offsets, values = column.offsets.to_numpy().astype(np.int64), column.values.to_numpy()
    return offsets, values


def covered_by(mask: Runs, keys: Ints) -> NDArray[np.bool_]:
    """Whether pixels lie in a mask.

    Args:
        mask: the mask.
        keys: of the pixels, ``row * (width + 1) + column``.
    """
    mask_starts, mask_stops = mask.intervals()
    if not len(mask):
        return np.zeros(len(keys), np.bool_)
    place = np.maximum(np.searchsorted(mask_starts, keys, side="right") - 1, 0)
    covered: NDArray[np.bool_] = (mask_starts[place] <= keys) & (keys < mask_stops[place])
    return covered
