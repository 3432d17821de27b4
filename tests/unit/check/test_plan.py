import csv
import json
from pathlib import Path

import pytest
import yaml

from tilewright.check import plan as module
from tilewright.check.check import check
from tilewright.check.plan import plan
from tilewright.check.proposal import Machine
from tilewright.project.configfile import read_config
from tilewright.runtime.errors import UserError


@pytest.fixture
def planned(project, monkeypatch):
    """Plans the tiny project; how fast the machine is does not matter."""
    monkeypatch.chdir(project.folder)
    monkeypatch.setattr(module, "_machine", lambda: Machine(2, False, 3e5))

    def run(**options):
        plan(sheet=project.sheet, out=project.folder / "plan.yaml", **options)
        return (project.folder / "plan.yaml").read_text()

    return run


def test_the_plan_is_a_config_that_passes_check(planned, project, capsys):
    text = planned(minutes=30)
    said = capsys.readouterr().err
    assert "Next: tilewright check --config" in said
    check(config=project.folder / "plan.yaml")
    assert "0 errors" in capsys.readouterr().out
    config = read_config(project.folder / "plan.yaml")
    assert set(config.classes) == {"gland", "vessel"}
    assert config.folds.count == 2
    assert config.models["unet"].final
    (ensemble,) = config.ensembles.values()
    assert ensemble.calibration.min_area == "fit"
    assert yaml.safe_load(text)["models"]["unet"]["tiles"] == "planned"


def test_every_value_that_was_chosen_has_its_reason_beside_it(planned):
    told = [line.partition("  # ") for line in planned().splitlines()[1:]]
    reasons = {text.split(":")[0].strip(): reason for text, _, reason in told if reason}
    chosen = {"gland", "planned", "method", "size", "overlap", "count", "crop", "epochs", "tiles_per_epoch", "final"}
    assert chosen < set(reasons)
    assert reasons["gland"].endswith("slides")


def rename(project, **names):
    project.write_sheet([{**row, "labelled": ""} for row in project.rows()])
    for path in project.sheet.parent.glob("*.geojson"):
        text = path.read_text()
        for old, new in names.items():
            text = text.replace(json.dumps({"name": old}), json.dumps({"name": new}))
        path.write_text(text)


@pytest.mark.parametrize(
    "label",
    [
        *("1", "1.5", "no", "null", "true", "a: b", "a, [b]", 'it\'s "#1"', "a\nb"),
        *("Drüse 😀", "a\x7fb", "{x}", "-", "any"),
    ],
)
def test_whatever_labels_are_called_the_plan_is_a_config_that_finds_them(planned, project, capsys, label):
    rename(project, gland=label)
    planned()
    config = read_config(project.folder / "plan.yaml")
    assert sorted(name for one in config.classes.values() for name in one.labels) == sorted([label, "vessel"])
    check(config=project.folder / "plan.yaml")
    assert "not drawn" not in capsys.readouterr().out


def test_outlines_without_a_label_are_drawn_by_the_plan(planned, project, capsys):
    rename(project)
    for path in project.sheet.parent.glob("*.geojson"):
        path.write_text(path.read_text().replace("classification", "note"))
    planned()
    config = read_config(project.folder / "plan.yaml")
    assert config.annotations.unlabelled == "object"
    assert set(config.classes) == {"object"}
    check(config=project.folder / "plan.yaml")
    assert "has no class" not in capsys.readouterr().out


def test_a_plan_has_a_folder_of_results_of_its_own_and_draws_what_is_outlined(planned, project, capsys):
    for path in project.sheet.parent.glob("*.geojson"):
        features = json.loads(path.read_text())
        for feature in features["features"] if isinstance(features, dict) else features:
            feature["properties"]["objectType"] = "detection"
        path.write_text(json.dumps(features))
    planned()
    config = read_config(project.folder / "plan.yaml")
    assert config.pathvars == {"results": "results/plan"}
    assert config.annotations.objects == ["detection"]
    check(config=project.folder / "plan.yaml")
    assert "0 errors" in capsys.readouterr().out


def test_names_in_the_column_labelled_that_are_no_classes_of_the_plan_are_told(planned, project, capsys):
    rename(project, gland="Tumor cell")
    project.write_sheet([{**row, "labelled": "vessel;gland"} for row in project.rows()])
    planned()
    assert "column labelled names gland, which is no class of the plan (Tumor_cell, vessel)" in capsys.readouterr().err


@pytest.mark.parametrize("data", ["null", "yes", "my data: 1"])
def test_a_folder_may_have_any_name(planned, project, data):
    (project.folder / data).mkdir()
    planned(data=Path(data))
    assert read_config(project.folder / "plan.yaml").data == data


@pytest.mark.parametrize("minutes", [0, -5, float("nan"), float("inf")])
def test_minutes_that_are_no_time_are_refused(planned, project, minutes):
    with pytest.raises(UserError, match=r"--minutes: .* is no time"):
        planned(minutes=minutes)
    assert not (project.folder / "plan.yaml").exists()


def test_a_config_that_is_there_stays(planned, project):
    (project.folder / "plan.yaml").write_text("mine")
    with pytest.raises(UserError, match="is there already"):
        planned()
    assert (project.folder / "plan.yaml").read_text() == "mine"


def test_one_group_cannot_be_divided(planned, project):
    rows = [{**row, "group": "all"} for row in project.rows() if row["role"] == "train"]
    with project.sheet.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(UserError, match=r"of one group.*\n  Give the column group more values"):
        planned()
    assert not (project.folder / "plan.yaml").exists()


def test_the_speed_of_a_training_is_measured():
    assert 1e3 < module._rate("cpu") < 1e9
