"""The benchmark program measures, compares and reports; its figures are not judged here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
LOCKS = sorted(REPOSITORY.glob("requirements-bench*.lock"))


def bench(folder, *options):
    """Run the program; returns its exit code, what it printed, and its JSON."""
    out = folder / "result.json"
    command = [sys.executable, "benchmarks", "--quick", "--ours-only", "--cache", folder, "--out", out, *options]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert out.exists(), done.stderr
    return done.returncode, done.stdout, json.loads(out.read_text())


@pytest.fixture(scope="module")
def trivial(tmp_path_factory):
    return bench(tmp_path_factory.mktemp("bench"), "--rows", "trivial", "--repeats", "2")


def test_each_side_is_measured_as_often_as_asked_for(trivial):
    (result,) = trivial[2]["results"]
    assert len(result["ours"]["runs"]) == len(result["peers"][0]["runs"]) == 2
    for run in result["ours"]["runs"]:
        assert run["seconds"] > 0
        assert run["peak"] >= run["imported"] > 0


def test_the_page_says_where_other_programs_lengthened_seconds(trivial, tmp_path):
    report = json.loads(json.dumps(trivial[2]))
    report["results"][0]["row"] = "predict"
    pages = []
    for load in (0.3, 7.2):
        report["about"] |= {"load": load, "cpus": 2}
        path = tmp_path / "report.json"
        path.write_text(json.dumps(report))
        command = [sys.executable, "benchmarks/page.py", path]
        pages.append(subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout)
    assert "load" not in pages[0]
    assert "Other programs ran meanwhile (load 7.2)" in pages[1]


def test_equal_outputs_are_found_equal(trivial):
    peer = trivial[2]["results"][0]["peers"][0]
    assert peer["agree"] is True
    assert peer["outputs"].startswith("0 of")


def test_what_cannot_be_measured_is_reported_and_not_replaced(trivial):
    _, table, report = trivial
    absent = report["results"][0]["peers"][1]
    assert absent["seconds"] is None
    assert absent["speed"] is None
    assert "cannot be imported" in absent["failure"]
    assert absent["failure"] in table


def test_the_report_names_versions_machine_and_date(trivial):
    about = trivial[2]["about"]
    assert about["versions"]["ours"]["rasterio"] != "missing"
    assert about["cpus"] >= 1
    assert about["date"].startswith("20")


def test_a_folder_that_is_absent_skips_its_row(tmp_path):
    code, table, report = bench(tmp_path, "--rows", "kidney", "--data", str(tmp_path / "nothing"))
    assert (code, report["results"]) == (0, [])
    assert "no folder hubmap-kidney" in report["skipped"]["kidney"]
    assert "kidney: skipped" in table


@pytest.mark.slow
@pytest.mark.long
def test_every_row_runs_without_peers(tmp_path):
    rows = (
        "rasterize",
        "rasterize-step",
        "rle",
        "downscale",
        "tiles",
        "components",
        "predict",
        "augment",
        "full",
        "chain",
    )
    code, table, report = bench(tmp_path, "--rows", ",".join(rows))
    assert code == 0, table
    assert {result["row"] for result in report["results"]} == set(rows)


def test_there_are_locks_of_the_peers():
    assert [path.name for path in LOCKS] == ["requirements-bench-tiatoolbox.lock", "requirements-bench.lock"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_the_locks_have_hashes_and_no_addresses(lock):
    text = lock.read_text()
    assert "--hash=sha256:" in text
    assert "://" not in text


@pytest.mark.slow
def test_the_start_of_a_verb_is_measured_beside_its_packages():
    command = [sys.executable, "benchmarks/start.py", "--repeats", "1", "--verbs", "split"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    verb, ours, alone = done.stdout.splitlines()[-1].strip("| ").split(" | ")
    assert verb == "split"
    assert float(ours) > float(alone) / 2 > 0
