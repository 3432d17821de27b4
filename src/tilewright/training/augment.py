"""Augmentations, as named sets. The only module that knows albumentations, whose transforms say what is drawn.

A sample is augmented in two halves. Here, in the process that loads it, the tile is moved and cropped in one go. How
colours change is drawn here too, and done later, for a whole batch on the device (``recoloring``). What a rotation
brings in from beyond the tile lies outside the crop where tiles are larger.
"""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # at import it would ask the network for a newer version
import albumentations as A  # noqa: N812
import cv2

from tilewright.project.config.training import AugmentationName
from tilewright.tiles.archive import Labelled
from tilewright.training.colors import GRAY, Kind
from tilewright.training.cropping import Cropping, Mask, Place
from tilewright.training.moving import Image, Matrix, Movement, around_center, enlarged, planes
from tilewright.training.objects import Bands, ObjectBands, widened
from tilewright.training.recoloring import Change
from tilewright.training.stains import StainJitter
from tilewright.training.warps import Elastic, Grid, Lens, Warp, coarse, grid_line

Transform = Any
"""A transform of albumentations, which has no types."""

Shape = tuple[int, int]
"""Rows and columns."""

DOT = np.zeros((1, 1, 3), np.uint8)
FLIP_X, FLIP_Y = ((-1, 0), (0, 1)), ((1, 0), (0, -1))
TURNS = tuple(
    turn
    for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1))
    for turn in (((signs[0], 0), (0, signs[1])), ((0, signs[0]), (signs[1], 0)))
)


class Augmented(NamedTuple):
    """A crop, and what is left to the device.

    Attributes:
        image: 3 x rows x columns.
        mask: rows x columns, bits.
        changes: of the colours, in their order.
        bands: what is taught of objects, bands x rows x columns; None: nothing.
    """

    image: Image
    mask: Mask
    changes: list[Change]
    bands: Bands | None = None


@dataclass(frozen=True)
class _Set:
    """What a set draws.

    Attributes:
        zoomed: how often a square of the tile is enlarged first.
        moves: transforms that move the tile; what bends it comes last.
        stains: changes the stains before other colours.
        colors: transforms that change the crop.
    """

    zoomed: float = 0.0
    moves: Sequence[Transform] = ()
    stains: StainJitter | None = None
    colors: Sequence[Transform] = ()


class Augmentation:
    """A set of augmentations that gives the same result for the same seed.

    Args:
        name: name of the set.
        cropping: the crop that it gives.
        bands: makes what is taught of objects.
    """

    def __init__(self, name: AugmentationName, cropping: Cropping, bands: ObjectBands | None = None) -> None:
        self._set, self._cropping, self._bands = SETS[name](), cropping, bands

    def __call__(self, image: Image, mask: Mask, seed: int, objects: Labelled | None = None) -> Augmented:
        """Move image (rows x columns x 3), mask (rows x columns, bits) and objects alike; draw how colours change."""
        generator = np.random.default_rng(seed)
        chance = random.Random(int(generator.integers(2**63)))  # noqa: S311 - no secret
        for transform in (*self._set.moves, *self._set.colors):
            transform.set_random_state(generator, chance)
        size = (mask.shape[0], mask.shape[1])
        movement = _movement(self._set, size, generator, chance)
        place = self._cropping.place(size, lambda: movement.mask(mask), generator)
        pixels, bits = movement.crop(image, mask, place)
        changes = [self._set.stains.change(generator)] if self._set.stains else []
        drawn = list(_drawn(self._set.colors, chance))
        # what only the host can do is done by albumentations, and so is what precedes it
        ours = max((number + 1 for number, each in enumerate(drawn) if type(each) not in CHANGES), default=0)
        for transform in drawn[:ours]:
            pixels = transform(image=pixels[..., :3], force_apply=True)["image"]
        for transform in drawn[ours:]:
            changes += CHANGES[type(transform)](transform, (bits.shape[0], bits.shape[1]))
        bands = self._bands_of(objects, movement, size, place) if self._bands else None
        return Augmented(planes(pixels), bits, changes, bands)

    def _bands_of(self, objects: Labelled | None, movement: Movement, size: Shape, place: Place) -> Bands:
        """What is taught of the objects of a place, seen with a margin: a crop cuts objects, which go on beyond it."""
        assert self._bands is not None, "asked for"
        rows, columns = place
        if objects is None:
            height, width = rows.stop - rows.start, columns.stop - columns.start
            return self._bands.unknown(self._cropping.classes, (height, width))
        view, inner = widened(place, size)
        return self._bands(movement.objects(objects, view))[:, *inner]


def _movement(chosen: _Set, shape: Shape, generator: np.random.Generator, chance: random.Random) -> Movement:
    """Draw how a tile of a shape is moved."""
    matrix, warp = np.eye(3), None
    if chosen.zoomed and chance.random() < chosen.zoomed:
        matrix = zoom(shape, generator)
    for transform in _drawn(chosen.moves, chance):
        if type(transform) in WARPS:
            warp = WARPS[type(transform)](transform, shape)
        else:
            matrix = matrix @ MATRICES[type(transform)](transform, shape)
    return Movement(matrix, warp)


