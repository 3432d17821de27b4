"""What steps have made is taken by what it was made of, and never anything else."""

import json
import os
import shutil
import subprocess
import sys
import time
from errno import ENOSPC
from pathlib import Path

import pytest
from keeping import MADE, OLD, Bench

from tilewright.runtime import kept
from tilewright.runtime.digests import Digests, Facts
from tilewright.runtime.kept import RECORD, Entry, Job, at_most_once


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "here")


def test_what_was_made_of_equal_content_is_taken_and_nothing_else(bench, capsys):
    assert bench.run() == 1
    assert bench.outputs == MADE
    shutil.rmtree(bench.folder / "results" / "x")
    assert bench.run() == 0
    assert bench.outputs == MADE
    assert "kept since " in capsys.readouterr().err
    assert bench.run(told="other settings") == 1
    assert bench.run(code="other code") == 1
    assert bench.run(verb="other") == 1
    bench.write("raw/b.bin", b"Second", when=OLD + 1)
    assert bench.run() == 1
    bench.write("raw/b.bin", b"second", when=OLD + 2)
    assert bench.run() == 0
    (bench.folder / "raw" / ".snakemake_timestamp").touch()
    assert bench.run() == 0
    (bench.folder / "raw" / "b.bin").rename(bench.folder / "raw" / "a.bin")
    assert bench.run() == 1
    (bench.folder / "one.bin").rename(bench.folder / "other.bin")
    assert bench.run(inputs=[str(bench.folder / "other.bin"), str(bench.folder / "raw")]) == 1


def test_the_order_of_inputs_counts(bench):
    bench.run()
    job = Job.read(bench.folder / "job.json")
    contents = [("a.bin", "1"), ("a.bin", "2")]
    assert kept.recipe_of(job, contents) != kept.recipe_of(job, contents[::-1])


def test_other_versions_of_the_code_are_taken_where_that_is_asked_for(bench):
    assert bench.run() == 1
    assert bench.run(code="new", any_code=True) == 0
    assert bench.run(code="new") == 1
    assert bench.run(code="newer", any_code=True) == 0
    made = bench.kept()
    assert {entry.made.code for entry in made} == {"c0de", "new"}
    assert len({entry.made.recipe for entry in made}) == 1


def test_of_several_versions_the_own_one_is_taken(bench):
    assert [bench.run(code=code) for code in ("own", "newer")] == [1, 1]
    assert bench.run(code="own", any_code=True) == 0
    assert Digests(bench.folder / "results").recall(bench.folder / "results" / "x" / "many").made.code == "own"


def test_what_is_taken_is_remembered_with_when_and_is_as_new_as_a_result(bench, monkeypatch):
    bench.run()
    shutil.rmtree(bench.folder / "results" / "x")
    time.sleep(0.02)  # a tick of the clock of files
    bench.write("one.bin", b"alone", when=time.time())
    assert bench.run() == 0
    one, many = (bench.folder / "results" / "x" / name for name in ("file.bin", "many"))
    assert one.stat().st_mtime_ns >= (bench.folder / "one.bin").stat().st_mtime_ns
    monkeypatch.setattr("tilewright.runtime.digests.file_hash", lambda _: pytest.fail("was read"))
    for output in (one, many):
        known = Digests(bench.folder / "results").recall(output)
        assert known.made.computed < known.made.taken < time.time()
        assert Digests(bench.folder / "results").of(output)


def test_what_looks_as_it_did_is_taken_unread(bench, monkeypatch):
    bench.run()
    monkeypatch.setattr(kept, "file_hash", lambda _: pytest.fail("was read"))
    assert bench.run() == 0


@pytest.mark.parametrize("changed", [{"size": 2}, {"time": 2}, {"inode": 2}])
def test_a_file_is_known_again_by_size_time_and_inode(changed):
    facts = Facts(1, 1, 1, "digest")
    assert facts.is_of(Facts(1, 1, 1))
    assert not facts.is_of(facts._replace(**changed))


