"""What the file of a job says: equal where the same is made of equal content, other wherever it is not."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tilewright.project.jobs import Step, glancing, seen_files, write_job
from tilewright.project.places import Places
from tilewright.runtime.digests import LARGE
from tilewright.tiles.folding import read_project


@pytest.fixture
def job_of(project, monkeypatch):
    """Writes the file of a job that takes the images and outlines of the shard ``a``, and reads it."""
    monkeypatch.chdir(project.folder)

    def job(rule="rasterize", inputs=None, wildcards=(("shard", "a"),), **changed):
        project.write_config(project.config() | changed)
        read, places = read_project(project.config_file), Places()
        rows = read.shard("a")
        files = [path for column in ("image", "annotations") for path in read.sheet.files(rows, column)]
        path = write_job(
            read, places, Step(rule, rule, "c0de"), wildcards=dict(wildcards), outputs=["results/out"],
            inputs=files if inputs is None else inputs,
        )  # fmt: skip
        return json.loads(Path(path).read_text())

    return job


def test_where_results_are_kept_is_told_with_who_writes_there(job_of):
    assert [job_of(kept=True)[name] for name in ("store", "shared")] == ["results/.kept", False]
    assert [job_of(kept="/projects/kept")[name] for name in ("store", "shared")] == ["/projects/kept", True]
    assert job_of(kept=False)["store"] == ""


def test_the_code_counts_unless_the_config_takes_all_versions(job_of):
    assert [job_of()[name] for name in ("code", "any_code", "verb")] == ["c0de", False, "rasterize"]
    assert job_of(rerun_on_code_change=False)["any_code"] is True


def test_other_places_of_the_same_files_are_nothing_to_a_job(project, job_of):
    told = job_of()["told"]
    project.sheet.parent.rename(project.folder / "moved")
    assert job_of(sheet="moved/slides.csv")["told"] == told
    weights = [project.folder / name / "weights.pth" for name in ("here", "there")]
    for path in weights:
        path.parent.mkdir()
        path.touch()
    models, jobs = project.config()["models"], []
    for path in weights:
        models["near"]["encoder_weights"] = str(path)
        jobs.append(job_of("train", [str(path)], {"model": "near", "fold": "0"}, models=models))
    assert jobs[0]["told"] == jobs[1]["told"]


def test_settings_and_what_a_command_names_count(project, job_of):
    near = project.config()["models"]["near"]
    told = {
        job_of("train", [], {"model": name, "fold": "0"}, models={"near": near, "far": near | {"epochs": epochs}})[
            "told"
        ]
        for name, epochs in (("near", 1), ("far", 1), ("far", 2))
    }
    assert len(told) == 3


def test_which_of_its_files_a_slide_has_counts_where_they_have_one_name(project, job_of):
    """An image of three slides, whose rows differ in nothing but its folder."""
    folder, (first, _, *others) = project.sheet.parent, project.rows()
    for name, slide in (("one", "a1"), ("two", "b1")):
        (folder / name).mkdir()
        for suffix in (".png", ".geojson"):
            shutil.copy(folder / f"{slide}{suffix}", folder / name / f"scan{suffix}")
    found = []
    for third in ("one", "two"):
        rows = [
            {**first, "slide": f"s{place}", "image": f"{name}/scan.png", "annotations": f"{name}/scan.geojson"}
            for place, name in enumerate(("one", "two", third))
        ]
        project.write_sheet([*rows, *others])
        found.append(job_of())
    assert found[0]["inputs"] == found[1]["inputs"], "each file is listed once"
    assert found[0]["told"] != found[1]["told"]


@pytest.mark.parametrize(
    ("image", "further"), [("a.mrxs", "a"), ("A.MRXS", "A"), ("d/1.dcm", "d"), ("v/a.vms", "v"), ("a.tif", "")]
)
def test_slides_of_many_files_are_read_with_all_of_them(project, job_of, image, further):
    path = project.folder / image
    (project.folder / (further or "a")).mkdir(exist_ok=True)
    path.touch()
    assert job_of(inputs=[str(path)])["inputs"] == [str(path), *([str(project.folder / further)] if further else [])]


def test_a_large_file_is_seen_by_size_and_time_and_a_small_one_by_its_content(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small, large, seen = Path("small.json"), Path("large.tif"), []
    for content, when in ((b"a", 1), (b"a", 2), (b"b", 3)):
        for path, size in ((small, 1), (large, LARGE)):
            path.write_bytes(content * size)
            os.utime(path, ns=(when, when))
        seen.append(json.loads(seen_files([str(small), str(large)], Places(), glancing(Places()))))
    assert [seen[0][name] == seen[1][name] for name in seen[0]] == [True, False]
    assert seen[1]["small.json"] != seen[2]["small.json"]
    assert seen[2]["large.tif"] == [LARGE, 3]


def test_results_and_storage_are_not_seen_and_what_is_not_there_is_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inputs = [
        "results/masks/a",
        str(tmp_path / "results/b"),
        ".snakemake/storage/s3/bucket/a.tif",
        "gone.tif",
        "resultsets",
    ]
    Path("resultsets").mkdir()
    seen = json.loads(seen_files(inputs, Places(), glancing(Places())))
    assert seen.keys() == {"gone.tif", "resultsets"}
    assert seen["gone.tif"] == []
