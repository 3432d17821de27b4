"""The program runs here on a processor with small numbers; on a GPU with ``make test-gpu``."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


def gpu(out, *options, patches=None):
    """Run the program: its exit code, what it printed, and its JSON."""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "FAKE_GPUS")}
    if patches:
        environment["PYTHONPATH"] = str(patches)
    command = [sys.executable, HERE, "--out", out, *options]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True)
    assert out.exists(), done.stdout
    return done.returncode, done.stdout, json.loads(out.read_text())


@pytest.mark.gpu
@pytest.mark.timeout(400)
def test_a_gpu_shows_what_it_has_to():
    if not torch.cuda.is_available():
        pytest.skip("PyTorch sees no GPU here")
    code, table, _ = gpu(REPOSITORY / "results" / "gpu.json")
    print(table)
    assert code == 0, table


CPU = ("--device", "cpu", "--small", "--minutes", "2")


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    return gpu(tmp_path_factory.mktemp("gpu") / "found.json", *CPU)


@pytest.fixture(scope="module")
def rows(tried):
    """Rows by part and what they are about."""
    return {(name, row["what"]): row for name, part in tried[2]["parts"].items() for row in part["rows"]}


@pytest.mark.slow
def test_on_a_processor_all_parts_run_and_their_claims_hold(tried, parts, rows):
    code, table, report = tried
    assert {name: part["state"] for name, part in report["parts"].items()} == dict.fromkeys(parts, "done")
    assert code == 0, table
    assert report["about"]["seconds"] < 120
    judged = {name for name, _ in rows if any(row["met"] for key, row in rows.items() if key[0] == name)}
    assert judged == set(parts) - {"device", "step", "demo", "training", "prediction", "folds"}
    for _, what in rows:
        assert what in table


@pytest.mark.slow
def test_on_a_processor_rates_are_told_and_not_judged(rows):
    told = [("training", f"crop {edge}: rate against the bare network") for edge in (64, 128)]
    told += [("prediction", "rate against the bare network"), ("folds", "against five times a fold's bare network")]
    for key in told:
        assert rows[key]["value"] > 0
        assert rows[key]["met"] is None


BLOCK = """
import importlib.metadata as metadata, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name in ("rasterio", "timm"):
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Missing())
usual = metadata.Distribution.from_name.__func__

def from_name(cls, name):
    if name != "tilewright":
        return usual(cls, name)
    for each in metadata.distributions(name=name):
        if "site-packages" not in str(each._path):
            return each
    raise metadata.PackageNotFoundError(name)

metadata.Distribution.from_name = classmethod(from_name)
"""


@pytest.mark.slow
def test_without_a_package_its_parts_are_named_and_all_others_run_even_uninstalled(tmp_path, parts):
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    code, table, report = gpu(tmp_path / "found.json", *CPU, patches=tmp_path)
    states = {name: part["state"] for name, part in report["parts"].items()}
    assert [name for name, state in states.items() if state == "done"] == ["device", "colors", "averages", "step"]
    assert set(states.values()) == {"done", "left out"}
    why = {name: part["why"] for name, part in report["parts"].items() if part["state"] == "left out"}
    assert why["losses"] == why["norms"] == "no package timm"
    assert why["blending"] == why["demo"] == "no package rasterio"
    assert why["killed"] == "it needs demo"
    assert "left out: no package timm" in table
    assert code == 0


@pytest.mark.slow
def test_what_no_longer_fits_is_named_and_the_rest_is_written(tmp_path, parts):
    code, table, report = gpu(tmp_path / "found.json", *CPU[:3], "--minutes", "0")
    assert code == 0
    assert list(report["parts"]) == parts
    for name, part in report["parts"].items():
        assert part["state"] == "left out"
        assert part["why"].endswith(" s are left") or part["why"].startswith("it needs ")
        assert f"{name}: left out" in table


@pytest.fixture(scope="module")
def parts():
    """Names of all parts."""
    script = "import json, parts; print(json.dumps(list(parts.PARTS)))"
    done = subprocess.run([sys.executable, "-c", script], cwd=HERE, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def test_the_page_says_what_each_part_shows(parts):
    page = (REPOSITORY / "docs" / "gpu-tests.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == parts


PART = """
import json, sys, time
from pathlib import Path
import children, parts, table
from parts.setting import Setting

def slow(setting):
    setting.tell("before", 1, met=True)
    time.sleep(60)

def false(setting):
    setting.tell_ratio("rate", 0.94, 0.95)

def wrong(setting):
    raise ValueError("it broke")

found = {}
setting = Setting("cuda", False, Path(sys.argv[1]))
for name, seconds in (("slow", 0.5), ("false", 30), ("wrong", 30)):
    parts.PARTS[name] = parts.Part(f"__main__:{name}", 1)
    found[name] = children.run(name, setting, seconds)
about = {"device": "cuda", "cores": 1, "seconds": 1, "packages": {"torch": "2"}}
print(json.dumps([found, table.wrong({"parts": found}), table.whole({"about": about, "parts": found})]))
"""


def test_a_part_that_hangs_breaks_or_misses_its_goal_is_told_and_keeps_what_it_found(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PART, tmp_path], cwd=HERE, stdout=subprocess.PIPE, check=True, timeout=30
    )
    found, wrong, table = json.loads(done.stdout)
    assert {name: part["state"] for name, part in found.items()} == {
        "slow": "cut off",
        "false": "done",
        "wrong": "failed",
    }
    assert [row["what"] for row in found["slow"]["rows"]] == ["before"]
    assert "ValueError: it broke" in found["wrong"]["why"]
    assert wrong == ["slow", "wrong", "false: rate"]
    assert "NO" in table
    assert "failed: ValueError: it broke" in table
