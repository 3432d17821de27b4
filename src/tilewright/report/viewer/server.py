"""What the page asks for, as a program for a web server: read-only, on this machine alone, behind a token.

Everything lies below ``/TOKEN/``. What cannot be answered is told as JSON: where, what, remedy.
"""

import secrets
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from anyio.to_thread import current_default_thread_limiter
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tilewright.report.viewer.answers import Answers
from tilewright.report.viewer.pyramids import NotYet
from tilewright.runtime.errors import DataError, Problem, TilewrightError, UserError
from tilewright.runtime.progress import note

STATIC = Path(__file__).parent / "static"
PAGE = "page.html"
LEAFLET = "xstatic/pkg/leaflet/data/"
"""Folder of Leaflet in its package, whose modules are not imported: they ask for a package of the build."""
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".png": "image/png"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
BODY = 0
"""Bytes of the largest body that is taken: the viewer is asked, and told nothing."""
TOGETHER = 8
"""Questions that are answered at a time; each holds what it reads."""
HEARD = 2**24
"""Bytes of a body that are passed over before the answer."""
LONGEST = 4096
"""Bytes of the longest address."""
HOSTS = ("127.0.0.1", "localhost", "[::1]")
TILE_AGE = 600
"""Seconds for which a browser may show a tile again without asking."""


def application(answers: Answers, token: str) -> ASGIApp:
    """The program: answers behind a token."""
    routes = [
        Route("/", _page),
        Route("/static/{name}", _static),
        Route("/runs.json", _json(lambda _: answers.runs())),
        Route("/{run:int}/{slide}/about.json", _json(lambda request: answers.about(request.path_params))),
        Route("/{run:int}/{slide}/thumbnail.jpg", _image(answers.thumbnail, "image/jpeg")),
        Route("/{run:int}/{slide}/{layer}/{zoom:int}/{x:int}/{y:int}.jpg", _image(answers.picture, "image/jpeg")),
        Route("/{run:int}/{slide}/{layer}/{zoom:int}/{x:int}/{y:int}.png", _image(answers.values, "image/png")),
        Route("/{run:int}/{slide}/outlines.json", _json(_of_both(answers.outlines))),
        Route("/{run:int}/{slide}/at.json", _json(_of_both(answers.at))),
        Route("/{run:int}/{slide}/listed.json", _json(_of_both(answers.listed))),
        Route("/{run:int}/{slide}/dice.json", _json(_of_both(answers.dice))),
        Route("/{run:int}/{slide}/borders.json", _json(_of_both(answers.borders))),
    ]
    inner = Starlette(routes=routes, exception_handlers={
        TilewrightError: _refused, NotYet: _not_yet, HTTPException: _unknown, Exception: _mistaken,
    })  # fmt: skip
    return Gate(inner, token)


class Gate:
    """Lets pass what has the token, asks by GET, says nothing, and comes from this machine's own pages."""

    def __init__(self, inner: ASGIApp, token: str) -> None:
        self._inner, self._token = inner, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        current_default_thread_limiter().total_tokens = TOGETHER
        refused = self._refusal(scope)
        told = send_with_headers(send)
        if refused:
            await _pass_over(receive)
            await refused(scope, receive, told)
            return
        prefix = f"/{self._token}"
        below = {**scope, "path": scope["path"][len(prefix) :] or "/", "root_path": ""}
        await self._inner(below, receive, told)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
        path, size = scope["path"], headers.get("content-length", "0")
        if host not in HOSTS:
            return told(421, f'the viewer does not answer for the host "{host}".', "Open the address that it printed.")
        if scope["method"] not in ("GET", "HEAD"):
            what = "the viewer only reads."
            return told(413 if _is_large(size) or "transfer-encoding" in headers else 405, what, "", close=True)
        if _is_large(size) or "transfer-encoding" in headers:
            return told(413, "the viewer takes no body.", "", close=True)
        if len(path) + len(scope["query_string"]) > LONGEST:
            return told(414, "the address is too long.", "")
        token = path.split("/", 2)[1] if path.startswith("/") else ""
        if not secrets.compare_digest(token.encode(), self._token.encode()):
            return told(403, "this is not the token of the viewer.", "Open the address that it printed at its start.")
        return None


async def _pass_over(receive: Receive) -> None:
    """Take a body and forget it, so that whoever sends it reads the answer; ``HEARD`` bytes of it at most."""
    heard, more = 0, True
    while more and heard < HEARD:
        message = await receive()
        heard += len(message.get("body", b""))
        more = message["type"] == "http.request" and message.get("more_body", False)


def send_with_headers(send: Send) -> Send:
    """Sends the headers that every answer has."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            known = {name for name, _ in message["headers"]}
            own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            if b"cache-control" not in known:
                own.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*message["headers"], *own]}
        await send(message)

    return sent


def told(status: int, what: str, remedy: str, where: str = "view", *, close: bool = False) -> JSONResponse:
    """An answer that says what is wrong."""
    headers = {"connection": "close"} if close else {}
    return JSONResponse({"where": where, "what": what, "remedy": remedy}, status, headers)


def _is_large(size: str) -> bool:
    return not size.isdecimal() or int(size) > BODY


def _page(_request: Request) -> Response:
    return FileResponse(STATIC / PAGE, media_type=TYPES[".html"])


def _static(request: Request) -> Response:
    """A file of the page, or of Leaflet; both are known by name, so that no path leads elsewhere."""
    files = {path.name: path for path in STATIC.iterdir()} | leaflet_files()
    name = request.path_params["name"]
    if name not in files:
        raise UserError(Problem("view", f'there is no file "{name}".'))
    return FileResponse(files[name], media_type=TYPES.get(files[name].suffix))


def leaflet_files() -> dict[str, Path]:
    """The files of Leaflet that the page loads, by name."""
    package = distribution("XStatic-Leaflet")
    return {name: Path(str(package.locate_file(LEAFLET + name))) for name in ("leaflet.js", "leaflet.css")}


Answer = Callable[[Request], Any]


def _of_both(answer: Callable[[dict[str, Any], dict[str, str]], Any]) -> Answer:
    return lambda request: answer(request.path_params, dict(request.query_params))


def _json(answer: Answer) -> Callable[[Request], Response]:
    def respond(request: Request) -> Response:
        return JSONResponse(answer(request))

    return respond


def _image(cut: Callable[[dict[str, Any], dict[str, str]], bytes | None], kind: str) -> Callable[[Request], Response]:
    def respond(request: Request) -> Response:
        found = cut(request.path_params, dict(request.query_params))
        if found is None:
            return told(404, "there is no such tile, or no such layer of this slide.", "")
        return Response(found, media_type=kind, headers={"cache-control": f"private, max-age={TILE_AGE}"})

    return respond


def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, TilewrightError)
    problem = error.problems[0]
    status = 422 if isinstance(error, DataError) else 404
    return told(status, problem.what, problem.remedy, problem.where)


def _not_yet(_request: Request, _error: Exception) -> Response:
    answer = told(202, "it is being made.", "Ask again in a second.")
    answer.headers["retry-after"] = "1"
    return answer


def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return told(error.status_code, f'there is nothing at "{request.scope["path"]}".', "")


def _mistaken(_request: Request, error: Exception) -> Response:
    what = f"this is a mistake of the viewer ({type(error).__name__}: {error})."
    note(f"view: {what}")
    return told(500, what, "Please report it, with what you looked at.")
