"""Objects of a tile in TorchScript, as ``pixels`` finds them in slides: holes, components, seeds, growth, filters.

All functions are compiled and leave in a file that runs without tilewright. They take a tile as a whole, on the
processor: numbers are of 64 bits, which not every device has.
"""

# TorchScript reads these annotations itself; it knows no others than those of typing
from typing import NamedTuple

import torch
from torch import Tensor


class Wanted(NamedTuple):
    """What becomes an object; lengths and areas in pixels of the tile, values from 0 to 255.

    Attributes:
        threshold: pixels from this value on are of the class.
        fill_holes: holes of at most so many pixels are filled.
        min_area: smaller objects are left out.
        max_area: larger objects are left out; -1: none.
        min_confidence: less sure objects are left out, 0 to 1.
        use_max: whether confidence is the largest value of an object's pixels, in place of their mean.
        least: seeds of fewer pixels are none.
        reach: the farthest that a seed reaches.
    """

    threshold: float
    fill_holes: int
    min_area: float
    max_area: float
    min_confidence: float
    use_max: bool
    least: int
    reach: int


def label_objects(values: Tensor, seeds: Tensor, wanted: Wanted) -> Tensor:
    """The objects of a class in a tile.

    Args:
        values: probabilities times 255, whole numbers, float32[rows, columns].
        seeds: where seeds are, bool[rows, columns]; empty: there are none.
        wanted: what becomes an object.

    Returns:
        The number of the object of each pixel, from 1 on without gaps, 0 where there is none, int64[rows, columns].
    """
    mask = values >= wanted.threshold
    labels = components(_filled(mask, wanted.fill_holes).long(), True)
    if seeds.numel() > 0:
        labels = _parted(labels, seeds & mask, wanted.least, wanted.reach)
    flat, count = labels.flatten(), int(labels.max()) + 1
    area, sure = torch.bincount(flat, minlength=count), mask.flatten()
    inside, value = flat[sure], values.flatten()[sure].double()
    if wanted.use_max:
        top = torch.zeros(count, dtype=torch.float64)
        confidence = top.scatter_reduce(0, inside, value, "amax") / 255
    else:
        number = torch.bincount(inside, minlength=count).clamp(min=1)
        confidence = torch.bincount(inside, value, minlength=count) / number / 255
    kept = (area > 0) & (area >= wanted.min_area) & (confidence >= wanted.min_confidence)
    if wanted.max_area >= 0:
        kept = kept & (area <= wanted.max_area)
    kept[0] = False
    return torch.where(kept, kept.cumsum(0), torch.zeros_like(area))[labels]


def components(labels: Tensor, corners: bool) -> Tensor:
    """The connected parts of what has a label; pixels of two labels are of two parts.

    Runs of a row are found first, and joined across rows: each hooks to the least number that it touches, and pointers
    jump until they are at the root.

    Args:
        labels: int64[rows, columns], 0 where there is nothing.
        corners: whether pixels that share a corner are connected, too.

    Returns:
        Numbers from 1 on, in the order of first pixels by rows; int64[rows, columns].
    """
    opens = labels > 0
    opens[:, 1:].logical_and_(labels[:, 1:] != labels[:, :-1])  # TorchScript does not write with &=
    run = opens.flatten().cumsum(0).view_as(labels) * (labels > 0)
    count = int(opens.sum()) + 1
    width = labels.shape[1]
    above: list[Tensor] = []
    below: list[Tensor] = []
    for step in range(-1 if corners else 0, 2 if corners else 1):
        here = slice_columns(labels[:-1], max(0, -step), width - max(0, step))
        there = slice_columns(labels[1:], max(0, step), width + min(0, step))
        touch = (here > 0) & (here == there)
        above.append(slice_columns(run[:-1], max(0, -step), width - max(0, step))[touch])
        below.append(slice_columns(run[1:], max(0, step), width + min(0, step))[touch])
    pairs = torch.unique_consecutive(torch.cat(above) * count + torch.cat(below))
    parent = _joined(torch.arange(count), torch.div(pairs, count, rounding_mode="floor"), pairs % count)
    root = parent == torch.arange(count)
    root[0] = False
    return torch.where(parent > 0, root.cumsum(0)[parent], torch.zeros_like(parent))[run]


def slice_columns(pixels: Tensor, start: int, stop: int) -> Tensor:
    """Some columns."""
    return pixels[:, start:stop]


def _joined(parent: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """The least number that each is connected with, by pairs."""
    while one.numel() > 0:
        first, second = parent[one], parent[other]
        low, high = torch.minimum(first, second), torch.maximum(first, second)
        parent = parent.scatter_reduce(0, high, low, "amin")
        above = parent[parent]
        while not torch.equal(above, parent):
            parent = above
            above = parent[parent]
        apart = parent[one] != parent[other]
        one, other = one[apart], other[apart]
    return parent


def _filled(mask: Tensor, largest: int) -> Tensor:
    """A mask with its holes of at most so many pixels, by edges; what touches the border of the tile is none."""
    if largest == 0:
        return mask
    gaps = components((~mask).long(), False)
    size = torch.bincount(gaps.flatten())
    for edge in [gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]]:
        size[edge] = largest + 1
    hole = size <= largest
    hole[0] = False
    return mask | hole[gaps]


