"""What the rows of a sheet make doubtful together."""

from pathlib import Path

import pytest

from tilewright.check.sheets import sheet_warnings
from tilewright.project.rows import Region, Row, Sheet

COLUMNS = ("slide", "image", "annotations", "role", "group", "region")


def row(slide, image="x.png", role="train", group="g1", region=None):
    return Row(slide=slide, image=Path(image), annotations=Path("x.geojson"), role=role, group=group, region=region)


def warnings_of(*rows, columns=COLUMNS):
    return [
        f"{problem.where}: {problem.what}" for problem in sheet_warnings(Sheet(Path("s.csv"), rows, columns=columns))
    ]


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (row("b", role="test", group="g2"), True),
        (row("b", group="g2"), True),
        (row("b", image="./x.png", role="external", group="g2"), True),
        (row("b"), False),
        (row("b", image="y.png", role="test", group="g2"), False),
        (row("b", group="g2", region=Region(128, 64, 64, 128)), False),
        (row("b", group="g2", region=Region(127, 64, 64, 128)), True),
        (row("b", group="g2", region=Region(0, 64, 64, 128)), False),
        (row("b", group="g2", region=Region(0, 64, 65, 128)), True),
        (row("b", group="g2", region=Region(64, 0, 64, 64)), False),
        (row("b", group="g2", region=Region(64, 0, 64, 65)), True),
        (row("b", group="g2", region=Region(64, 192, 64, 128)), False),
        (row("b", role="test", group="g2", region=Region(64, 191, 64, 128)), True),
    ],
)
def test_pixels_on_both_sides_of_a_comparison_are_a_leak(tmp_path, monkeypatch, second, told):
    monkeypatch.chdir(tmp_path)
    found = warnings_of(row("a", region=Region(64, 64, 64, 128)), second)
    text = (
        f"s.csv, row 0 (slide b): it shows pixels of {second.image} that the slide a (train in the group g1) shows too."
    )
    assert found == ([text] if told else [])


def test_test_slides_that_show_the_same_are_no_leak():
    assert warnings_of(row("a", role="test", group="g1"), row("b", role="test", group="g2")) == []


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("split", "role"),
        ("Patient_ID", "group"),
        ("case", "group"),
        ("pixel_size_um", "mpp"),
        ("geojson", "annotations"),
    ],
)
def test_what_others_call_a_column_is_asked_about_where_that_is_missing(name, column):
    columns = [each for each in (*COLUMNS, "mpp") if each != column]
    text = f's.csv, header: the column "{name}" means nothing here, and there is no column {column}.'
    assert warnings_of(row("a"), columns=(*columns, name)) == [text]
    assert warnings_of(row("a"), columns=(*columns, column, name)) == []


def test_test_slides_without_outlines_are_compared_with_nothing():
    bare = Row(slide="b", image=Path("y.png"), role="test", group="g1")
    assert warnings_of(row("a"), bare) == []
    (told,) = warnings_of(row("a"), row("b", image="y.png", role="test"))
    assert 'group "g1" has slides with the roles train (such as a) and test.' in told
