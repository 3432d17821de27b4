import csv
import json

import numpy as np
import pytest
from conftest import write_outlines
from shapely.geometry import box, mapping

from tilewright.check.survey import survey, touches
from tilewright.pixels.rle import encode_column_major, encode_row_major
from tilewright.pixels.runs import Runs
from tilewright.project.config import DEFAULT_LIMITS
from tilewright.project.sheetfile import read_sheet
from tilewright.runtime.errors import UserError
from tilewright.slides import open_slide


def test_circles_touch_within_two_pixels_and_not_what_they_lie_in():
    x, y = np.array([0.0, 21.9, 60.0, 100.0, 101.0]), np.zeros(5)
    diameters = np.array([20.0, 20.0, 20.0, 40.0, 6.0])
    assert touches(x, y, diameters).tolist() == [True, True, False, False, False]
    assert touches(x[:1], y[:1], diameters[:1]).tolist() == [False]


def surveyed(project):
    return survey(read_sheet(project.sheet, [project.sheet.parent], None).rows, DEFAULT_LIMITS)


def test_facts_of_the_training_slides_alone(project):
    found = surveyed(project)
    training = [row for row in project.rows() if row["role"] != "test"]
    assert len(found.sizes) == len(training)
    assert found.groups == len({row["group"] for row in training if row["role"] == "train"})
    assert found.tests == len(project.rows()) - len(training)
    assert set(found.labels) == {"gland", "vessel"}
    assert 0 < found.covered < 1
    assert all(0 <= share <= 1 for share in found.tissue)
    assert len(found.tissue) == len(training)
    area = sum(float((np.pi / 4 * label.diameters**2).sum()) for label in found.labels.values())
    pixels = sum(size.width * size.height for size in found.sizes)
    assert found.covered == pytest.approx(area / pixels)


def test_of_a_part_of_an_image_its_own_outlines_count(project):
    """Two halves of one image have the outlines of the whole, each once."""
    own = {"slide": "a1", "group": "whole", "shard": "whole", "region": "0,0,128,96"}
    counts = []
    for parts in ([own], [{**own, "slide": f"a{x}", "region": f"{x},0,64,96"} for x in (0, 64)]):
        row = next(row for row in project.rows() if row["slide"] == "a1")
        sheet = project.folder / f"{len(parts)}.csv"
        with sheet.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, [*row, "region"])
            writer.writeheader()
            writer.writerows({**row, **part} for part in parts)
        found = survey(read_sheet(sheet, [project.sheet.parent], None).rows, DEFAULT_LIMITS)
        counts.append((sum(len(label.diameters) for label in found.labels.values()), round(found.covered, 6)))
    assert counts[0] == counts[1]
    assert counts[0][0] > 2


def test_without_outlines_there_is_nothing_to_plan(project):
    for path in project.sheet.parent.glob("*.geojson"):
        path.write_text('{"type": "FeatureCollection", "features": []}')
    with pytest.raises(UserError, match="no training slide has outlines of objects"):
        surveyed(project)


def outlined(project, *shapes):
    """The project with the same outlines on all training slides: label and geometry of each."""
    for path in project.sheet.parent.glob("*.geojson"):
        write_outlines(path, shapes)
    return surveyed(project)


def test_a_class_with_a_star_is_no_object_as_in_qupath(project):
    small, whole = box(20, 20, 30, 30), box(0, 0, 96, 96)
    alone = outlined(project, ("gland", small))
    found = outlined(project, ("gland", small), ("Ignore*", whole), ("Region*", whole), ("ignore me", small))
    assert list(found.labels) == ["gland", "ignore me"]
    assert found.marked == ["Ignore*", "Region*"]
    assert found.covered == pytest.approx(2 * alone.covered)
    with pytest.raises(UserError, match=r"only Ignore\*, Region\*, which are none, as in QuPath"):
        outlined(project, ("Ignore*", whole), ("Region*", whole))


