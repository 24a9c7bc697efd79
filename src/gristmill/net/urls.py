"""URLs as names: one spelling for each, so that a page has one id however it is linked.

Not here: whether a URL may be fetched (`net/addresses.py`, `net/robots.py`), messages (`fetch.shown`). Invariants: `normal` is
idempotent and looks at the URL alone; it changes no byte that a server may look at: the query keeps its order, escapes stay as
they are; a URL with a user in it is refused, for it would be written into ids and states.
"""

from __future__ import annotations

import contextlib
import re
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

MAX_CHARS = 8 << 10
_PORTS = {"http": 80, "https": 443}
_KEPT = "%/:?#[]@!$&'()*+,;=~-._"  # RFC 3986: reserved, unreserved and the escape sign; all else is escaped as UTF-8
_ITS_HOST = re.compile(r"https?://(?:\[([^\]/]+)\]|([^/:?#\[]+))")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\]")
# What is in normal form already, as most URLs are: told without taking it apart (a sitemap has 50,000).
_NORMAL = re.compile(
    r"https?://[a-z0-9](?:[a-z0-9.-]{0,250}[a-z0-9])?/[\w\-~!$&'()*+,;=:@/.]*(?:\?[\w\-~!$&'()*+,;=:@/.?]+)?", re.ASCII
)
_DOTS = re.compile(r"/\.{1,2}(?:/|$)")


def normal(url: str, base: str = "") -> str:
    """Give the one spelling of a URL: no fragment, no default port, IDNA host in lower case, no dot segments.

    Args:
        url: absolute, or a reference that is joined to `base`.
        base: where it was found.

    Raises:
        ValueError: it is no URL of a web page; the message says why and does not quote it.
    """
    text = url.strip().replace("\t", "").replace("\r", "").replace("\n", "")  # as the URL standard does
    if not text:
        raise ValueError("it is empty")
    if len(text) > MAX_CHARS:
        raise ValueError(f"longer than {MAX_CHARS} characters")
    if _NORMAL.fullmatch(text) and "/." not in text:
        return text
    try:
        parts = urlsplit(urljoin(base, text) if base else text)
        port = parts.port
    except ValueError:
        raise ValueError("it cannot be parsed") from None
    scheme = parts.scheme.lower()
    if scheme not in _PORTS:
        raise ValueError("the scheme is not http or https" if scheme else "it has no scheme; write https://…")
    if parts.username is not None or parts.password is not None:
        raise ValueError("it has a user or password in it")
    host = _host(parts.hostname or "", ipv6=parts.netloc.startswith("["))
    if port is not None and port != _PORTS[scheme]:
        host = f"{host}:{port}"
    path = _without_dots(_escaped(parts.path) or "/")
    return urlunsplit((scheme, host, path, _escaped(parts.query), ""))


def _without_dots(path: str) -> str:
    """Give a path without `.` and `..` segments (RFC 3986, 5.2.4)."""
    if not _DOTS.search(path):
        return path
    *segments, last = path.removeprefix("/").split("/")
    kept: list[str] = []
    for segment in [*segments, *([last] if last in {".", ".."} else [])]:
        if segment == "..":
            kept = kept[:-1]
        elif segment != ".":
            kept.append(segment)
    return "/" + "/".join([*kept, "" if last in {".", ".."} else last])


def _escaped(text: str) -> str:
    return quote(_BAD_ESCAPE.sub("%25", text), safe=_KEPT, encoding="utf-8", errors="replace")


def _host(name: str, *, ipv6: bool) -> str:
    host = f"[{name}]" if ipv6 else name.rstrip(".")
    if not host.isascii():
        import idna

        try:
            host = idna.encode(host, uts46=True).decode()
        except idna.IDNAError:
            raise ValueError("its host is no name that IDNA allows") from None
    host = host.lower()
    if not _HOST.fullmatch(host):
        raise ValueError("it has no valid host")
    return host


def host_of(url: str) -> str:
    """Give the host of a normal URL, without port and brackets: what politeness is counted by; "" of what is none."""
    found = _ITS_HOST.match(url)
    return (found[1] or found[2]) if found else ""


def origin_of(url: str) -> str:
    """Give scheme, host and port of a normal URL: what one robots.txt speaks for."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def endpoint_problems(name: str, url: str) -> list[str]:
    """Give the sentences for a URL of the config that cannot be an endpoint; they do not quote it, it may hold a secret."""
    scheme, mark, rest = url.partition("://")
    host = rest.partition("/")[0].partition("?")[0]
    if not mark or scheme not in {"http", "https"} or not host:
        return [f"{name}: must be a URL that begins with https:// (or http://) and a host"]
    if "@" in host:
        return [f"{name}: has a user or password in it; give credentials by auth"]
    if "{" in host:
        return [f"{name}: the host cannot be a {{field}}"]
    if "#" in rest:
        return [f"{name}: a fragment (#…) is not sent to a server; leave it away"]
    if port_of(url) is None:
        return [f"{name}: the port is no number from 1 to 65535"]
    return []


def port_of(url: str) -> int | None:
    """Give the port of a URL of the config; None: it is none."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        return parts.port or (443 if parts.scheme == "https" else 80)
    return None
