"""Worlds of the `files` and `sql` sources in other formats, stores and databases than those that are held to every law."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tests.conformance.loopback import Answer, Asked, Server
from tests.conformance.worlds_sql import SqliteByCursor
from tests.extract import pdfs

from gristmill.testing.world import Can
from gristmill.testing.worlds import FilesWorld


class HtmlFiles(FilesWorld):
    """A page a file."""

    can = Can(delete="whole")
    suffix = "html"
    per_file = 1

    def config(self) -> dict[str, Any]:
        return {"files": {"path": f"data/*.{self.suffix}"}}

    def rows(self) -> dict[str, str]:
        texts = [text for file in self.files for text in file.values()]
        return {f"{self._path(at).name}#0": text for at, text in enumerate(texts)}

    def content(self, at: int) -> bytes:
        (text,) = self.files[at].values()
        return f"<html><head><title>t</title></head><body><main><p>{text}</p></main></body></html>".encode()


class PdfFiles(HtmlFiles):
    """A document a file."""

    suffix = "pdf"

    def content(self, at: int) -> bytes:
        (text,) = self.files[at].values()
        return pdfs.plain((text,))


class HttpFiles(FilesWorld):
    """JSON lines at addresses of a server that tells an ETag and gives ranges."""

    can = Can()

    def start(self, folder: Path) -> None:
        super().start(folder)
        self.server: Server | None = Server(self.answer)
        self.url = self.server.url

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()
            self.server = None

    def config(self) -> dict[str, Any]:
        urls = [f"{self.url}/{self._path(at).name}" for at in range(len(self.files))]
        return {"files": {"path": urls, "id": "id", "storage": {"allow_hosts": "127.0.0.1"}}}

    def answer(self, asked: Asked) -> Answer:
        at = next((at for at in range(len(self.files)) if asked.path == f"/{self._path(at).name}"), None)
        if at is None:
            return Answer(404)
        body = self.content(at)
        told = {"ETag": f'"{hash(body):x}"', "Accept-Ranges": "bytes", "Content-Type": "application/jsonl"}
        if "range" in asked.headers:
            first, _, last = asked.headers["range"].removeprefix("bytes=").partition("-")
            low, high = int(first), min(int(last or len(body)), len(body) - 1)
            told["Content-Range"] = f"bytes {low}-{high}/{len(body)}"
            return Answer(206, body[low : high + 1], told)
        return Answer(200, body, told)


class S3Files(FilesWorld):
    """JSON lines in a bucket."""

    can = Can(delete="whole")

    def __init__(self, store: Any) -> None:
        self.store = store

    def start(self, folder: Path) -> None:
        self.prefix = f"{folder.parent.name}/{folder.name}"
        super().start(folder)

    def config(self) -> dict[str, Any]:
        path = f"s3://{self.store.bucket}/{self.prefix}/*.jsonl"
        return {"files": {"path": path, "id": "id", "storage": self.store.storage}}

    def _write(self, at: int) -> None:
        self.store.put(f"{self.prefix}/{self._path(at).name}", self.content(at))


class MariaDBByCursor(SqliteByCursor):
    """The table of the SQLite world in MariaDB, through SQLAlchemy."""

    dsn = "${env:CONFORMANCE_DSN}"

    def __init__(self, server: Any) -> None:
        self.server = server

    def start(self, folder: Path) -> None:
        os.environ["CONFORMANCE_DSN"] = self.server.dsn
        self._do("DROP TABLE IF EXISTS entries")
        super().start(folder)

    def stop(self) -> None:
        self._do("DROP TABLE IF EXISTS entries")

    def _do(self, *statements: str) -> None:
        self.server.run(*statements)
