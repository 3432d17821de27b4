import math

import pandas as pd
import pytest

from tilewright.report.generalisation import LISTED, column_scores, group_scores
from tilewright.report.reading import read_slide_scores


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
    assert [(one.name, one.slides) for one in found] == [("b", 1), ("a", 2), ("c", 1)]
    assert [one.own[0] for one in found] == pytest.approx([2 / 20, 16 / 40, 18 / 20])
    assert [one.others[0] for one in found] == pytest.approx([34 / 60, 20 / 40, 18 / 60])


def test_a_class_that_a_group_does_not_have_is_left_open():
    slides = rows(
        ("a1", "gland", 8, 10, 10), ("b1", "gland", 0, 3, 0), ("c1", "gland", 5, 10, 10), ("c1", "vessel", 5, 10, 10)
    )
    found = {one.name: one for one in group_scores(slides, GROUPS, ["gland", "vessel"])}
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
    assert [one.name for one in found] == [f"g{place}" for place in range(LISTED)]


@pytest.fixture
def of_donors(tmp_path):
    def written(column, *values):
        """A slide a value, read from a file: as many of its ten pixels are found as its place says."""
        slides = rows(*((f"s{place}", "gland", place, 10, 10) for place in range(len(values))))
        slides.assign(dice=math.nan, **{column: values}).to_csv(tmp_path / "slides.csv", index=False)
        return read_slide_scores(tmp_path / "slides.csv", [column])

    return written


def test_what_the_sheet_says_of_slides_stands_beside_the_others_in_its_order(of_donors):
    found = column_scores(of_donors("sex", "m", "f", "m", ""), "sex", ["gland"])
    assert [(one.name, one.slides) for one in found] == [("f", 1), ("m", 2), ("", 1)]
    assert [one.own[0] for one in found] == pytest.approx([0.1, 0.1, 0.3])
    assert [one.others[0] for one in found] == pytest.approx([5 / 30, 4 / 20, 3 / 30])
    assert [one.name for one in column_scores(of_donors("age", "10", "9", "60.5"), "age", ["gland"])] == [
        "9",
        "10",
        "60.5",
    ]
    assert column_scores(of_donors("sex", "m", "m"), "sex", ["gland"]) == []


def test_numbers_of_many_values_are_told_by_their_quarters(of_donors):
    ages = ["60", "58", "31", "24", "80", "44", "35", "76", "52", "44", ""]
    found = column_scores(of_donors("age", *ages), "age", ["gland"])
    assert [(one.name, one.slides) for one in found] == [
        ("24 to 35", 3), ("44", 2), ("52 to 58", 2), ("60 to 80", 3), ("", 1),
    ]  # fmt: skip
    assert found[1].own[0] == pytest.approx((5 + 9) / 20)


def test_values_are_told_as_the_sheet_has_them(of_donors):
    dates = ["20200131", "20200101", "", "20200301", "20200131"]
    found = column_scores(of_donors("date", *dates), "date", ["gland"])
    assert [(one.name, one.slides) for one in found] == [("20200101", 1), ("20200131", 2), ("20200301", 1), ("", 1)]
    codes = column_scores(of_donors("code", "007", "7", "None", "NA"), "code", ["gland"])
    assert [one.name for one in codes] == ["007", "7", "NA", "None"]
    close = [f"1234567.{place:03}" for place in range(12)]
    found = column_scores(of_donors("x", *close), "x", ["gland"])
    assert [one.name for one in found] == [
        "1234567.000 to 1234567.002", "1234567.003 to 1234567.005", "1234567.006 to 1234567.008",
        "1234567.009 to 1234567.011",
    ]  # fmt: skip


def test_of_texts_that_hardly_repeat_those_furthest_behind_are_told(of_donors):
    found = column_scores(of_donors("note", *(f"n{place:02}" for place in range(40))), "note", ["gland"])
    assert [one.name for one in found] == [f"n{place:02}" for place in range(LISTED)]
    assert found[0].own == [0]
