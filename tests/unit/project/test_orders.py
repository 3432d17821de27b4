"""What orders hold, and how they are written; which keys and columns reach which is in ``test_graph.py``."""

import csv
import inspect
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tilewright.graph import Graph
from tilewright.project.orders import ORDERS, make_order, read_order, write_order
from tilewright.project.places import Places
from tilewright.runtime.errors import DataError
from tilewright.tiles.folding import read_project

GIVEN = {"shard": "a", "scale": "half", "tiles": "fine", "model": "near", "fold": "0", "ensemble": "both"}
OF_A_SHARD = sorted(
    rule
    for rule, make in ORDERS.items()
    if "shard" in inspect.signature(make).parameters and rule not in ("pseudo", "adopt", "downscale_in_one_pass")
)


def given(rule):
    return {name: GIVEN[name] for name in inspect.signature(ORDERS[rule]).parameters if name != "project"}


@pytest.fixture
def open_project(project, monkeypatch):
    monkeypatch.chdir(project.folder)
    return lambda: read_project(project.config_file)


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


@pytest.fixture
def configured(project, open_project):
    """The project after a change of its config."""

    def configure(change=None):
        config = project.config()
        if change:
            change(config)
        project.write_config(config)
        return open_project()

    return configure


@pytest.mark.parametrize("shard", ["a", "t"])
def test_members_of_an_ensemble_are_named_in_the_order_of_its_inputs(configured, shard):
    project = configured(lambda config: config["ensembles"]["both"]["models"].update(near=3, far=1))
    graph = Graph(project, Places())
    order = make_order(project, "ensemble", ensemble="both", shard=shard)
    inputs = graph.predictions(SimpleNamespace(ensemble="both", shard=shard))
    assert order.members == [path.split("/")[2] for path in inputs]
    assert order.weights == {"near": 3, "far": 1}
    assert order.fit is False


@pytest.fixture
def spreading(configured):
    """The project after its model near tells its spread, with further values of its section and of the folds."""

    def configure(members, folds=None, **changes):
        def change(config):
            near = config["models"]["near"]
            near |= {
                **changes,
                "inference": {**near.get("inference", {}), **changes.pop("inference", {}), "spread": True},
            }
            config["ensembles"]["both"]["models"] = members
            config["folds"] |= folds or {}

        return configured(change)

    return configure


def told_of_spread(project, shard):
    """Whether the ensemble is told of it, the members with one of their folds, and whether near writes one."""
    order = make_order(project, "ensemble", ensemble="both", shard=shard)
    return order.spread, order.within, make_order(project, "predict", model="near", shard=shard).inference.spread


def test_the_spread_of_folds_is_told_of_slides_that_none_of_them_has_seen(spreading, configured):
    project = spreading({"near": 1})
    assert told_of_spread(project, "t") == (True, ["near"], True)
    assert told_of_spread(project, "a") == (False, [], False)
    assert told_of_spread(configured(lambda config: config["models"]["near"]["inference"].clear()), "t")[0] is False


def test_the_spread_of_an_ensemble_is_between_its_members_too(spreading):
    project = spreading({"near": 1, "far": 1})
    assert told_of_spread(project, "t") == (True, ["near", "far"], True)
    assert make_order(project, "predict", model="far", shard="t").inference.spread is True
    assert told_of_spread(project, "a") == (False, [], False)
    assert told_of_spread(spreading({"near": 1, "far": 1}, {"selected": [0]}), "t") == (True, [], False)


def test_members_without_weight_have_no_part_in_a_spread(spreading):
    project = spreading({"near": 1, "far": 0})
    assert told_of_spread(project, "t") == (True, ["near"], True)
    assert make_order(project, "predict", model="far", shard="t").inference.spread is False


def test_where_the_final_model_predicts_all_folds_tell_their_spread(spreading):
    project = spreading({"near": 1}, final=True)
    order = make_order(project, "predict", model="near", shard="t")
    assert order.averaged == ["final"]
    assert order.parts == [*project.folds_of("near"), "final"]
    assert len(order.parts) > 2
    inputs = Graph(project, Places()).networks(SimpleNamespace(model="near", shard="t"))
    assert len(inputs) == 2 * len(order.parts)


def test_the_report_waits_for_the_spreads_of_test_slides(spreading):
    project = spreading({"near": 1, "far": 1})
    assert Graph(project, Places()).all_spreads == [Places().ensembles("both", shard) for shard in project.tested]
    spread = make_order(project, "report").ensembles["both"].spread
    assert spread == [row.slide for row in project.rows("test")]


def test_an_ensemble_is_told_that_its_weights_are_fitted(configured):
    project = configured(lambda config: config["ensembles"]["both"].update(models={"near": 1, "far": 1}, weights="fit"))
    assert make_order(project, "ensemble", ensemble="both", shard="a").fit is True


