import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from tilewright import workflow
from tilewright.runtime.errors import UserError
from tilewright.workflow import Workflow, code_version, name_pattern


def forget():
    """Read the package again, as a new process would."""
    code_version.cache_clear()
    workflow._read.cache_clear()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package, whose files a test may edit."""
    copy = tmp_path / "tilewright"
    shutil.copytree(workflow.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(workflow, "PACKAGE", copy)
    forget()
    yield copy
    forget()


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    forget()


STEPS = ("masks", "folds", "training.fit", "inference.predict", "objects")


def test_comments_docstrings_and_layout_are_no_code(package):
    before = [code_version(step) for step in STEPS]
    losses = package / "training" / "losses.py"
    edit(losses, "def bce(", "# why\n\n\ndef bce(")
    edit(losses, '"""Binary cross-entropy', '"""Cross-entropy')
    edit(losses, "(size - 1) / 2", "(\n        (size - 1) / 2\n    )")
    assert [code_version(step) for step in STEPS] == before


@pytest.mark.parametrize(
    ("module", "old", "new", "changed"),
    [
        ("training/losses.py", "(size - 1) / 2", "(size - 1) / 3", {"training.fit"}),
        ("training/segmenter.py", "255 *", "256 *", {"training.fit", "inference.predict"}),
        ("inference/bands.py", "+ 0.5", "+ 0.4", {"inference.predict"}),
        ("folds.py", "count.total()", "0", {"folds", "training.fit"}),
        ("rle.py", '"ascii"', '"utf-8"', {"masks", "objects"}),
    ],
)
def test_code_of_a_module_counts_for_the_steps_that_import_it_and_no_others(package, module, old, new, changed):
    before = {step: code_version(step) for step in STEPS}
    edit(package / module, old, new)
    assert {step for step in STEPS if code_version(step) != before[step]} == changed


@pytest.mark.parametrize(
    "module", ["runtime/progress.py", "runtime/errors.py", "cli.py", "config/training.py", "sheet.py"]
)
def test_modules_that_cannot_change_a_result_do_not_count(package, module):
    before = [code_version(step) for step in STEPS]
    path = package / module
    path.write_text(path.read_text() + "\n\nADDED = 1\n")
    forget()
    assert [code_version(step) for step in STEPS] == before


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
    monkeypatch.setattr("tilewright.workflow.LARGE_SHARD", 100)
    assert graph().reading_threads(SimpleNamespace(shard="a")) == 2
