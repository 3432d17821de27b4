"""Windows that overlap, blended on the device of the network.

Of the sums, those rows are held that a later window can still reach.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tilewright.inference.bands import Rows
from tilewright.inference.layers import Layer, Seen
from tilewright.inference.pieces import WIDEST, covered
from tilewright.inference.spread import SPREAD_LEVELS
from tilewright.inference.windows import blend_weights, kept_part
from tilewright.pixels.grid import BLOCK, Corner, Size, Window
from tilewright.project.config import Inference, width_and_height

Combine = Callable[[Sequence[Tensor], Tensor, Sequence[Tensor], Tensor], None]


def add_weighted(totals: Sequence[Tensor], weight: Tensor, values: Sequence[Tensor], weights: Tensor) -> None:
    """Add a window to the weighted sums of those before it."""
    for total, value in zip(totals, values, strict=True):
        total += value * weights
    weight += weights


def keep_least(totals: Sequence[Tensor], weight: Tensor, values: Sequence[Tensor], weights: Tensor) -> None:
    """Keep the least value of all windows, so that a pixel reaches a threshold where it does in each of them."""
    for total, value in zip(totals, values, strict=True):
        total.copy_(torch.where(weight > 0, torch.minimum(total, value), value))
    weight.copy_(weights)


class Finished(NamedTuple):
    """A part of a map that no later window reaches.

    Attributes:
        map: number of the map.
        x: left edge in the image.
        y: top edge.
        values: bands x rows x columns: uint8, 255 being a probability of 1, or float32 the probability; of a spread,
            one band, of which 255 is 0.5.
        copied: when they are there, if a GPU is copying them to the host.
    """

    map: int
    x: int
    y: int
    values: Tensor
    copied: torch.cuda.Event | None = None


@dataclass(frozen=True)
class Blend:
    """What is made of the windows of an image.

    Attributes:
        inference: edge of the windows, and how they are blended.
        layers: the maps.
        classes: number of classes.
        size: of the image.
    """

    inference: Inference
    layers: Sequence[Layer]
    classes: int
    size: Size

    @cached_property
    def groups(self) -> list[frozenset[Seen]]:
        """Each group of networks and views that is averaged, once."""
        return list(dict.fromkeys(self.groups_of_maps))

    @property
    def groups_of_maps(self) -> list[frozenset[Seen]]:
        """The groups of all maps, one after the other."""
        return [group for layer in self.layers for group in layer.groups]

    @property
    def window(self) -> Size:
        """Width and height of a window."""
        return Size(*width_and_height(self.inference.window))

    @property
    def combine(self) -> Combine:
        """How windows are blended."""
        return keep_least if self.inference.blend == "minimum" else add_weighted

    def part(self, corner: Corner) -> Window:
        """What counts of a window, in its pixels."""
        share = self.inference.overlap if self.inference.blend == "discard" else 0
        margins = (round(self.window.width * share) // 2, round(self.window.height * share) // 2)
        return kept_part(*corner, self.window, self.size, margins)

    def strip_width(self, memory: int) -> int:
        """Width of a strip of the image whose rows of pixels and sums fit into a memory, in bytes.

        Strips are as wide as what is written at a time, or several times that; so is the least one.
        """
        rows = min(self.window.height + BLOCK, -(-self.size.height // BLOCK) * BLOCK)
        pixel = 3 + 4 * (1 + self.classes * len(self.groups_of_maps))
        columns = memory // (rows * pixel) - 2 * self.window.width
        return max(1, columns // (WIDEST * BLOCK)) * WIDEST * BLOCK


def blended(
    results: Iterable[tuple[Corner, Tensor]],
    corners: Sequence[Corner],
    blend: Blend,
    band: "Band",
) -> Iterator[Finished]:
    """Parts of maps of a strip, from what networks say of its windows.

    Args:
        results: by rows, each corner with its groups x classes x rows x columns, 0 to 1.
        corners: the same corners.
        blend: what is made of the windows.
        band: rows of sums of the strip, where the results are; there the parts are too.
    """
    weights = torch.from_numpy(blend_weights(blend.inference.blend, blend.window)).to(band.device)
    cover = covered(corners, blend.window, blend.size)
    places = [blend.groups.index(group) for group in blend.groups_of_maps]
    for corner, values in results:
        part = blend.part(corner)
        yield from band.finished(corner.y + part.y, cover)
        rows, columns = part.slices
        own = values[..., rows, columns].unbind()
        band.add([own[place] for place in places], weights[rows, columns], _moved(part, corner))
    yield from band.finished(blend.size.height + BLOCK, cover)


def on_host(parts: Iterable[Finished]) -> Iterator[Finished]:
    """Parts in memory of the host; those of a GPU are there when it says so, and it goes on meanwhile."""
    for part in parts:
        if part.values.device.type == "cuda":
            values = torch.empty(part.values.shape, dtype=part.values.dtype, pin_memory=True)
            values.copy_(part.values, non_blocking=True)
            copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            copied.record()
            yield part._replace(values=values, copied=copied)
        else:
            yield part


def _moved(window: Window, corner: Corner) -> Window:
    return replace(window, x=window.x + corner.x, y=window.y + corner.y)


class Band:
    """Rows of sums of a strip, for all maps."""

    def __init__(self, strip: Window, blend: Blend, device: torch.device) -> None:
        """Begin at the top."""
        self._strip, self._blend, self.device = strip, blend, device
        layers = blend.classes * len(blend.groups_of_maps)
        self._sums = Rows(layers, strip, blend.window.height, torch.float32, device)
        self._weight = Rows(1, strip, blend.window.height, torch.float32, device)

    def add(self, values: Sequence[Tensor], weights: Tensor, window: Window) -> None:
        """Add a window, not above an earlier one.

        Args:
            values: of each group of each map, classes x rows x columns, 0 to 1.
            weights: rows x columns, above 0.
            window: its place in the image; what lies beyond the strip is dropped.
        """
        strip = self._strip
        left, right = max(window.x, strip.x), min(window.x + window.width, strip.x + strip.width)
        if left < right:
            place = Window(left, window.y, right - left, min(window.height, strip.height - window.y))
            rows, columns = replace(place, x=left - window.x, y=0).slices
            totals, weight = self._by_group(self._sums.part(place)), self._weight.part(place)[0]
            self._blend.combine(totals, weight, [each[:, rows, columns] for each in values], weights[rows, columns])

    def finished(self, y: int, cover: NDArray[np.bool_]) -> Iterator[Finished]:
        """What no window reaches that begins at ``y`` or below; nothing of parts without any window.

        Args:
            y: rows above it are finished; whole blocks are given.
            cover: blocks of the image that windows touch.
        """
        strip = self._strip
        while (top := self._sums.top) < strip.height and top + BLOCK <= y:
            for left in range(strip.x, strip.x + strip.width, WIDEST * BLOCK):
                if cover[top // BLOCK, left // BLOCK : left // BLOCK + WIDEST].any():
                    yield from self._averaged(Window(left, top, WIDEST * BLOCK, min(BLOCK, strip.height - top)))
            for rows in (self._sums, self._weight):
                rows.forget(top + BLOCK)

    def _averaged(self, part: Window) -> Iterator[Finished]:
        weight = self._weight.part(part)
        means = iter(self._by_group(torch.where(weight > 0, self._sums.part(part) / weight, 0.0)))
        for number, layer in enumerate(self._blend.layers):
            groups = list(islice(means, len(layer.groups)))
            values = _spread([each[: layer.compared] for each in groups]) if layer.compared else _mean(groups)
            exact, levels = self._blend.inference.depth == "float16", SPREAD_LEVELS if layer.compared else 255
            yield Finished(number, part.x, part.y, values if exact else (values * levels + 0.5).to(torch.uint8))

    def _by_group(self, layers: Tensor) -> Sequence[Tensor]:
        """Groups, each of classes x rows x columns."""
        return layers.view(-1, self._blend.classes, *layers.shape[1:]).unbind()


def _mean(values: Sequence[Tensor]) -> Tensor:
    total = values[0]
    for each in values[1:]:
        total = total + each
    return total / len(values)


def _spread(values: Sequence[Tensor]) -> Tensor:
    """The root of the mean variance of classes over some predictions: 1 x rows x columns, 0 to 0.5."""
    mean = _mean(values)
    variance = _mean([(each - mean) ** 2 for each in values])
    return variance.mean(dim=0, keepdim=True).sqrt()
