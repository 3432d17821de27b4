import csv
import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from bundling import content, write_bundle, zipped

from tilewright.graph import Graph
from tilewright.project.orders import ORDERS
from tilewright.runtime.errors import UserError


@pytest.fixture
def graph(project, monkeypatch):
    monkeypatch.chdir(project.folder)

    def load(**changes):
        config = project.config()
        for key, value in changes.items():
            section, *parts = key.split("__")
            target = config.setdefault(section, {})
            for part in parts[:-1]:
                target = target.setdefault(part, {})
            if parts:
                target[parts[-1]] = value
            else:
                config[section] = value
        return Graph.load(config)

    return load


WILDCARDS = {"shard": "a", "scale": "half", "tiles": "fine", "model": "near", "ensemble": "both", "fold": "0"}
RULES = sorted(set(ORDERS) - {"downscale_in_one_pass", "pseudo", "adopt"})


def orders(graph):
    return {rule: graph.order(rule)(WILDCARDS) for rule in RULES}


@pytest.mark.parametrize(
    ("key", "value", "steps"),
    [
        ("annotations__ignore", ["unsure"], {"rasterize"}),
        ("tissue__smooth", 1.0, {"downscale", "pack"}),
        ("slides__crop_to_bounds", False, {"rasterize", "downscale", "pack", "report"}),
        ("slides__levels", False, {"downscale", "pack"}),
        ("tiles__fine__overlap", 0.25, {"tile"}),
        ("tiles__fine__blank", {"keep": 0}, {"tile"}),
        ("tiles__fine__at", "random", {"train", "refit"}),
        ("tiles__fine__scattered", 3, {"tile"}),
        ("tiles__coarse__overlap", 0.25, set()),
        ("folds__seed", 1, {"split", "train", "refit", "predict", "weigh", "calibrate", "report", "seams"}),
        ("folds__selected", [0], {"weigh", "calibrate", "evaluate", "audit", "measure", "pack", "report"}),
        ("models__near__learning_rate", 0.5, {"train", "refit"}),
        ("models__near__optimizer_options", {"eps": 1e-7}, {"train", "refit"}),
        ("models__near__ema_warmup", True, {"train", "refit"}),
        ("models__near__shared_rate", 2, {"train", "refit"}),
        ("models__near__validate_on", ["grid"], {"train", "refit"}),
        ("models__near__start", "w.safetensors", {"train", "refit", "report"}),
        ("models__near__final", True, {"pack", "report"}),
        ("models__near__inference__tta", "d4", {"predict", "seams", "pack"}),
        ("models__near__inference__batch_size", 3, {"predict", "seams"}),
        ("seams__max_edge", 99, {"seams"}),
        ("models__far__epochs", 9, {"report"}),
        ("ensembles__both__models__near", 5, {"ensemble", "pack", "report"}),
        ("ensembles__both__calibration__min_area", 5, {"calibrate"}),
        ("ensembles__both__calibration__aim", "slide", {"calibrate", "pack"}),
        ("ensembles__both__calibration__overlap", 0.6, set()),
        ("ensembles__both__calibration__threshold", {"vessel": 0.5}, {"calibrate"}),
        ("scales__half__resample", "bicubic", {"downscale"}),
        ("segmentation__enlarge", "bicubic", {"segment", "pack"}),
        ("segmentation__confidence", "max", {"segment", "pack"}),
        ("segmentation__fill_holes", 50, {"segment", "pack"}),
        ("evaluation__boundary", 5, {"evaluate"}),
        ("evaluation__suspect", 0.9, {"audit"}),
        ("evaluation__center_min_area", 100, {"evaluate"}),
        ("evaluation__columns", ["group"], {"evaluate", "report"}),
        ("submission__dialect", "coco", {"encode"}),
        ("submission__sample", "sample.csv", {"encode"}),
        ("report__overlays", 1, {"report"}),
        ("classes__gland__color", "#000000", {"segment", "audit", "pack", "report"}),
        ("bundle__licence", "CC0", {"pack"}),
        ("sheet", "slides/slides.csv", set()),
        ("data", "slides", set()),
        ("layout", "qupath", set()),
    ],
)
def test_an_order_holds_only_what_the_step_depends_on(graph, key, value, steps):
    before, after = orders(graph()), orders(graph(**{key: value}))
    assert {rule for rule in RULES if before[rule] != after[rule]} == steps


