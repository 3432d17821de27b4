"""Sizes, and which of what is kept is chosen; what ``clean`` does to real results: tests/workflow/test_kept.py."""

import os
import time
from pathlib import Path

import pytest

from tilewright.check.clean import DAY, Held, _beyond, _bytes, _matching, _size, clean
from tilewright.runtime.digests import Digests, Facts, Made, Remembered
from tilewright.runtime.errors import UserError
from tilewright.runtime.kept import Entry, everything, job_text


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


class Kept:
    """Results, and what is kept of them, in the folder of a project."""

    def __init__(self, project, capsys):
        self.config, self._project, self._capsys = project.config_file, project, capsys

    def set(self, **keys):
        self._project.write_config(self._project.config() | keys)

    def keep(self, verb, recipe, *, size=1000, store="results/.kept", when=OLD):
        """An entry, and the folder of it."""
        place = Path(store, verb, recipe[:2], recipe, "c0de")
        place.mkdir(parents=True)
        (place / "0").write_bytes(b"x" * size)
        Entry(place, Made(verb, "1", "c0de", recipe, when), ({"": (size, 1, 1, "d")},)).write()
        return place

    def remember(self, path, recipe, results="results"):
        """A result that is there."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(b"y")
        made = Made("train", "1", "c0de", recipe, OLD)
        Digests(Path(results)).remember(Path(path), Remembered(made, {"": Facts(1, 1, 1, "d")}))

    def clean(self, **asked):
        clean(config=self.config, **asked)
        return self._capsys.readouterr().out

    def left(self, store="results/.kept"):
        return sorted(entry.made.recipe for _, entry in everything(Path(store)) if entry)


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


def changed_behind_its_time(kept):
    """An image that a step has read, with other content since; and a result of that step."""
    image, made, digests = Path("slides/a1.png"), Path("results/masks/a.tif"), Digests(Path("results"))
    os.utime(image, (OLD, OLD))
    digests.of(image)
    kept.remember(made, "recipe")
    content = image.read_bytes()
    image.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(image, (OLD, OLD))
    return image, made


def job_file(**told):
    path = Path("results/.jobs/rasterize/job.json")
    path.parent.mkdir(parents=True)
    (path.parent / "cut.json").write_text("{")
    told |= {"results": "results", "store": "", "shared": False, "any_code": False, "verb": "", "code": "", "told": ""}
    path.write_text(job_text(**told))


def test_what_was_made_of_an_input_that_changed_is_older_than_it_once_that_is_asked_for(kept):
    image, made = changed_behind_its_time(kept)
    stamp = Path("results/scaled/.snakemake_timestamp")
    stamp.parent.mkdir()
    stamp.touch()
    job_file(inputs=[str(image)], outputs=[str(made), "results/gone.tif", "results/scaled"])
    for _ in range(2):
        told = kept.clean(rehash=True)
        assert "Read again, 1 files and folders; of other content than when results were made of them: 1." in told
        assert made.stat().st_mtime > OLD
    assert "is made anew by the next run" in kept.clean(rehash=True, yes=True)
    assert made.stat().st_mtime < OLD
    assert stamp.stat().st_mtime < OLD, "by which Snakemake knows the age of a folder"
    assert Digests(Path("results")).recall(image).files == {}, "the next step reads it"


def test_where_nobody_knows_what_was_made_of_an_input_that_is_said_each_time(kept):
    image, made = changed_behind_its_time(kept)
    for _ in range(2):
        told = kept.clean(rehash=True, yes=True)
        assert f"What was made of {image} is written down nowhere (.jobs): touch it" in told
        assert "by the next run" not in told
    assert made.stat().st_mtime > OLD


def test_where_nothing_is_known_of_inputs_nothing_is_vouched_for(kept):
    assert "Read again, which are none, as nothing was kept that was made of any;" in kept.clean(rehash=True)
