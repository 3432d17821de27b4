"""What a network is taught of objects, against definitions that look at each pair of pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilewright.tiles.archive import Labelled
from tilewright.training import objects
from tilewright.training.augment import Augmentation
from tilewright.training.cropping import Cropping
from tilewright.training.objects import MARGIN, UNKNOWN, ObjectBands, border, distance, touching, widened

ALL = ["mask", "touching", "border", "distance"]
NONE = np.zeros((24, 24), np.bool_)


@st.composite
def label_images(draw):
    """Rectangles on 24 x 24 pixels; later ones cover earlier ones."""
    labels = np.zeros((24, 24), np.uint16)
    for number in range(1, draw(st.integers(1, 6)) + 1):
        x, y = draw(st.tuples(st.integers(0, 22), st.integers(0, 22)))
        width, height = draw(st.tuples(st.integers(1, 16), st.integers(1, 16)))
        labels[y : y + height, x : x + width] = number
    return labels


def near(labels, number, reach):
    """Pixels within a distance of an object."""
    rows, columns = np.nonzero(labels == number)
    y, x = np.mgrid[: labels.shape[0], : labels.shape[1]]
    gaps = (y[..., None] - rows) ** 2 + (x[..., None] - columns) ** 2
    return (gaps <= reach**2).any(axis=-1)


@given(label_images())
def test_touching_are_pixels_near_two_objects_small_ones_from_nearer(labels):
    reached = [near(labels, n, 1 if (labels == n).sum() < 150 else 2) for n in np.unique(labels[labels > 0])]
    assert (touching(labels, NONE) == (np.sum(reached, axis=0) >= 2)).all()


@given(label_images())
def test_the_border_is_two_pixels_inside_and_one_outside(labels):
    padded = np.pad(labels, 2, mode="edge")  # beyond the view objects go on
    expected = np.zeros(labels.shape, bool)
    for (y, x), number in np.ndenumerate(labels):
        reach = 2 if number else 1
        around = [
            padded[y + 2 + j, x + 2 + i]
            for j in range(-reach, reach + 1)
            for i in range(-reach, reach + 1)
            if i * i + j * j <= reach * reach and 0 <= y + j < 24 and 0 <= x + i < 24
        ]
        expected[y, x] = any(other != number for other in around)
    assert (border(labels, NONE) == expected).all()


@given(label_images())
def test_distance_is_to_what_is_not_of_the_object_and_one_where_it_is_deepest(labels):
    found = distance(labels, NONE)
    assert (found[labels == 0] == 0).all()
    for number in np.unique(labels[labels > 0]):
        rows, columns = np.nonzero(labels == number)
        other_rows, other_columns = np.nonzero(labels != number)
        if not len(other_rows):
            assert (found == 1).all()
            continue
        gaps = np.hypot(rows[:, None] - other_rows, columns[:, None] - other_columns).min(axis=1)
        assert found[rows, columns] == pytest.approx(gaps / gaps.max(), abs=1e-4)


def test_where_objects_overlap_they_touch():
    labels, shared = np.zeros((24, 24), np.uint16), NONE.copy()
    labels[4:20, 4:20] = 1
    shared[10, 10] = True
    assert touching(labels, shared).sum() == 13, "a disc of two pixels"
    labels[:, 8:] = 0
    assert touching(labels, shared & (labels > 0)).sum() == 0
    shared[10, 5] = True
    assert touching(labels, shared & (labels > 0)).sum() == 5, "a small object: a disc of one pixel"


def scene(classes=2, edge=160):
    """Discs of two classes, some of them touching."""
    y, x = np.mgrid[:edge, :edge]
    labels = np.zeros((classes, edge, edge), np.uint16)
    draws = np.random.default_rng(1)
    for number in range(1, 40):
        row, column, radius = draws.integers(0, edge), draws.integers(0, edge), draws.integers(3, 12)
        labels[number % classes][(y - row) ** 2 + (x - column) ** 2 <= radius**2] = number
    return Labelled(labels, np.zeros((edge, edge), np.uint8))


def cropped(name, seed, found, image, targets=ALL, **options):
    crop = Augmentation(name, Cropping(64, classes=2, **options), ObjectBands(targets))
    mask = (found.labels > 0).astype(np.uint8)
    return crop(image, mask[0] | mask[1] << 1, seed, found)


def test_a_crop_is_taught_what_the_whole_tile_would_be():
    found = scene()
    image = np.zeros((160, 160, 3), np.uint8)
    image[..., 0], image[..., 1] = np.mgrid[:160, :160]
    whole = ObjectBands(ALL)(found)
    assert whole.shape == (6, 160, 160)
    for seed in range(12):
        crop = cropped("none", seed, found, image)
        top, left = int(crop.image[0, 0, 0]), int(crop.image[1, 0, 0])
        assert (crop.bands == whole[:, top : top + 64, left : left + 64]).all()


def test_without_the_margin_objects_that_a_crop_cuts_would_be_others(monkeypatch):
    found, image = scene(), np.zeros((160, 160, 3), np.uint8)
    expected = cropped("none", 3, found, image).bands
    monkeypatch.setattr(objects, "MARGIN", 0)
    assert (cropped("none", 3, found, image).bands != expected).any()


@pytest.mark.parametrize("name", ["d4", "strong", "rich", "zoom"])
def test_objects_move_as_the_mask_does(name):
    found, image = scene(), np.zeros((160, 160, 3), np.uint8)
    for seed in range(8):
        crop = cropped(name, seed, found, image, ["mask", "distance"])
        for place in range(2):
            assert ((crop.bands[place] > 0) == (crop.mask >> place & 1 > 0)).mean() > 0.995


def test_what_is_drawn_does_not_depend_on_the_targets():
    found, image = scene(), np.random.default_rng(0).integers(0, 256, (160, 160, 3), np.uint8)
    plain = Augmentation("strong", Cropping(64, classes=2))(image, np.zeros((160, 160), np.uint8), 5)
    taught = Augmentation("strong", Cropping(64, classes=2), ObjectBands(ALL))(
        image, np.zeros((160, 160), np.uint8), 5, found
    )
    assert (plain.image == taught.image).all()
    assert plain.bands is None


def test_tiles_whose_objects_nobody_knows_teach_nothing_of_them():
    crop = Augmentation("d4", Cropping(64, classes=2), ObjectBands(ALL))
    bands = crop(np.zeros((96, 96, 3), np.uint8), np.zeros((96, 96), np.uint8), 0, None).bands
    assert bands.shape == (6, 64, 64)
    assert (bands == UNKNOWN).all()


def test_a_view_ends_with_the_tile():
    view, inner = widened((slice(0, 10), slice(90, 100)), (100, 100))
    assert view == (slice(0, 10 + MARGIN), slice(90 - MARGIN, 100))
    assert inner == (slice(0, 10), slice(MARGIN, MARGIN + 10))
