"""WARC: records whole, cut, damaged, in members or not."""

import gzip

from tests.fuzz.reading import read

from gristmill.sources.warc import Warc

SOURCE = Warc(path="*", records=["response", "conversion", "resource", "metadata"], format="text", incomplete="keep")
_HTTP = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n\r\nhello"
_HEAD = b"WARC/1.0\r\nWARC-Type: %s\r\nWARC-Record-ID: <urn:uuid:%d>\r\nWARC-Target-URI: http://h/%d\r\nWARC-Date: 2024-01-01T00:00:00Z\r\n"


def _record(kind: bytes, n: int, body: bytes, mime: bytes) -> bytes:
    head = _HEAD % (kind, n, n) + b"Content-Type: %s\r\nContent-Length: %d\r\n\r\n" % (mime, len(body))
    return head + body + b"\r\n\r\n"


RECORDS = [
    _record(b"response", 1, _HTTP, b"application/http; msgtype=response"),
    _record(b"conversion", 2, b"plain text", b"text/plain"),
    _record(b"warcinfo", 3, b"software: x\r\n", b"application/warc-fields"),
]
SEEDS = [
    b"".join(RECORDS),
    b"".join(gzip.compress(record, mtime=0) for record in RECORDS),
    gzip.compress(b"".join(RECORDS), mtime=0),
    RECORDS[0]
    .replace(b"Content-Length: 5", b"Transfer-Encoding: chunked")
    .replace(b"hello", b"5\r\nhello\r\n0\r\n\r\n"),
]


def one(data: bytes) -> None:
    """Read it."""
    read(
        SOURCE,
        "f.warc",
        data,
        size=None if data.startswith((b"\x1f\x8b", b"\x28\xb5", b"BZh", b"\xfd7z", b"\x5d\x2a\x4d\x18")) else -1,
    )
