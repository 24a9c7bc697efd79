"""A world of five kinds of sources for one pipeline: files, PostgreSQL, a REST API, a web site, web archives. Loopback only.

The world is told what to hold; a server answers from it. Nothing here knows gristmill but the config it writes.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

EPOCH = datetime(2026, 3, 1, tzinfo=UTC)


def prose(*words: object) -> str:
    """Give a text that is long enough, and like no other that has other words."""
    about = " ".join(map(str, words))
    return " ".join(f"Sentence {i} tells of {about}, in its own words, number {i * 7} of many." for i in range(6))


def stamp(tick: int) -> str:
    """Give the time of a change: one minute a tick."""
    return (EPOCH + timedelta(minutes=tick)).isoformat()


class Server:
    """The API and the site, on a loopback port."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, object]] = {}
        self.pages: dict[str, str] = {}
        self.asked: list[tuple[str, int]] = []
        world = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status, headers, body = world.answer(self.path, self.headers.get("If-None-Match"))
                world.asked.append((self.path, status))
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, target: str, etag: str | None) -> tuple[int, dict[str, str], bytes]:
        """Give status, headers and body for a request."""
        parts = urlsplit(target)
        if parts.path == "/api/items":
            return 200, {"Content-Type": "application/json"}, self._listing(parse_qs(parts.query))
        if parts.path == "/sitemap.xml":
            locs = "".join(f"<url><loc>{self.url}/{name}</loc></url>" for name in sorted(self.pages))
            body = f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{locs}</urlset>'
            return 200, {"Content-Type": "application/xml"}, body.encode()
        text = self.pages.get(parts.path.removeprefix("/"))
        if text is None:
            return 404, {}, b"no such page"
        body = html(parts.path, text)
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        if etag == tag:
            return 304, {"ETag": tag}, b""
        return 200, {"Content-Type": "text/html; charset=utf-8", "ETag": tag}, body

    def _listing(self, query: dict[str, list[str]]) -> bytes:
        since = datetime.fromisoformat(query["since"][0]) if "since" in query else EPOCH
        items = sorted(self.items.values(), key=lambda item: (item["updated_at"], item["id"]))
        found = [item for item in items if datetime.fromisoformat(str(item["updated_at"])) >= since]
        page, size = int(query.get("page", ["1"])[0]), 7
        part = found[(page - 1) * size : page * size]
        return json.dumps({"items": part, "more": page * size < len(found)}).encode()


def html(path: str, text: str) -> bytes:
    """Give a page with a menu around its text."""
    sentences = "".join(f"<p>{sentence}.</p>" for sentence in text.split(". "))
    menu = "".join(f'<li><a href="/{i}.html">Go {i}</a></li>' for i in range(8))
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>Page {path}</title></head><body>"
        f"<nav><ul>{menu}</ul></nav><main><article><h1>Page {path}</h1>{sentences}</article></main></body></html>"
    ).encode()


def archive(pages: dict[str, str]) -> bytes:
    """Give a WARC file of these pages by URL, one gzip member a record."""
    members = []
    for n, (url, text) in enumerate(sorted(pages.items())):
        body = html(url, text)
        http = (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %d\r\n\r\n" % len(body)
            + body
        )
        digest = hashlib.sha256(url.encode()).hexdigest()
        head = (
            f"WARC/1.1\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{n:012d}>\r\n"
            f"WARC-Date: 2026-03-01T00:00:00Z\r\nWARC-Target-URI: {url}\r\nContent-Type: application/http;msgtype=response\r\nContent-Length: {len(http)}\r\n\r\n"
        )
        members.append(gzip.compress(head.encode() + http + b"\r\n\r\n", mtime=0))
    return b"".join(members)


def jsonl(rows: dict[str, str]) -> bytes:
    """Give JSON lines of these records."""
    return b"".join(json.dumps({"id": key, "text": text}).encode() + b"\n" for key, text in rows.items())


def write(path: Path, content: bytes) -> None:
    """Write a file, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
