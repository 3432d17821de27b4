"""The report of the real graph, and the report that Snakemake makes of a run."""

import re
import shutil
import zipfile

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_the_report_of_the_run_is_written_without_a_network(graph):
    graph.run("--report", "report.zip")
    with zipfile.ZipFile(graph.project.folder / "report.zip") as archive:
        names = archive.namelist()
    assert any(name.endswith("report.html") for name in names)
    assert any("both.csv" in name for name in names)
    assert any("index.html" in name for name in names)


def test_after_part_of_a_run_the_report_of_the_run_holds_what_is_named(graph):
    for name in ("report", "submission"):
        shutil.rmtree(graph.results / name)
    code, printed = graph.attempt("--report", "all.zip")
    assert code != 0
    assert "both.csv marked for report but does not exist" in printed
    graph.run("--report", "part.zip", "results/models/near/fold0/curves.png")
    with zipfile.ZipFile(graph.project.folder / "part.zip") as archive:
        assert any(name.endswith("curves.png") for name in archive.namelist())
        assert not re.search(rb"""(src|href)=["']https?:""", archive.read("part/report.html"))


def test_the_page_shows_what_lies_beside_it_and_nothing_from_a_network(finished):
    folder = finished.results / "report"
    text = (folder / "index.html").read_text()
    links = re.findall(r"""(?:src|href)=["']([^"'#][^"']*)["']""", text)
    assert links
    for link in links:
        if link.startswith("data:"):
            continue
        assert "//" not in link
        assert (folder / link).is_file(), link
    assert (folder / "overlays" / "both" / "t1.png").is_file()
