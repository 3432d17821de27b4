"""What a run on the real graph says: failures once, all at the end, what to open; and the memory that jobs share."""

import re
import shutil

import pytest
import yaml

from tilewright.runtime.ram import usable_megabytes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_failures_are_told_once_and_together_at_the_end(graph):
    names = ("torn", "text", "fine")
    rows = [graph.project.add_slide(name, "tif", 96, 112, "test", name, name, "two", "") for name in names]
    graph.project.write_sheet([*graph.project.rows(), *rows])
    slides = graph.project.sheet.parent
    (slides / "torn.tif").write_bytes((slides / "torn.tif").read_bytes()[:9000])
    (slides / "text.tif").write_text("this is no picture")
    code, printed = graph.attempt("--keep-going")
    assert code == 1
    _, table = re.split(r"^\d+ of \d+ steps done in .*, 2 failed, \d+ not done\.$", printed, flags=re.MULTILINE)
    header, *entries = table.split("\n")[2:5]
    assert header.split() == ["step", "of", "reason", "log"]
    assert sorted(entry.split()[:2] for entry in entries) == [["rasterize", "text"], ["rasterize", "torn"]]
    for name, entry in ((entry.split()[1], entry) for entry in entries):
        log = graph.project.folder / entry.split()[-1]
        assert log == graph.results / "logs" / "rasterize" / f"{name}.log"
        reason = log.read_text().splitlines()[0]
        assert reason[:90] in entry
        assert printed.count(f"FAILED rasterize {name}\n  {reason}\n") == 1
    assert "Error in rule" not in printed
    assert "Open:" not in printed
    before = printed[printed.index("Of an earlier run, not of this one:\n") :]
    assert "  submission  results/submission/both.csv\n" in before
    snakemakes = max((graph.project.folder / ".snakemake" / "log").iterdir())
    assert "Error in rule rasterize:" in snakemakes.read_text()


def memory_of_the_last_run(graph):
    """Megabytes that Snakemake says its jobs may take together."""
    said = max((graph.project.folder / ".snakemake" / "log").iterdir()).read_text()
    return int(re.search(r"^Provided resources: .*mem_mb\D*(\d+)", said, re.MULTILINE)[1])


def test_a_run_says_what_to_open_and_its_jobs_share_the_memory_of_the_machine(graph):
    (graph.results / "submission" / "both.csv").unlink()
    printed = graph.run()
    assert printed.endswith("Open:\n  submission  results/submission/both.csv\n")
    assert memory_of_the_last_run(graph) == usable_megabytes()
    graph.run("--resources", "mem_mb=4321", "--forcerun", "encode", "--until", "encode")
    assert memory_of_the_last_run(graph) == 4321


def test_a_dry_run_for_a_cluster_ends_with_what_each_rule_asks_for(graph):
    shutil.rmtree(graph.results)
    profile = graph.code.parent / "profiles" / "slurm"
    values = yaml.safe_load((profile / "config.yaml").read_text())
    values["set-resources"]["train"] |= {"slurm_partition": "a100", "mem_mb": 23_456}
    (profile / "config.yaml").write_text(yaml.safe_dump(values))
    printed = graph.run("-n", "--workflow-profile", profile)
    _, header, *rows = printed[printed.index("Each job asks for at most:") :].splitlines()
    assert header.split() == ["rule", "jobs", "cpus", "mem_mb", "minutes", "gpu", "partition"]
    asked = {row.split()[0]: row.split()[1:] for row in rows}
    assert asked["train"][0] == "4"
    assert asked["train"][2:] == ["23456", "720", "1", "a100"]
    assert asked["encode"][3:] == ["60"]
    assert printed.count("Each job asks") == 1
