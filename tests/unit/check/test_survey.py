import csv

import numpy as np
import pytest

from tilewright.check.survey import survey, touches
from tilewright.project.config import DEFAULT_LIMITS
from tilewright.project.sheetfile import read_sheet
from tilewright.runtime.errors import UserError


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
    assert 0 <= found.tissue <= 1
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
    with pytest.raises(UserError, match="no training slide has outlines that can be drawn"):
        surveyed(project)


def test_every_image_that_cannot_be_read_is_named(project):
    for name in ("a1", "b1"):
        (project.sheet.parent / f"{name}.png").write_bytes(b"nothing")
    with pytest.raises(UserError) as caught:
        surveyed(project)
    assert all(f"{name}.png" in str(caught.value) for name in ("a1", "b1"))
