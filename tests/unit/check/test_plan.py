import csv

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
