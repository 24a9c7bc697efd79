"""Worlds of the `rest` and `web` sources: a server on the loopback address."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from tests.conformance.loopback import Answer, Asked, Server

from gristmill.testing.world import Can, Part

LAG = 100
TOKEN = "tok-c41f77aa"


class RestSince:
    """An API with a counter: `/entries?from=&to=&cursor=`, five records a page, tombstones among them."""

    can = Can(delete="tombstone", late=True, window=True, resume=True, spoil=True)
    secret = TOKEN

    def start(self, folder: Path) -> None:
        os.environ["CONFORMANCE_TOKEN"] = TOKEN
        self.table: dict[str, dict[str, Any]] = {}
        self.bad: list[Any] = []
        self.clock = 1000
        self.server: Server | None = Server(self.answer)
        self.url = self.server.url

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()
            self.server = None
        os.environ.pop("CONFORMANCE_TOKEN", None)

    def config(self) -> dict[str, Any]:
        return {
            "rest": {
                "endpoint": f"{self.url}/entries",
                "auth": {"bearer": "${env:CONFORMANCE_TOKEN}"},
                "records": "items",
                "pagination": {"kind": "cursor", "param": "cursor", "next": "next"},
                "id": "id",
                "text": "body",
                "attempts": 1,
                "allow_hosts": ["127.0.0.1"],
            }
            | self.settings()
        }

    def settings(self) -> dict[str, Any]:
        since = {"param": "from", "cursor": "version", "format": "number", "lag": LAG, "until_param": "to"}
        return {"since": since, "deleted": "gone"}

    def answer(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != f"Bearer {TOKEN}":
            return Answer(401)
        low, high, start = (
            int(asked.query.get(name, each)) for name, each in (("from", 0), ("to", 10**9), ("cursor", 0))
        )
        rows = [row for row in self.table.values() if low <= row["version"] < high]
        rows = sorted(rows, key=lambda row: (row["version"], row["id"])) + self.bad
        after = start + 5 if start + 5 < len(rows) else None
        body = json.dumps({"items": rows[start : start + 5], "next": after}).encode()
        return Answer(200, body, {"Content-Type": "application/json"})

    def rows(self) -> dict[str, str]:
        return {key: row["body"] for key, row in self.table.items() if not row["gone"]}

    def insert(self, key: str, text: str) -> None:
        self.clock += 10
        self._put(key, text, self.clock)

    update = insert

    def late(self, key: str, text: str) -> None:
        self._put(key, text, self.clock - LAG // 2)

    def delete(self, key: str) -> None:
        self.clock += 10
        self.table[key] |= {"gone": True, "version": self.clock}

    def window(self) -> Part:
        versions = sorted(row["version"] for row in self.table.values())
        since, until = versions[3], versions[20]
        inside = {key: row["body"] for key, row in self.table.items() if since <= row["version"] < until}
        return Part(since=str(since), until=str(until), rows=inside)

    def spoil(self, mark: str) -> list[str]:
        self.bad.append({"id": "bad", "body": [mark], "version": 0, "gone": False})
        return ["field.type"]

    def wipe(self) -> None:
        self.table.clear()

    def _put(self, key: str, text: str, version: int) -> None:
        self.table[key] = {"id": key, "body": text, "version": version, "gone": False}


class RestWhole(RestSince):
    """The same, read whole each run."""

    can = Can(delete="whole", resume=True, spoil=True, wipe=True)

    def settings(self) -> dict[str, Any]:
        return {}

    def delete(self, key: str) -> None:
        del self.table[key]


class WebSite:
    """A site with a sitemap. A page that is gone counts as gone when it is not found on two days: each look at the sitemap is a day."""

    can = Can(delete="scan", resume=True, spoil=True, runs=2)
    secret = ""
    kind = "text/plain"

    def start(self, folder: Path) -> None:
        self.pages: dict[str, str] = {}
        self.bad: dict[str, str] = {}
        self.day = datetime(2026, 11, 1, 12, tzinfo=UTC)
        self.server: Server | None = Server(self.answer)
        self.url = self.server.url

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()
            self.server = None

    def config(self) -> dict[str, Any]:
        return {
            "web": {
                "sitemaps": [f"{self.url}/sitemap.xml"],
                "contact": "mailto:kit@example.org",
                "delay_s": 0,
                "attempts": 1,
                "allow_hosts": ["127.0.0.1"],
                "clock": "2026-11-25T08:00:00Z",
            }
        }

    def answer(self, asked: Asked) -> Answer:
        date = {"Date": format_datetime(self.day, usegmt=True)}
        name = asked.path.removeprefix("/p/")
        if asked.path == "/sitemap.xml":
            self.day += timedelta(days=1)
            urls = "".join(f"<url><loc>{self.url}/p/{key}</loc></url>" for key in [*self.pages, *self.bad])
            xml = f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{urls}</urlset>'
            return Answer(200, xml.encode(), date | {"Content-Type": "application/xml"})
        if name in self.bad:
            return Answer(403, self.bad[name].encode(), date | {"Content-Type": "text/html"})
        if name not in self.pages:
            return Answer(404, b"not here", date | {"Content-Type": "text/plain"})
        return Answer(200, self.page(name).encode(), date | {"Content-Type": f"{self.kind}; charset=utf-8"})

    def page(self, name: str) -> str:
        return self.pages[name]

    def rows(self) -> dict[str, str]:
        return {f"{self.url}/p/{key}": text for key, text in self.pages.items()}

    def insert(self, key: str, text: str) -> None:
        self.pages[key] = text

    update = insert

    def delete(self, key: str) -> None:
        del self.pages[key]

    def late(self, key: str, text: str) -> None:
        raise NotImplementedError

    def window(self) -> Part:
        raise NotImplementedError

    def spoil(self, mark: str) -> list[str]:
        self.bad["bad"] = f"<html><body><p>{mark}</p></body></html>"
        return ["http.403"]

    def wipe(self) -> None:
        raise NotImplementedError


class HtmlSite(WebSite):
    """The same with pages of HTML, whose main text is taken out."""

    can = Can(resume=False)
    kind = "text/html"

    def page(self, name: str) -> str:
        return f"<html><head><title>{name}</title></head><body><main><p>{self.pages[name]}</p></main></body></html>"
