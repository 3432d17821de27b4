"""What the system says is no damage of a file."""

import errno
import os

import pytest

from tilewright.runtime.documents import read_document, write_document
from tilewright.runtime.ending import exit_code
from tilewright.runtime.errors import DataError
from tilewright.runtime.failures import NO_LOCKS, failure_of, remedy_for

AGAIN = "Delete it and run again."


@pytest.mark.parametrize(
    ("code", "helps"),
    [
        (errno.EACCES, "Give yourself the right to it"),
        (errno.EPERM, "Give yourself the right to it"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENFILE, "fs.file-max"),
        (errno.ENOMEM, "more memory"),
        (errno.ESTALE, "mounted anew"),
        (errno.EIO, "Look whether the drive is there"),
        (errno.ENOTCONN, "Look whether the drive is there"),
        (errno.ELOOP, "Look whether the drive is there"),
        *((code, "HDF5_USE_FILE_LOCKING=FALSE") for code in NO_LOCKS),
    ],
)
def test_each_reason_of_the_system_has_its_own_remedy_and_is_no_damage(code, helps):
    told = f"[Errno {code}] Unable to open file (unable to lock file, errno = {code}, error message = 'so')"
    for error in (OSError(code, os.strerror(code)), OSError(told), KeyError(told)):
        failure = failure_of(error)
        assert (failure.code, helps in failure.remedy) == (code, True)
        assert remedy_for(error, AGAIN) == failure.remedy


@pytest.mark.parametrize(
    "error",
    [
        OSError("Unable to synchronously open file (truncated file: eof = 700)"),
        OSError(errno.EINVAL, "Invalid argument"),
        ValueError("no JSON"),
        KeyError("images"),
    ],
)
def test_what_the_system_does_not_explain_may_be_damage(error):
    assert failure_of(error) is None
    assert remedy_for(error, AGAIN) == AGAIN


def test_a_missing_file_is_made_again():
    assert remedy_for(FileNotFoundError(errno.ENOENT, "No such file"), AGAIN) == AGAIN


@pytest.mark.parametrize(
    "text", ["a.tif: Permission denied", "a.tif: Stale file handle", "Too many open files in system"]
)
def test_texts_of_libraries_are_understood(text):
    assert failure_of(RuntimeError(text))


def test_a_cause_that_a_library_hides_is_found():
    error = RuntimeError("read failed")
    error.__cause__ = OSError(errno.ESTALE, "Stale file handle")
    assert failure_of(error).code == errno.ESTALE


def test_memory_is_no_damage():
    for error in (
        MemoryError(),
        RuntimeError("Cannot allocate 3 GB"),
        RuntimeError("GDAL: Out of memory allocating 12"),
    ):
        assert failure_of(error).code == errno.ENOMEM


def test_a_file_that_cannot_be_opened_again_tells_why(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_document(path, {"a": 1})

    def refuse(*_arguments, **_options):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    assert failure_of(RuntimeError("read error"), path) is None
    monkeypatch.setattr(type(path), "open", refuse)
    assert failure_of(RuntimeError("read error"), path).code == errno.ESTALE
    monkeypatch.setattr(type(path), "read_text", refuse)
    with pytest.raises(DataError, match="mounted anew") as caught:
        read_document(path)
    assert "Delete" not in str(caught.value)


ENDS = {errno.EMFILE: 3, errno.EACCES: 3, errno.ESTALE: 3, errno.ENOMEM: 137}


@pytest.mark.parametrize(("code", "ends"), ENDS.items())
def test_a_step_that_the_system_stops_ends_with_a_message(capsys, code, ends):
    def work():
        raise OSError(code, os.strerror(code), "slides/a.svs")

    assert exit_code(work) == ends
    found = capsys.readouterr().err
    assert f"slides/a.svs: {os.strerror(code).lower()}." in found
    assert "Traceback" not in found


def test_a_file_that_this_program_forgot_shows_where(capsys):
    def work():
        raise FileNotFoundError(errno.ENOENT, "No such file", "a")

    assert exit_code(work) == 1
    assert "Traceback" in capsys.readouterr().err
