"""Sizes, and which of what is kept is chosen; what ``clean`` does to real results: tests/workflow/test_kept.py."""

import hashlib
import json
import os
import time
from pathlib import Path

import pytest

from tilewright.check.clean import DAY, Held, _beyond, _bytes, _matching, _size, clean
from tilewright.runtime.digests import Digests, Facts, Made, Remembered
from tilewright.runtime.errors import UserError
from tilewright.runtime.kept import Entry, Job, everything, job_text, recipe_of


def held(verb, days, size, *, needed=False):
    made = Made(verb=verb, computed=time.time() - days * DAY)
    return Held(Entry(Path(f"{verb}{days}"), made, ()), needed, size, size)


ALL = [held("train", 40, 300), held("tile", 20, 500, needed=True), held("train", 1, 200, needed=True)]


def test_what_meets_all_that_is_asked_for_is_chosen():
    assert _matching(ALL, [], None, unneeded=False) == ALL
    assert _matching(ALL, ["train"], None, unneeded=False) == [ALL[0], ALL[2]]
    assert _matching(ALL, [], 10, unneeded=False) == ALL[:2]
    assert _matching(ALL, [], 10, unneeded=True) == ALL[:1]
    assert _matching(ALL, ["tile"], 30, unneeded=False) == []


@pytest.mark.parametrize(("most", "gone"), [(1000, 0), (999, 1), (700, 1), (699, 2), (0, 3)])
def test_the_oldest_go_until_no_more_than_that_is_left(most, gone):
    assert _beyond(ALL, ALL, most) == ALL[:gone]


@pytest.mark.parametrize(("text", "count"), [("20GB", 20e9), ("500 mb", 5e8), ("1.5T", 1.5e12), ("12", 12)])
def test_a_size_is_written_as_people_do(text, count):
    assert _bytes(text) == count


def test_what_is_no_size_is_told():
    with pytest.raises(UserError, match='"much" is no size'):
        _bytes("much")


@pytest.mark.parametrize(
    ("count", "text"), [(100, "0.1 KB"), (2_500_000, "2.5 MB"), (3e12, "3.0 TB"), (5e15, "5000.0 TB")]
)
def test_a_size_is_told_in_the_unit_that_fits(count, text):
    assert _size(count) == text


OLD = 1_000_000_000


def recipe_named(name):
    return hashlib.sha256(name.encode()).hexdigest()