def test_fitted_sizes_are_those_of_objects_as_they_are_made(graph):
    fit = {"ensembles__both__calibration__min_area": "fit"}
    before, after = (orders(graph(**fit, segmentation__enlarge=each)) for each in ("bilinear", "bicubic"))
    assert {rule for rule in RULES if before[rule] != after[rule]} == {"calibrate", "segment", "pack"}


@pytest.mark.parametrize(
    ("key", "value", "steps"),
    [
        ("ensembles__both__calibration__overlap", 0.6, {"calibrate"}),
        ("ensembles__both__calibration__min_area", 0, {"calibrate"}),
        ("segmentation__confidence", "max", {"calibrate", "segment", "pack"}),
        ("segmentation__min_confidence", 0, {"calibrate"}),
        ("segmentation__object_type", "detection", {"segment", "pack"}),
        ("annotations__pixel_rule", "all_touched", {"rasterize", "evaluate", "audit", "calibrate"}),
    ],
)
def test_what_objects_are_made_and_judged_by_reaches_their_calibration(graph, key, value, steps):
    aim = {"ensembles__both__calibration__aim": "objects"}
    before, after = orders(graph(**aim)), orders(graph(**aim, **{key: value}))
    assert {rule for rule in RULES if before[rule] != after[rule]} == steps


@pytest.mark.parametrize(
    ("aim", "inside", "files"),
    [("pooled", ["gland"], []), ("objects", [], []), ("objects", ["gland"], ["b1.geojson", "b2.geojson"])],
)
def test_structures_are_inputs_of_a_calibration_of_objects_alone(graph, project, aim, inside, files):
    rows = [{**row, "anatomy": row["annotations"] if row["shard"] == "b" else ""} for row in project.rows()]
    with project.sheet.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    found = graph(ensembles__both__calibration__aim=aim, segmentation__inside=inside)
    inputs = found.anatomy_of_fitted_objects(SimpleNamespace(ensemble="both"))
    assert [Path(path).name for path in inputs] == files


def test_a_class_of_another_name_reaches_every_step_from_the_masks_on(graph, project):
    rows = [{**row, "labelled": ""} for row in project.rows()]
    project.write_sheet(rows)
    before = orders(graph(classes={"gland": {}, "vessel": {}}))
    after = orders(graph(classes={"acinus": {"labels": ["gland"]}, "vessel": {}}))
    changed = {rule for rule in RULES if before[rule] != after[rule]}
    assert changed >= {"rasterize", "downscale", "tile", "train", "segment"}
    assert "split" not in changed


def test_what_is_compared_reaches_the_report_alone(graph):
    more = {"ensembles__near": {"models": {"near": 1}}}
    before, after = (orders(graph(**more, report__compare=each)) for each in ([], ["near", "both"]))
    assert {rule for rule in RULES if before[rule] != after[rule]} == {"report"}


COLUMNS = {
    "image": ("b1.png", {"rasterize", "downscale", "report"}),
    "annotations": ("b1.geojson", {"rasterize"}),
    "source": ("three", {"tile", "calibrate", "evaluate", "audit", "report"}),
    "labelled": ("vessel", {"tile", "weigh", "calibrate", "evaluate", "audit", "report"}),
    "mpp": ("0.5", {"rasterize", "downscale", "report"}),
    "white": ("200", {"downscale", "report"}),
    "region": ("0,0,50,50", {"rasterize", "downscale", "report"}),
    "anatomy": ("b1.geojson", set()),
    "stain": ("pas", set()),
    "group": ("aa", {"split", "train", "refit", "weigh", "calibrate", "report"}),
}


@pytest.mark.parametrize("column", COLUMNS)
def test_a_column_reaches_the_steps_that_read_it_and_no_others(graph, project, column):
    before = orders(graph())
    value, rules = COLUMNS[column]
    rows = [{**row, column: value if row["shard"] == "a" else row.get(column, "")} for row in project.rows()]
    with project.sheet.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    after = orders(graph())
    assert {rule for rule in RULES if before[rule] != after[rule]} == rules


