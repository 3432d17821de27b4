"""The weighted mean of the probability maps of several models."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilewright.pixels.grid import WINDOW, Frame, Window, blocks
from tilewright.pixels.interpolation import read_at
from tilewright.pixels.rasters import Raster, create_raster, masks_of, open_raster
from tilewright.project.orders import EnsembleOrder
from tilewright.project.places import probability_file
from tilewright.runtime.atomic import atomic_directory
from tilewright.runtime.documents import read_document
from tilewright.runtime.errors import DataError, Problem


def ensemble(order: EnsembleOrder, *, members: Sequence[Path], weights: Path, out: Path) -> None:
    """Average the members' probabilities for every slide of a shard.

    Args:
        order: the slides, the members, and the weight of each.
        members: the members' folders of the shard, in the order of their names there.
        weights: the JSON of ``weigh``; read where the order says that weights are fitted.
        out: the folder to write: ``{slide}.tif`` at the scale of the first member.

    Raises:
        DataError: members with different classes.
    """
    given = fitted_weights(weights) if order.fit else order.weights
    shares = [given[member] for member in order.members]
    with atomic_directory(out) as folder:
        for slide in order.slides:
            maps = [probability_file(member, slide) for member in members]
            blend(maps, shares, probability_file(folder, slide))


def fitted_weights(path: Path) -> dict[str, float]:
    """The weights of models that ``weigh`` wrote.

    Raises:
        DataError: the file is missing or damaged.
    """
    weights: dict[str, float] = read_document(path)["weights"]
    return weights


def blend(paths: Sequence[Path], weights: Sequence[float], out: Path) -> None:
    """Write the weighted mean of probability maps of one slide.

    Args:
        paths: maps of the same place and classes; the first one gives the scale of the result, to which maps at other
            scales are interpolated. Other bands than masks are written if all have them.
        weights: weight of each map; they need not sum to 1.
        out: the map to write.
    """
    with weighted_maps(paths, weights) as mean:
        first = mean.maps[0]
        tags = Frame.of(first).tags(mean.classes)
        with create_raster(out, first.size, bands=len(mean.classes), tags=tags) as result:
            for window in blocks(first.size, WINDOW):
                values = mean.read(first, window)
                if values.any():
                    result.write((values + np.float32(0.5)).astype(np.uint8), window.x, window.y)


def read_probabilities(source: Raster, target: Raster, window: Window) -> NDArray[np.float32]:
    """Probabilities of a map (classes x rows x columns, 0 to 255, whatever it stores) in a window of a raster.

    Between scales they are interpolated.
    """
    values = read_at(source, target, window)
    return values * np.float32(255) if source.dtype.kind == "f" else values


@dataclass(frozen=True)
class WeightedMaps:
    """Open probability maps of one slide, and the share of each; made by ``weighted_maps``.

    Attributes:
        maps: the maps.
        shares: what each counts, float32[maps]; they sum to 1.
        classes: what the bands stand for that all have whose share is not 0.
    """

    maps: Sequence[Raster]
    shares: NDArray[np.float32]
    classes: list[str]

    def read(self, target: Raster, window: Window) -> NDArray[np.float32]:
        """Their weighted mean (bands x rows x columns, 0 to 255) in a window of a raster, whatever its scale."""
        parts = (
            share * self._bands(each, read_probabilities(each, target, window))
            for share, each in zip(self.shares, self.maps, strict=True)
            if share
        )
        return sum(parts, np.zeros((), np.float32))

    def _bands(self, source: Raster, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of what a map holds, the bands that all have."""
        held = source.classes
        return values if held == self.classes else values[[held.index(name) for name in self.classes]]


@contextmanager
def weighted_maps(
    paths: Sequence[Path], weights: Sequence[float], classes: Sequence[str] | None = None
) -> Iterator[WeightedMaps]:
    """Open probability maps to read their weighted mean.

    Args:
        paths: maps of the same place and classes.
        weights: weight of each map; they need not sum to 1.
        classes: what their bands must stand for; None: the same in all.

    Raises:
        DataError: they hold different classes.
    """
    shares = np.array(weights, np.float32) / np.float32(sum(weights))
    with ExitStack() as stack:
        maps = [stack.enter_context(open_raster(path, classes)) for path in paths]
        used = [each for each, share in zip(maps, shares, strict=True) if share]
        wanted = [name for name in used[0].classes if all(name in each.classes for each in used)]
        if any(masks_of(each.classes) != masks_of(wanted) for each in maps):
            raise DataError(Problem(str(paths[0]), "the members of the ensemble hold different classes."))
        yield WeightedMaps(maps, shares, wanted)