def test_who_made_what_is_known_of_results_that_were_touched(bench):
    bench.run()
    digests, many = Digests(bench.folder / "results"), bench.folder / "results" / "x" / "many"
    for path in (many / "d.bin", many / "deep" / "c.bin"):
        os.utime(path, (OLD, OLD))
    assert digests.of(many)
    assert digests.recall(many).files["d.bin"].time == OLD * 10**9
    assert digests.recall(many).made.verb == "stretch"


def test_inputs_are_read_once_and_again_where_size_or_time_differ(bench, monkeypatch):
    read = []
    hash_of = kept.file_hash
    monkeypatch.setattr("tilewright.runtime.digests.file_hash", lambda path: read.append(path.name) or hash_of(path))
    bench.run()
    assert sorted(name for name in read if name in ("one.bin", "a.bin", "b.bin")) == ["a.bin", "b.bin", "one.bin"]
    read.clear()
    bench.run()
    assert read == []
    bench.write("raw/below/a.bin", b"First", when=OLD + 5)
    assert bench.run() == 1
    assert [name for name in read if name in ("one.bin", "a.bin", "b.bin")] == ["a.bin"]


def test_a_file_that_was_just_written_is_not_trusted_by_its_time(tmp_path):
    path = tmp_path / "fresh.bin"
    path.write_bytes(b"1")
    digests, now = Digests(tmp_path), path.stat().st_mtime_ns
    first = digests.of(path)
    path.write_bytes(b"2")
    os.utime(path, ns=(now, now))
    assert digests.of(path) != first


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("damage", ["bit", "gone", "record", "folder", "other"])
def test_what_is_damaged_is_dropped_and_made_again(bench, capsys, damage, shared):
    bench.others["shared"] = shared
    bench.run()
    (entry,) = bench.kept()
    victim = entry.place / ("1/deep/c.bin" if damage not in ("record", "other") else RECORD)
    content = victim.read_bytes()
    victim.chmod(0o644)
    if damage in ("gone", "folder"):
        victim.unlink()
        if damage == "folder":
            victim.mkdir()
    elif damage == "other":
        victim.write_text('{"made": {"verb": "stretch"}, "outputs": [[1], [2]]}')
    else:
        victim.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert bench.run() == 1
    assert ("is damaged" in capsys.readouterr().err) == (victim.name != RECORD)
    assert bench.outputs == MADE
    assert bench.run() == 0


def test_a_memory_that_is_damaged_is_none(bench):
    bench.run()
    for path in (bench.folder / "results" / ".made").rglob("*.json"):
        path.write_text('{"path": "x", "made": {}, "files": []}')
    assert [bench.run(), bench.outputs] == [0, MADE]


def test_what_was_not_finished_or_is_half_dropped_is_never_taken(bench, monkeypatch):
    bench.run()
    (entry,) = bench.kept()
    shutil.copytree(entry.place, entry.place.with_name(".c0de.host.1.partial"))
    monkeypatch.setattr(kept.shutil, "rmtree", lambda *_, **__: None)  # killed
    kept.drop(entry.place)
    monkeypatch.undo()
    assert (entry.place / "1" / "d.bin").exists()
    assert bench.kept() == []
    assert bench.run(any_code=True) == 1


def test_what_is_kept_elsewhere_is_read_through_even_if_it_looks_as_it_did(tmp_path, monkeypatch):
    monkeypatch.setattr(kept.os, "geteuid", lambda: 1000)  # who links what is his own
    store = str(tmp_path / "shared")
    here, there = (Bench(tmp_path / name, store=store, shared=True) for name in ("here", "there"))
    assert here.run() == 1
    assert there.run() == 0
    assert there.outputs == MADE
    assert not inodes(Path(store)) & inodes(there.folder / "results")
    (entry,) = here.kept()
    victim = entry.place / "1" / "d.bin"
    status = victim.stat()
    victim.write_bytes(b"e")
    os.utime(victim, ns=(status.st_atime_ns, status.st_mtime_ns))
    shutil.rmtree(there.folder / "results")
    assert there.run() == 1
    assert there.outputs == MADE
    assert not inodes(Path(store)) & inodes(there.folder / "results")


