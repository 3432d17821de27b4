"""What ``docs/reruns.md`` says of deleted results is what the real graph plans then."""

import re
import shutil
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PAGE = (Path(__file__).parents[2] / "docs" / "reruns.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (`[^|]+/`[^|]*) \| ([^|]+) \|([^|]*)\|$", PAGE, re.MULTILINE)
WRITTEN = {
    "submission": "encode",
    "slides.csv": "measure",
    "metrics": "evaluate",
    "audit": "audit",
    "bundles": "pack",
    "report": "report",
}
"""The step of what one wants to have."""


def planned_without(graph, *names):
    """Jobs of each rule that would run if these results were deleted, which they are not."""
    kept = [(graph.results / name, graph.results.parent / "kept" / name) for name in names]
    for path, place in kept:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, place)
    try:
        return graph.jobs()
    finally:
        for path, place in kept:
            if path.is_dir():
                shutil.rmtree(path)
            shutil.move(place, path)


def there(graph, names):
    return [name for name in re.findall(r"`([\w.]+?)/?`", names) if (graph.results / name).exists()]


def test_the_table_has_a_row_for_every_result(graph):
    named = {name for names, _, _ in ROWS for name in re.findall(r"`([\w.]+?)/?`", names)}
    assert {path.name for path in graph.results.iterdir()} - {".run.json", "folds.csv"} <= named


def test_deleted_results_cost_what_the_table_says(graph):
    for names, first, then in ROWS:
        for name in there(graph, names):
            jobs = planned_without(graph, name)
            if name == "segments":
                assert jobs.keys() == {"segment", "encode", "measure", "evaluate", "audit", "report"}
            elif first.startswith("makes it again"):
                assert jobs.keys() - {"report"} == {WRITTEN[name]} - {"report"}, name
            else:
                assert first.strip() == "nothing", name
                assert jobs == {}, name
                later = planned_without(graph, name, "report")
                assert ("train" in later) == ("all trainings" in then), name
                if "thresholds again" in then:
                    assert later.keys() == {
                        "calibrate",
                        "pack",
                        "segment",
                        "encode",
                        "measure",
                        "evaluate",
                        "audit",
                        "report",
                    }
                elif "all trainings" not in then:
                    assert later.keys() <= {"seams", "report"}, name
