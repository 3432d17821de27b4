"""What of an augmentation is left to the device: changes of colour, drawn by the loader for each sample.

The host knows what each sample gets, and puts samples that get the same together when it makes a batch. On a GPU an
operation runs for all of them at once; on a CPU each sample goes its way alone, which keeps it in the cache of the
processor and its pixels the same in any batch.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tilewright.training.colors import OPERATIONS, Kind


class Change(NamedTuple):
    """One operation on the colours of a sample.

    Attributes:
        kind: which.
        values: its parameters, float32.
    """

    kind: Kind
    values: NDArray[np.float32]


class Part(NamedTuple):
    """An operation and the samples that get it.

    Attributes:
        kind: which operation.
        samples: numbers of the samples in the batch, rising.
        used: places of the parameters that are not zero for all of them.
        first: place of the first sample in ``Recoloring.places``.
        begin: place of the first parameter in ``Recoloring.values``.
        width: number of the parameters of a sample.
    """

    kind: Kind
    samples: tuple[int, ...]
    used: tuple[int, ...]
    first: int
    begin: int
    width: int


class Recoloring:
    """The changes of a batch, in two small tensors that go to the device with it."""

    def __init__(self, parts: Sequence[Part] = (), places: Tensor | None = None, values: Tensor | None = None) -> None:
        self._parts = tuple(parts)
        self._places = torch.zeros(0, dtype=torch.int64) if places is None else places
        self._values = torch.zeros(0) if values is None else values

    @classmethod
    def of(cls, samples: Sequence[Sequence[Change]]) -> "Recoloring":
        """The changes of the samples of a batch, each in its order.

        Of the operations that come next, the one that most samples wait for goes first.
        """
        waiting = {number: list(changes) for number, changes in enumerate(samples) if changes}
        parts: list[Part] = []
        places: list[int] = []
        rows: list[NDArray[np.float32]] = []
        begin = 0
        while waiting:
            keys = {number: (changes[0].kind, len(changes[0].values)) for number, changes in waiting.items()}
            chosen, count = Counter(keys.values()).most_common(1)[0]
            numbers = tuple(number for number, key in keys.items() if key == chosen)
            values = np.stack([waiting[number].pop(0).values for number in numbers])
            waiting = {number: changes for number, changes in waiting.items() if changes}
            used = tuple(np.flatnonzero(values.any(axis=0)).tolist())
            parts.append(Part(chosen[0], numbers, used, len(places), begin, chosen[1]))
            places.extend(numbers)
            rows.append(values.ravel())
            begin += count * chosen[1]
        if not parts:
            return cls()
        return cls(parts, torch.tensor(places), torch.from_numpy(np.concatenate(rows)))

    def to(self, device: torch.device | str) -> "Recoloring":
        """The same on a device, without waiting until it is there."""
        places, values = (each.to(device, non_blocking=True) for each in (self._places, self._values))
        return Recoloring(self._parts, places, values)

    def pin_memory(self) -> "Recoloring":
        """The same in memory that a device reads by itself."""
        return Recoloring(self._parts, self._places.pin_memory(), self._values.pin_memory())

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Change the images of the batch (samples x 3 x rows x columns, uint8); float32, 0 to 255, where any does."""
        if not self._parts:
            return images
        return self._one_by_one(images) if images.device.type == "cpu" else self.together(images)

    def together(self, images: Tensor) -> Tensor:
        """Each operation for all samples that get it."""
        pixels = images.float()
        for part in self._parts:
            rows, places = self._rows(part), self._places[part.first : part.first + len(part.samples)]
            everywhere = len(places) == len(pixels)
            chosen = pixels if everywhere else pixels.index_select(0, places)
            changed = OPERATIONS[part.kind](chosen, rows, part.used)
            pixels = changed if everywhere else pixels.index_copy(0, places, changed)
        return pixels

    def _one_by_one(self, images: Tensor) -> Tensor:
        pixels = torch.empty(images.shape)
        for number, image in enumerate(images):
            own = pixels[number : number + 1]
            own.copy_(image)
            for part in self._parts:
                if number in part.samples:
                    at = part.samples.index(number)
                    own.copy_(OPERATIONS[part.kind](own, self._rows(part)[at : at + 1], part.used))
        return pixels

    def _rows(self, part: Part) -> Tensor:
        end = part.begin + len(part.samples) * part.width
        return self._values[part.begin : end].view(len(part.samples), part.width)
