"""What is told of corrections, and the corrected outlines for QuPath."""

import gzip
import json

import pytest
from shapely import box
from shapely.geometry import shape

from tilewright.annotations import read_outlines
from tilewright.annotations.decisions import Decision, outline_hash, write_decisions
from tilewright.evaluation.corrections import corrections
from tilewright.runtime.errors import AnnotationError, UserError

NEW = box(20, 30, 32, 42)


@pytest.fixture
def told(project, monkeypatch, capsys):
    """Runs the verb; what it prints and what it logs."""
    monkeypatch.chdir(project.folder)

    def told(**asked):
        corrections(config=project.config_file, **asked)
        return capsys.readouterr()

    return told


@pytest.fixture
def decided(project):
    """Three decisions about the slide a1, one of which meets no outline."""
    outlines = read_outlines(project.sheet.parent / "a1.geojson", "a1", (1000, 1000)).annotations
    known, gone = outline_hash(outlines[0].label, outlines[0].geometry), outline_hash("gland", NEW)
    write_decisions(project.sheet.parent / "corrections" / "a1.geojson", [
        Decision("d1", "reject", outlines[0].label, outlines[0].geometry, "Ada", "2026-11-29", "fold", "", known),
        Decision("d2", "draw", "vessel", NEW, "Ada", "2026-11-29"),
        Decision("d3", "rename", "vessel", NEW, "Bo", "2026-11-30", replaces_hash=gone),
    ])  # fmt: skip
    return outlines


def test_each_decision_is_a_line_and_one_that_meets_no_outline_says_so(told, decided):
    lines = told().out.splitlines()
    assert lines[0].startswith(f"a1: 2026-11-29 Ada: reject {decided[0].label} at ")
    assert lines[0].endswith(" (fold)")
    assert lines[1:] == [
        "a1: 2026-11-29 Ada: draw vessel at 26, 36",
        "a1: 2026-11-30 Bo: rename vessel at 26, 36; not applied: its outline has changed, or is gone",
    ]


def test_a_summary_is_a_line_a_slide(told, decided):
    assert told(summary=True).out == "a1: 1 reject, 1 draw, 1 rename; by Ada, Bo; not applied: 1\n"


def test_the_corrected_outlines_are_written_for_qupath(told, decided, tmp_path):
    told(out=tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").glob("*.gz")] == ["a1.geojson.gz"]
    features = json.loads(gzip.decompress((tmp_path / "out" / "a1.geojson.gz").read_bytes()))["features"]
    found = [(each["properties"]["classification"]["name"], shape(each["geometry"])) for each in features]
    assert found == [(one.label, one.geometry) for one in decided[1:]] + [("vessel", NEW)]
    assert len({each["id"] for each in features}) == len(features)
    colors = {
        each["properties"]["classification"]["name"]: each["properties"]["classification"]["color"] for each in features
    }
    assert len({tuple(color) for color in colors.values()}) == 2


def test_without_any_the_place_is_told_where_they_would_be(told):
    assert told().out == "There are no corrections: no slide has a file such as slides/corrections/a1.geojson.\n"


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("second reader", "a1: 1 reject"),
        ("second reader/a1.geojson", "a1: 1 reject"),
        ("none", "There are no corrections: the sheet wants none."),
    ],
)
def test_the_sheet_names_another_place_or_wants_none(told, decided, project, value, says):
    (project.sheet.parent / "corrections").rename(project.sheet.parent / "second reader")
    header, first, *others = project.sheet.read_text().splitlines()
    lines = [f"{header},corrections", f"{first},{value}", *(f"{line},none" for line in others)]
    project.sheet.write_text("\n".join(lines))
    assert told(summary=True).out.startswith(says)


def test_a_file_of_no_slide_is_told(told, decided, project):
    path = project.sheet.parent / "corrections" / "a1.geojson"
    (path.parent / "a11.geojson").write_bytes(path.read_bytes())
    assert "corrections/a11.geojson: belongs to no slide of the sheet with outlines, and is not applied" in told().err


def test_what_an_author_is_called_forges_no_line(told, project):
    write_decisions(
        project.sheet.parent / "corrections" / "a1.geojson", [Decision("d", "draw", "gland", NEW, "A\nb1: x\x1b[31m")]
    )
    assert told(summary=True).out == "a1: 1 draw; by A b1: x [31m\n"


def test_corrections_of_a_slide_without_outlines_are_told_as_not_applied(told, project):
    write_decisions(project.sheet.parent / "corrections" / "t2.geojson", [Decision("d", "draw", "gland", NEW)])
    said = told(summary=True)
    assert "corrections/t2.geojson: belongs to no slide of the sheet with outlines" in said.err
    assert said.out.startswith("There are no corrections")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("nowhere", r'slides.csv, row 2 \(slide a1\), corrections: there is no folder "\S+/nowhere"'),
        ("c.json", '"c.json" is no .geojson file'),
        ("all.geojson", r'row 3 \(slide a2\), corrections: "\S+/all.geojson" is the file of slide a1'),
        (
            "corrections/b1.geojson",
            r'row 3 \(slide a2\), corrections: "\S+/b1.geojson" is the file of slide a1 already',
        ),
        ("corrections/../corrections/b1.geojson", r'row 4 \(slide b1\), corrections: "\S+/b1.geojson" is the file of'),
    ],
)
def test_a_place_that_is_none_is_told(told, project, value, says):
    (project.sheet.parent / "c.json").write_text("{}")
    header, first, second, *others = project.sheet.read_text().splitlines()
    lines = [f"{header},corrections", f"{first},{value}", f"{second},{value}", *(f"{line}," for line in others)]
    project.sheet.write_text("\n".join(lines))
    with pytest.raises(UserError, match=says):
        told()


def test_they_are_written_as_what_the_config_reads(told, decided, project, tmp_path):
    project.write_config({**project.config(), "annotations": {"objects": ["annotation", "detection"]}})
    told(out=tmp_path / "annotations")
    for folder in ("a1", "a2", "b1", "b2", "x1", "t1"):
        path = project.sheet.parent / f"{folder}.geojson"
        path.write_text(path.read_text().replace('"properties": {', '"properties": {"objectType": "detection", '))
    project.write_config({**project.config(), "annotations": {"objects": ["detection"]}})
    told(out=tmp_path / "detections")
    for name, kind in (("annotations", "annotation"), ("detections", "detection")):
        text = gzip.decompress((tmp_path / name / "a1.geojson.gz").read_bytes()).decode()
        assert {each["properties"]["objectType"] for each in json.loads(text)["features"]} == {kind}


def test_a_damaged_file_is_told_with_its_place(told, decided, project):
    (project.sheet.parent / "corrections" / "a1.geojson").write_text('{"features": [')
    with pytest.raises(AnnotationError, match=r"corrections/a1\.geojson"):
        told()