def test_a_line_more_in_the_sheet_changes_the_orders_of_no_other_shard(graph, project):
    before = orders(graph())
    project.write_sheet([project.add_slide("n1", "png", 96, 112, "test", "n", "n1", "two", ""), *project.rows()])
    after = orders(graph())
    assert {rule for rule in RULES if before[rule] != after[rule]} == {"encode", "measure", "evaluate", "report"}


def test_a_config_that_names_a_layout_needs_no_sheet(graph, project):
    rows = {row.slide: row for row in graph(layout="qupath", data="slides", sheet="made/slides.csv").project.sheet}
    assert {name for name, row in rows.items() if row.role == "test"} == {"t2"}
    assert rows["a1"].image == Path("slides/a1.png")
    Path("made/slides.csv").write_text("slide,image\n")
    with pytest.raises(UserError, match="the sheet has no rows"):
        graph(layout="qupath", data="slides", sheet="made/slides.csv")


def test_an_order_is_named_by_its_content_and_written_once(graph):
    path = Path(graph().order("train")(WILDCARDS))
    assert path.parent == Path("results/.orders/train")
    text = path.read_text()
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    assert path.stem == hashlib.sha256(text.encode()).hexdigest()[:16]
    written = path.stat().st_mtime_ns
    assert graph().order("train")(WILDCARDS) == str(path)
    assert path.stat().st_mtime_ns == written
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_files_that_the_config_names_are_inputs(graph):
    assert graph().sample_submission == []
    assert graph(submission__sample="sample.csv").sample_submission == ["sample.csv"]
    wildcards = SimpleNamespace(model="near", fold="1")
    assert graph().start_weights(wildcards) == []
    assert graph(models__near__start="w.pt").start_weights(wildcards) == ["w.pt"]
    found = graph(models__near__start="results/models/far/fold{fold}", models__near__encoder_weights="e.safetensors")
    assert found.start_weights(wildcards) == ["results/models/far/fold1/model.safetensors"]
    assert found.encoder_weights(wildcards) == []
    zipped(write_bundle(Path("both"), content()), Path("both.zip"))
    for start, file in (("both", "both/bundle.json"), ("both.zip", "both.zip")):
        from_bundle = graph(models__near__start=start)
        assert from_bundle.start_weights(wildcards) == [file]
        assert from_bundle.bundles(SimpleNamespace(ensemble="both")) == [file], "what it has seen is packed"
    with pytest.raises(UserError, match=r"none\.zip: there is no such bundle"):
        graph(models__near__start="none.zip")
    order = json.loads(Path(found.order("train")({"model": "near", "fold": "1"})).read_text())
    assert order["network"]["start"] == "results/models/far/fold1"


def test_a_file_that_is_missing_is_known_as_absent(graph, project):
    """It is no input (tests/workflow), but what it was is looked up all the same."""
    (project.sheet.parent / "b1.png").unlink()
    (project.sheet.parent / "b2.geojson").unlink()
    found = graph()
    wildcards = SimpleNamespace(shard="b")
    assert found.project.sheet.absent == {"slides/b1.png", "slides/b2.geojson"}
    assert found.images(wildcards) == ["slides/b1.png", "slides/b2.png"]
    assert found.annotations(wildcards) == ["slides/b1.geojson", "slides/b2.geojson"]


@pytest.mark.parametrize(("group", "learned"), [("t", True), ("a", False), ("b", True)])
def test_a_fold_learns_from_test_shards_of_groups_that_it_does_not_validate_on(graph, project, group, learned):
    project.write_sheet([{**row, "group": group} if row["role"] == "test" else row for row in project.rows()])
    found = graph(models__near__pseudo={"from": "other"}, ensembles__other={"models": {"far": 1}})
    fold = found.project.folds["a"].fold
    wildcards = SimpleNamespace(model="near", fold=str(fold), shard="t")
    paths = [f"results/pseudo/near/fold{fold}/t.h5"] if learned else []
    assert found.pseudo_tiles(wildcards) == paths
    order = found.order("train")({"model": "near", "fold": str(fold)})
    assert json.loads(Path(order).read_text())["pseudo"] == ({"t": group} if learned else {})


