"""The world of the `warc` source: texts in WET files, a few records each, gzip per record."""

from __future__ import annotations

import base64
import gzip
import hashlib
from typing import Any

from gristmill.testing.world import Can
from gristmill.testing.worlds import FilesWorld


class WarcFiles(FilesWorld):
    """A record is named by its URL; a changed record's file is written anew."""

    can = Can(delete="whole", spoil=True, wipe=True)
    suffix = "warc.wet.gz"

    def config(self) -> dict[str, Any]:
        return {"warc": {"path": f"data/*.{self.suffix}", "id": "url"}}

    def rows(self) -> dict[str, str]:
        return {f"http://world.example/{key}": text for key, text in super().rows().items()}

    def spoil(self, mark: str) -> list[str]:
        self.bad.append(mark)
        self._write(0)
        return ["warc.digest"]

    def content(self, at: int) -> bytes:
        records = [_record(key, text.encode()) for key, text in self.files[at].items()]
        records += [_record("bad", mark.encode(), of=b"something else") for mark in (self.bad if at == 0 else [])]
        return b"".join(gzip.compress(record, mtime=0) for record in records)


def _record(key: str, text: bytes, of: bytes | None = None) -> bytes:
    digest = base64.b32encode(hashlib.sha1(text if of is None else of).digest()).decode()
    head = [
        "WARC/1.0",
        "WARC-Type: conversion",
        f"WARC-Target-URI: http://world.example/{key}",
        "WARC-Date: 2026-11-25T08:00:00Z",
        f"WARC-Record-ID: <urn:uuid:{hashlib.md5(key.encode()).hexdigest()}>",
        f"WARC-Block-Digest: sha1:{digest}",
        "Content-Type: text/plain",
        f"Content-Length: {len(text)}",
    ]
    return "\r\n".join([*head, "", ""]).encode() + text + b"\r\n\r\n"
