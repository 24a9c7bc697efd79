"""Fetching one URL over HTTP, guarded: every address checked, every body capped and decoded here, one deadline for all.

`Fetcher` follows redirects by hand and looks at each hop as at a first request. Not here: trying again (`retry.py`),
credentials (`auth.py`), what a status or body means (the sources). Invariants: `fetch` gives a whole body or raises;
what was sent as a credential goes to the origin it was meant for and to no other; TLS is always verified; proxies,
netrc and cookies are not used; a message shows a URL without user, query and fragment, and nothing else of a request.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import msgspec

from gristmill.core.errors import SourceError, Transient
from gristmill.net.addresses import Guard
from gristmill.net.decode import BadEncoding, Decoder, Oversize, accepted

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.abc import AbstractResolver
    from yarl import URL

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PERMANENT = frozenset({301, 308})
_CREDENTIAL_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
_BODY_HEADERS = frozenset({"content-type", "content-length", "content-encoding"})
_MAX_URL_CHARS = 8 << 10
_CHUNK_BYTES = 64 << 10
_LINE_BYTES, _FIELD_BYTES, _HEADERS = 8 << 10, 16 << 10, 128  # of an answer's head, at most


class Limits(msgspec.Struct, frozen=True):
    """Caps of one fetch, redirects included.

    max_bytes: of the body, as sent and decoded. max_ratio: decoded bytes to bytes sent, looked at above 10 MiB.
    timeout_s: from the first look-up to the last byte. connect_s: for one connection. max_redirects: hops followed.
    """

    max_bytes: int = 64 << 20
    max_ratio: int = 200
    timeout_s: float = 60.0
    connect_s: float = 10.0
    max_redirects: int = 5


class Response(msgspec.Struct, frozen=True):
    """An answer, whatever its status, with its whole decoded body.

    url: where it came from after redirects. headers: names in lower case, values of a repeated one joined with ", ".
    redirects: (status, URL led to) of the hops before. notes: `length.unverified` (neither length nor chunks, so a cut
    body looks whole), `encoding.lied` (Content-Encoding says what the body is not; it was decoded as what it is).
    """

    status: int
    url: str
    headers: dict[str, str]
    body: bytes
    redirects: tuple[tuple[int, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def permanent_url(self) -> str | None:
        """Where the first URL has moved for good: the end of the permanent redirects at the beginning; None: nowhere."""
        moved = None
        for status, url in self.redirects:
            if status not in _PERMANENT:
                break
            moved = url
        return moved


class FetchRefused(SourceError):
    """Asking again would end the same. code: net.blocked, net.redirects, net.scheme, net.tls, url.invalid, size.cap."""

    def __init__(self, code: str, url: str, detail: str) -> None:
        super().__init__(f"{shown(url)}: {code}: {detail}")
        self.code, self.url, self.detail = code, url, detail

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the fields when the error crosses a process border."""
        return (type(self), (self.code, self.url, self.detail))