def _drawn(transforms: Sequence[Transform], chance: random.Random, always: bool = False) -> Iterator[Transform]:
    """The transforms that happen, as the probabilities of all and of those that hold them have it."""
    for transform in transforms:
        if not always and chance.random() >= transform.p:
            continue
        if isinstance(transform, A.OneOf):
            yield from _drawn(chance.choices(transform.transforms, transform.transforms_ps), chance, always=True)
        elif isinstance(transform, A.Sequential):
            yield from _drawn(transform.transforms, chance)
        else:
            yield transform


def zoom(shape: Shape, generator: np.random.Generator) -> Matrix:
    """Enlarge a part of a tile: its corner lies in the first fifth, its edges are 80 to 100 % of what is left."""
    size = np.array(shape[::-1])
    left, top = (generator.uniform(0, 0.2, 2) * size).astype(int)
    edge = int(size.min())
    lost = int(np.ceil(np.array([left, top]) * edge / size).max())  # of an edge, so that the part keeps the form
    return enlarged(left, top, int(generator.uniform(0.8, 1) * (edge - lost)), edge)


def _parameters(transform: Transform, shape: Shape) -> dict[str, Any]:
    """What a transform draws for pixels of a shape."""
    drawn: dict[str, Any] = transform.get_params()
    drawn |= transform.get_params_dependent_on_data({"shape": (*shape, 3)}, {"image": DOT})
    return drawn


def _affine(transform: Transform, shape: Shape) -> Matrix:
    return np.asarray(np.linalg.inv(_parameters(transform, shape)["matrix"]), np.float64)


def _turn(transform: Transform, shape: Shape) -> Matrix:
    """Any flip or turn of a square; of other tiles those that keep width and height."""
    turns = TURNS if shape[0] == shape[1] else TURNS[::2]
    return around_center(turns[transform.random_generator.integers(len(turns))], shape)


def _elastic(transform: Transform, shape: Shape) -> Warp:
    noise = transform.random_generator.standard_normal(coarse(shape, transform.sigma), dtype=np.float32)
    return Elastic(noise, transform.alpha, transform.sigma)


def _grid(transform: Transform, shape: Shape) -> Warp:
    steps = [
        [1 + transform.py_random.uniform(*transform.distort_limit) for _ in range(transform.num_steps + 1)]
        for _ in range(2)
    ]
    return Grid(*map(grid_line, shape[::-1], steps))


MATRICES: dict[type, Callable[[Transform, Shape], Matrix]] = {
    A.HorizontalFlip: lambda _, shape: around_center(FLIP_X, shape),
    A.VerticalFlip: lambda _, shape: around_center(FLIP_Y, shape),
    A.D4: _turn,
    A.Affine: _affine,
}
WARPS: dict[type, Callable[[Transform, Shape], Warp]] = {
    A.ElasticTransform: _elastic,
    A.GridDistortion: _grid,
    A.OpticalDistortion: lambda transform, _: Lens(transform.py_random.uniform(*transform.distort_limit)),
}


def _change(kind: Kind, *values: Any) -> list[Change]:
    return [Change(kind, np.array(values, np.float32))]


def _jitter(transform: Transform, shape: Shape) -> list[Change]:
    drawn = _parameters(transform, shape)
    saturation = drawn["saturation"]
    mixed = saturation * np.eye(3) + (1 - saturation) * np.array(GRAY)
    changes = (
        _change("linear", drawn["brightness"], 0, 0, 0),
        _change("contrast", drawn["contrast"]),
        _change("matrix", *mixed.ravel(), 0, 0, 0),
        _change("hue", 6 * drawn["hue"]),
    )
    return [changes[place][0] for place in drawn["order"]]


def _hue(transform: Transform, shape: Shape) -> list[Change]:
    drawn = _parameters(transform, shape)
    return _change("hsv", drawn["hue_shift"] / 30, drawn["sat_shift"], drawn["val_shift"])


def _brightness(transform: Transform, shape: Shape) -> list[Change]:
    drawn = _parameters(transform, shape)
    return _change("linear", drawn["alpha"], *[drawn["beta"]] * 3)


def _shuffle(transform: Transform, shape: Shape) -> list[Change]:
    order = _parameters(transform, shape)["channels_shuffled"]
    return _change("matrix", *np.eye(3)[order].ravel(), 0, 0, 0)


def _holes(transform: Transform, shape: Shape) -> list[Change]:
    holes = _parameters(transform, shape)["holes"]
    corners = np.zeros((transform.num_holes_range[1], 4))
    corners[: len(holes)] = holes
    return _change("holes", *corners.ravel())


def _defocus(transform: Transform, shape: Shape) -> list[Change]:
    drawn = _parameters(transform, shape)
    reach = np.arange(-drawn["radius"] - 1, drawn["radius"] + 2)
    disk = (reach**2 + reach[:, None] ** 2 <= drawn["radius"] ** 2).astype(np.float32)
    soft = cv2.GaussianBlur(disk / disk.sum(), (3, 3), drawn["alias_blur"], borderType=cv2.BORDER_CONSTANT)
    return _change("kernel", *soft.ravel())


