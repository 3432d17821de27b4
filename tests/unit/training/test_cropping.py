import numpy as np
import pytest

from tilewright.training.cropping import Cropping


def place(cropping, mask, seed):
    return cropping.place(mask.shape, lambda: mask, np.random.default_rng(seed))


def test_crops_around_a_class_come_at_their_rate_and_give_each_class_its_share():
    mask = np.zeros((256, 256), np.uint8)
    mask[10:30, 10:30] = 1
    mask[250, 250] = 2  # a single pixel of another class
    places = [place(Cropping(32, class_crops=0.6, classes=2), mask, seed) for seed in range(600)]
    assert all(mask[each].shape == (32, 32) for each in places)
    first, second = (np.mean([(mask[each] == value).any() for each in places]) for value in (1, 2))
    assert first == pytest.approx(0.3, abs=0.07)
    assert second == pytest.approx(0.3, abs=0.07)


def test_crops_of_a_tile_without_a_class_are_random():
    mask = np.full((64, 64), 4, np.uint8)  # ignored all over
    assert len({str(place(Cropping(32, class_crops=1, classes=2), mask, seed)) for seed in range(50)}) > 40


def test_random_crops_reach_every_corner():
    mask = np.zeros((34, 33), np.uint8)
    corners = {tuple(part.start for part in place(Cropping(32), mask, seed)) for seed in range(100)}
    assert corners == {(row, column) for row in range(3) for column in range(2)}


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.uint32])
def test_a_crop_around_a_class_shows_a_pixel_of_it_wherever_that_lies(kind):
    mask = np.zeros((64, 64), kind)
    mask[50, 7] = 2
    shown = [mask[place(Cropping(32, class_crops=1, classes=2), mask, seed)] for seed in range(40)]
    assert all(part.any() for part in shown)
    assert len({tuple(np.argwhere(part)[0]) for part in shown}) > 10


def test_the_mask_is_moved_only_where_a_crop_asks_for_it():
    def moved():
        raise AssertionError

    for cropping in (Cropping(32), Cropping(32, centered=True)):
        cropping.place((64, 64), moved, np.random.default_rng(0))
