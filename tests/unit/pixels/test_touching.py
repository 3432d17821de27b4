import numpy as np
import pytest
from scipy import ndimage

from tilewright.pixels import touching
from tilewright.pixels.components import Components, components_of
from tilewright.pixels.rle import decode_row_major
from tilewright.pixels.runs import Runs
from tilewright.pixels.thresholds import SCORES
from tilewright.pixels.touching import split_touching
from tilewright.project.config import Split

CORNERS = np.ones((3, 3))


def disks(places, height=120, width=160):
    rows, columns = np.mgrid[:height, :width]
    return np.logical_or.reduce([(rows - y) ** 2 + (columns - x) ** 2 <= r**2 for x, y, r in places])


def components(mask):
    return _components_of(Runs.from_mask(mask))


def _components_of(runs):
    lengths = runs.lengths()
    values = np.empty(len(runs), SCORES)
    values["sum"], values["largest"], values["count"] = 2.0 * lengths, 3.0, lengths
    return Components(runs, components_of(runs), values)


def crowd(seed=0, count=60, height=300, width=260):
    draw = np.random.default_rng(seed)
    places = zip(draw.uniform(0, width, count), draw.uniform(0, height, count), draw.uniform(6, 11, count), strict=True)
    return disks(list(places), height, width)


def test_touching_disks_are_cut_where_they_touch():
    found, lines = split_touching(components(disks([(50, 60, 20), (82, 60, 18), (110, 75, 17)])), Split())
    assert int(found.owner.max()) == 2
    assert lines.start.min() > 60
    assert lines.area() < 60
    areas = np.bincount(found.owner, found.runs.lengths())
    assert areas == pytest.approx([np.pi * r**2 for r in (20, 18, 17)], rel=0.1)


@pytest.mark.parametrize("shape", [disks([(60, 60, 30)]), np.pad(np.ones((40, 80), bool), 20), disks([(3, 3, 15)])])
def test_what_has_one_centre_stays_whole(shape):
    before = components(shape)
    found, lines = split_touching(before, Split(distance=20))
    assert lines.area() == 0
    assert found.runs == before.runs
    assert (found.values == before.values).all()


def test_nothing_is_lost_and_what_remains_is_apart():
    mask = crowd()
    found, lines = split_touching(components(mask), Split(distance=10))
    assert ((found.runs.to_mask() | lines.to_mask()) == mask).all()
    assert not (found.runs.to_mask() & lines.to_mask()).any()
    before, after = (ndimage.label(each, CORNERS)[1] for each in (mask, found.runs.to_mask()))
    assert int(found.owner.max()) + 1 == after > before


@pytest.mark.parametrize("block", [64, 100])
def test_blocks_give_the_cuts_of_the_whole(monkeypatch, block):
    mask = crowd(1)
    whole, _ = split_touching(components(mask), Split(distance=10))
    monkeypatch.setattr(touching, "PIECE", block)
    assert split_touching(components(mask), Split(distance=10))[0].runs == whole.runs


def test_a_cut_run_shares_its_sum_by_length():
    found, _ = split_touching(components(crowd()), Split(distance=10))
    lengths = found.runs.lengths()
    assert found.values["sum"] == pytest.approx(2 * lengths)
    assert found.values["count"] == pytest.approx(lengths)
    assert (found.values["largest"] == 3).all()


def test_nothing_gives_nothing():
    found, lines = split_touching(components(np.zeros((20, 20), bool)), Split(distance=5))
    assert len(found.runs) == lines.area() == 0


# Two touching nuclei as a network drew them, 70 x 72 pixels by rows (dsb2018, CC0)
ENDLESS = (
    "87 13 154 18 221 23 289 27 358 29 427 32 496 34 566 36 635 38 705 41 774 43 844 44 914 45 983 47 1053 48 1123 "
    "49 1192 51 1262 52 1332 52 1402 54 1472 54 1542 56 1612 56 1682 57 1752 58 1822 58 1892 59 1963 59 2033 59 "
    "2104 59 2174 60 2245 59 2315 60 2386 60 2456 60 2526 60 2597 60 2667 60 2737 61 2808 60 2878 60 2949 59 3019 "
    "60 3090 59 3160 59 3231 58 3302 58 3372 58 3443 57 3514 56 3585 55 3656 54 3727 53 3798 51 3869 50 3939 50 "
    "4011 48 4082 46 4153 45 4225 43 4296 41 4367 39 4439 37 4510 35 4582 32 4654 29 4727 25 4799 21 4875 13 4948 7 "
)


@pytest.mark.timeout(30)
def test_a_mask_on_which_the_library_s_own_cuts_never_end_is_cut():
    found, _ = split_touching(_components_of(decode_row_major(ENDLESS.strip(), 72, 70)), Split(distance=10, neck=1))
    assert int(found.owner.max()) == 1


@pytest.mark.parametrize("size", [1, 3])
def test_what_is_cut_depends_on_shape_and_not_on_size(size):
    """Two disks whose neck is 0.6 of their width are two, those whose neck is 0.9 are one."""
    for apart, parts in ((32, 2), (17, 1)):
        mask = disks([(60, 50, 20), (60 + apart, 50, 20)], 100, 160)
        found, _ = split_touching(components(np.kron(mask, np.ones((size, size), bool))), Split(neck=0.75))
        assert int(found.owner.max()) + 1 == parts


def test_without_a_neck_every_centre_is_an_object():
    mask = disks([(60, 50, 20), (77, 50, 20)], 100, 160)
    found, _ = split_touching(components(mask), Split(neck=1))
    assert int(found.owner.max()) + 1 == 2
