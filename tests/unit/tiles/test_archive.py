"""Archives on drives without locks, and what is said of those that cannot be read."""

import errno
import fcntl

import h5py
import pytest

from tilewright.pixels.grid import Size
from tilewright.runtime.errors import DataError
from tilewright.tiles.archive import TrainingShard, open_archive, read_table, tile_archive


@pytest.fixture
def archive(tmp_path):
    with tile_archive(tmp_path / "a.h5", ["tumor"], Size(32, 32)):
        pass
    return tmp_path / "a.h5"


def test_an_archive_needs_no_lock(archive):
    with archive.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with open_archive(archive) as found:
            assert len(found["images"]) == 0


def test_nor_does_a_new_one(tmp_path, monkeypatch):
    opened = []

    def file(path, mode, **options):
        opened.append((mode, options))
        return real(path, mode, **options)

    real = h5py.File
    monkeypatch.setattr(h5py, "File", file)
    with tile_archive(tmp_path / "a.h5", ["tumor"], Size(32, 32)):
        pass
    assert opened == [("w", {"locking": False})]


@pytest.fixture
def failing(monkeypatch):
    def fail(code):
        def refuse(*_arguments, **_options):
            raise OSError(code, f"[Errno {code}] Unable to open file (errno = {code}, error message = '...')")

        monkeypatch.setattr(h5py, "File", refuse)

    return fail


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, 524])
def test_locks_that_the_environment_asks_for_and_the_drive_lacks_are_named(archive, failing, code):
    failing(code)
    for use in (lambda: open_archive(archive), lambda: tile_archive(archive, ["tumor"], Size(32, 32)).__enter__()):
        with pytest.raises(DataError, match="HDF5_USE_FILE_LOCKING=FALSE") as caught:
            use()
        assert "Delete" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "helps"),
    [
        (errno.EACCES, "right to it"),
        (errno.ESTALE, "mounted anew"),
        (errno.EMFILE, "ulimit"),
        (errno.EIO, "the drive"),
    ],
)
def test_only_a_damaged_archive_is_to_be_deleted(archive, failing, code, helps):
    damaged = archive.with_name("b.h5")
    damaged.write_bytes(archive.read_bytes()[:700])
    with pytest.raises(DataError, match="Delete the file and run the same command again"):
        open_archive(damaged)
    with pytest.raises(DataError, match="Delete the file and run the same command again"):
        read_table([TrainingShard(archive.with_name("none.h5"))], ["tumor"])
    failing(code)
    with pytest.raises(DataError, match=helps) as caught:
        open_archive(archive)
    assert "Delete" not in str(caught.value)
