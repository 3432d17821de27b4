"""What differs between two orders, a line for each value."""

import pytest

from tilewright.check.why import differences

ROW = {"slide": "s1", "image": "s1.tif", "mpp": 0.5}


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ({"a": 1, "b": {"c": [1, 2]}}, {"a": 1, "b": {"c": [1, 2]}}, []),
        ({"network": {"epochs": 10}}, {"network": {"epochs": 12}}, ["network.epochs: 10 -> 12"]),
        ({"a": 1}, {"b": None, "a": None}, ["a: 1 -> none"]),
        ({}, {"b": "x"}, ['b: none -> "x"']),
        ({"rows": [ROW]}, {"rows": [ROW, {**ROW, "slide": "s2"}]}, ["rows.s2 was added"]),
        ({"rows": [{**ROW, "slide": "s2"}, ROW]}, {"rows": [ROW]}, ["rows.s2 was taken out"]),
        ({"rows": [ROW]}, {"rows": [{**ROW, "mpp": None}]}, ["rows.s1.mpp: 0.5 -> none"]),
        ({"rows": []}, {"rows": [ROW]}, ["rows.s1 was added"]),
        ({"folds": [0, 1]}, {"folds": [0]}, ["folds: [0, 1] -> [0]"]),
        ({"text": "x" * 99}, {"text": ""}, [f'text: "{"x" * 56}... -> ""']),
    ],
)
def test_each_value_that_differs_is_a_line(before, after, lines):
    assert list(differences(before, after)) == lines