def _noise(transform: Transform, _: Shape) -> list[Change]:
    seeds = transform.random_generator.integers(0, 1 << 16, 2)
    return _change("noise", 255 * transform.py_random.uniform(*transform.std_range), *seeds)


CHANGES: dict[type, Callable[[Transform, Shape], list[Change]]] = {
    A.ColorJitter: _jitter,
    A.HueSaturationValue: _hue,
    A.RandomBrightnessContrast: _brightness,
    A.RandomGamma: lambda transform, shape: _change("gamma", _parameters(transform, shape)["gamma"]),
    A.RGBShift: lambda transform, shape: _change("linear", 1, *_parameters(transform, shape)["noise_map"].ravel()),
    A.ChannelShuffle: _shuffle,
    A.CoarseDropout: _holes,
    A.GaussianBlur: lambda transform, shape: _change("gaussian", *_parameters(transform, shape)["kernel"]),
    A.MotionBlur: lambda transform, shape: _change("kernel", *_parameters(transform, shape)["kernel"].ravel()),
    A.Defocus: _defocus,
    A.GaussNoise: _noise,
}


def _none() -> _Set:
    return _Set()


def _flips() -> _Set:
    return _Set(moves=[A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5)])


def _d4() -> _Set:
    return _Set(moves=[A.D4(p=1)])


def _strong() -> _Set:
    """All eight flips and turns, scale and rotation, stains, colour and brightness; blur and noise at times."""
    return _Set(
        moves=[
            A.D4(p=1),
            A.Affine(scale=(0.8, 1.25), rotate=(-45, 45), shear=(-5, 5), p=0.5),
        ],
        stains=StainJitter(),
        colors=[
            A.OneOf(
                [
                    A.HueSaturationValue(hue_shift_limit=10, sat_shift_limit=25, val_shift_limit=10),
                    A.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.04),
                ],
                p=0.6,
            ),
            A.RandomBrightnessContrast(brightness_limit=0.15, contrast_limit=0.15, p=0.3),
            A.OneOf([A.GaussianBlur(blur_limit=(3, 5)), A.GaussNoise(std_range=(0.01, 0.04))], p=0.15),
        ],
    )  # fmt: skip


def _zoom() -> _Set:
    return _Set(zoomed=0.3, moves=[A.D4(p=1)])


def _light_scale() -> _Set:
    """Flips and turns; two fifths of the tiles also get a little of everything."""
    shift = {"scale": (0.8, 1.2), "rotate": (-45, 45), "translate_percent": (-0.1, 0.1)}
    return _Set(
        moves=[A.D4(p=1), A.Affine(**shift, p=0.4 * 0.2)],
        colors=[
            A.Sequential(
                [
                    A.RandomGamma(p=0.1),
                    A.OneOf(
                        [
                            A.HueSaturationValue(10, 15, 10),
                            A.CLAHE(clip_limit=4),
                            A.RandomBrightnessContrast(0.4, 0.4),
                            A.ChannelShuffle(),
                        ],
                        p=0.3,
                    ),
                    A.CoarseDropout(num_holes_range=(1, 8), hole_height_range=(8, 32), hole_width_range=(8, 32), p=0.1),
                    A.GaussianBlur(blur_limit=(3, 9), p=0.2),
                ],
                p=0.4,
            )
        ],
    )


def _rich() -> _Set:
    """Flips, shifts and turns; warps, colours and blurs, each for half of the tiles."""
    shift = {"scale": (0.9, 1.1), "rotate": (-90, 90), "translate_percent": (-0.1, 0.1)}
    return _Set(
        moves=[
            A.VerticalFlip(p=0.5),
            A.HorizontalFlip(p=0.5),
            A.Affine(**shift, p=0.5),
            A.OneOf(
                [
                    A.ElasticTransform(alpha=1, sigma=25),
                    A.GridDistortion(),
                    A.OpticalDistortion(distort_limit=1),
                ],
                p=0.5,
            ),
        ],
        colors=[
            A.OneOf(
                [
                    A.Sequential([A.RandomGamma((80, 120), p=1), A.RandomBrightnessContrast(0.1, 0.1, p=1)]),
                    A.RGBShift(30, 0, 30),
                    A.HueSaturationValue(30, 30, 30),
                    A.ColorJitter(0.3, 0.3, 0.3, 0.05),
                ],
                p=0.5,
            ),
            A.OneOf([A.Defocus((3, 5)), A.MotionBlur((3, 5)), A.GaussianBlur(blur_limit=(5, 7))], p=0.5),
        ],
    )


SETS: dict[AugmentationName, Callable[[], _Set]] = {
    "none": _none,
    "flips": _flips,
    "d4": _d4,
    "strong": _strong,
    "zoom": _zoom,
    "light_scale": _light_scale,
    "rich": _rich,
}
