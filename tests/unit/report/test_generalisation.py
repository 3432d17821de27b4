import math

import pandas as pd
import pytest

from tilewright.report.generalisation import LISTED, group_scores


def rows(*slides):
    """Slides by name, class, pixels of both, predicted and true; the last argument of each may name the set."""
    columns = ["slide", "class", "intersection", "predicted_area", "truth_area", "set"]
    return pd.DataFrame([(*one, "out_of_fold")[:6] for one in slides], columns=columns)


GROUPS = {"a1": "a", "a2": "a", "b1": "b", "c1": "c", "t1": "c"}


def test_each_group_stands_beside_all_others_the_worst_first():
    slides = rows(
        ("a1", "gland", 8, 10, 10), ("a2", "gland", 0, 10, 10), ("b1", "gland", 1, 10, 10), ("c1", "gland", 9, 10, 10),
        ("t1", "gland", 0, 99, 99, "test"),
    )  # fmt: skip
    found = group_scores(slides, GROUPS, ["gland"])
    assert [(one.group, one.slides) for one in found] == [("b", 1), ("a", 2), ("c", 1)]
    assert [one.own[0] for one in found] == pytest.approx([2 / 20, 16 / 40, 18 / 20])
    assert [one.others[0] for one in found] == pytest.approx([34 / 60, 20 / 40, 18 / 60])


def test_a_class_that_a_group_does_not_have_is_left_open():
    slides = rows(
        ("a1", "gland", 8, 10, 10), ("b1", "gland", 0, 3, 0), ("c1", "gland", 5, 10, 10), ("c1", "vessel", 5, 10, 10)
    )
    found = {one.group: one for one in group_scores(slides, GROUPS, ["gland", "vessel"])}
    assert all(map(math.isnan, found["b"].own))
    assert math.isnan(found["a"].own[1])
    assert found["a"].others == pytest.approx([10 / 23, 10 / 20])
    assert found["c"].own == pytest.approx([0.5, 0.5])
    assert math.isnan(found["c"].others[1])


def test_two_groups_say_nothing_of_each_other_and_of_many_the_worst_are_told():
    two = rows(("a1", "gland", 8, 10, 10), ("b1", "gland", 1, 10, 10))
    assert group_scores(two, GROUPS, ["gland"]) == []
    many = rows(*((f"s{place}", "gland", place, 50, 50) for place in range(40)))
    found = group_scores(many, {f"s{place}": f"g{place}" for place in range(40)}, ["gland"])
    assert [one.group for one in found] == [f"g{place}" for place in range(LISTED)]
