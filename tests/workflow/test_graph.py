"""One run of the real graph on the tiny project, and what runs again after a change (mostly dry runs of copies)."""

import csv
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from tilewright.pixels.grid import Frame
from tilewright.pixels.rasters import open_raster
from tilewright.pixels.rle import decode_column_major
from tilewright.project.bundle import bundle_file, read_bundle
from tilewright.runtime.hashed import file_print
from tilewright.segments.predictions import read_columns
from tilewright.tiles.archive import open_archive

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

REPOSITORY = Path(__file__).parents[2]
FOLLOWS = {
    "ensemble": 3,
    "calibrate": 1,
    "segment": 3,
    "encode": 1,
    "measure": 1,
    "evaluate": 1,
    "audit": 1,
    "pack": 1,
    "report": 1,
}


def test_a_second_run_does_nothing(finished):
    assert finished.jobs() == {}


def test_a_training_loads_tiles_with_the_threads_that_it_is_given(graph):
    for given, workers in (("1", "0"), ("2", "1")):
        printed = graph.run("-n", "-p", "--forcerun", "train", "--set-threads", f"train={given}")
        assert set(re.findall(r"--workers (\d+)", printed)) == {workers}


def test_files_of_users_are_looked_at_wherever_they_are_taken(finished):
    assert finished.unseen() == []


def test_every_output_is_there(finished):
    names = {str(path.relative_to(finished.results)) for path in finished.results.rglob("*") if path.is_file()}
    assert names >= {
        "folds.csv",
        "submission/both.csv",
        "slides.csv",
        "report/index.html",
        "calibration/both.json",
        *(f"metrics/both/{name}" for name in ("slides.csv", "objects.csv", "summary.json")),
        *(f"bundles/both/{name}" for name in ("bundle.json", "README.md")),
        *(f"segments/both/t/t2.{end}" for end in ("mask.tif", "mask.ome.tif", "objects.parquet", "geojson.gz")),
        *(f"models/{model}/fold{fold}/model.safetensors" for model in ("near", "far") for fold in (0, 1)),
    }
    assert not [name for name in names if "partial" in name or "/state/last" in name]


def test_the_submission_decodes_to_the_masks_of_the_segments(finished):
    with (finished.results / "submission" / "both.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["id"], row["class"]) for row in rows] == [
        (slide, name) for slide in ("t1", "t2") for name in ("gland", "vessel")
    ]
    found = 0
    for row in rows:
        with open_raster(finished.results / "segments" / "both" / "t" / f"{row['id']}.mask.tif") as raster:
            mask, size = raster.read()[0], raster.size
            assert Frame.of(raster).factor == 1
        decoded = decode_column_major(row["predicted"], size.height, size.width).to_mask()
        assert (decoded == (mask >> ("gland", "vessel").index(row["class"])) & 1).all()
        found += int(decoded.sum())
    objects = read_columns(finished.results / "segments" / "both" / "t" / "t1.objects.parquet")
    assert found > 0
    assert np.sum(objects["area"]) <= found


