"""Which rules run again after a change of each key of the config, and which steps each module counts for.

``reruns.yaml`` is the table, to be read: which rules are planned, and which of them are computed whatever their inputs
hold, as they are told something else; others are taken from what is kept where their inputs are of equal content. Where
a change of the program makes it differ, write it anew with ``REWRITE=1 pytest tests/workflow/test_reruns.py`` and read
what changed in it as carefully as the change.
"""

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tilewright.project.config import Config
from tilewright.runtime.codeversion import PACKAGE, RESULTLESS, reached_modules

pytestmark = [pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(600)]

TABLE = Path(__file__).with_name("reruns.yaml")
MATRIX = Path(__file__).with_name("matrix.py")
TWINS = ("models.far", "scales.full", "tiles.coarse", "classes.vessel")
"""Sections of which another one stands in the table."""
ELSEWHERE = {
    "bundles": "test_members.py",
    "predictions": "test_members.py",
    "scales.half.mpp": "slides of the project have no pixel size; test_check.py",
    "folds.file": "test_folds.py",
    "folds.count": "the project has two groups; test_folds.py",
    "models.near.pseudo": "test_graph.py::test_a_second_round_learns_from_pseudo_labels",
    "ensembles.both.weights": "test_graph.py::test_weights_and_least_sizes_are_fitted_out_of_fold",
    "report.compare": "needs a second ensemble; test_graph.py::test_what_is_compared_reaches_the_report_alone",
    "segmentation.inside": "slides of the project have no anatomy; test_check.py",
}
"""Keys that cannot be changed alone, and where they are tested."""


@pytest.fixture(scope="module")
def table():
    return yaml.safe_load(TABLE.read_text())


def test_every_key_of_the_config_is_in_the_table(table, finished):
    config = Config.model_validate(finished.project.config()).model_dump(mode="json")
    keys = {key for key in leaves(config) if not key.startswith(TWINS)}
    assert keys == set(table["keys"]) | set(ELSEWHERE)


def test_a_key_reruns_what_depends_on_it_and_nothing_else(table, finished, tmp_path):
    graph = finished.copied(tmp_path / "copy")
    (graph.project.sheet.parent / "other.csv").write_bytes(graph.project.sheet.read_bytes())
    (graph.project.sheet.parent / "sample.csv").write_text("id,predicted\nt2,\nt1,\n")
    configs = {}
    for number, (key, entry) in enumerate(table["keys"].items()):
        configs[key] = str(tmp_path / f"{number}.yaml")
        Path(configs[key]).write_text(yaml.safe_dump(changed(graph.project.config(), key, entry["to"])))
    order = {"snakefile": f"{graph.code.parent}/Snakefile", "folder": str(graph.project.folder), "configs": configs}
    (tmp_path / "order.json").write_text(json.dumps(order))
    environment = {**os.environ, "PYTHONPATH": str(graph.code.parent)}
    done = subprocess.run(
        [sys.executable, MATRIX, tmp_path / "order.json"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    assert not {key: said for key, said in answers.items() if isinstance(said, str)}
    found = {
        key: {
            "planned": sorted(set(rules) - {"all", "default"}),
            "computed": sorted(rule for rule, anew in rules.items() if anew),
        }
        for key, rules in answers.items()
    }

    if os.environ.get("REWRITE"):
        table["keys"] = {key: {"to": entry["to"], **found[key]} for key, entry in table["keys"].items()}
        write(table)
    assert found == {
        key: {name: entry[name] for name in ("planned", "computed")} for key, entry in table["keys"].items()
    }


def test_a_module_counts_for_the_steps_that_reach_it_and_no_others(table):
    rules = "".join(path.read_text() for path in (PACKAGE.parents[1] / "workflow" / "rules").glob("*.smk"))
    steps = set(re.findall(r'code=code\("([\w.]+)"\)', rules))
    reached = {step: set(reached_modules(step)) for step in steps}
    modules = {".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in PACKAGE.rglob("*.py")}
    found = {
        module.removesuffix(".__init__"): sorted(
            step for step in steps if module.removesuffix(".__init__") in reached[step]
        )
        for module in sorted(modules)
        if module.split(".")[0] not in RESULTLESS
    }

    if os.environ.get("REWRITE"):
        table["modules"] = found
        write(table)
    assert found == table["modules"]


def leaves(value, place=""):
    """Keys, with dots, of all values that are no sections."""
    if not isinstance(value, dict) or not value:
        return [place]
    return [leaf for key, inner in value.items() for leaf in leaves(inner, f"{place}.{key}".lstrip("."))]


def changed(config, key, value):
    """A copy of a config with another value at a key."""
    section = other = copy.deepcopy(config)
    *above, last = key.split(".")
    for name in above:
        section = section.setdefault(name, {})
    section[last] = value
    return other


def write(table):
    TABLE.write_text(yaml.safe_dump(table, sort_keys=False, width=120, default_flow_style=None))
