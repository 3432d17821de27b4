import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tilewright.graph import Workflow, name_pattern
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
        return Workflow.load(config)

    return load


WILDCARDS = {"shard": "a", "scale": "half", "tiles": "fine", "model": "near", "ensemble": "both", "fold": "0"}
SETTINGS = ("rasterize", "downscale", "tile", "split", "train", "predict", "seams", "weigh", "ensemble", "calibrate", "segment", "encode",
            "evaluate", "report")  # fmt: skip


def settings(project):
    return {step: project.settings(step)(WILDCARDS) for step in SETTINGS}


@pytest.mark.parametrize(
    ("key", "value", "steps"),
    [
        ("annotations__ignore", ["unsure"], {"rasterize"}),
        ("tissue__smooth", 1.0, {"downscale"}),
        ("slides__crop_to_bounds", False, {"rasterize", "downscale", "report"}),
        ("tiles__fine__overlap", 0.25, {"tile"}),
        ("tiles__coarse__overlap", 0.25, set()),
        ("folds__seed", 7, {"split", "train", "weigh", "calibrate"}),
        ("models__near__learning_rate", 0.5, {"train", "report"}),
        ("models__near__inference__tta", "d4", {"predict", "seams", "report"}),
        ("seams__max_edge", 99, {"seams"}),
        ("models__far__epochs", 9, {"report"}),
        ("ensembles__both__models__near", 5, {"ensemble", "report"}),
        ("ensembles__both__calibration__min_area", 5, {"calibrate"}),
        ("segmentation__confidence", "max", {"segment"}),
        ("segmentation__fill_holes", 50, {"segment"}),
        ("evaluation__boundary", 5, {"evaluate"}),
        ("submission__dialect", "coco", {"encode"}),
        ("report__overlays", 1, {"report"}),
        ("classes__gland__color", "#000000", {"segment", "report"}),
        ("sheet", "slides/slides.csv", set()),
    ],
)
def test_settings_hold_only_what_the_step_depends_on(graph, key, value, steps):
    before, after = settings(graph()), settings(graph(**{key: value}))
    assert {step for step in SETTINGS if before[step] != after[step]} == steps


def test_settings_are_canonical(graph):
    text = graph().settings("train")(WILDCARDS)
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))


def test_a_training_shard_is_predicted_by_the_fold_that_did_not_see_it_and_a_test_shard_by_all(graph):
    project = graph()
    fold = project.folds["a"].fold
    own = project.predictions(SimpleNamespace(shard="a", ensemble="both"))
    assert own == [f"results/probabilities/{model}/fold{fold}/a" for model in ("near", "far")]
    every = project.predictions(SimpleNamespace(shard="t", ensemble="both"))
    assert {path.split("/")[-2] for path in every} == {"fold0", "fold1"}


def test_external_shards_are_trained_on_and_never_validated_or_evaluated(graph):
    project = graph()
    assert "results/tiles/fine/x1.h5" in project.training_tiles(SimpleNamespace(model="near"))
    assert "x1" not in (*project.validated, *project.tested, *project.evaluated)


def test_slides_without_outlines_are_segmented_and_not_evaluated(graph, project):
    project.write_sheet([row for row in project.rows() if row["slide"] != "t1"])
    assert "t" in graph().tested
    assert "t" not in graph().evaluated


def test_only_training_rows_count_for_thresholds(graph, project):
    before = graph().training_rows
    rows = project.rows()
    rows[-1]["source"] = "other"
    project.write_sheet(rows)
    assert graph().training_rows == before
    rows[0]["labelled"] = "gland"
    project.write_sheet(rows)
    assert graph().training_rows != before


def test_problems_of_config_and_sheet_are_users_errors(graph, project):
    with pytest.raises(UserError, match="foldss"):
        graph(foldss={})
    Path(project.sheet).write_text("slide\n")
    with pytest.raises(UserError, match="image"):
        graph()


def test_names_are_matched_whole():
    assert name_pattern(["a.b", "c"]) == r"a\.b|c"


def test_a_large_shard_is_decoded_by_two_threads(graph, monkeypatch):
    assert graph().reading_threads(SimpleNamespace(shard="a")) == 1
    monkeypatch.setattr("tilewright.graph.LARGE_SHARD", 100)
    assert graph().reading_threads(SimpleNamespace(shard="a")) == 2