def test_what_others_change_while_it_is_taken_is_not_taken(bench, monkeypatch):
    bench.others["shared"] = True
    bench.run()
    copy = kept._copy

    def disturbed(source, target, files, **others):
        if target.name.startswith(".many") and source.name == "1":
            monkeypatch.undo()
            (source / "d.bin").write_bytes(b"e")
        copy(source, target, files, **others)

    monkeypatch.setattr(kept, "_copy", disturbed)
    assert [bench.run(), bench.outputs] == [1, MADE]
    assert [bench.run(), bench.outputs] == [0, MADE]


def inodes(folder):
    return {path.stat().st_ino for path in folder.rglob("*") if path.is_file()}


def test_a_result_that_is_edited_or_touched_in_place_leaves_what_is_kept(bench):
    bench.run()
    for name in MADE:
        path = bench.folder / "results" / "x" / name
        os.utime(path)
        if os.access(path, os.W_OK):
            with path.open("r+b") as stream:
                stream.write(b"?")
    assert [bench.run(), bench.outputs] == [0, MADE]


@pytest.mark.skipif(os.geteuid() != 0, reason="takes the rights of root from a process of its own")
def test_files_of_folders_share_their_bytes_and_are_read_only_for_those_who_obey_it(tmp_path):
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:3]:
        parent.chmod(0o755)
    code = f"""
import os, sys
sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}
from pathlib import Path
from keeping import Bench, MADE
from tilewright.runtime import kept
kept._cloned = lambda source, target: target.touch() or False
kept.version("tilewright")
os.setuid(65534)
bench = Bench(Path({str(tmp_path)!r}) / "own")
bench.run()
(entry,) = bench.kept()
many, one = bench.folder / "results/x/many/d.bin", bench.folder / "results/x/file.bin"
assert many.stat().st_ino == (entry.place / "1/d.bin").stat().st_ino and many.stat().st_nlink == 2
assert one.stat().st_nlink == 1 and os.access(one, os.W_OK), "Snakemake refuses outputs that it cannot write"
try:
    many.open("r+b")
except PermissionError:
    pass
else:
    raise AssertionError("it can be written")
many.touch()
assert bench.run() == 0 and bench.outputs == MADE
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_a_file_system_without_clones_and_links_gets_copies(bench, monkeypatch):
    monkeypatch.setattr(kept.os, "link", lambda *_: (_ for _ in ()).throw(PermissionError))
    monkeypatch.setattr(kept.os, "geteuid", lambda: 1000)
    assert [bench.run(), bench.run()] == [1, 0]
    assert bench.outputs == MADE


def test_a_full_disk_keeps_nothing_and_stops_nothing(bench, monkeypatch, capsys):
    def full(source, target):
        raise OSError(ENOSPC, os.strerror(ENOSPC))

    monkeypatch.setattr(kept, "_cloned", full)
    assert bench.run() == 1
    assert bench.outputs == MADE
    assert "What was made is not kept, and the run goes on" in capsys.readouterr().err
    assert bench.kept() == []
    monkeypatch.undo()
    assert bench.run() == 1
    assert len(bench.kept()) == 1


def test_a_store_that_cannot_be_written_stops_nothing(bench, capsys):
    bench.store.parent.mkdir()
    bench.store.write_text("no folder")
    assert bench.run() == 1
    assert bench.outputs == MADE
    assert "not kept" in capsys.readouterr().err


def test_a_kill_in_the_middle_leaves_no_entry(tmp_path):
    code = f"""
import os, signal, sys
sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}
from pathlib import Path
from keeping import Bench
from tilewright.runtime import kept
whole = kept._copy
def halfway(source, target, files, **others):
    if target.name == "1":
        os.kill(os.getpid(), signal.SIGKILL)
    whole(source, target, files, **others)
kept._copy = halfway
Bench(Path({str(tmp_path)!r}) / "here").run()
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    bench = Bench.__new__(Bench)
    bench.folder, bench.others, bench.computed = tmp_path / "here", {}, 0
    assert bench.outputs == MADE, "they were made before"
    assert bench.kept() == []
    assert bench.run() == 1
    assert len(bench.kept()) == 1
    assert not list(bench.store.rglob("*partial*"))


