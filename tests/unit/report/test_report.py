"""Which slides the report shows."""

from pathlib import Path

import pandas as pd
import pytest

from tilewright.project.orders import ReportRow
from tilewright.report.shown import choose_slides


def row(slide, role):
    return ReportRow(
        slide=slide, image=Path(), shard=slide, group=slide, role=role, source="one", labelled=[], annotated=False
    )


SHEET = [row("good", "test"), row("bad", "test"), row("blind", "test"), row("own", "train"), row("other", "external")]
SCORES = pd.DataFrame(
    [("good", "gland", 0.9), ("bad", "gland", 0.1), ("own", "gland", 0.0)], columns=["slide", "class", "dice"]
)


@pytest.mark.parametrize(
    ("limit", "shown"),
    [(12, ["bad", "good", "own", "blind"]), (4, ["bad", "good", "own", "blind"]), (2, ["bad", "good"]), (0, [])],
)
def test_test_slides_come_first_the_worst_first_and_some_without_truth_last(limit, shown):
    assert [choice.row.slide for choice in choose_slides(SHEET, SCORES, limit)] == shown
