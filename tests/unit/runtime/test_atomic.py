import multiprocessing
import os
import socket
from pathlib import Path

import pytest

from tilewright.runtime.atomic import MARK, MARKS, atomic_directory, atomic_path, incomplete, write_text
from tilewright.runtime.errors import DataError, UserError
from tilewright.runtime.locks import state_lock


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_all_is_written_and_keeps_its_suffix(tmp_path):
    with atomic_path(tmp_path / "new" / "a.tif") as private:
        private.write_text("half")
        assert private.suffix == ".tif"
        assert not (tmp_path / "new" / "a.tif").exists()
    assert names(tmp_path / "new") == ["a.tif"]


def fail_while_writing(path, open_it):
    with open_it(path) as private:
        (private / "x" if private.is_dir() else private).write_text("half")
        raise ZeroDivisionError


def test_an_error_leaves_the_file_that_was_there_and_nothing_else(tmp_path):
    write_text(tmp_path / "a", "before")
    with pytest.raises(ZeroDivisionError):
        fail_while_writing(tmp_path / "a", atomic_path)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "before"


def test_an_error_leaves_the_folder_that_was_there_and_nothing_else(tmp_path):
    with atomic_directory(tmp_path / "a") as private:
        (private / "before").touch()
    with pytest.raises(ZeroDivisionError):
        fail_while_writing(tmp_path / "a", atomic_directory)
    assert names(tmp_path) == ["a"]
    assert names(tmp_path / "a") == [MARK, "before"]


def test_a_folder_with_other_things_is_never_replaced(tmp_path):
    """Such as that of the data, named by mistake; nothing is computed first."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "slide.tif").write_text("all there is")
    with pytest.raises(DataError, match=r"data: is a folder with other things in it \(slide.tif\)"):
        fail_while_writing(tmp_path / "data", atomic_directory)
    with pytest.raises(DataError, match="is a file, and a folder is to be written"):
        fail_while_writing(tmp_path / "data" / "slide.tif", atomic_directory)
    assert (tmp_path / "data" / "slide.tif").read_text() == "all there is"
    assert names(tmp_path) == ["data"]


@pytest.mark.parametrize("mark", [None, *MARKS])
def test_a_folder_that_is_empty_or_was_written_so_is_replaced(tmp_path, mark):
    (tmp_path / "a").mkdir()
    if mark:
        (tmp_path / "a" / mark).touch()
        (tmp_path / "a" / "old").touch()
    with atomic_directory(tmp_path / "a") as private:
        (private / "new").touch()
    assert names(tmp_path / "a") == [MARK, "new"]


def test_a_file_never_replaces_a_folder(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "slide.tif").write_text("all there is")
    with pytest.raises(DataError, match="is a folder, and a file is to be written"):
        write_text(tmp_path / "data", "id\n")
    assert (tmp_path / "data" / "slide.tif").read_text() == "all there is"
    assert names(tmp_path) == ["data"]


def test_a_folder_replaces_the_folder_that_was_there(tmp_path):
    for name in ("old", "new"):
        with atomic_directory(tmp_path / "a") as private:
            (private / name).touch()
    assert names(tmp_path / "a") == [MARK, "new"]


def die_while_writing(path):
    with atomic_path(path) as private:
        private.write_text("half")
        os._exit(9)


def test_leftovers_of_a_killed_writer_are_removed_by_the_next(tmp_path):
    worker = multiprocessing.get_context("fork").Process(target=die_while_writing, args=(tmp_path / "a.txt",))
    worker.start()
    worker.join()
    assert len(names(tmp_path)) == 1
    assert not (tmp_path / "a.txt").exists()
    write_text(tmp_path / "a.txt", "whole")
    assert names(tmp_path) == ["a.txt"]


def test_leftovers_of_a_living_writer_and_of_other_hosts_stay(tmp_path):
    others = [f".a.{socket.gethostname()}.{os.getppid()}.partial.txt", ".a.elsewhere.1.partial.txt"]
    for name in others:
        (tmp_path / name).touch()
    write_text(tmp_path / "a.txt", "whole")
    assert names(tmp_path) == sorted([*others, "a.txt"])


def test_a_second_writer_of_a_state_folder_is_refused_and_told_who_holds_it(tmp_path):
    with state_lock(tmp_path), pytest.raises(UserError, match=f"process {os.getpid()} on"), state_lock(tmp_path):
        pass
    with state_lock(tmp_path):
        assert Path(tmp_path / "lock").is_file()


def test_a_folder_lists_what_it_held_and_what_is_gone_is_found(tmp_path):
    for name in ("a", "deep/b"):
        with atomic_directory(tmp_path / name) as private:
            (private / "inner").mkdir()
            for file in ("one", "inner/two"):
                (private / file).touch()
    assert (tmp_path / "a" / MARK).read_text() == "inner/two\none\n"
    assert list(incomplete(tmp_path)) == []
    (tmp_path / "deep" / "b" / "inner" / "two").unlink()
    (tmp_path / "a" / "of somebody else").touch()
    assert list(incomplete(tmp_path)) == [(tmp_path / "deep" / "b", ["inner/two"])]
    (tmp_path / "deep" / "b" / MARK).write_text("")
    assert list(incomplete(tmp_path)) == []
