"""Changes of colour, blur and noise as tensor operations on a batch, each sample with parameters of its own.

Every operation takes pixels (samples x 3 x rows x columns, float32, 0 to 255), its parameters (samples x their number,
float32) and the places of those that are not zero for all samples. It gives new pixels, for which it may take the
memory of those given: fresh memory costs a CPU more than the arithmetic. None waits for the device: what a sample gets
is known on the host, and no value of a tensor decides what is computed. Matrices are written out as sums, so that
neither TF32 nor autocast rounds colours.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Kind = Literal["stains", "linear", "contrast", "matrix", "hue", "hsv", "gamma", "holes", "gaussian", "kernel", "noise"]
Operation = Callable[[Tensor, Tensor, Sequence[int]], Tensor]

GRAY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in the luminance of Rec. 601."""
TINY = 1e-6


def stains(pixels: Tensor, values: Tensor, _: Sequence[int]) -> Tensor:
    """A matrix and an offset (12 values) between logarithms of colours: amounts of stains change."""
    return _mixed(pixels.add_(1).log_(), values).exp_().sub_(1).clamp_(0, 255)


def linear(pixels: Tensor, values: Tensor, _: Sequence[int]) -> Tensor:
    """A factor and three offsets."""
    each = _spread(values)
    return pixels.mul_(each[:, :1]).add_(each[:, 1:4]).clamp_(0, 255)


def contrast(pixels: Tensor, values: Tensor, _: Sequence[int]) -> Tensor:
    """A factor by which pixels move away from the mean luminance of the sample."""
    means = pixels.mean((2, 3), keepdim=True)
    mean = sum(share * means[:, band : band + 1] for band, share in enumerate(GRAY))
    factor = _spread(values)
    return pixels.mul_(factor).add_(mean * (1 - factor)).clamp_(0, 255)


def matrix(pixels: Tensor, values: Tensor, _: Sequence[int]) -> Tensor:
    """A matrix and an offset (12 values) between colours."""
    return _mixed(pixels, values).clamp_(0, 255)


def hue(pixels: Tensor, values: Tensor, _: Sequence[int]) -> Tensor:
    """What is added to the hue, in sixths of the circle."""
    largest, smallest = _extremes(pixels)
    chroma = largest - smallest
    turned = _hue(pixels, largest, smallest, chroma).add_(_spread(values))
    return _colored(pixels, turned, largest, smallest, chroma)


def hsv(pixels: Tensor, values: Tensor, _: Sequence[int]) -> Tensor:
    """What is added to hue (in sixths of the circle), saturation and value (both of 255). A grey pixel stays grey."""
    shift = _spread(values)
    largest, smallest = _extremes(pixels)
    chroma = largest - smallest
    turned = _hue(pixels, largest, smallest, chroma).add_(shift[:, :1])
    saturation = chroma.div_(torch.clamp(largest, min=TINY, out=smallest))
    colored = (saturation * 255).round_().clamp_(max=1)
    saturation.add_(shift[:, 1:2] / 255).clamp_(0, 1).mul_(colored)
    value = largest.add_(shift[:, 2:3]).clamp_(0, 255)
    chroma = saturation.mul_(value)
    return _colored(pixels, turned, value, torch.sub(value, chroma, out=smallest), chroma)


def gamma(pixels: Tensor, values: Tensor, _: Sequence[int]) -> Tensor:
    """An exponent."""
    return pixels.div_(255).log_().mul_(_spread(values)).exp_().mul_(255)


def holes(pixels: Tensor, values: Tensor, _: Sequence[int]) -> Tensor:
    """Black rectangles: left, top, right and bottom of each, the last two beyond it."""
    corners = values.view(len(values), -1, 4, 1)
    height, width = pixels.shape[-2:]
    rows = torch.arange(height, device=pixels.device, dtype=pixels.dtype)
    columns = torch.arange(width, device=pixels.device, dtype=pixels.dtype)
    inside_rows = ((rows >= corners[:, :, 1]) & (rows < corners[:, :, 3])).to(pixels.dtype)
    inside_columns = ((columns >= corners[:, :, 0]) & (columns < corners[:, :, 2])).to(pixels.dtype)
    covered = (inside_rows[..., None] * inside_columns[..., None, :]).amax(1, keepdim=True)
    return pixels.mul_(1 - covered)


def gaussian(pixels: Tensor, values: Tensor, _: Sequence[int]) -> Tensor:
    """A row of weights for both axes."""
    count = values.shape[1]
    across = _weighted(pixels, values, [(place, 0, place) for place in range(count)], (1, count))
    return _weighted(across, values, [(place, place, 0) for place in range(count)], (count, 1))


def kernel(pixels: Tensor, values: Tensor, used: Sequence[int]) -> Tensor:
    """A square of weights, row by row."""
    edge = math.isqrt(values.shape[1])
    return _weighted(pixels, values, [(place, *divmod(place, edge)) for place in used], (edge, edge))


