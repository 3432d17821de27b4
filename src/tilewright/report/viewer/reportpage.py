"""The report of a run as the viewer shows it: what are commands on the page on disk are links here."""

import re
from pathlib import Path

from starlette.responses import FileResponse, HTMLResponse, Response

from tilewright.project.places import PAGE
from tilewright.runtime.errors import Problem, UserError

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""The page brings its own style, and runs nothing."""
COMMAND = re.compile(r'<code class="at" data-at="([^"]*)">.*?</code>')
ON_DISK = re.compile(r'<script>.*?</script>\n?|<span class="on-disk">.*?</span>', re.DOTALL)
"""What speaks of these commands."""
PICTURES = (".png", ".jpg")


def report_page(folder: Path, run: int) -> Response:
    """The page of a report, whose commands are links to the viewer.

    Raises:
        UserError: there is none.
    """
    try:
        page = (folder / PAGE).read_text(encoding="utf-8")
    except OSError as error:
        what = f"there is no report ({error.strerror})."
        raise UserError(Problem(str(folder), what, "It is made by the plain command, snakemake.")) from error
    linked = COMMAND.sub(rf'<a class="at" href="../../#run={run}&amp;\1">look at it</a>', ON_DISK.sub("", page))
    return HTMLResponse(linked, headers={"content-security-policy": POLICY})


def report_picture(folder: Path, name: str) -> Response:
    """A picture of a report.

    Raises:
        UserError: it has none of that name.
    """
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.suffix in PICTURES}
    if name not in files:
        raise UserError(Problem(str(folder), f'there is no picture "{name}".'))
    return FileResponse(files[name])
