"""The guard: who may ask the ui anything, and what every answer carries.

A browser on this machine also shows pages of strangers, and other users of the machine can connect to its loopback. So a request must be
a GET or HEAD, to our own Host and port (else 421: another name was made to point here), not sent by a page of another origin, below a
path nobody can guess, and with the cookie that only the address printed at the start gives: a token, taken once in exchange. The path
keeps the cookie from other servers on this machine: cookies know no ports.
Not here: pages (`views`). Invariants: what is refused learns nothing but that; secrets are compared in constant time; no answer may be
kept, framed, or sniffed for another type.
"""

from __future__ import annotations

import hmac
import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

import msgspec
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gristmill.report import render

COOKIE = "gristmill"
TOKEN = "token"  # noqa: S105 - a name
FORMS = "'self'"


class Keys(msgspec.Struct, frozen=True):
    """The secrets of one start. root: where all pages lie, such as /a1b2c3; token: asked once; session: the cookie."""

    root: str
    token: str
    session: str


def new_keys() -> Keys:
    """Draw them."""
    return Keys(f"/{secrets.token_hex(8)}", secrets.token_urlsafe(32), secrets.token_urlsafe(32))


class Guard:
    """Lets a request through to the app, or refuses it."""

    def __init__(self, app: ASGIApp, keys: Keys, port: int) -> None:
        self.app, self.keys = app, keys
        self.hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return  # no socket is opened here; the server closes what nobody answers

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                seal(MutableHeaders(scope=message))
            await send(message)

        refused = self._refusal(scope)
        await (refused if refused is not None else self.app)(scope, receive, sealed)

    def _refusal(self, scope: Scope) -> Response | None:
        """Give the answer to a request that does not reach the app, None if it does."""
        headers = Headers(scope=scope)
        if len(headers.getlist("host")) != 1 or headers["host"].lower() not in self.hosts:
            return PlainTextResponse("this server answers to 127.0.0.1 and localhost only", 421)
        if scope["method"] not in {"GET", "HEAD"}:
            return PlainTextResponse("there is nothing to change here", 405, {"Allow": "GET, HEAD"})
        if any(origin != f"http://{headers['host'].lower()}" for origin in headers.getlist("origin")):
            return _no()
        if not self._inside(scope["path"]):
            return _no()
        given = parse_qs(scope["query_string"].decode("latin-1")).get(TOKEN)
        if given is not None:
            return self._exchange(given[-1])
        if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"} or not self._knows(headers):
            return _no()
        return None

    def _inside(self, path: str) -> bool:
        begin = path[: len(self.keys.root) + 1]
        return hmac.compare_digest(begin.encode(), f"{self.keys.root}/".encode())

    def _exchange(self, token: str) -> Response:
        """Give the cookie for the token, and the address without it."""
        if not hmac.compare_digest(token.encode(), self.keys.token.encode()):
            return _no()
        answer = RedirectResponse(f"{self.keys.root}/", 303)
        answer.set_cookie(COOKIE, self.keys.session, path=f"{self.keys.root}/", httponly=True, samesite="strict")
        return answer

    def _knows(self, headers: Headers) -> bool:
        try:
            cookies = SimpleCookie("; ".join(headers.getlist("cookie")))
        except CookieError:
            return False
        held = cookies[COOKIE].value if COOKIE in cookies else ""
        return hmac.compare_digest(held.encode(), self.keys.session.encode())


def seal(headers: MutableHeaders) -> None:
    """Add what every answer carries."""
    headers["Content-Security-Policy"] = f"{render.policy(FORMS)}; frame-ancestors 'none'"
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    headers["Referrer-Policy"] = "no-referrer"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers["Cache-Control"] = "no-store"


def _no() -> Response:
    return PlainTextResponse("open the address that `gristmill ui` printed", 403)