class FetchFailed(Transient):
    """No whole answer this time. code: net.timeout, net.connect, net.dns, net.cut, http.header, body.encoding, and others.

    wait_s: how long the server asks to wait before the next attempt.
    """

    def __init__(self, code: str, url: str, detail: str, *, wait_s: float | None = None) -> None:
        super().__init__(f"{shown(url)}: {code}: {detail}")
        self.code, self.url, self.detail, self.wait_s = code, url, detail, wait_s

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the fields when the error crosses a process border."""
        return (type(self), (self.code, self.url, self.detail))


class _Blocked(OSError):
    """Raised where a socket would be made; the one text keeps it apart from others when several addresses fail."""

    def __init__(self, why: str) -> None:
        super().__init__("the address is refused")
        self.why = why


class Fetcher:
    """One per read: `async with Fetcher(...) as fetcher: await fetcher.fetch("GET", url)`. Keeps connections alive.

    guard: which addresses may be connected to. user_agent: as `user_agent()` gives it. max_connections: at a time, and
    to one host. resolver: looks names up, by default the system's. follow: redirects; else they are given as they come.
    """

    def __init__(
        self,
        guard: Guard | None = None,
        limits: Limits | None = None,
        *,
        agent: str | None = None,
        max_connections: int = 8,
        resolver: AbstractResolver | None = None,
        follow: bool = True,
    ) -> None:
        self._guard, self._limits = guard or Guard(), limits or Limits()
        self._agent = agent or user_agent()
        self._max_connections = max_connections
        self._resolver, self._follows = resolver, follow
        self._sessions: dict[bool, aiohttp.ClientSession] = {}  # by: is the host trusted by its name

    async def __aenter__(self) -> Self:
        """Nothing is opened yet."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        credentials: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limits: Limits | None = None,
    ) -> Response:
        """Fetch one URL.

        Args:
            method: of HTTP, in capitals.
            url: absolute, http or https, without a user in it.
            headers: go along with redirects, but for Authorization and Cookie.
            credentials: headers for the origin of `url` only.
            body: is never sent to another origin.
            limits: in place of the fetcher's.

        Raises:
            FetchRefused: it must not be fetched, or will not fit; asking again is in vain.
            FetchFailed: no whole answer came this time.
        """
        caps = limits or self._limits
        try:
            async with asyncio.timeout(caps.timeout_s):
                return await self._follow(_Hop(method, url, headers or {}, credentials or {}, body), caps)
        except TimeoutError:
            raise FetchFailed("net.timeout", url, f"no whole answer within {caps.timeout_s:g} s") from None

    async def _follow(self, hop: _Hop, caps: Limits) -> Response:
        seen: list[tuple[int, str]] = []
        while True:
            response = await self._once(hop, caps)
            location = response.headers.get("location")
            if not self._follows or response.status not in _REDIRECTS or not location:
                return msgspec.structs.replace(response, redirects=tuple(seen))
            if len(seen) >= caps.max_redirects:
                raise FetchRefused("net.redirects", hop.url, f"more than {caps.max_redirects} redirects")
            hop = hop.redirected(response.status, location)
            seen.append((response.status, hop.url))

    async def _once(self, hop: _Hop, caps: Limits) -> Response:
        import aiohttp

        target = _parsed(hop.url)
        session = self._session(trusted=self._guard.trusts(target.host or ""))
        headers = {"Accept-Encoding": accepted(), "User-Agent": self._agent, **hop.headers, **hop.credentials}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=caps.connect_s)
        try:
            async with session.request(
                hop.method, target, headers=headers, data=hop.body, allow_redirects=False, timeout=timeout
            ) as answer:
                return await _read(answer, hop, caps)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error, TimeoutError) and not isinstance(error, aiohttp.ClientError):
                raise  # our own deadline
            raise _explained(error, hop.url) from None

    def _session(self, *, trusted: bool) -> aiohttp.ClientSession:
        import aiohttp

        if trusted not in self._sessions:
            connector = aiohttp.TCPConnector(
                socket_factory=None if trusted else self._socket,
                resolver=self._resolver,
                limit=self._max_connections,
                limit_per_host=self._max_connections,
            )
            self._sessions[trusted] = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                read_bufsize=_CHUNK_BYTES,
                max_line_size=_LINE_BYTES,
                max_field_size=_FIELD_BYTES,
                max_headers=_HEADERS,
            )
        return self._sessions[trusted]

    def _socket(self, info: tuple[Any, Any, int, str, Any]) -> socket.socket:
        """Make the socket for one attempt, if its address may be connected to."""
        family, kind, proto, _, address = info
        why = self._guard.refusal(address[0], address[1])
        if why is not None:
            raise _Blocked(why)
        return socket.socket(family=family, type=kind, proto=proto)


class _Hop(msgspec.Struct, frozen=True):
    """What is sent to one URL of a chain of redirects."""

    method: str
    url: str
    headers: Mapping[str, str]
    credentials: Mapping[str, str]
    body: bytes | None

    def redirected(self, status: int, location: str) -> _Hop:
        """Give the next hop, with less in it if it leads elsewhere."""
        here = _parsed(self.url)
        try:
            there = _parsed(str(here.join(_parsed(location, base=True)).with_fragment(None)))
        except ValueError:
            raise FetchRefused("url.invalid", self.url, "the redirect's Location is no URL") from None
        method, headers, body = self.method, dict(self.headers), self.body
        if (status == 303 and method != "HEAD") or (status in {301, 302} and method == "POST"):
            method, body = "GET", None
            headers = {name: value for name, value in headers.items() if name.lower() not in _BODY_HEADERS}
        credentials = self.credentials
        if here.origin() != there.origin():
            private = {name for name in headers if name.lower() in _CREDENTIAL_HEADERS}
            if body is not None:
                raise FetchRefused(
                    "net.redirects", self.url, "a redirect would send the request's body to another origin"
                )
            if here.scheme == "https" and there.scheme == "http" and (credentials or private):
                raise FetchRefused("net.redirects", self.url, "a request with credentials is led from https to http")
            headers = {name: value for name, value in headers.items() if name not in private}
            credentials = {}
        return _Hop(method, str(there), headers, credentials, body)


