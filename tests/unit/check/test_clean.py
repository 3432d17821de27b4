"""Sizes, and which of what is kept is chosen; what ``clean`` does to real results: tests/workflow/test_kept.py."""

import time
from pathlib import Path

import pytest

from tilewright.check.clean import DAY, Held, _beyond, _bytes, _matching, _size
from tilewright.runtime.digests import Made
from tilewright.runtime.errors import UserError
from tilewright.runtime.kept import Entry


def held(verb, days, size, *, needed=False):
    made = Made(verb=verb, computed=time.time() - days * DAY)
    return Held(Entry(Path(f"{verb}{days}"), made, ()), needed, size, size)


ALL = [held("train", 40, 300), held("tile", 20, 500, needed=True), held("train", 1, 200, needed=True)]


def test_what_meets_all_that_is_asked_for_is_chosen():
    assert _matching(ALL, [], None, unneeded=False) == ALL
    assert _matching(ALL, ["train"], None, unneeded=False) == [ALL[0], ALL[2]]
    assert _matching(ALL, [], 10, unneeded=False) == ALL[:2]
    assert _matching(ALL, [], 10, unneeded=True) == ALL[:1]
    assert _matching(ALL, ["tile"], 30, unneeded=False) == []


@pytest.mark.parametrize(("most", "gone"), [(1000, 0), (999, 1), (700, 1), (699, 2), (0, 3)])
def test_the_oldest_go_until_no_more_than_that_is_left(most, gone):
    assert _beyond(ALL, ALL, most) == ALL[:gone]


@pytest.mark.parametrize(("text", "count"), [("20GB", 20e9), ("500 mb", 5e8), ("1.5T", 1.5e12), ("12", 12)])
def test_a_size_is_written_as_people_do(text, count):
    assert _bytes(text) == count


def test_what_is_no_size_is_told():
    with pytest.raises(UserError, match='"much" is no size'):
        _bytes("much")


@pytest.mark.parametrize(
    ("count", "text"), [(100, "0.1 KB"), (2_500_000, "2.5 MB"), (3e12, "3.0 TB"), (5e15, "5000.0 TB")]
)
def test_a_size_is_told_in_the_unit_that_fits(count, text):
    assert _size(count) == text
