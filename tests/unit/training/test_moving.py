"""Movements of a crop against albumentations, which moves the whole tile."""

import random

import albumentations as A  # noqa: N812
import cv2
import numpy as np
import pytest

from tilewright.training.augment import MATRICES, TURNS, WARPS
from tilewright.training.moving import Movement, around_center, enlarged
from tilewright.training.warps import Elastic

EDGE = 96
SQUARE, WIDE, HIGH = (EDGE, EDGE), (EDGE, 136), (112, EDGE)
WHOLE = (slice(0, EDGE), slice(0, EDGE))
CROP = (slice(20, 68), slice(7, 55))
CORNER, TIP = (slice(48, 96), slice(0, 48)), (slice(86, 96), slice(0, 10))
PLACES = pytest.mark.parametrize("place", [CROP, CORNER, TIP], ids=["inside", "corner", "tip"])
KINDS = pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32])
REFLECTED = {"border_mode": cv2.BORDER_REFLECT_101}
BENT = [
    A.Affine(scale=(0.8, 1.25), rotate=(-45, 45), shear=(-5, 5), translate_percent=(-0.1, 0.1), **REFLECTED),
    A.GridDistortion(**REFLECTED),
    A.OpticalDistortion(distort_limit=1, **REFLECTED),
]


def tile(kind=np.uint8, shape=SQUARE):
    """A soft image and a mask of three values."""
    generator = np.random.default_rng(0)
    soft = cv2.resize(generator.random((8, 8, 3)).astype(np.float32), shape[::-1], interpolation=cv2.INTER_CUBIC)
    mask = (cv2.resize(generator.random((6, 6)).astype(np.float32), shape[::-1]) * 3).astype(kind)
    return (np.clip(soft, 0, 1) * 255).astype(np.uint8), mask


def seeded(transform, seed):
    transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
    return transform


def drawn(transform, shape=SQUARE):
    if type(transform) in WARPS:
        return Movement(np.eye(3), WARPS[type(transform)](transform, shape))
    return Movement(MATRICES[type(transform)](transform, shape))


@KINDS
@PLACES
@pytest.mark.parametrize("shape", [SQUARE, WIDE, HIGH])
@pytest.mark.parametrize("transform", BENT, ids=lambda each: type(each).__name__)
def test_a_movement_is_that_of_albumentations(transform, place, kind, shape):
    image, mask = tile(kind, shape)
    for seed in range(20):
        theirs = seeded(transform, seed)(image=image, mask=mask.astype(np.uint8), force_apply=True)
        pixels, bits = drawn(seeded(transform, seed), shape).crop(image, mask, place)
        assert pixels.shape[:2] == bits.shape == mask[place].shape
        assert bits.dtype == kind
        difference = np.abs(pixels[..., :3].astype(int) - theirs["image"][place])
        assert np.quantile(difference, 0.98) <= 1, seed
        assert difference.mean() < 0.5, seed
        assert (bits != theirs["mask"][place]).mean() < 0.02, seed


@KINDS
def test_the_turns_are_the_eight_of_a_square(kind):
    image, mask = tile(kind)
    plain = {each.tobytes() for start in (mask, mask.T) for each in (np.rot90(start, turn) for turn in range(4))}
    found = [Movement(around_center(turn, SQUARE)).crop(image, mask, WHOLE) for turn in TURNS]
    assert {bits.tobytes() for _, bits in found} == plain


@KINDS
@pytest.mark.parametrize("turn", TURNS)
def test_a_crop_of_a_turned_tile_is_cut_from_it(turn, kind):
    image, mask = tile(kind)
    movement = Movement(around_center(turn, SQUARE))
    pixels, bits = movement.crop(image, mask, WHOLE)
    cut, cut_bits = movement.crop(image, mask, CROP)
    assert (cut == pixels[CROP]).all()
    assert (cut_bits == bits[CROP]).all()
    assert (movement.mask(mask) == bits).all()
    (yx, yy) = turn[1]
    row, column = 30, 11  # the image moves as the mask does
    center = (EDGE - 1) / 2
    source = np.array(turn) @ (column - center, row - center) + center
    assert (pixels[row, column] == image[int(source[1]), int(source[0])]).all()
    assert (yx, yy) in {(0, 1), (0, -1), (1, 0), (-1, 0)}


