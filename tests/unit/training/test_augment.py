from dataclasses import replace
from typing import get_args

import albumentations as A  # noqa: N812
import cv2
import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp

from tilewright.project.config.training import AugmentationName
from tilewright.training.augment import SETS, Augmentation, zoom
from tilewright.training.cropping import Cropping
from tilewright.training.recoloring import Recoloring

EACH = pytest.mark.parametrize("name", get_args(AugmentationName))


def tile(edge=96):
    """An image whose red channel is the mask's value, so that they can be compared after they have moved."""
    mask = np.zeros((edge, edge), np.uint8)
    mask[10:40, 20:70] = 1
    mask[60:80, 5:30] = 2
    return np.stack([mask * 100, np.full_like(mask, 90), np.full_like(mask, 120)], axis=-1), mask


def finished(augmented):
    """Image (rows x columns x 3) after the second half too, and mask."""
    images = Recoloring.of([augmented.changes])(torch.from_numpy(augmented.image[None]))
    return np.moveaxis(images[0].numpy(), 0, -1), augmented.mask


def test_every_name_of_the_config_is_a_set():
    assert set(SETS) == set(get_args(AugmentationName))


@EACH
@pytest.mark.parametrize("at", ["random", "center"])
def test_a_set_gives_crops_and_the_same_ones_for_the_same_seed(name, at):
    augmentation = Augmentation(name, Cropping(64, at == "center"))
    image, mask = tile()
    first = [finished(augmentation(image, mask, seed)) for seed in range(12)]
    again = [finished(Augmentation(name, Cropping(64, at == "center"))(image, mask, seed)) for seed in range(12)]
    for (pixels, bits), (others, other_bits) in zip(first, again, strict=True):
        assert pixels.shape == (64, 64, 3)
        assert bits.shape == (64, 64)
        assert (pixels == others).all()
        assert (bits == other_bits).all()
    different = {pixels.tobytes() for pixels, _ in first}
    assert len(different) > 1 or (name, at) == ("none", "center")


@EACH
@pytest.mark.parametrize("writable", [True, False])
def test_masks_keep_their_values_and_the_tile_given_stays_as_it_is(name, writable):
    image, mask = tile()
    before = image.copy(), mask.copy()
    image.flags.writeable = mask.flags.writeable = writable  # tiles that are read twice are not
    augmentation = Augmentation(name, Cropping(64))
    made = [augmentation(image, mask, seed) for seed in range(20)]
    assert set(np.unique([each.mask for each in made]).tolist()) <= {0, 1, 2}
    for each in made:
        each.image[:], each.mask[:] = 7, 7
    assert (image == before[0]).all()
    assert (mask == before[1]).all()


@pytest.mark.parametrize("name", ["none", "flips", "d4", "zoom"])
def test_image_and_mask_move_together(name):
    augmentation = Augmentation(name, Cropping(64))
    image, mask = tile()
    for seed in range(20):
        pixels, bits = finished(augmentation(image, mask, seed))
        same = (pixels[..., 0].astype(int) - 100 * bits) == 0
        assert same.mean() > (0.9 if name == "zoom" else 0.999)  # edges of an enlarged image are soft


def test_both_flips_are_drawn_apart_from_each_other():
    corner = np.zeros((32, 32), np.uint8)
    corner[2:8, 3:20] = 1
    image, augmentation = np.zeros((32, 32, 3), np.uint8), Augmentation("flips", Cropping(32))
    seen = [augmentation(image, corner, seed).mask.tobytes() for seed in range(400)]
    shares = [seen.count(each) / 400 for each in set(seen)]
    assert shares == pytest.approx([0.25] * 4, abs=0.08)


def test_all_eight_flips_and_turns_come_equally_often():
    corner = np.zeros((32, 32), np.uint8)
    corner[2:8, 3:20] = 1
    image, augmentation = np.zeros((32, 32, 3), np.uint8), Augmentation("d4", Cropping(32))
    seen = [augmentation(image, corner, seed).mask.tobytes() for seed in range(800)]
    assert [seen.count(each) / 800 for each in set(seen)] == pytest.approx([1 / 8] * 8, abs=0.04)


def albumented(chosen, crop):
    """The same set as albumentations itself does it."""

    def reflected(transforms):
        for each in transforms:
            if isinstance(each, A.OneOf):
                reflected(each.transforms)
            elif hasattr(each, "border_mode"):
                each.border_mode = cv2.BORDER_REFLECT_101
        return transforms

    return A.Compose([*reflected(chosen.moves), A.CenterCrop(crop, crop), *chosen.colors], seed=1)