def test_regions_and_ignored_areas_around_cells_are_seen(project):
    """A region drawn by hand, cells found inside of it."""
    kinds = (("Region*", "annotation", 90), ("Ignore*", "annotation", 30), ("gland", "cell", 10))
    drawn = [
        {"type": "Feature", "geometry": mapping(box(0, 0, edge, edge)),
         "properties": {"classification": {"name": label}, "objectType": kind}} for label, kind, edge in kinds
    ]  # fmt: skip
    for path in project.sheet.parent.glob("*.geojson"):
        path.write_text(json.dumps(drawn))
    found = surveyed(project)
    assert (list(found.objects), list(found.labels), found.marked) == (["cell"], ["gland"], ["Ignore*", "Region*"])


def test_objects_of_two_classes_that_touch_are_no_reason_to_cut(project):
    pairs = [(box(20, 20, 40, 40), box(40, 20, 60, 40)), (box(20, 60, 40, 80), box(40, 60, 60, 80))]
    two = outlined(project, *(("gland", one) for one, _ in pairs), *(("vessel", other) for _, other in pairs))
    assert two.touching == 0
    assert outlined(project, *(("gland", each) for pair in pairs for each in pair)).touching == 1


def test_outlines_without_a_label_are_told(project):
    for path in project.sheet.parent.glob("*.geojson"):
        feature = {"type": "Feature", "geometry": mapping(box(20, 20, 40, 40)), "properties": {}}
        path.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    found = surveyed(project)
    assert (list(found.labels), found.unlabelled) == (["object"], True)
    assert not outlined(project, ("object", box(20, 20, 40, 40))).unlabelled


@pytest.mark.parametrize(
    ("others", "annotated", "kinds"),
    [
        (["detection"], [], ["detection"]),
        (["cell", "detection", "tile"], [], ["detection", "cell"]),
        (["detection"], ["Region*"], ["detection"]),
        (["detection"], [""], ["detection"]),
        (["detection"], ["gland"], None),
        ([], [""], None),
        (["tile"], ["gland"], None),
    ],
)
def test_objects_that_have_classes_where_annotations_have_none_are_what_is_outlined(project, others, annotated, kinds):
    def feature(label, kind, place):
        properties = {"classification": {"name": label}} if label else {}
        geometry = mapping(box(place, 20, place + 8, 30))
        return {"type": "Feature", "geometry": geometry, "properties": {**properties, "objectType": kind}}

    drawn = [feature(label, "annotation", 10) for label in annotated]
    drawn += [feature("vessel", kind, 30 + 10 * place) for place, kind in enumerate(others)]
    for path in project.sheet.parent.glob("*.geojson"):
        path.write_text(json.dumps(drawn))
    found = surveyed(project)
    assert found.objects == kinds
    assert ("vessel" in found.labels) == bool(kinds)


@pytest.mark.parametrize(("order", "encode"), [("row_major", encode_row_major), ("column_major", encode_column_major)])
def test_the_order_of_run_lengths_is_that_in_which_objects_hang_together(project, order, encode):
    rows = [row for row in project.rows() if row["role"] == "train"]
    with (project.sheet.parent / "runs.csv").open("w") as stream:
        stream.write("id,annotation\n")
        for row in rows:
            with open_slide(project.sheet.parent / row["image"]) as slide:
                width, height = slide.size
            mask = np.zeros((height, width), np.bool_)
            mask[20:50, 30:45] = True
            stream.write(f"{row['slide']},{encode(Runs.from_mask(mask))}\n")
    project.write_sheet([{**row, "annotations": "runs.csv"} for row in rows])
    found = surveyed(project)
    assert found.rle_order == order
    (label,) = found.labels.values()
    assert label.diameters == pytest.approx([2 * np.sqrt(450 / np.pi)] * len(rows))


@pytest.mark.parametrize("role", ["test", "external"])
def test_without_training_slides_the_role_is_what_is_missing(project, role):
    project.write_sheet([{**row, "role": role} for row in project.rows() if row["annotations"]])
    with pytest.raises(UserError, match=r"no slide of the sheet has the role train"):
        surveyed(project)


def test_every_image_that_cannot_be_read_is_named(project):
    for name in ("a1", "b1"):
        (project.sheet.parent / f"{name}.png").write_bytes(b"nothing")
    with pytest.raises(UserError) as caught:
        surveyed(project)
    assert all(f"{name}.png" in str(caught.value) for name in ("a1", "b1"))