def told_by_bundle(graph, ensemble="both"):
    order = json.loads(Path(graph.order("pack")({"ensemble": ensemble})).read_text())
    return [row["slide"] for row in order["seen"]], graph.told_by_bundle(SimpleNamespace(ensemble=ensemble))


def test_a_bundle_tells_of_all_slides_that_were_trained_on(graph):
    slides, scaled = told_by_bundle(graph())
    assert slides == ["a1", "a2", "b1", "b2", "x1"]
    assert scaled == [f"results/scaled/full/{shard}" for shard in ("a", "b", "x1")]


def test_a_bundle_tells_of_pseudo_labelled_slides_and_of_examples(graph):
    second = {"models__near__pseudo": {"from": "other"}, "ensembles__other": {"models": {"far": 1}}}
    slides, scaled = told_by_bundle(graph(**second))
    assert slides == ["a1", "a2", "b1", "b2", "x1", "t1", "t2"]
    assert scaled[-1] == "results/scaled/full/t"
    assert told_by_bundle(graph(**second), "other")[0] == ["a1", "a2", "b1", "b2", "x1"]
    slides, scaled = told_by_bundle(graph(bundle__examples=["t2"]))
    assert "t2" not in slides
    assert scaled[-1] == "results/scaled/full/t"


def test_a_bundle_takes_every_fold_of_every_member(graph):
    found = graph(ensembles__one={"models": {"far": 1}})
    paths = [f"results/models/far/fold{fold}/model.{suffix}" for fold in (0, 1) for suffix in ("safetensors", "json")]
    assert found.trained(SimpleNamespace(ensemble="one")) == paths
    assert set(paths) < set(found.trained(SimpleNamespace(ensemble="both")))


def test_a_training_shard_is_predicted_by_the_fold_that_did_not_see_it_and_a_test_shard_by_all(graph):
    found = graph()
    fold = found.project.folds["a"].fold
    own = SimpleNamespace(shard="a", model="near")
    assert found.networks_folders(own) == [f"results/models/near/fold{fold}"]
    assert found.networks(own) == [f"results/models/near/fold{fold}/{name}" for name in FILES]
    test = SimpleNamespace(shard="t", model="near")
    assert found.networks_folders(test) == ["results/models/near/fold0", "results/models/near/fold1"]
    order = json.loads(Path(found.order("predict")({"shard": "t", "model": "near"})).read_text())
    assert order["parts"] == order["averaged"] == ["fold0", "fold1"]


@pytest.mark.parametrize(
    ("members", "parts"),
    [("auto", ["final"]), ("final", ["final"]), ("folds", ["fold0", "fold1"]), ("both", ["fold0", "fold1", "final"])],
)
def test_what_was_trained_on_all_slides_predicts_test_slides_and_no_others(graph, members, parts):
    found = graph(models__near__final=True, models__near__inference__members=members)
    fold = found.project.folds["a"].fold
    assert found.networks_folders(SimpleNamespace(shard="a", model="near")) == [f"results/models/near/fold{fold}"]
    test = SimpleNamespace(shard="t", model="near")
    assert found.networks_folders(test) == [f"results/models/near/{part}" for part in parts]
    order = json.loads(Path(found.order("predict")({"shard": "t", "model": "near"})).read_text())
    assert order["parts"] == order["averaged"] == parts
    packed = json.loads(Path(found.order("pack")({"ensemble": "both"})).read_text())
    assert {one["name"]: one["parts"] for one in packed["members"]} == {"near": parts, "far": ["fold0", "fold1"]}
    networks = [f"results/models/near/{part}/{name}" for part in parts for name in FILES]
    assert set(networks) == {path for path in found.trained(SimpleNamespace(ensemble="both")) if "/near/" in path}


def test_what_is_trained_on_all_slides_learns_how_long_from_the_folds(graph):
    found = graph(models__near__final=True, models__near__start="weights/fold{fold}.safetensors")
    near = SimpleNamespace(model="near")
    told = [f"results/models/near/fold{fold}/{name}" for fold in (0, 1) for name in ("model.json", "history.csv")]
    assert found.fitted(near) == told
    assert found.fitted_folders(near) == ["results/models/near/fold0", "results/models/near/fold1"]
    assert found.start_weights(near) == ["weights/final.safetensors"]
    assert found.start_weights(SimpleNamespace(model="near", fold="1")) == ["weights/fold1.safetensors"]


