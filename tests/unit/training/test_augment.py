from typing import get_args

import numpy as np
import pytest

from tilewright.project.config.training import AugmentationName
from tilewright.training.augment import SETS, Augmentation, Cropping, jitter_stains, zoom

EACH = pytest.mark.parametrize("name", get_args(AugmentationName))


def tile(edge=96):
    """An image whose red channel is the mask's value, so that they can be compared after they have moved."""
    mask = np.zeros((edge, edge), np.uint8)
    mask[10:40, 20:70] = 1
    mask[60:80, 5:30] = 2
    return np.stack([mask * 100, np.full_like(mask, 90), np.full_like(mask, 120)], axis=-1), mask


def test_every_name_of_the_config_is_a_set():
    assert set(SETS) == set(get_args(AugmentationName))


@EACH
@pytest.mark.parametrize("at", ["random", "center"])
def test_a_set_gives_crops_and_the_same_ones_for_the_same_seed(name, at):
    augmentation = Augmentation(name, Cropping(64, at == "center"))
    image, mask = tile()
    first = [augmentation(image, mask, seed) for seed in range(12)]
    again = [Augmentation(name, Cropping(64, at == "center"))(image, mask, seed) for seed in range(12)]
    for (pixels, bits), (others, other_bits) in zip(first, again, strict=True):
        assert pixels.shape == (64, 64, 3)
        assert bits.shape == (64, 64)
        assert (pixels == others).all()
        assert (bits == other_bits).all()
    different = {pixels.tobytes() for pixels, _ in first}
    assert len(different) > 1 or (name, at) == ("none", "center")


@EACH
def test_masks_keep_their_values_and_the_tile_given_stays_as_it_is(name):
    image, mask = tile()
    before = image.copy(), mask.copy()
    augmentation = Augmentation(name, Cropping(64))
    found = np.unique(np.concatenate([augmentation(image, mask, seed)[1].ravel() for seed in range(20)]))
    assert set(found.tolist()) <= {0, 1, 2}
    assert (image == before[0]).all()
    assert (mask == before[1]).all()


@pytest.mark.parametrize("name", ["none", "flips", "d4", "zoom"])
def test_image_and_mask_move_together(name):
    augmentation = Augmentation(name, Cropping(64))
    image, mask = tile()
    for seed in range(20):
        pixels, bits = augmentation(image, mask, seed)
        same = (pixels[..., 0].astype(int) - 100 * bits) == 0
        assert same.mean() > (0.93 if name == "zoom" else 0.999)  # edges of an enlarged image are soft


def test_both_flips_are_drawn_apart_from_each_other():
    corner = np.zeros((32, 32), np.uint8)
    corner[2:8, 3:20] = 1
    image, augmentation = np.zeros((32, 32, 3), np.uint8), Augmentation("flips", Cropping(32))
    seen = [augmentation(image, corner, seed)[1].tobytes() for seed in range(400)]
    shares = [seen.count(each) / 400 for each in set(seen)]
    assert shares == pytest.approx([0.25] * 4, abs=0.08)


@pytest.mark.parametrize(("name", "unchanged"), [("light_scale", 0.6), ("rich", 0.25)])
def test_colours_change_at_the_rate_that_a_set_states(name, unchanged):
    image = np.random.default_rng(0).integers(40, 200, (32, 32, 3)).astype(np.uint8)
    mask = np.zeros((32, 32), np.uint8)
    augmentation = Augmentation(name, Cropping(32))
    levels = set(np.unique(image.reshape(-1, 3), axis=0).view("u1,u1,u1").ravel().tolist())

    def kept(seed):
        pixels, _ = augmentation(image, mask, seed)
        return set(pixels.reshape(-1, 3).view("u1,u1,u1").ravel().tolist()) <= levels

    found = np.mean([kept(seed) for seed in range(400)])
    # of light_scale's two fifths some get nothing, and of rich's turned tiles none keeps its pixels
    low, high = (unchanged, 0.92) if name == "light_scale" else (0.03, unchanged)
    assert low < found < high


def test_more_than_fifteen_classes_are_moved_too():
    image, mask = tile()
    wide = mask.astype(np.uint32) << 20
    augmentation = Augmentation("rich", Cropping(64))
    for seed in range(20):
        narrow = augmentation(image, mask, seed)[1]
        moved = augmentation(image, wide, seed)[1]
        assert set(np.unique(moved).tolist()) <= {0, 1 << 20, 2 << 20}
        # OpenCV rounds places of 8 and of 16 bits differently now and then
        assert (moved != narrow.astype(np.uint32) << 20).sum() <= 4


def test_all_eight_flips_and_turns_occur():
    corner = np.zeros((32, 32), np.uint8)
    corner[2:8, 3:20] = 1
    seen = {
        Augmentation("d4", Cropping(32))(np.zeros((32, 32, 3), np.uint8), corner, seed)[1].tobytes()
        for seed in range(80)
    }
    assert len(seen) == 8


def test_a_crop_at_the_centre_is_there():
    image, mask = tile()
    pixels, _ = Augmentation("none", Cropping(32, centered=True))(image, mask, 0)
    assert (pixels == image[32:64, 32:64]).all()


def test_crops_around_a_class_come_at_their_rate_and_give_each_class_its_share():
    mask = np.zeros((256, 256), np.uint8)
    mask[10:30, 10:30] = 1
    mask[250, 250] = 2  # a single pixel of another class
    places = [Cropping(32, class_crops=0.6, classes=2).place(mask, np.random.default_rng(seed)) for seed in range(600)]
    assert all(mask[place].shape == (32, 32) for place in places)
    first, second = (np.mean([(mask[place] == value).any() for place in places]) for value in (1, 2))
    assert first == pytest.approx(0.3, abs=0.07)
    assert second == pytest.approx(0.3, abs=0.07)


def test_crops_of_a_tile_without_a_class_are_random():
    mask = np.full((64, 64), 4, np.uint8)  # ignored all over
    places = {
        str(Cropping(32, class_crops=1, classes=2).place(mask, np.random.default_rng(seed))) for seed in range(50)
    }
    assert len(places) > 40


def test_random_crops_reach_every_corner():
    mask = np.zeros((34, 33), np.uint8)
    corners = {
        tuple(part.start for part in Cropping(32).place(mask, np.random.default_rng(seed))) for seed in range(100)
    }
    assert corners == {(row, column) for row in range(3) for column in range(2)}


def test_stains_without_change_leave_colours_as_they_are():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    found = jitter_stains(pixels, np.random.default_rng(1), scale=0, shift=0)
    assert np.abs(found.astype(int) - pixels).max() <= 1


def test_more_of_all_stains_is_darker_and_white_stays_white():
    class More:
        def uniform(self, low, high, count):
            return np.full(count, high)

    pixels = np.full((4, 4, 3), (200, 150, 180), np.uint8)
    assert (jitter_stains(pixels, More(), scale=0.2, shift=0) < pixels).all()
    white = np.full((4, 4, 3), 255, np.uint8)
    assert (jitter_stains(white, More(), scale=0.2, shift=0) == 255).all()


def test_zoom_enlarges_a_square_at_the_given_rate():
    image, mask = tile()
    found = [zoom(image, mask, np.random.default_rng(seed), probability=0.3) for seed in range(300)]
    changed = [(pixels != image).any() for pixels, _ in found]
    assert np.mean(changed) == pytest.approx(0.3, abs=0.08)
    # of a square of at least 64 % of the edge, objects become at most 1 / 0.64 as long
    assert max(bits.astype(bool).sum() for _, bits in found) < mask.astype(bool).sum() / 0.64**2 * 1.1