def test_an_input_that_changes_meanwhile_is_not_taken_for_what_it_was(bench, monkeypatch, capsys):
    compute = bench.compute

    def disturbed(job):
        compute(job)
        bench.write("one.bin", b"other", when=OLD + 9)

    monkeypatch.setattr(bench, "compute", disturbed)
    assert bench.run() == 1
    assert "not kept" in capsys.readouterr().err
    monkeypatch.undo()
    assert bench.run() == 1


def test_of_two_writers_the_first_one_stays(bench, monkeypatch):
    place = kept._place

    def other_is_first(job, recipe):
        monkeypatch.setattr(kept, "_place", place)
        other = Bench(bench.folder.parent / "other", results=str(bench.folder / "results"), store=str(bench.store))
        assert other.run() == 1
        shutil.rmtree(bench.folder / "results" / "x", ignore_errors=True)
        return place(job, "none")

    monkeypatch.setattr(kept, "_place", other_is_first)
    assert bench.run() == 1
    assert bench.outputs == MADE
    (entry,) = bench.kept()
    assert entry.made.computed < Digests(bench.folder / "results").recall(bench.folder / "results/x/many").made.computed


def test_without_a_store_nothing_is_read_and_who_made_it_is_remembered(bench, monkeypatch):
    monkeypatch.setattr("tilewright.runtime.digests.file_hash", lambda _: pytest.fail("was read"))
    assert [bench.run(store=""), bench.run(store="")] == [1, 1]
    made = Digests(bench.folder / "results").recall(bench.folder / "results" / "x" / "many").made
    assert (made.verb, made.code, made.recipe, made.taken) == ("stretch", "c0de", "", None)
    assert abs(made.computed - time.time()) < 60


def test_a_lookup_among_a_hundred_thousand_takes_less_than_ten_milliseconds(bench):
    bench.run()
    (entry,) = bench.kept()
    stretch = bench.store / "stretch"
    for number in range(100_000):
        recipe = f"{number * 7919 % 256:02x}{number:062x}"
        (stretch / recipe[:2]).mkdir(exist_ok=True)
        (stretch / recipe[:2] / recipe).mkdir()
    job = Job.read(bench.folder / "job.json")
    started = time.perf_counter()
    (found,) = kept._found(job, kept._place(job, entry.made.recipe))
    assert time.perf_counter() - started < 0.01
    assert found == entry


@pytest.mark.parametrize("content", [None, "{", "[]", '{"verb": "train"}'])
def test_without_the_file_of_a_job_the_step_runs_and_says_so(tmp_path, content, capsys):
    path, ran = tmp_path / "job.json", []
    if content is not None:
        path.write_text(content)
    at_most_once(path, lambda: ran.append("once"))
    assert ran == ["once"]
    assert "job.json: is no file of a job" in capsys.readouterr().err


def test_a_missing_input_is_for_the_step_to_say(bench):
    (bench.folder / "one.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"one\.bin"):
        bench.run()
    assert bench.kept() == []


def test_the_memory_of_a_copied_folder_knows_who_made_what(bench):
    bench.run()
    shutil.copytree(bench.folder / "results", bench.folder / "copy")
    known = Digests(bench.folder / "copy").recall(bench.folder / "copy" / "x" / "many")
    assert known.made.verb == "stretch"
    assert json.loads(json.dumps(known.files)) == {name: list(facts) for name, facts in known.files.items()}


@pytest.mark.parametrize("name", ["../evil.bin", "deep/../../evil.bin", "/tmp/evil.bin"])
def test_an_entry_that_would_write_elsewhere_is_damaged(bench, name):
    """Others may write to a shared folder."""
    bench.run()
    record = bench.kept()[0].place / "record.json"
    told = json.loads(record.read_text())
    told["outputs"][1][name] = [1, 1, 1, "d"]
    record.write_text(json.dumps(told))
    assert Entry.read(record.parent) is None
    shutil.rmtree(bench.folder / "results" / "x")
    assert bench.run() == 1, "it is made again"
    assert bench.outputs == MADE