class Kept:
    """Results, and what is kept of them, in the folder of a project."""

    def __init__(self, project, capsys):
        self.config, self._project, self._capsys, self._names = project.config_file, project, capsys, {}

    def set(self, **keys):
        self._project.write_config(self._project.config() | keys)

    def keep(self, verb, name, *, size=1000, store="results/.kept", when=OLD):
        """An entry, and the folder of it."""
        recipe = recipe_named(name)
        self._names[recipe] = name
        place = Path(store, verb, recipe[:2], recipe, "c0de")
        place.mkdir(parents=True)
        (place / "0").write_bytes(b"x" * size)
        Entry(place, Made(verb, "1", "c0de", recipe, when), ({"": (size, 1, 1, "d")},)).write()
        return place

    def remember(self, path, name, results="results"):
        """A result that is there."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(b"y")
        made = Made("train", "1", "c0de", recipe_named(name), OLD)
        Digests(Path(results)).remember(Path(path), Remembered(made, {"": Facts(1, 1, 1, "d")}))

    def make(self, outputs, image="slides/a1.png", told="", job="job"):
        """Results of a job that takes an image, of which the recipe is known."""
        path = Path(f"results/.jobs/rasterize/{job}.json")
        path.parent.mkdir(parents=True, exist_ok=True)
        fixed = {"results": "results", "store": "", "shared": False, "any_code": False, "verb": "rasterize", "code": ""}
        path.write_text(job_text(**fixed, told=told, inputs=[image], outputs=outputs))
        os.utime(image, (OLD, OLD))
        read = Job.read(path)
        recipe = recipe_of(read, [(Path(image).name, Digests(Path("results")).of(Path(image)))])
        for output in read.outputs:
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_bytes(b"y")
            known = Remembered(Made("rasterize", recipe=recipe), {"": Facts(1, 1, 1, "d")})
            Digests(Path("results")).remember(output, known)

    def clean(self, **asked):
        clean(config=self.config, **asked)
        return self._capsys.readouterr().out

    def left(self, store="results/.kept"):
        return sorted(self._names[entry.made.recipe] for _, entry in everything(Path(store)) if entry)


@pytest.fixture
def kept(project, monkeypatch, capsys):
    monkeypatch.chdir(project.folder)
    return Kept(project, capsys)


@pytest.mark.parametrize("results", ["results", "results/mine", "results/of/mine"])
def test_what_results_of_any_config_below_the_folder_of_results_need_stays(kept, results):
    kept.set(pathvars={"results": "results/this"})
    for recipe in ("needed", "spare"):
        kept.keep("train", recipe)
    kept.remember(f"{results}/models/near/fold0/model.json", "needed", results)
    assert "Removed" in kept.clean(unneeded=True, yes=True)
    assert kept.left() == ["needed"]
    Path(results, "models/near/fold0/model.json").unlink()
    kept.clean(unneeded=True, yes=True)
    assert kept.left() == []


def test_what_results_share_is_not_freed(kept):
    place = kept.keep("train", "one", size=2000)
    told = [kept.clean()]
    Path("linked").hardlink_to(place / "0")
    told.append(kept.clean())
    lines = [line.split()[1:6] for text in told for line in text.splitlines() if line.startswith("  train")]
    assert lines == [["1", "2.0", "KB", "2.0", "KB"], ["1", "2.0", "KB", "0.0", "KB"]]


def test_nothing_is_touched_without_yes(kept):
    kept.keep("train", "one")
    assert "Would be removed, 1.0 KB" in kept.clean(unneeded=True)
    assert kept.left() == ["one"]


def test_what_was_left_by_a_step_that_was_stopped_is_counted_and_can_be_removed(kept):
    whole = kept.keep("train", "whole")
    kept.remember("results/models/near/fold0/model.json", "whole")
    (whole.parent / ".c0de.host.7.partial" / "0").mkdir(parents=True)
    (whole.parent / ".c0de.host.7.partial" / "0" / "half.bin").write_bytes(b"x" * 5000)
    (kept.keep("predict", "lost") / "record.json").write_text("{")
    told = kept.clean()
    assert "Kept in results/.kept: 7.0 KB" in told
    assert "2 of these (6.0 KB) are no results: left by steps that were stopped, or damaged." in told
    assert "Removed, 6.0 KB" in kept.clean(unneeded=True, yes=True)
    assert kept.left() == ["whole"]
    assert "no results" not in kept.clean()
    assert [path.name for path in whole.parent.iterdir()] == ["c0de"]


def test_results_of_another_config_are_no_leftovers(kept):
    kept.remember("results/mine/models/near/fold0/model.json", "needed", "results/mine")
    Path("results/old").mkdir()
    kept.remember("results/models/gone/fold0/model.json", "gone")
    told = kept.clean(leftover=True, yes=True)
    assert "  results/old" in told
    assert "results/mine" not in told
    assert Path("results/old").is_dir(), "no step has written it"
    assert not Path("results/models/gone").exists()
    known = Digests(Path("results")).recall(Path("results/models/gone/fold0/model.json"))
    assert known == Remembered(), "what is gone was made by nobody"


def test_of_a_shared_folder_what_others_need_is_not_known_and_what_is_cold_of_theirs_stays(kept, tmp_path):
    store = str(tmp_path / "shared")
    kept.set(kept=store)
    for recipe in ("mine", "theirs"):
        kept.keep("predict", recipe, store=store)
    kept.remember("results/probabilities/near/a", "mine")
    assert "What other checkouts and machines need" in kept.clean()
    assert "1 kept of predict" in kept.clean(cold=True, yes=True)
    assert kept.left(store) == ["theirs"]
    kept.set(kept=True)
    assert "What other checkouts" not in kept.clean()


def test_the_oldest_of_a_step_go_until_little_enough_is_kept_of_all(kept):
    for verb, name, age in (("train", "new", 2), ("train", "old", 3), ("tile", "oldest", 4)):
        kept.keep(verb, name, when=OLD - age)
    kept.clean(step=["train"], most="2KB", yes=True)
    assert kept.left() == ["new", "oldest"]


def test_a_step_of_which_nothing_is_kept_is_told_with_the_nearest(kept):
    kept.keep("train", "one")
    with pytest.raises(UserError, match=r'nothing is kept of "trian"\.\n  Did you mean "train"'):
        kept.clean(step=["trian"], yes=True)


def test_what_is_named_twice_is_removed_once_and_where_there_is_nothing_that_is_said(kept):
    kept.keep("predict", "one", size=3000)
    assert "Would be removed, 3.0 KB" in kept.clean(cold=True, unneeded=True)
    assert "There is nothing of that to remove." in kept.clean(older=1e6, unneeded=True)
    assert "There is nothing" not in kept.clean()


@pytest.mark.parametrize("older", [-1.0, float("nan")])
def test_days_that_are_none_are_refused(kept, older):
    kept.keep("train", "one")
    with pytest.raises(UserError, match=r'--older: "\S+" is no number of days'):
        kept.clean(older=older, yes=True)
    assert kept.left() == ["one"]


MASK, STAMPED = Path("results/masks/a.tif"), Path("results/scaled/.snakemake_timestamp")


def changed_behind_its_time(image="slides/a1.png"):
    """Other content under the same size and time."""
    content = Path(image).read_bytes()
    Path(image).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(image, (OLD, OLD))


def test_what_was_made_of_an_input_that_changed_is_older_than_it_once_that_is_asked_for(kept):
    kept.make([str(MASK), "results/gone.tif"])
    Path("results/gone.tif").unlink()
    kept.make(["results/masks/b.tif"], "slides/b1.png", job="other")
    Path("results/.jobs/rasterize/cut.json").write_text("{")
    changed_behind_its_time()
    for _ in range(2):
        told = kept.clean(rehash=True)
        assert "Read again, 2 files and folders; results that were made of other content: 1." in told
        assert f"\n  {MASK} (of slides/a1.png)\n" in told
        assert "nobody knows" not in told
        assert MASK.stat().st_mtime > OLD
    assert "They are made anew by the next run" in kept.clean(rehash=True, yes=True)
    assert MASK.stat().st_mtime < OLD < Path("results/masks/b.tif").stat().st_mtime
    known = Digests(Path("results"))
    assert known.recall(Path("slides/a1.png")).files == {}, "the next step reads it"
    assert known.recall(Path("slides/b1.png")).files


def test_snakemakes_stamp_of_a_folder_is_set_back_as_it_tells_the_age(kept):
    STAMPED.parent.mkdir(parents=True)
    STAMPED.touch()
    kept.make([f"{STAMPED.parent}/x"])
    recipe = Digests(Path("results")).recall(STAMPED.parent / "x").made.recipe
    Digests(Path("results")).remember(STAMPED.parent, Remembered(Made("rasterize", recipe=recipe)))
    job = Path("results/.jobs/rasterize/job.json")
    job.write_text(job.read_text().replace(f"{STAMPED.parent}/x", str(STAMPED.parent)))
    changed_behind_its_time()
    kept.clean(rehash=True, yes=True)
    assert STAMPED.stat().st_mtime < OLD


def test_files_that_changed_names_are_found_also_where_the_memory_knows_the_new_ones(kept):
    for name in "ab":
        kept.make([f"results/masks/{name}.tif"], f"slides/{name}1.png", job=name)
    Path("slides/a1.png").rename("slides/c.png")
    Path("slides/b1.png").rename("slides/a1.png")
    Path("slides/c.png").rename("slides/b1.png")
    for name in "ab":
        Digests(Path("results")).of(Path(f"slides/{name}1.png"))
    assert "of other content: 2." in kept.clean(rehash=True)


def test_a_result_of_any_job_that_is_written_down_is_no_older(kept):
    kept.make([str(MASK)], told="now")
    made = Digests(Path("results")).recall(MASK)
    kept.make([str(MASK)], told="before", job="before")
    Digests(Path("results")).remember(MASK, made)
    assert "of other content: 0." in kept.clean(rehash=True)


@pytest.mark.parametrize("gone", ["results/tiles/a.zip", "slides/b1.png"])
def test_of_a_result_of_which_a_job_cannot_be_judged_nobody_knows(kept, gone):
    """Tiles that clean --cold has removed; an image of another sheet."""
    kept.make([str(MASK)])
    path = Path("results/.jobs/rasterize/job.json")
    told = json.loads(path.read_text())
    (path.with_name("more.json")).write_text(json.dumps(told | {"inputs": [*told["inputs"], gone]}))
    Path(gone).unlink(missing_ok=True)
    assert "of other content: 0." in kept.clean(rehash=True)
    changed_behind_its_time()
    told = kept.clean(rehash=True, yes=True)
    assert "of other content: 0." in told
    assert "Of 1 results nobody knows what they were made of" in told
    assert MASK.stat().st_mtime > OLD


def test_cold_results_on_another_disk_are_removed_and_the_link_stays(kept, tmp_path_factory):
    disk = tmp_path_factory.mktemp("disk") / "scaled"
    (disk / "half" / "a").mkdir(parents=True)
    (disk / "half" / "a" / "a1.tif").write_bytes(b"x" * 2000)
    Path("results").mkdir(exist_ok=True)
    Path("results/scaled").symlink_to(disk)
    assert "Removed, " in kept.clean(cold=True, yes=True)
    assert list(disk.iterdir()) == []
    assert Path("results/scaled").is_symlink()


def test_where_nobody_knows_what_results_were_made_of_nothing_is_vouched_for(kept):
    assert "Of all results nobody knows what they were made of; touch what you doubt" in kept.clean(rehash=True)
    kept.make([str(MASK)])
    Digests(Path("results")).forget(MASK)
    changed_behind_its_time()
    told = kept.clean(rehash=True, yes=True)
    assert "Read again, 1 files and folders; results that were made of other content: 0." in told
    assert "Of 1 results nobody knows what they were made of; touch what you doubt" in told
    assert MASK.stat().st_mtime > OLD


def test_what_others_have_put_into_the_folder_stays(kept):
    """``kept: FOLDER`` may be one that is not only for it."""
    kept.keep("train", "mine")
    theirs = [Path("results/.kept", *parts) for parts in (("a", "b", "c", "paper.tif"), ("train", "on", "it", "x.csv"))]
    for path in theirs:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"z" * 7000)
    odd = Path("results/.kept/train", recipe_named("mine")[:2], recipe_named("mine"), "notes.txt")
    odd.touch()
    assert "Kept in results/.kept: 1.0 KB" in kept.clean()
    kept.clean(unneeded=True, yes=True)
    assert kept.left() == []
    assert all(path.is_file() for path in [*theirs, odd])


def test_nothing_is_removed_or_set_back_while_a_run_goes_on(kept):
    kept.keep("predict", "one")
    lock = Path(".snakemake/locks/0.output.lock")
    lock.parent.mkdir(parents=True)
    lock.touch()
    for asked in ({"unneeded": True}, {"cold": True}, {"rehash": True}):
        kept.clean(**asked)
        with pytest.raises(UserError, match="a run goes on in this folder"):
            kept.clean(**asked, yes=True)
    assert kept.left() == ["one"]
    lock.unlink()
    kept.clean(unneeded=True, yes=True)
    assert kept.left() == []


def test_cold_results_of_another_config_below_the_same_folder_stay(kept):
    kept.keep("predict", "theirs")
    kept.clean(cold=True, yes=True)
    assert kept.left() == ["theirs"]


def test_results_that_moved_to_another_disk_need_what_they_needed(kept, tmp_path_factory):
    kept.set(pathvars={"results": "results/this"})
    kept.keep("train", "needed")
    kept.remember("results/far/models/near/fold0/model.json", "needed", "results/far")
    disk = tmp_path_factory.mktemp("disk")
    Path("results/far").rename(disk / "far")
    Path("results/far").symlink_to(disk / "far")
    (disk / "far" / "round").symlink_to(disk / "far")
    kept.clean(unneeded=True, yes=True)
    assert kept.left() == ["needed"]
