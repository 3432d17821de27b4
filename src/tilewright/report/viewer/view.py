"""A local web page on which slides and what was found in them are looked at, from the whole down to a pixel."""

import ctypes
import os
import secrets
import signal
import socket
import tempfile
import webbrowser
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from tilewright.report.viewer.runs import find_run
from tilewright.report.viewer.submission import RunOrder
from tilewright.runtime.errors import Problem, UserError
from tilewright.runtime.extras import VIEWING, require_extra
from tilewright.runtime.progress import note

if TYPE_CHECKING:
    from starlette.types import ASGIApp

LOCAL = "127.0.0.1"
ARENA_MAX = -8
"""M_ARENA_MAX of mallopt: how many heaps the threads of a process have."""
WAITING = 128
"""Connections that wait at most until they are taken."""


def view(
    results: Path = Path("results"),
    *,
    beside: list[Path] | None = None,
    submission: list[Path] | None = None,
    classes: list[str] | None = None,
    rle_order: RunOrder | None = None,
    at: str = "",
    port: int = 0,
    browser: bool = False,
    edit: bool = False,
    author: str = "",
) -> None:
    """Show results in a browser, until Ctrl-C.

    The page is served on this machine alone, under an address that nobody can guess; it only reads, unless outlines
    are to be corrected. Indexes that it needs lie in a folder of their own, which is removed at the end.

    Args:
        results: the folder of results, or what `tilewright apply` wrote.
        beside: results of other runs, to be looked at side by side with these.
        submission: files of predictions as competitions take them, whoever wrote them, to be seen over the slides.
        classes: the classes that these count by number, from 0, or the one that a file without classes is about; all
            of the run unless given.
        rle_order: how their pixels count: column_major (down the columns) or row_major; what the config of the run
            writes unless given.
        at: the place to begin with, as it stands behind the # of the page's address, or the name of a slide.
        port: where to serve; 0: any that is free.
        browser: whether a browser is opened.
        edit: whether outlines are corrected: what is decided is written beside the sheet, never into the outlines.
        author: who decides; the name of the user unless given.

    Raises:
        UserError: a folder holds no results, the port is taken, a package is not installed, a submission is of no
            slide, or outlines cannot be corrected: the config of the run is gone, or another viewer does so.
        AnnotationError: a submission cannot be read.
    """
    require_extra("view", "view", VIEWING)
    _be_frugal()
    runs = [find_run(path) for path in (results, *(beside or ()))]
    from tilewright.report.viewer.answers import Answers
    from tilewright.report.viewer.edits import editing
    from tilewright.report.viewer.server import application
    from tilewright.report.viewer.submissions import read_submissions

    with tempfile.TemporaryDirectory(prefix="tilewright-view-") as folder:
        submissions = read_submissions(submission or (), runs, Path(folder), classes or (), rle_order)
        answers = Answers(runs, Path(folder), submissions)
        try:
            with editing(runs[0], author, answers) if edit else nullcontext() as edits:
                program = partial(application, answers, edits=edits)
                _serve(program, port, at, browser=browser, names=[str(run.folder) for run in runs])
        finally:
            answers.close()


def _be_frugal() -> None:
    """Keep little of what was decoded, as the browser keeps the tiles, and no heap for each thread."""
    os.environ["GDAL_CACHEMAX"] = "16"
    with suppress(OSError, AttributeError):  # the system's library may have no such setting
        ctypes.CDLL(None).mallopt(ARENA_MAX, 2)


def _serve(program: Callable[[str], "ASGIApp"], port: int, at: str, *, browser: bool, names: Sequence[str]) -> None:
    import uvicorn

    token = secrets.token_urlsafe(24)
    config = uvicorn.Config(
        program(token), host=LOCAL, port=port, log_level="critical", lifespan="off", access_log=False,
        server_header=False, date_header=False, timeout_graceful_shutdown=2,
    )  # fmt: skip
    server, listening = uvicorn.Server(config), _bound(port)
    place = at.lstrip("#") if "=" in at else urlencode({"slide": at}) if at else ""
    address = f"http://{LOCAL}:{listening.getsockname()[1]}/{token}/{place and '#'}{place}"
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    thread = Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    note(f"{', '.join(names)}: {address}\nCtrl-C ends it.")
    if browser:
        webbrowser.open(address)
    while thread.is_alive():
        thread.join(0.5)


def _bound(port: int) -> socket.socket:
    """A socket on this machine alone.

    Raises:
        UserError: the port is taken, or is none.
    """
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((LOCAL, port))
        listening.listen(WAITING)
    except (OSError, OverflowError) as error:
        listening.close()
        what = f"{port} cannot be used ({error})."
        raise UserError(Problem("--port", what, "Name another one, or leave it out.")) from error
    return listening