def test_every_predicted_slide_and_class_is_measured(finished):
    with (finished.results / "slides.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    slides = ["a1", "a2", "b1", "b2", "t1", "t2"]
    assert [(row["slide"], row["class"]) for row in rows] == [
        (slide, name) for slide in slides for name in ("gland", "vessel")
    ]
    for row in rows:
        with open_raster(finished.results / "segments" / "both" / row["shard"] / f"{row['slide']}.mask.tif") as raster:
            mask = raster.read()[0] >> ("gland", "vessel").index(row["class"]) & 1
        assert int(row["area_px"]) == mask.sum()


def test_the_bundle_says_what_the_run_found_and_names_no_slide(finished):
    folder = finished.results / "bundles" / "both"
    bundle = read_bundle(folder)
    calibration = json.loads((finished.results / "calibration" / "both.json").read_text())
    assert {one.name: one.threshold for one in bundle.classes} == calibration["thresholds"]
    assert [score.model_dump() for score in bundle.scores] == calibration["scores"]
    assert {one.name: one.weight for one in bundle.members} == {"near": 2, "far": 1}
    trained = [row for row in finished.project.rows() if row["role"] != "test"]
    images = {finished.project.sheet.parent / row["image"] for row in trained}
    assert bundle.trained_on == sorted(map(file_print, images))
    told = (folder / "README.md").read_text() + (folder / "bundle.json").read_text()
    assert not {row["slide"] for row in finished.project.rows()} & set(re.findall(r"\w+", told))
    assert [len(bundle_file(folder, bundle, name)) for name in bundle.files]


def test_a_learning_rate_reruns_that_training_and_what_follows(graph):
    config = graph.project.config()
    config["models"]["near"]["learning_rate"] = 0.005
    graph.project.write_config(config)
    assert graph.jobs() == {"train": 2, "predict": 3, "seams": 1, **FOLLOWS}


def test_what_the_sheet_says_of_slides_stands_beside_their_scores_and_in_the_report(graph):
    graph.project.write_config({**graph.project.config(), "evaluation": {"columns": ["group"]}})
    assert graph.jobs() == {"evaluate": 1, "report": 1}
    graph.run()
    page = (graph.results / "report" / "index.html").read_text()
    assert re.findall(r'<tr><td>([ab])</td><td class="n">(\d)</td>', page) == [("a", "2"), ("b", "2")]
    assert "The same by group of the sheet." in page


def second_round(graph):
    """Add a model that learns from the test slides as the ensemble of the others labels them."""
    config = graph.project.config()
    config["models"]["again"] = {
        **config["models"]["near"],
        "pseudo": {"from": "both", "rate": 0.5, "min_confidence": 0.6},
    }
    config["ensembles"]["second"] = {"models": {"again": 1}}
    graph.project.write_config(config)


def test_a_second_round_learns_from_pseudo_labels(graph):
    second_round(graph)
    new = {"pseudo": 2, "train": 2, "predict": 3, "seams": 1, **FOLLOWS}
    # of the test shard, the first round's models keep their folds from now on, and what follows is made anew
    again = {"predict": 2, "ensemble": 1, "segment": 1, "encode": 1, "evaluate": 1}
    assert graph.jobs() == {name: count + again.get(name, 0) for name, count in new.items()}
    graph.run("--", "results/models/again/fold0/model.json")
    with open_archive(graph.results / "pseudo" / "again" / "fold0" / "t.h5") as archive:
        assert len(archive["images"]) > 0
    content = json.loads((graph.results / "models" / "again" / "fold0" / "model.json").read_text())
    assert content["network"]["pseudo"] == {"source": "both", "rate": 0.5, "min_confidence": 0.6}
    log = (graph.results / "logs" / "train" / "again" / "fold0.log").read_text()
    trained = {name: int(re.search(r": (\d+) tiles", text)[1]) for name, text in (
        ("again", log), ("near", (graph.results / "logs" / "train" / "near" / "fold0.log").read_text())
    )}  # fmt: skip
    with open_archive(graph.results / "pseudo" / "again" / "fold0" / "t.h5") as archive:
        assert trained["again"] == trained["near"] + len(archive["images"])


def test_pseudo_labels_of_a_fold_come_from_models_that_have_not_seen_it(graph):
    second_round(graph)
    printed = graph.run("-n", "-p", "--", "results/models/again/fold1/model.json")
    (command,) = re.findall(r"tilewright pseudo .*", printed)
    members = re.search(r"--members (.*?) --", command)[1].split()
    assert sorted(members) == [f"results/probabilities/{model}/t" for model in ("far", "near")]
    order = json.loads((graph.project.folder / re.search(r"--order (\S+)", command)[1]).read_text())
    assert {own["part"] for own in order["members"]} == {"fold1"}


@pytest.mark.parametrize(("source", "says"), [("second", "holds again itself"), ("bot", 'no ensemble is named "bot"')])
def test_a_round_cannot_learn_from_itself_or_from_nothing(graph, source, says):
    second_round(graph)
    config = graph.project.config()
    config["models"]["again"]["pseudo"]["from"] = source
    graph.project.write_config(config)
    code, printed = graph.attempt("-n")
    assert code != 0
    assert says in printed
    assert "models" in printed
    assert "line" in printed


def test_an_edited_sample_writes_the_submission_anew_and_nothing_else(graph):
    sample = graph.project.folder / "sample.csv"
    sample.write_text("id,predicted\nt2,\nt1,\n")
    graph.project.write_config({**graph.project.config(), "submission": {"sample": "sample.csv"}})
    assert graph.jobs() == {"encode": 1}
    graph.run()
    sample.write_text("id,predicted\nt2,\n")
    os.utime(sample, (1, 1))
    assert graph.jobs() == {"encode": 1}
    graph.run()
    lines = (graph.results / "submission" / "both.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["id", "t2", "t2"]
    assert "left out: t1" in (graph.results / "logs" / "encode" / "both.log").read_text()


def test_selected_folds_alone_are_trained_and_predict_the_tests(graph):
    config = graph.project.config()
    config["folds"]["selected"] = [1]
    graph.project.write_config(config)
    planned = graph.jobs("--forceall")
    assert planned["train"] == 2, "one training a model"
    assert planned["predict"] == 4, "of each model the slides of this fold, and the tests"
    printed = graph.run("-n", "-p", "--forceall")
    assert "models/near/fold1" in printed
    assert "fold0" not in printed
    # what is there serves: the other fold is left out of account, and what it had a part in is made anew
    anew = {"predict": 2, "seams": 2, "ensemble": 1, "calibrate": 1, "segment": 2, "encode": 1, "measure": 1}
    assert graph.jobs() == {**anew, "evaluate": 1, "audit": 1, "pack": 1, "report": 1}


def test_a_model_that_is_left_out_reruns_the_ensemble_and_what_follows(graph):
    config = graph.project.config()
    del config["models"]["far"], config["ensembles"]["both"]["models"]["far"]
    graph.project.write_config(config)
    assert graph.jobs() == FOLLOWS


def test_code_of_a_loss_reruns_the_trainings_and_what_follows(graph):
    graph.edit("training/losses.py", "(size - 1) / 2", "(size - 1) / 3")
    assert graph.jobs() == {"train": 4, "predict": 6, "seams": 2, **FOLLOWS}


def test_comments_docstrings_and_the_order_of_keys_rerun_nothing(graph):
    graph.edit("training/losses.py", '"""Losses on logits', '"""Losses')
    graph.edit("training/losses.py", "(size - 1) / 2", "(size - 1) / 2  # the middle")
    graph.edit("runtime/progress.py", "INTERVAL = 30.0", "INTERVAL = 20.0")

    def turned(value):
        return {key: turned(value[key]) for key in reversed(value)} if isinstance(value, dict) else value

    graph.project.write_config(turned(graph.project.config()))
    assert graph.jobs() == {}


def test_a_new_test_slide_touches_its_own_stages_and_the_outputs_that_list_it(graph):
    row = graph.project.add_slide("n1", "png", 96, 112, "test", "n", "n1", "two", "")
    graph.project.write_sheet([*graph.project.rows(), row])
    own = {"rasterize": 1, "downscale": 2, "predict": 2, "ensemble": 1, "segment": 1}
    assert graph.jobs() == {**own, "encode": 1, "measure": 1, "evaluate": 1, "report": 1}


def test_slides_that_cannot_be_read_do_not_hold_up_the_others(graph):
    names = ("good", "cut", "text", "outlines", "fine")
    rows = [graph.project.add_slide(name, "tif", 96, 112, "test", name, name, "two", "") for name in names]
    graph.project.write_sheet([*graph.project.rows(), *rows])
    slides = graph.project.sheet.parent
    (slides / "cut.tif").write_bytes((slides / "cut.tif").read_bytes()[:9000])
    (slides / "text.tif").write_text("this is no picture")
    (slides / "outlines.geojson").write_text('{"features": [{"type": "Feature", ')
    scale = next(iter(graph.project.config()["scales"]))
    code, printed = graph.attempt("--keep-going", *(f"results/scaled/{scale}/{name}" for name in names))
    assert code == 1
    written = [name for name in names if (graph.results / "scaled" / scale / name).exists()]
    assert written == ["good", "fine"]
    for file, remedy in (("cut.tif", "copy the image again"), ("text.tif", ""), ("outlines.geojson", "Export")):
        log = (graph.results / "logs" / "rasterize" / f"{Path(file).stem}.log").read_text()
        assert file in log
        assert remedy in log
        assert "Traceback" not in log
        assert printed.count(f"FAILED rasterize {Path(file).stem}\n  {log.splitlines()[0]}\n") == 1, "told once"


def test_files_that_are_missing_stop_the_jobs_of_their_slides_alone(graph):
    names = ("here", "gone", "lost")
    rows = [graph.project.add_slide(name, "tif", 96, 112, "test", name, name, "two", "") for name in names]
    graph.project.write_sheet([*graph.project.rows(), *rows])
    slides = graph.project.sheet.parent
    (slides / "gone.tif").unlink()
    (slides / "lost.geojson").unlink()
    code, printed = graph.attempt("--keep-going")
    assert code == 1
    assert graph.jobs() == {
        "rasterize": 2, "downscale": 4, "predict": 4, "ensemble": 2, "segment": 2, "encode": 1, "measure": 1,
        "evaluate": 1, "report": 1,
    }  # fmt: skip
    for file in ("gone.tif", "lost.geojson"):
        log = (graph.results / "logs" / "rasterize" / f"{Path(file).stem}.log").read_text()
        assert f"{file}: there is no such file.\n  Copy it there, or correct the sheet" in log
        assert printed.count(f"  {log.splitlines()[0]}\n") == 1
    assert "Open:" not in printed


def test_originals_that_are_gone_undo_no_result(graph):
    slides, before = graph.project.sheet.parent, graph.hashes("masks", "segments", "models")
    for name in ("a1.png", "b1.geojson", "t1.tif"):
        (slides / name).rename(graph.folder / name)
    graph.run()
    assert graph.jobs() == {}
    for name in ("a1.png", "b1.geojson", "t1.tif"):
        (graph.folder / name).rename(slides / name)
    assert graph.jobs() == {}
    assert graph.hashes("masks", "segments", "models") == before


def test_a_dry_run_writes_orders_and_nothing_else(graph):
    def files():
        return {path.relative_to(graph.results) for path in graph.results.rglob("*") if path.is_file()}

    row = graph.project.add_slide("n1", "png", 96, 112, "test", "n", "n1", "two", "")
    graph.project.write_sheet([*graph.project.rows(), row])
    before = files()
    graph.jobs()
    new = files() - before
    new = {path for path in new if path.parts[0] != ".made"}
    assert {path.parts[0] for path in new} == {".orders"}
    assert {path.parts[1] for path in new} >= {"rasterize", "encode"}
    written = {path: (graph.results / path).stat().st_mtime_ns for path in new}
    graph.jobs()
    assert {path: (graph.results / path).stat().st_mtime_ns for path in files() - before & written.keys()} == written


def test_scales_made_in_one_pass_are_those_made_one_by_one(graph):
    scales = list(graph.project.config()["scales"])
    assert len(scales) == 2
    before = graph.hashes("scaled")
    graph.project.write_config({**graph.project.config(), "one_pass": scales})
    shutil.rmtree(graph.results / "scaled")
    targets = [f"results/scaled/{scales[0]}/{shard}" for shard in ("a", "b")]
    assert graph.jobs(*targets) == {"downscale_in_one_pass": 2}
    graph.run(*targets)
    after = graph.hashes("scaled")
    assert after
    assert after.items() <= before.items()
    assert {Path(path).parts[-3] for path in after} == set(scales)


def test_an_edited_file_of_folds_divides_anew(graph):
    config = graph.project.config()
    given = graph.project.folder / "mine.csv"
    given.write_text("shard,group,fold\na,a,0\nb,b,1\n")
    config["folds"]["file"] = "mine.csv"
    graph.project.write_config(config)
    graph.run("results/folds.csv")
    assert graph.jobs("results/folds.csv") == {}
    given.write_text("shard,group,fold\na,a,1\nb,b,0\n")
    os.utime(given, (1, 1))
    assert graph.jobs("results/folds.csv") == {"split": 1}
    graph.run("results/folds.csv")
    assert (graph.results / "folds.csv").read_text().splitlines()[1:3] == ["a,a,1", "b,b,0"]


def test_weights_and_least_sizes_are_fitted_out_of_fold(graph):
    config = graph.project.config()
    models = dict.fromkeys(config["models"], 1)
    config["ensembles"]["fitted"] = {"models": models, "weights": "fit", "calibration": {"min_area": "fit"}}
    graph.project.write_config(config)
    assert graph.jobs() == {**FOLLOWS, "weigh": 1}
    graph.run()
    weights = json.loads((graph.results / "weights" / "fitted.json").read_text())["weights"]
    assert weights.keys() == models.keys()
    assert sum(weights.values()) == pytest.approx(1, abs=1e-5)
    calibration = json.loads((graph.results / "calibration" / "fitted.json").read_text())
    assert all(0 <= dice["nested"] <= 1 for dice in calibration["dice"].values())
    objects = read_columns(graph.results / "segments" / "fitted" / "t" / "t1.objects.parquet")
    for name, least in calibration["min_area"].items():
        assert objects["area"][objects["class"] == name].min(initial=10**9) >= least
    page = (graph.results / "report" / "index.html").read_text()
    assert "Weights fitted out of fold" in page


def test_objects_are_fitted_out_of_fold_and_told_by_bundle_and_report(graph):
    config = graph.project.config()
    config["ensembles"]["fitted"] = {"models": {"near": 1}, "calibration": {"aim": "objects", "overlap": 0.5}}
    graph.project.write_config(config)
    graph.run()
    calibration = json.loads((graph.results / "calibration" / "fitted.json").read_text())
    assert calibration["objects"].keys() == {"gland", "vessel"}
    objects = read_columns(graph.results / "segments" / "fitted" / "t" / "t1.objects.parquet")
    summary = json.loads((graph.results / "metrics" / "fitted" / "summary.json").read_text())["out_of_fold"]
    for name, found in calibration["objects"].items():
        assert found["fitted"] == pytest.approx(summary[name]["f1"], abs=1e-5)
        own = objects["class"] == name
        assert objects["confidence"][own].min(initial=1) >= calibration["min_confidence"][name]
    said = json.loads((graph.results / "bundles" / "fitted" / "bundle.json").read_text())
    assert said["aim"] == "objects"
    assert [one.get("min_confidence", 0) for one in said["classes"]] == list(calibration["min_confidence"].values())
    assert "F1 of objects, nested" in (graph.results / "report" / "index.html").read_text()


def test_a_deleted_intermediate_is_rebuilt_alone_byte_for_byte(graph):
    deleted = ("masks/t", "tiles/coarse/b.h5", "models/near/fold0/model.safetensors", "probabilities/near/b")
    stages = ("masks", "scaled", "tiles", "models", "probabilities", "folds.csv")
    graph.project.write_config(graph.project.config() | {"kept": False})
    before = graph.hashes(*stages)
    for name in deleted:
        path = graph.results / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert graph.jobs() == {}, "nothing that is up to date needs them"
    targets = [f"results/{name}" for name in deleted]
    assert graph.jobs(*targets) == {"rasterize": 1, "tile": 1, "train": 1, "predict": 1}
    graph.run(*targets)
    assert graph.hashes(*stages) == before
