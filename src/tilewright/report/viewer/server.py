"""What the page asks for, as a program for a web server: on this machine alone, behind a token, read-only or not.

Everything lies below ``/TOKEN/``. What cannot be answered is told as JSON: where, what, remedy.
"""

from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from tilewright.report.viewer.answers import Answers
from tilewright.report.viewer.decisionfile import Changed
from tilewright.report.viewer.edits import Edits
from tilewright.report.viewer.gate import BODY_OF, Gate, told
from tilewright.report.viewer.pyramids import NotYet
from tilewright.report.viewer.reportpage import report_page, report_picture
from tilewright.runtime.errors import DataError, Problem, TilewrightError, UserError
from tilewright.runtime.progress import note

STATIC = Path(__file__).parent / "static"
PAGE = "page.html"
LEAFLET = "xstatic/pkg/leaflet/data/"
"""Folder of Leaflet in its package, whose modules are not imported: they ask for a package of the build."""
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".png": "image/png"}
TILE_AGE = 600
"""Seconds for which a browser may show a tile again without asking."""


def application(answers: Answers, token: str, edits: Edits | None = None) -> ASGIApp:
    """The program: answers behind a token, and what takes decisions, if it may."""
    routes = [
        Route("/", _page),
        Route("/static/{name}", _static),
        Route("/runs.json", _json(lambda _: {**answers.runs(), "editing": edits and edits.about()})),
        Route("/report/{run:int}/", lambda request: report_page(*answers.report(request.path_params))),
        Route("/report/{run:int}/{name:path}", _picture_of_report(answers)),
        Route("/{run:int}/{slide}/about.json", _json(lambda request: answers.about(request.path_params))),
        Route("/{run:int}/{slide}/thumbnail.jpg", _image(answers.thumbnail, "image/jpeg")),
        Route("/{run:int}/{slide}/{layer}/{zoom:int}/{x:int}/{y:int}.jpg", _image(answers.picture, "image/jpeg")),
        Route("/{run:int}/{slide}/{layer}/{zoom:int}/{x:int}/{y:int}.png", _image(answers.values, "image/png")),
        Route("/{run:int}/{slide}/outlines.json", _json(_of_both(answers.outlines))),
        Route("/{run:int}/{slide}/at.json", _json(_of_both(answers.at))),
        Route("/{run:int}/{slide}/listed.json", _json(_of_both(answers.listed))),
        Route("/{run:int}/{slide}/told.json", _json(_of_both(answers.told))),
        Route("/{run:int}/{slide}/dice.json", _json(_of_both(answers.dice))),
        Route("/{run:int}/{slide}/borders.json", _json(_of_both(answers.borders))),
    ]
    inner = Starlette(routes=routes + (_editing(edits) if edits else []), exception_handlers={
        TilewrightError: _refused, NotYet: _not_yet, HTTPException: _unknown, Exception: _mistaken,
    })  # fmt: skip
    return Gate(inner, token, edits=edits is not None)


def _editing(edits: Edits) -> list[Route]:
    """What there is for those who correct outlines."""
    return [
        Route("/queue.json", _json(lambda request: edits.queue(dict(request.query_params)))),
        Route("/suspect.json", _json(lambda request: edits.suspect(dict(request.query_params)))),
        Route("/{run:int}/{slide}/decided.json", _json(lambda request: edits.state(request.path_params))),
        Route("/{run:int}/{slide}/chosen.json", _json(_of_both(edits.chosen))),
        Route("/{run:int}/{slide}/decide.json", _json(
            lambda request: edits.decide(request.path_params, request.scope[BODY_OF])
        ), methods=["POST"]),
        Route("/undo.json", _json(lambda _: edits.undo()), methods=["POST"]),
    ]  # fmt: skip


def _page(_request: Request) -> Response:
    return FileResponse(STATIC / PAGE, media_type=TYPES[".html"])


def _picture_of_report(answers: Answers) -> Callable[[Request], Response]:
    def respond(request: Request) -> Response:
        folder, _ = answers.report(request.path_params)
        return report_picture(folder, request.path_params["name"])

    return respond


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
    status = 409 if isinstance(error, Changed) else 422 if isinstance(error, DataError) else 404
    return told(status, problem.what, problem.remedy, problem.where)


def _not_yet(_request: Request, _error: Exception) -> Response:
    answer = told(202, "it is being made.", "Ask again in a second.")
    answer.headers["retry-after"] = "1"
    return answer


def _unknown(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = f'there is nothing at "{request.scope["path"]}" for {request.method}.'
    return told(error.status_code, what, "")


def _mistaken(_request: Request, error: Exception) -> Response:
    what = f"this is a mistake of the viewer ({type(error).__name__}: {error})."
    note(f"view: {what}")
    return told(500, what, "Please report it, with what you looked at.")
