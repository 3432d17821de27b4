"""What a job is told depends on its own slides and on nothing else of the sheet."""

import csv
import inspect
import json

import pytest

from tilewright.graph import read_project
from tilewright.project.orders import ORDERS, make_order, read_order, write_order

GIVEN = {"shard": "a", "scale": "half", "tiles": "fine", "model": "near", "fold": "0", "ensemble": "both"}
OF_A_SHARD = sorted(
    rule
    for rule, make in ORDERS.items()
    if "shard" in inspect.signature(make).parameters and rule not in ("pseudo", "downscale_in_one_pass")
)


def given(rule):
    return {name: GIVEN[name] for name in inspect.signature(ORDERS[rule]).parameters if name != "project"}


@pytest.fixture
def open_project(project, monkeypatch):
    monkeypatch.chdir(project.folder)
    return lambda: read_project(project.config_file)


@pytest.mark.parametrize("rule", OF_A_SHARD)
def test_the_order_of_a_shard_does_not_depend_on_other_shards(project, open_project, rule):
    before = make_order(open_project(), rule, **given(rule))
    rows = project.rows()
    more = [
        {**rows[0], "slide": f"more{number}", "shard": f"more{number}", "group": f"more{number}"}
        for number in range(200)
    ]
    project.write_sheet([*rows, *more])
    assert make_order(open_project(), rule, **given(rule)) == before


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("annotations", "b1.geojson", {"rasterize"}),
        ("image", "b1.png", {"rasterize", "downscale"}),
        ("region", "0,0,64,64", {"rasterize", "downscale"}),
        ("mpp", "0.5", {"rasterize", "downscale"}),  # masks say it too
        ("source", "elsewhere", {"tile"}),
        ("labelled", "gland", {"tile"}),
        ("remark", "anything", set()),
    ],
)
def test_an_order_holds_the_columns_that_its_step_reads_and_no_others(project, open_project, column, value, told):
    before = open_project()
    rows = project.rows()
    changed = next(row for row in rows if row["shard"] == "a")
    rows = [{**row, column: value if row is changed else row.get(column, "")} for row in rows]
    with project.sheet.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    after = open_project()
    assert {
        rule for rule in OF_A_SHARD if make_order(before, rule, **given(rule)) != make_order(after, rule, **given(rule))
    } == told


def test_an_order_is_written_whole_once_and_named_by_its_content(open_project, tmp_path):
    order = make_order(open_project(), "rasterize", shard="a")
    path = write_order(order, lambda digest: f"{tmp_path}/orders/{digest}.json")
    first = (tmp_path / "orders").stat().st_mtime_ns
    assert write_order(order, lambda digest: f"{tmp_path}/orders/{digest}.json") == path
    assert (tmp_path / "orders").stat().st_mtime_ns == first
    (found,) = (tmp_path / "orders").iterdir()
    assert str(found) == path
    assert read_order(type(order), found) == order
    assert json.loads(found.read_text())["rows"][0]["slide"] == "a1"
