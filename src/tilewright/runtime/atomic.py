"""Outputs that appear whole or not at all.

A file or folder is written under a private name beside its destination, synced, and renamed. A killed process leaves the
destination as it was; its private leftovers are removed by the next writer of the same destination.
"""

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a private path in the folder of ``path``; on success rename what was written there to ``path``.

    Args:
        path: the destination; its parent folders are created. An existing file or folder is replaced.

    Yields:
        The private path, with the same suffix as ``path``; not yet existing.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    private = path.parent / f".{path.stem}.{socket.gethostname()}.{os.getpid()}.partial{path.suffix}"
    _remove(private)
    try:
        yield private
        _sync(private)
        _replace(private, path)
    finally:
        _remove(private)


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """As ``atomic_path``, for a folder that exists and is empty when it is yielded."""
    with atomic_path(path) as private:
        private.mkdir()
        yield private


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whole or not at all."""
    with atomic_path(path) as private:
        private.write_text(text, encoding="utf-8")


def _replace(private: Path, path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    private.replace(path)
    _sync_one(path.parent)


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
