"""Two ensembles on the same slides."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tilewright.report.comparison import BOTH, FOUND, TRUE, chosen_slides, compared, overlap_picture

TABLE = ("slide", "class", "dice")
NONE = pd.DataFrame([], columns=TABLE)
SOME = pd.DataFrame([("a", "any", 0.5)], columns=TABLE)


@pytest.mark.parametrize(
    ("asked", "scores", "names"),
    [
        ([], {"x": SOME, "y": SOME, "z": SOME}, ("x", "y")),
        (["z", "x"], {"x": SOME, "y": SOME, "z": SOME}, ("z", "x")),
        ([], {"x": SOME, "y": NONE, "z": SOME}, ("x", "z")),
        (["x", "y"], {"x": SOME, "y": NONE, "z": SOME}, None),
        ([], {"x": SOME}, None),
        ([], {}, None),
    ],
)
def test_two_ensembles_with_scores_are_compared(asked, scores, names):
    assert compared(SimpleNamespace(report=SimpleNamespace(compare=asked)), scores) == names


def test_slides_come_by_how_much_the_two_differ_and_only_what_both_know():
    first = pd.DataFrame(
        [("a", "any", 0.5), ("a", "gland", 0.1), ("b", "any", 0.9), ("c", "any", 0.3), ("d", "any", 0.3)], columns=TABLE
    )
    second = pd.DataFrame(
        [("a", "any", 0.6), ("a", "gland", 0.9), ("b", "any", 0.2), ("c", "any", 0.3), ("e", "any", 0.3)], columns=TABLE
    )
    assert chosen_slides(first, second) == ["b", "a", "c"]
    by_class = pd.DataFrame([("a", "gland", 0.1), ("a", "vessel", 0.3), ("b", "gland", 0.9)], columns=TABLE)
    assert chosen_slides(by_class, by_class.assign(dice=[0.5, 0.5, 0.8])) == ["a", "b"]


def test_truth_and_what_is_found_have_their_colours_and_what_both_have_a_third():
    truth, found = np.array([[1, 1, 0, 0]], bool), np.array([[0, 1, 1, 0]], bool)
    assert overlap_picture(truth, found)[0].tolist() == [list(TRUE), list(BOTH), list(FOUND), [0, 0, 0]]