def _parted(whole: Tensor, seeds: Tensor, least: int, reach: int) -> Tensor:
    """Each pixel of components to its nearest seed; what none reaches, or what is cut off from it, by itself."""
    seed = components(seeds.long(), False)
    large = torch.bincount(seed.flatten()) >= least
    large[0] = False
    seed = torch.where(large[seed], seed, torch.zeros_like(seed))
    if not bool((seed > 0).any()):
        return whole
    seeded = torch.zeros(int(whole.max()) + 1, dtype=torch.bool)
    seeded[whole[seed > 0]] = True
    looked = seeded[whole] & (whole > 0)
    label = torch.where(looked, _grown(seed, whole, looked, reach), torch.zeros_like(seed))
    part = components(label, True)
    holds = torch.zeros(int(part.max()) + 1, dtype=torch.bool)
    holds[part[seed > 0]] = True
    own = holds[part] & (label > 0)
    rest = components((looked & ~own).long(), True)
    first = int(label.max()) + 1
    second = first + int(rest.max()) + 1
    alone = torch.where((whole > 0) & ~looked, whole + second, torch.zeros_like(whole))
    return torch.where(own, label, torch.where(rest > 0, rest + first, alone))


def _grown(seed: Tensor, whole: Tensor, looked: Tensor, reach: int) -> Tensor:
    """The nearest seed of the component of each pixel; of those as near, that in the first row, then column."""
    rows, columns = seed.shape[0], seed.shape[1]
    far = 4 * (rows + columns + reach)
    place = torch.arange(rows).unsqueeze(1).expand(rows, columns)
    up = torch.where(seed > 0, place, torch.full_like(place, -far)).cummax(0)[0]
    down = torch.where(seed > 0, place, torch.full_like(place, far)).flip(0).cummin(0)[0].flip(0)
    nearest = torch.where(place - up <= down - place, up, down)
    none = (reach * reach + 1) * rows * columns
    best = torch.full_like(place, none)
    for step in range(-reach, reach + 1):
        start, stop = max(0, -step), min(columns, columns - step)
        if start < stop:
            row = slice_columns(nearest, start + step, stop + step)
            square = (row - slice_columns(place, start, stop)) ** 2 + step * step
            column = torch.arange(start + step, stop + step).unsqueeze(0)
            key = torch.where(square <= reach * reach, (square * rows + row) * columns + column, none)
            part = slice_columns(best, start, stop)
            part.copy_(torch.minimum(part, key))
    found = best % (rows * columns)
    label, component = seed.flatten()[found], whole.flatten()[found]
    label = torch.where((best < none) & (component == whole), label, torch.zeros_like(label))
    passed = looked & (best < none) & (label == 0)
    flat = label.flatten()
    asked = torch.nonzero(passed.flatten()).flatten()
    return _beyond(flat, asked, seed, whole, reach).view_as(seed)


def _beyond(label: Tensor, asked: Tensor, seed: Tensor, whole: Tensor, reach: int) -> Tensor:
    """Labels of those, too, whose nearest seed of all is of another component; looked for from near to far."""
    rows, columns = seed.shape[0], seed.shape[1]
    side = torch.arange(-reach, reach + 1)
    down, across = side.repeat_interleave(len(side)), side.repeat(len(side))
    square = down * down + across * across
    order = torch.sort(square, stable=True)[1]
    order = order[(square[order] > 0) & (square[order] <= reach * reach)]
    down, across = down[order], across[order]
    flat_seed, flat_whole, first = seed.flatten(), whole.flatten(), 0
    while first < len(order) and len(asked) > 0:
        last = min(len(order), first + max(8, 65536 // len(asked)))  # what is looked at in one go
        row = (asked // columns).unsqueeze(1) + down[first:last].unsqueeze(0)
        column = (asked % columns).unsqueeze(1) + across[first:last].unsqueeze(0)
        inside = (row >= 0) & (row < rows) & (column >= 0) & (column < columns)
        other = row.clamp(0, rows - 1) * columns + column.clamp(0, columns - 1)
        reached = inside & (flat_seed[other] > 0) & (flat_whole[other] == flat_whole[asked].unsqueeze(1))
        hit = reached.any(1)
        near = other.gather(1, reached.to(torch.uint8).argmax(1, keepdim=True)).squeeze(1)
        label[asked[hit]] = flat_seed[near[hit]]
        asked, first = asked[~hit], last
    return label
