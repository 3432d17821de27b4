"""The weighted mean of the probability maps of several models, and where it is asked for, how far they are apart."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilewright.inference.spread import RELATIVE_TAG, JoinedSpread
from tilewright.pixels.grid import WINDOW, Frame, Window, blocks
from tilewright.pixels.interpolation import read_at
from tilewright.pixels.rasters import Raster, create_raster, masks_of, open_raster
from tilewright.project.orders import EnsembleOrder
from tilewright.project.places import SPREAD, probability_file, spread_file
from tilewright.runtime.atomic import atomic_directory
from tilewright.runtime.documents import read_document
from tilewright.runtime.errors import DataError, Problem


def ensemble(order: EnsembleOrder, *, members: Sequence[Path], weights: Path, out: Path) -> None:
    """Average the members' probabilities for every slide of a shard.

    Args:
        order: the slides, the members, and the weight of each.
        members: the members' folders of the shard, in the order of their names there.
        weights: the JSON of ``weigh``; read where the order says that weights are fitted.
        out: the folder to write: ``{slide}.tif`` at the scale of the first member; where the order asks for it, beside
            it ``{slide}.spread.tif``, one band: uint8, 255 being a standard deviation of 0.5.

    Raises:
        DataError: members with different classes.
    """
    given = fitted_weights(weights) if order.fit else order.weights
    shares = [given[member] for member in order.members]
    told = list(zip(order.members, members, strict=True))
    with atomic_directory(out) as folder:
        for slide in order.slides:
            maps = [probability_file(member, slide) for member in members]
            within = [spread_file(path, slide) if name in order.within else None for name, path in told]
            spread = Spread(within, spread_file(folder, slide)) if order.spread else None
            blend(maps, shares, probability_file(folder, slide), spread)


def fitted_weights(path: Path) -> dict[str, float]:
    """The weights of models that ``weigh`` wrote.

    Raises:
        DataError: the file is missing or damaged.
    """
    weights: dict[str, float] = read_document(path)["weights"]
    return weights


@dataclass(frozen=True)
class Spread:
    """The spread that is asked for of some maps.

    Attributes:
        within: of each map, the file of the spread of its folds; None: it has none.
        out: the map to write.
    """

    within: Sequence[Path | None]
    out: Path


def blend(paths: Sequence[Path], weights: Sequence[float], out: Path, spread: Spread | None = None) -> None:
    """Write the weighted mean of probability maps of one slide.

    Args:
        paths: maps of the same place and classes; the first one gives the scale of the result, to which maps at other
            scales are interpolated. Other bands than masks are written if all have them.
        weights: weight of each map; they need not sum to 1.
        out: the map to write.
        spread: of which a map is written beside it; None: of none.
    """
    with ExitStack() as stack:
        mean = stack.enter_context(weighted_maps(paths, weights))
        first = mean.maps[0]
        tags = Frame.of(first).tags(mean.classes)
        result = stack.enter_context(create_raster(out, first.size, bands=len(mean.classes), tags=tags))
        joined = stack.enter_context(_joined(spread, mean)) if spread else None
        for window in blocks(first.size, WINDOW):
            parts = mean.parts(first, window)
            values = summed(joined.watched(parts) if joined else parts)
            if values.any():
                result.write((values + np.float32(0.5)).astype(np.uint8), window.x, window.y)
            if joined:
                joined.write(values, [share for share in mean.shares if share], first, window)


@contextmanager
def _joined(spread: Spread, mean: "WeightedMaps") -> Iterator[JoinedSpread]:
    """Open the spreads of the maps that count, and the one that is made of them."""
    first, paths = mean.maps[0], zip(mean.shares, spread.within, strict=True)
    with ExitStack() as stack:
        within = [stack.enter_context(open_raster(path, [SPREAD])) if path else None for share, path in paths if share]
        tags = Frame.of(first).tags([SPREAD])
        out = stack.enter_context(create_raster(spread.out, first.size, tags=tags))
        joined = JoinedSpread(out, within, len(masks_of(mean.classes)))
        yield joined
        out.tag(RELATIVE_TAG, f"{joined.relative():.6f}")


def summed(parts: Iterable[tuple[np.float32, NDArray[np.float32]]]) -> NDArray[np.float32]:
    """The weighted sum of some shares and values, in their order."""
    return sum((share * values for share, values in parts), np.zeros((), np.float32))


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
        return summed(self.parts(target, window))

    def parts(self, target: Raster, window: Window) -> Iterator[tuple[np.float32, NDArray[np.float32]]]:
        """The share of each that counts, and what it holds there, one after the other."""
        for share, each in zip(self.shares, self.maps, strict=True):
            if share:
                yield share, self._bands(each, read_probabilities(each, target, window))

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