def test_members_that_are_not_trained_are_refused(graph):
    with pytest.raises(UserError, match=r"inference\.members: both needs final: true"):
        graph(models__near__inference__members="both")


FILES = ("model.safetensors", "model.json")


def test_single_folds_of_test_shards_are_kept_where_they_label_another_round(graph):
    def kept(found, model, shard):
        path = found.order("predict")({"model": model, "shard": shard})
        return json.loads(Path(path).read_text())["inference"]["keep"]

    assert kept(graph(), "far", "t") == []
    round_two = graph(models__near__pseudo={"from": "other"}, ensembles__other={"models": {"far": 1}})
    assert kept(round_two, "far", "t") == ["folds"]
    assert kept(round_two, "far", "a") == kept(round_two, "near", "t") == []


def test_a_training_at_random_places_takes_the_scaled_slides(graph):
    wildcards = SimpleNamespace(model="near")
    assert graph().training_scaled(wildcards) == []
    found = graph(tiles__fine__at="random")
    assert found.training_scaled(wildcards) == [f"results/scaled/full/{shard}" for shard in ("a", "b", "x1")]
    assert found.scaled_folder(wildcards) == "results/scaled/full"
    assert found.training_scaled(SimpleNamespace(model="far")) == []


def test_selected_folds_alone_are_trained_validated_and_scored(graph):
    found = graph(folds__selected=[1])
    (seen,) = found.project.shards_of_fold(1)
    assert found.project.validated == [seen]
    assert found.networks_folders(SimpleNamespace(shard="t", model="near")) == ["results/models/near/fold1"]
    assert found.all_curves == [f"results/models/{model}/fold1/curves.png" for model in ("near", "far")]
    assert found.seams_model(SimpleNamespace(model="near")) == "results/models/near/fold1"
    assert found.scaled_for_seams(SimpleNamespace(model="near")) == f"results/scaled/full/{seen}"
    assert found.project.evaluated("both") == [seen, "t"]
    for rule in ("calibrate", "weigh", "evaluate"):
        rows = json.loads(Path(found.order(rule)(WILDCARDS)).read_text())["rows"]
        assert {row["shard"] for row in rows} - {"t"} == {seen}
    with pytest.raises(UserError, match="there is no fold 2; the folds are 0 to 1"):
        graph(folds__selected=[2])


def test_external_shards_are_trained_on_and_never_validated_or_evaluated(graph):
    found = graph()
    assert "results/tiles/fine/x1.h5" in found.training_tiles(SimpleNamespace(model="near"))
    project = found.project
    assert "x1" not in (*project.validated, *project.tested, *project.evaluated("both"))


def test_slides_without_outlines_are_segmented_and_not_evaluated(graph, project):
    project.write_sheet([row for row in project.rows() if row["slide"] != "t1"])
    assert "t" in graph().project.tested
    assert "t" not in graph().project.evaluated("both")


def test_only_training_rows_count_for_thresholds(graph, project):
    before = graph().order("calibrate")(WILDCARDS)
    rows = project.rows()
    rows[-1]["source"] = rows[-1]["labelled"] = "gland"
    project.write_sheet(rows)
    assert graph().order("calibrate")(WILDCARDS) == before
    rows[0]["labelled"] = "gland"
    project.write_sheet(rows)
    assert graph().order("calibrate")(WILDCARDS) != before


def test_problems_of_config_and_sheet_are_users_errors(graph, project):
    with pytest.raises(UserError, match="foldss"):
        graph(foldss={})
    Path(project.sheet).write_text("slide\n")
    with pytest.raises(UserError, match="image"):
        graph()


def test_a_slide_that_is_asked_for_as_a_shard_is_told_where_it_stands(graph):
    with pytest.raises(UserError, match=r'slides\.csv: has no shard "a1"\.\n  Slide a1 stands in shard a\. Shards'):
        graph().images(SimpleNamespace(shard="a1"))
    with pytest.raises(UserError, match=r'has no shard "other"\.\n  Shards: a, '):
        graph().images(SimpleNamespace(shard="other"))
