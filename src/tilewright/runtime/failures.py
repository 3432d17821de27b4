"""What the system says where a file cannot be read: only what no table here names can be damage of the file itself."""

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, 524, errno.EINTR)
"""Codes of drives that give no locks; 524 is the kernel's own ENOTSUPP, which some let through."""
MISSING = (errno.ENOENT, errno.ENOTDIR)
_AGAIN = "Look whether the drive is there, and run the same command again."
_DRIVES = (
    "EIO", "ENXIO", "ENODEV", "ETIMEDOUT", "ENOTCONN", "ECONNRESET", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN",
    "ENETUNREACH", "EREMOTEIO", "ESHUTDOWN", "ECOMM",
)  # fmt: skip
_OF_DRIVES = [code for name in _DRIVES if (code := getattr(errno, name, 0))]
"""Those that the system knows."""
_REMEDIES = {
    errno.EACCES: "Give yourself the right to it (chmod u+rw FILE), or ask its owner.",
    errno.EPERM: "Give yourself the right to it (chmod u+rw FILE), or ask its owner.",
    errno.EMFILE: "Raise the limit (ulimit -n 4096), or run fewer jobs at once (--cores).",
    errno.ENFILE: "Run fewer jobs at once (--cores), or ask whoever runs the machine to raise fs.file-max.",
    errno.ENOMEM: "Give the step more memory (mem_mb on a cluster), or run fewer jobs at once (--cores).",
    errno.ESTALE: "The network drive has changed under the program: run again, or have the drive mounted anew.",
    errno.EAGAIN: "Another program holds it: wait for that one, and run the same command again.",
    errno.EBUSY: "Another program holds it: wait for that one, and run the same command again.",
    **dict.fromkeys(MISSING, "Copy it there, or correct the path."),
    **dict.fromkeys(NO_LOCKS, "The drive gives no locks: set HDF5_USE_FILE_LOCKING=FALSE, and run again."),
    **dict.fromkeys(_OF_DRIVES, _AGAIN),
}
_OF_CONTENT = (errno.EINVAL, errno.EOVERFLOW, errno.EFBIG, errno.ERANGE, errno.EDOM, errno.ESPIPE, errno.EBADF)
"""Codes that a reader gets where a damaged file sends it to places that do not exist."""
_NUMBER = re.compile(r"\[Errno (\d+)\]|errno = (\d+)")
_NO_MEMORY = re.compile(r"out of memory|cannot allocate|could ?n[o']t allocate|failed to allocate", re.IGNORECASE)
_TOLD = {os.strerror(code).lower(): code for code in _REMEDIES if code not in (errno.EAGAIN, errno.EINTR)}


class Failure(NamedTuple):
    """Why the system did not give a file: its code, in words, and what helps."""

    code: int
    why: str
    remedy: str


def failure_of(error: BaseException, path: Path | None = None) -> Failure | None:
    """The system's reason for an error of a reader; None: there is none, so that the file may be damaged.

    Readers of images often hide it ("read error"). So the file is opened again, if it is named.
    """
    code = next((code for each in _chain(error) if (code := _code(each))), 0) or (_probed(path) if path else 0)
    if not code or code in _OF_CONTENT:
        return None
    why = "locks are not supported" if code == NO_LOCKS[3] else os.strerror(code).lower()
    return Failure(code, why, _REMEDIES.get(code, _AGAIN))


def remedy_for(error: BaseException, remedy: str, path: Path | None = None) -> str:
    """What helps where a result cannot be read: what the system lacks; ``remedy`` where it is damaged or not there."""
    failure = failure_of(error, path)
    return remedy if failure is None or failure.code in MISSING else failure.remedy


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _code(error: BaseException) -> int:
    if isinstance(error, MemoryError):
        return errno.ENOMEM
    if isinstance(error, OSError) and error.errno:
        return error.errno
    text = str(error)
    if found := _NUMBER.search(text):
        return int(found[1] or found[2])
    if _NO_MEMORY.search(text):
        return errno.ENOMEM
    return next((code for told, code in _TOLD.items() if told in text.lower()), 0)


def _probed(path: Path) -> int:
    """The code with which opening a file and reading both its ends fails; 0: it does not."""
    try:
        with path.open("rb") as file:
            file.read(1)
            file.seek(max(0, path.stat().st_size - 1))
            file.read(1)
    except OSError as error:
        return error.errno or 0
    return 0