def facts(image, mask):
    """Numbers that tell what has been done to an image."""
    pixels = image.astype(np.float64)
    yield from pixels.mean((0, 1))
    yield from pixels.std((0, 1))
    yield np.abs(np.diff(pixels, axis=1)).mean()  # how sharp
    yield np.abs(np.diff(pixels, axis=2)).mean()  # how coloured
    yield (pixels.max(axis=2) < 2).mean()  # holes
    yield (mask == 1).mean()
    rows, columns = np.nonzero(mask == 1)
    yield rows.mean() if len(rows) else -1
    yield columns.mean() if len(columns) else -1


@pytest.mark.parametrize("name", ["strong", "light_scale", "rich"])
def test_a_set_draws_what_it_draws_in_albumentations(name, monkeypatch):
    """Distributions over samples of many facts are equal; stains are not albumentations'."""
    monkeypatch.setitem(SETS, name, lambda made=SETS[name]: replace(made(), stains=None))
    generator = np.random.default_rng(0)
    soft = cv2.resize(generator.random((24, 24, 3)).astype(np.float32), (96, 96), interpolation=cv2.INTER_CUBIC)
    image = np.clip(40 + 170 * soft + generator.normal(0, 8, soft.shape), 0, 255).astype(np.uint8)
    mask = tile()[1]
    theirs, ours = albumented(SETS[name](), 64), Augmentation(name, Cropping(64, centered=True))
    expected, found = [], []
    for seed in range(400):
        made = theirs(image=image, mask=mask)
        expected.append([*facts(made["image"], made["mask"])])
        found.append([*facts(*finished(ours(image, mask, seed)))])
    for number, (one, other) in enumerate(zip(np.transpose(expected), np.transpose(found), strict=True)):
        # by chance, one pair in a hundred differs by more than 0.115; a whole level of rounding is no difference
        statistic = ks_2samp(np.round(one / 0.02 / (one.std() + 1e-9)), np.round(other / 0.02 / (one.std() + 1e-9)))
        assert statistic.statistic < 0.125, number


def test_more_than_fifteen_classes_are_moved_too():
    image, mask = tile()
    wide = mask.astype(np.uint32) << 20
    augmentation = Augmentation("rich", Cropping(64))
    for seed in range(20):
        narrow = augmentation(image, mask, seed).mask
        moved = augmentation(image, wide, seed).mask
        assert (moved == narrow.astype(np.uint32) << 20).all()


def test_a_crop_at_the_centre_is_there():
    image, mask = tile()
    pixels, _ = finished(Augmentation("none", Cropping(32, centered=True))(image, mask, 0))
    assert (pixels == image[32:64, 32:64]).all()


@pytest.mark.parametrize("name", ["d4", "strong", "rich"])
def test_crops_around_a_class_find_it_where_it_has_moved_to(name):
    mask = np.zeros((96, 96), np.uint8)
    mask[44:48, 60:66] = 2
    augmentation = Augmentation(name, Cropping(32, class_crops=1, classes=2))
    shown = [augmentation(np.zeros((96, 96, 3), np.uint8), mask, seed).mask for seed in range(60)]
    assert np.mean([(each == 2).any() for each in shown]) == 1


def test_what_a_set_does_on_the_host_comes_before_what_is_left():
    """Equalised contrast (CLAHE) and what precedes it are done by albumentations; nothing is done twice."""
    image = np.random.default_rng(0).integers(60, 120, (64, 64, 3)).astype(np.uint8)
    augmentation = Augmentation("light_scale", Cropping(64, centered=True))
    made = [augmentation(image, np.zeros((64, 64), np.uint8), seed) for seed in range(600)]
    levels = set(np.unique(image).tolist())
    host = [each for each in made if len(set(np.unique(each.image).tolist()) - levels) > 20]
    assert len(host) / len(made) == pytest.approx(0.4 * 0.3 / 4, abs=0.02)
    assert {change.kind for each in host for change in each.changes} <= {"holes", "gaussian"}


def test_zoom_enlarges_a_square_of_the_stated_size():
    made = np.array([zoom((100, 100), np.random.default_rng(seed)) for seed in range(300)])
    side, left, top = 100 * made[:, 0, 0], *(np.rint(made[:, axis, 2] + (1 - made[:, 0, 0]) / 2) for axis in (0, 1))
    assert (left.min(), left.max(), top.min(), top.max()) == (0, 19, 0, 19)
    rest = 100 - np.maximum(left, top)
    assert (side <= rest + 1e-9).all()
    assert (side >= 0.8 * rest - 1).all()
    image, mask = tile()
    augmentation = Augmentation("zoom", Cropping(96))
    area = [augmentation(image, mask, seed).mask.astype(bool).sum() != mask.astype(bool).sum() for seed in range(300)]
    assert np.mean(area) == pytest.approx(0.3, abs=0.08)
