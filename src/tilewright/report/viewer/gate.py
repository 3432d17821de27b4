"""The gate of the viewer's program: who may ask, and what every answer says beside its content.

Without ``--edit`` the viewer is asked by GET alone and takes no body; with it, JSON of its own pages by POST.
"""

import secrets
from collections.abc import Mapping

from anyio.to_thread import current_default_thread_limiter
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
"""Bytes of the largest body that is taken from those who ask: they tell nothing."""
TOLD = 1_000_000
"""Bytes of the largest decision."""
TOGETHER = 8
"""Questions that are answered at a time; each holds what it reads."""
HEARD = 2**24
"""Bytes of a body that are passed over before the answer."""
LONGEST = 4096
"""Bytes of the longest address."""
HOSTS = ("127.0.0.1", "localhost", "[::1]")


BODY_OF = "viewer_body"
"""Where the program finds the body of a request."""


class Gate:
    """Lets pass what has the token and comes from this machine's own pages: questions, and decisions if it edits.

    Args:
        inner: the program, which sees paths below the token.
        token: the secret part of the address.
        edits: whether decisions are taken.
    """

    def __init__(self, inner: ASGIApp, token: str, *, edits: bool = False) -> None:
        self._inner, self._token, self._edits = inner, token, edits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        current_default_thread_limiter().total_tokens = TOGETHER
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        decides = self._edits and scope["method"] == "POST"
        refused = self._refusal_of_decision(scope, headers) if decides else self._refusal(scope, headers)
        answered = send_with_headers(send)
        body = b""
        if refused:
            await _pass_over(receive)
        elif decides:
            heard = await _heard(receive)
            if heard is None:
                return
            body = heard
            refused = _too_large() if len(body) > TOLD else None
        if refused:
            await refused(scope, receive, answered)
            return
        prefix = f"/{self._token}"
        below = {**scope, "path": scope["path"][len(prefix) :] or "/", "root_path": "", BODY_OF: body}
        await self._inner(below, receive, answered)

    def _refusal(self, scope: Scope, headers: Mapping[str, str]) -> Response | None:
        """Why a question is not answered."""
        size = headers.get("content-length", "0")
        if refused := _foreign_host(headers):
            return refused
        if scope["method"] not in ("GET", "HEAD"):
            what = "the viewer takes no such request." if self._edits else "the viewer only reads."
            is_large = _is_large(size, BODY) or "transfer-encoding" in headers
            return told(413 if is_large else 405, what, "", close=True)
        if _is_large(size, BODY) or "transfer-encoding" in headers:
            return told(413, "the viewer takes no body.", "", close=True)
        return self._refusal_of_address(scope)

    def _refusal_of_decision(self, scope: Scope, headers: Mapping[str, str]) -> Response | None:
        """Why a decision is not taken: it may come from the viewer's own page alone, which another cannot pretend."""
        if refused := _foreign_host(headers) or self._refusal_of_address(scope):
            return refused
        own, origin = f"http://{headers.get('host', '')}", headers.get("origin", "")
        if origin != own or headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return told(403, f'the viewer takes nothing from pages of "{origin}".', "Decide on its own page.")
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return told(415, "the viewer takes JSON alone (content-type: application/json).", "")
        return _too_large() if _is_large(headers.get("content-length", "0"), TOLD) else None

    def _refusal_of_address(self, scope: Scope) -> Response | None:
        path = scope["path"]
        if len(path) + len(scope["query_string"]) > LONGEST:
            return told(414, "the address is too long.", "")
        token = path.split("/", 2)[1] if path.startswith("/") else ""
        if not secrets.compare_digest(token.encode(), self._token.encode()):
            return told(403, "this is not the token of the viewer.", "Open the address that it printed at its start.")
        return None


def _foreign_host(headers: Mapping[str, str]) -> Response | None:
    host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
    if host in HOSTS:
        return None
    return told(421, f'the viewer does not answer for the host "{host}".', "Open the address that it printed.")


def _too_large() -> Response:
    remedy = "Draw the outline with fewer corners (s), or in QuPath."
    return told(413, f"what was sent has more than {TOLD} bytes; nothing was written.", remedy, close=True)


async def _heard(receive: Receive) -> bytes | None:
    """The body of a request, or one byte more than is taken of it; None: who sent it is gone."""
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        size, more = size + len(parts[-1]), message.get("more_body", False)
        if size > TOLD:
            await _pass_over(receive)
            break
    return b"".join(parts)


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
            own = [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in known]
            if b"cache-control" not in known:
                own.append((b"cache-control", b"no-store"))
            message = {**message, "headers": [*message["headers"], *own]}
        await send(message)

    return sent


def told(status: int, what: str, remedy: str, where: str = "view", *, close: bool = False) -> JSONResponse:
    """An answer that says what is wrong."""
    headers = {"connection": "close"} if close else {}
    return JSONResponse({"where": where, "what": what, "remedy": remedy}, status, headers)


def _is_large(size: str, most: int) -> bool:
    return not size.isdecimal() or int(size) > most