@PLACES
@pytest.mark.parametrize("warp", [0, 1, 2, None])
@pytest.mark.parametrize("angle", [0, 10, 80])
def test_several_movements_are_done_as_one(warp, angle, place):
    """Both one after the other give the same, but for what interpolating twice blurs."""
    image, mask = tile()
    turn = cv2.getRotationMatrix2D((EDGE / 2, EDGE / 2), angle, 1.1)
    first = Movement(np.linalg.inv(np.vstack([turn, [0, 0, 1]])) @ around_center(TURNS[5], SQUARE))
    bends = [A.GridDistortion(), A.OpticalDistortion(distort_limit=(0.9, 1)), A.ElasticTransform(alpha=300, sigma=8)]
    bend = drawn(seeded(bends[warp], 3)).warp if warp is not None else None
    moved = first.crop(image, mask, WHOLE)
    twice = Movement(np.eye(3), bend).crop(np.ascontiguousarray(moved[0][..., :3]), moved[1], place)
    once = Movement(first.matrix, bend).crop(image, mask, place)
    assert np.abs(once[0][..., :3].astype(int) - twice[0][..., :3]).mean() < 1.5
    assert (once[1] != twice[1]).mean() < 0.07


def test_the_whole_mask_is_moved_as_a_crop_of_it_is():
    image, mask = tile()
    for seed, transform in enumerate(BENT):
        movement = drawn(seeded(transform, seed))
        assert (movement.mask(mask)[CROP] == movement.crop(image, mask, CROP)[1]).all()


def test_an_enlarged_square_fills_the_tile():
    image, mask = tile()
    pixels, bits = Movement(enlarged(12, 5, 60, EDGE)).crop(image, mask, WHOLE)
    plain = cv2.resize(image[5:65, 12:72], (EDGE, EDGE), interpolation=cv2.INTER_LINEAR)
    assert np.quantile(np.abs(pixels[..., :3].astype(int) - plain)[1:-1, 1:-1], 0.99) <= 1
    nearest = cv2.resize(mask[5:65, 12:72], (EDGE, EDGE), interpolation=cv2.INTER_NEAREST_EXACT)
    assert (bits != nearest).mean() < 0.02


def test_an_elastic_bend_is_as_strong_and_as_smooth_as_that_of_albumentations():
    edge, alpha, sigma = 256, 100, 8
    inner = slice(3 * sigma, edge - 3 * sigma)
    ours, theirs = [], []
    for seed in range(6):
        transform = seeded(A.ElasticTransform(alpha=alpha, sigma=sigma), seed)
        maps = transform.get_params_dependent_on_data({"shape": (edge, edge, 3)}, {})
        theirs.append(np.stack([maps["map_x"], maps["map_y"]]) - np.mgrid[:edge, :edge][::-1])
        warp = WARPS[A.ElasticTransform](seeded(transform, seed), (edge, edge))
        assert isinstance(warp, Elastic)
        whole = slice(0, edge)
        ours.append(np.stack(warp((edge, edge), whole, whole)) - np.mgrid[:edge, :edge][::-1])
        part = warp((edge, edge), slice(40, 90), slice(100, 130))
        assert np.allclose(part[0], warp((edge, edge), whole, whole)[0][40:90, 100:130], atol=1e-3)
    ours, theirs = (np.stack(each)[..., inner, inner] for each in (ours, theirs))
    assert ours.std() == pytest.approx(theirs.std(), rel=0.08)
    for shift in (4, 8, 16, 24):
        along = [np.corrcoef(each[..., shift:].ravel(), each[..., :-shift].ravel())[0, 1] for each in (ours, theirs)]
        assert along[0] == pytest.approx(along[1], abs=0.1), shift
    sorted_ours, sorted_theirs = (np.quantile(each, np.linspace(0.02, 0.98, 9)) for each in (ours, theirs))
    assert np.abs(sorted_ours - sorted_theirs).max() < 0.2 * theirs.std()