def test_evaluation_is_told_what_outlines_cover_and_of_slides_with_outlines_alone(configured):
    project = configured(lambda config: config.setdefault("annotations", {}).update(pixel_rule="all_touched"))
    order = make_order(project, "evaluate", ensemble="both")
    assert order.pixel_rule == make_order(project, "rasterize", shard="a").annotations.pixel_rule == "all_touched"
    assert [row.slide for row in order.rows] == [row.slide for row in project.rows("train", "test") if row.annotations]
    assert any(row.annotations is None for row in project.rows("train", "test"))


def test_anatomy_is_told_where_it_is_asked_for(project, configured):
    rows = [{**row, "anatomy": row["annotations"]} for row in project.rows()]
    with project.sheet.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    bare = configured()
    asked = configured(lambda config: config["tiles"]["fine"].update(background_inside=["gland"]))
    asked = configured(lambda config: config.update(segmentation={"inside": ["gland"]}))
    for rule in ("tile", "segment"):
        given_by = {"tiles": "fine"} if rule == "tile" else {"ensemble": "both"}
        assert [row.anatomy for row in make_order(bare, rule, shard="a", **given_by).rows] == [None, None]
        found = make_order(asked, rule, shard="a", **given_by).rows
        assert [row.anatomy.name for row in found] == ["a1.geojson", "a2.geojson"]


def test_slides_that_an_id_might_mean_as_well_are_told_and_no_others(project, configured):
    rows = {row["slide"]: {**row, "anatomy": ""} for row in project.rows()}
    for name in ("a1", "b1"):
        folder = project.sheet.parent / name
        folder.mkdir()
        (project.sheet.parent / rows[name]["image"]).rename(folder / "scan.png")
        rows[name] |= {"image": f"{name}/scan.png", "annotations": "shared.json", "anatomy": "shared.json"}
    with project.sheet.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows["a1"])
        writer.writeheader()
        writer.writerows(rows.values())
    told = {row.slide: row.namesakes for row in make_order(configured(), "rasterize", shard="a").rows}
    assert [(one.slide, one.image.name) for one in told["a1"]] == [("b1", "scan.png")]
    assert told["a2"] == ()
    asked = configured(lambda config: config.update(segmentation={"inside": ["gland"]}))
    for about, image in ((asked, "scan.png"), (configured(lambda config: config.update(segmentation={})), None)):
        row = make_order(about, "segment", ensemble="both", shard="a").rows[0]
        assert (row.image and row.image.name, len(row.namesakes)) == (image, 1 if image else 0)


def test_every_class_is_labelled_on_pseudo_labelled_tiles(project, configured):
    project.write_sheet([{**row, "labelled": "gland"} for row in project.rows()])
    further = {"again": {**project.config()["models"]["near"], "pseudo": {"from": "both"}}}
    project = configured(lambda config: config["models"].update(further))
    order = make_order(project, "pseudo", model="again", part="fold1", shard="t")
    assert [(own.part, own.weight) for own in order.members] == [("fold1", 2), ("fold1", 1)]
    assert {row.labelled for row in order.rows} == {("gland", "vessel")}


def test_what_changes_no_result_is_not_told(configured):
    before = configured()
    after = configured(lambda config: config["models"]["near"].update(workers=1))
    for rule, wildcards in (("train", {"model": "near", "fold": "0"}), ("report", {})):
        assert make_order(before, rule, **wildcards) == make_order(after, rule, **wildcards)


def test_an_order_that_was_cut_short_is_written_again(open_project, tmp_path):
    order = make_order(open_project(), "split")
    path = Path(write_order(order, lambda digest: f"{tmp_path}/{digest}.json"))
    path.write_bytes(b"")
    write_order(order, lambda digest: f"{tmp_path}/{digest}.json")
    assert read_order(type(order), path) == order


def test_an_order_that_cannot_be_written_is_an_error_that_names_it(open_project, tmp_path):
    (tmp_path / "orders").touch()
    with pytest.raises(DataError, match=r"orders/\w+.json: cannot be written \(.*\).\n  Free space"):
        write_order(make_order(open_project(), "split"), lambda digest: f"{tmp_path}/orders/{digest}.json")


def test_a_file_that_comes_and_goes_changes_no_order(project, open_project):
    before = open_project()
    for name in ("b1.png", "t1.geojson"):
        (project.sheet.parent / name).unlink()
    after = open_project()
    assert after.sheet.missing.keys() == {"b1", "t1"}
    for shard in "abt":
        for rule in OF_A_SHARD:
            wildcards = {**given(rule), "shard": shard}
            assert make_order(before, rule, **wildcards) == make_order(after, rule, **wildcards)
