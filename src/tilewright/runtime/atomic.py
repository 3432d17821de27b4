"""Outputs that appear whole or not at all.

A file or folder is written under a private name beside its destination, synced, and renamed. A killed process leaves
the destination as it was; its private leftovers are removed by the next writer of the same destination.
"""

import errno
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tilewright.runtime.errors import DataError, Problem

MARK = ".tilewright"
"""A file in every folder that was written as one, which lists the others: only such a folder is replaced."""
SNAKEMAKES_MARK = ".snakemake_timestamp"
"""A file in folders that are outputs of Snakemake's jobs, whose time is the folder's."""
MARKS = (MARK, SNAKEMAKES_MARK)
"""Files in folders that were written here: this project's mark, and Snakemake's in the outputs of its jobs."""
LEAST_SPACE = 1 << 16
"""Bytes; a disk with less than this counts as full where a step fails."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a private path in the folder of ``path``; on success rename what was written there to ``path``.

    Args:
        path: the destination; its parent folders are created. A file replaces a file, a folder one that is empty or was
            written in this way.

    Yields:
        The private path, with the same suffix as ``path``; not yet existing.

    Raises:
        DataError: the disk is full, the folder cannot be written, or there is a folder that is not replaced.
    """
    with private_path(path) as private:
        yield private
        settle(private, path)


@contextmanager
def private_path(path: Path) -> Iterator[Path]:
    """As ``atomic_path``, without the renaming: what is still there in the end is removed."""
    path = Path(path)
    private = _prepared(path)
    try:
        yield private
    except Exception as error:
        if _is_full(path.parent, error):
            raise DataError(
                Problem(str(path.parent), "the disk is full.", "Free some space, then run again.")
            ) from error
        raise
    finally:
        _remove(private)


def settle(private: Path, path: Path) -> None:
    """Sync what was written to a private path and rename it.

    Raises:
        OSError: no space is left, so that something may be missing: libraries do not all say so when they close a file.
    """
    _sync(private)
    require_space(private.parent, LEAST_SPACE)
    _replace(private, Path(path))


def require_space(folder: Path, least: int) -> None:
    """Make sure that so many bytes can still be written.

    Raises:
        OSError: they cannot.
    """
    disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize < least:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """As ``atomic_path``, for a folder that exists and holds nothing but its mark when it is yielded.

    Raises:
        DataError: in addition, at once: what is there was written by somebody else.
    """
    _require_own(Path(path))
    with atomic_path(path) as private:
        private.mkdir()
        (private / MARK).touch()
        yield private
        names = sorted(path.relative_to(private).as_posix() for path in private.rglob("*") if path.is_file())
        (private / MARK).write_text("".join(f"{name}\n" for name in names if name != MARK), encoding="utf-8")


def incomplete(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """The folders below one that were written as one and lack files, each with what it lacks; marks are read alone."""
    for place, names, files in os.walk(folder):
        names[:] = [name for name in names if not name.startswith(".")]
        if MARK in files:
            names.clear()
            listed = (Path(place) / MARK).read_text(encoding="utf-8").splitlines()
            if lost := [name for name in listed if not (Path(place) / name).exists()]:
                yield Path(place), lost


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    with atomic_path(path) as private:
        private.write_text(text, encoding="utf-8")


def write_new(path: Path, text: str) -> None:
    """As ``write_text``, unless there is such a file: that of another process, which may write it now, stays."""
    with private_path(path) as private:
        private.write_text(text, encoding="utf-8")
        _sync(private)
        with suppress(FileExistsError):
            os.link(private, path)


def _prepared(path: Path) -> Path:
    """The private path of a destination, in a folder that exists."""
    private = path.parent / f".{path.stem}.{socket.gethostname()}.{os.getpid()}.partial{path.suffix}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        _remove(private)
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(errno.EACCES, "permission denied")
    except OSError as error:
        what = f"cannot be written ({error.strerror})."
        remedy = "Choose another folder (pathvars, results), or change its permissions."
        raise DataError(Problem(str(path.parent), what, remedy)) from error
    return private


def _require_own(path: Path) -> None:
    """Make sure that a folder which would be replaced holds nothing of anybody else."""
    if path.is_dir():
        names = [entry.name for entry in path.iterdir()]
        if not names or any(name in MARKS for name in names):
            return
        what = f"is a folder with other things in it ({sorted(names)[0]}), and would be replaced. Nothing was changed."
    elif path.exists():
        what = "is a file, and a folder is to be written. Nothing was changed."
    else:
        return
    raise DataError(Problem(str(path), what, "Name another folder, or move what is there away."))


def _is_full(folder: Path, error: Exception) -> bool:
    """Whether there is no space left; libraries often do not say so."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < LEAST_SPACE


def _replace(private: Path, path: Path) -> None:
    if not path.is_dir() or path.is_symlink():
        private.replace(path)
        _sync_one(path.parent)
        return
    if not private.is_dir():
        what = "is a folder, and a file is to be written. Nothing was changed."
        raise DataError(Problem(str(path), what, "Name a file, or move the folder away."))
    # a folder cannot be replaced in one step: it is away for a moment, but never half
    before = private.with_name(private.name.replace(".partial", ".before.partial"))
    _remove(before)
    path.rename(before)
    private.rename(path)
    _sync_one(path.parent)
    shutil.rmtree(before)


def _sync(path: Path) -> None:
    for entry in path.rglob("*") if path.is_dir() else ():
        _sync_one(entry)
    _sync_one(path)


def _sync_one(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    """Remove what dead writers of ``path`` on this host left behind."""
    prefix = f".{path.stem}.{socket.gethostname()}."
    for entry in path.parent.iterdir():
        if entry.name.startswith(prefix) and entry.name.endswith(f".partial{path.suffix}"):
            pid = entry.name.removeprefix(prefix).split(".")[0]
            if pid.isdigit() and not _alive(int(pid)):
                _remove(entry)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