async def _read(answer: aiohttp.ClientResponse, hop: _Hop, caps: Limits) -> Response:
    """Read and decode the body within the caps."""
    headers: dict[str, str] = {}
    for name, value in answer.headers.items():
        low = name.lower()
        headers[low] = f"{headers[low]}, {value}" if low in headers else value
    notes = []
    bodiless = hop.method == "HEAD" or answer.status in {204, 304}
    if not bodiless:
        if "content-length" not in headers and "chunked" not in headers.get("transfer-encoding", "").lower():
            notes.append("length.unverified")
        if answer.content_length is not None and answer.content_length > caps.max_bytes:
            raise FetchRefused("size.cap", hop.url, f"{answer.content_length} bytes, over {caps.max_bytes}")
    try:
        decoder = Decoder(headers.get("content-encoding", ""), caps.max_bytes, caps.max_ratio)
        async for block in answer.content.iter_any():
            decoder.feed(block)
        body = decoder.finish()
    except Oversize as error:
        raise FetchRefused("size.cap", hop.url, str(error)) from None
    except BadEncoding as error:
        raise FetchFailed("body.encoding", hop.url, str(error)) from None
    if decoder.lied:
        notes.append("encoding.lied")
    return Response(answer.status, str(answer.url), headers, body, notes=tuple(notes))


def _parsed(url: str, *, base: bool = False) -> URL:
    """Parse a URL that is to be fetched (base: or a reference to be joined to one)."""
    from yarl import URL

    if len(url) > _MAX_URL_CHARS:
        raise FetchRefused("url.invalid", url[:80], f"longer than {_MAX_URL_CHARS} characters")
    try:
        parsed = URL(url)
        if base:
            return parsed
        port = parsed.port
    except ValueError:
        raise FetchRefused("url.invalid", url, "is no URL") from None
    if parsed.scheme not in {"http", "https"}:
        raise FetchRefused("net.scheme", url, f"the scheme {parsed.scheme[:20]!r} is not http or https")
    if not parsed.raw_host or port == 0:
        raise FetchRefused("url.invalid", url, "has no host, or no possible port")
    if parsed.raw_user is not None or parsed.raw_password is not None:
        raise FetchRefused("url.invalid", url, "has a user or password in it; give credentials by `auth`")
    return parsed


def _explained(error: Exception, url: str) -> FetchRefused | FetchFailed:
    """Give our error for one of aiohttp's, by its type and the errors it was caused by."""
    import aiohttp

    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, _Blocked):
            return FetchRefused("net.blocked", url, f"{cause.why}; list it under allow_hosts if it is meant")
        cause = getattr(cause, "os_error", None) or cause.__cause__
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return FetchRefused("net.tls", url, f"the certificate is not valid: {_reason(error.certificate_error)}")
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return FetchRefused("net.tls", url, f"no TLS connection: {_reason(error)}")
    if isinstance(error, aiohttp.InvalidURL):
        return FetchRefused("url.invalid", url, "is no URL that can be asked for")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return FetchFailed("net.dns", url, "the host's name cannot be resolved")
    if isinstance(error, aiohttp.ServerTimeoutError):
        return FetchFailed("net.timeout", url, "no connection in time")
    if isinstance(error, aiohttp.ClientResponseError):
        return FetchFailed("http.header", url, "the head of the answer is malformed or larger than allowed")
    if isinstance(error, aiohttp.ClientConnectorError):
        return FetchFailed("net.connect", url, f"cannot connect: {_reason(error.os_error)}")
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError | OSError):
        return FetchFailed("net.cut", url, "the connection ended before the answer was whole")
    if isinstance(error, ValueError) and not isinstance(error, aiohttp.ClientError):
        return FetchRefused("url.invalid", url, "the URL or a header of the request cannot be sent")
    return FetchFailed("net.connect", url, f"{type(error).__name__}")


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or getattr(error, "verify_message", None) or type(error).__name__)


def shown(url: str) -> str:
    """Give a URL as messages show it: without user, password, query and fragment, and not longer than 200 characters."""
    bare = url.partition("#")[0].partition("?")[0]
    scheme, mark, rest = bare.partition("://")
    host, slash, path = rest.partition("/")
    safe = f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}" if mark else bare.rpartition("@")[2]
    return "".join(char if char.isprintable() else "?" for char in safe)[:200]


def origin(url: str) -> str:
    """Give `scheme://host:port` of a URL, for comparing.

    Raises:
        FetchRefused: it is no URL that could be fetched.
    """
    parsed = _parsed(url)
    return f"{parsed.scheme}://{(parsed.host or '').lower()}:{parsed.port}"


def user_agent(contact: str = "") -> str:
    """Give the User-Agent: the package, its version, and how to reach who runs it (a URL or mail address)."""
    try:
        release = version("gristmill")
    except PackageNotFoundError:
        release = "0"
    return f"gristmill/{release}" + (f" (+{contact})" if contact else "")