def noise(pixels: Tensor, values: Tensor, _: Sequence[int]) -> Tensor:
    """Normal noise: its standard deviation, and two halves (16 bits) of a seed, so that it is the same on any device.

    A hash of 32 bits of the place gives two uniform numbers of 16 bits, these two normal ones (Box and Muller 1958).
    """
    samples, *shape = pixels.shape
    seeds = _hashed(values[:, 1:2].to(torch.int32) * 65536 + values[:, 2:3].to(torch.int32))
    count = torch.arange(math.prod(shape) // 2, device=pixels.device, dtype=torch.int32)
    state = _hashed(count + seeds)
    length = _shifted(state, 16).add(0.5).div_(65536).log_().mul_(-2).sqrt_()
    angle = state.bitwise_and_(0xFFFF).add(0.5).mul_(2 * math.pi / 65536)
    normal = torch.empty(samples, 2, len(count), device=pixels.device)
    torch.mul(angle.cos(), length, out=normal[:, 0])
    torch.mul(angle.sin_(), length, out=normal[:, 1])
    return pixels.addcmul_(normal.view(pixels.shape), _spread(values[:, :1])).clamp_(0, 255)


OPERATIONS: Mapping[Kind, Operation] = {
    "stains": stains, "linear": linear, "contrast": contrast, "matrix": matrix, "hue": hue, "hsv": hsv,
    "gamma": gamma, "holes": holes, "gaussian": gaussian, "kernel": kernel, "noise": noise,
}  # fmt: skip


def _spread(values: Tensor) -> Tensor:
    """Parameters as samples x their number x 1 x 1."""
    return values[..., None, None]


def _mixed(pixels: Tensor, values: Tensor) -> Tensor:
    each = _spread(values)
    mixed = (pixels[:, :1] * each[:, 0:9:3]).add_(each[:, 9:12])
    for band in (1, 2):
        mixed.addcmul_(pixels[:, band : band + 1], each[:, band:9:3])
    return mixed


def _channels(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return pixels[:, :1], pixels[:, 1:2], pixels[:, 2:]


def _extremes(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """The largest and the smallest channel."""
    red, green, blue = _channels(pixels)
    return torch.maximum(red, green).maximum(blue), torch.minimum(red, green).minimum(blue)


def _hue(pixels: Tensor, largest: Tensor, smallest: Tensor, chroma: Tensor) -> Tensor:
    """The hue in sixths of the circle, -3 to 3, 0 where there is none.

    No channel is asked whether it is the largest: the distance from red is 1 + (green + blue - red - smallest) /
    chroma, and the sign of green - blue is that of its side.
    """
    red, green, blue = _channels(pixels)
    distance: Tensor = (largest + green).add_(blue).sub_(red).sub_(smallest, alpha=2).div_(chroma.clamp(min=TINY))
    return distance.copysign_(green - blue)


def _colored(pixels: Tensor, hue: Tensor, largest: Tensor, smallest: Tensor, chroma: Tensor) -> Tensor:
    """Colours of a hue, in the memory of ``pixels``."""
    hue.sub_((hue / 6).floor_(), alpha=6)
    for band, center in enumerate((3, 2, 4)):
        torch.sub(hue, center, out=pixels[:, band : band + 1])
    red, green, blue = _channels(pixels.abs_().sub_(2).clamp_(-1, 0))
    red.mul_(chroma).add_(largest)
    for other in (green, blue):
        other.mul_(chroma).sub_(smallest).neg_()
    return pixels


def _weighted(pixels: Tensor, weights: Tensor, taps: Sequence[tuple[int, int, int]], size: tuple[int, int]) -> Tensor:
    """The weighted sum of shifted pixels, which are mirrored at the border.

    Args:
        pixels: as an operation takes them.
        weights: samples x their number.
        taps: number of a weight, its row and column.
        size: rows and columns of all weights.
    """
    (height, width), (rows, columns) = pixels.shape[-2:], size
    above, left = rows // 2, columns // 2
    wide = functional.pad(pixels, (left, columns - 1 - left, above, rows - 1 - above), mode="reflect")
    each, found = _spread(weights), torch.zeros_like(pixels)
    for number, row, column in taps:
        found.addcmul_(wide[..., row : row + height, column : column + width], each[:, number : number + 1])
    return found


def _hashed(state: Tensor) -> Tensor:
    state = (state ^ _shifted(state, 16)) * 0x7FEB352D
    state = (state ^ _shifted(state, 15)) * (0x846CA68B - (1 << 32))
    return state ^ _shifted(state, 16)


def _shifted(state: Tensor, bits: int) -> Tensor:
    """A shift to the right without the sign."""
    return (state >> bits) & ((1 << (32 - bits)) - 1)
