r"""Header blocks as HTTP and WARC write them, and HTTP responses as they are stored: status, headers, body without chunks; digests.

Not here: fetching (`net`), content encodings (`net.decode`), what a header means (the sources). Invariants: any bytes give
a message or None, never an error of another kind; a body's chunks are taken apart only if all of them are as they say.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

_STATUS = re.compile(rb"HTTP/\d[\d.]*[ \t]+(\d{3})\b[^\n]*\n")
_END = re.compile(rb"\n\r?\n")
_FIELDS = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++[ \t]*+:[^\n]*+(?:\n|\Z)|[ \t][^\n]*+(?:\n|\Z))*+\r?")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]{0,4096})?\r?\n")
_DIGESTS = {"sha1": 20, "sha-1": 20, "md5": 16, "sha256": 32, "sha-256": 32, "sha512": 64, "sha-512": 64}  # bytes
DIGEST_FIELDS = ("warc-block-digest", "warc-payload-digest")
_BASE32_CHARS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_BASE32 = bytes.maketrans(_BASE32_CHARS, b"0123456789ABCDEFGHIJKLMNOPQRSTUV")  # the digits of `int`
_ADDRESS, _NO_UTF8 = "warc-target-uri", re.compile("[\udc80-\udcff]")
_LINE_END = re.compile(rb"\r?\n")
_CHARSET = re.compile(r"""charset\s*=\s*["']?\s*([^\s"';,]+)""", re.IGNORECASE)


Stretch: TypeAlias = bytes | memoryview  # of what was read: a large one is looked at where it lies, and not copied


class Response(NamedTuple):
    """An HTTP response. headers: by lower-case name, several of one name joined by ", "; body: as it was sent; cut: within the headers."""

    status: int
    headers: dict[str, str]
    body: Stretch
    cut: bool = False

    @property
    def mime(self) -> str:
        """The media type of its Content-Type, in lower case, without parameters; "" if it has none."""
        return media_type(self.headers.get("content-type", ""))

    @property
    def charset(self) -> str | None:
        """The charset its Content-Type names."""
        found = _CHARSET.search(self.headers.get("content-type", ""))
        return found[1] if found else None


def media_type(value: str) -> str:
    """Give the media type of a Content-Type value, in lower case, without parameters."""
    return value.partition(";")[0].strip().lower()


def fields_of(block: bytes, joint: str = "") -> dict[str, str]:
    """Give the fields of a header block by lower-case name; its first line is no field.

    joint: what joins several values of one name; "": the first counts.
    """
    fields: dict[str, str] = {}
    name = ""
    for line in block.decode("utf-8", "surrogateescape").split("\n")[1:]:
        if line[:1] in {" ", "\t"}:
            if name:
                fields[name] = f"{fields[name]} {line.strip()}"
            continue
        name, mark, value = line.partition(":")
        name = name.strip().lower() if mark else ""
        if not name:
            continue
        if name not in fields:
            fields[name] = value.strip()
        elif joint:
            fields[name] = f"{fields[name]}{joint}{value.strip()}"
    return {_sound(name): _sound(value, name) for name, value in fields.items()}


def _sound(value: str, name: str = "") -> str:
    """Give a value without the bytes that are no UTF-8: of an address written as addresses write bytes, or two would become one."""
    if value.isascii():
        return value
    if name == _ADDRESS:
        return _NO_UTF8.sub(lambda found: f"%{ord(found[0]) - 0xDC00:02X}", value)
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def parse_response(block: Stretch) -> Response | None:
    """Take an HTTP response apart; None if it does not begin as one, or nothing parts its headers from its body.

    Without an end of the headers there is no body, if all of it is headers.
    """
    status = _STATUS.match(block)
    if status is None:
        return None
    end = _END.search(block, status.end() - 1)
    if end is None and not _FIELDS.fullmatch(block, status.end()):
        return None
    head, body = (bytes(block[: end.start()]), block[end.end() :]) if end else (bytes(block), b"")
    if b"\n<" in head:  # a page that begins among the headers: the empty line is one of its own
        return None
    return Response(int(status[1]), fields_of(head, ", "), body, cut=end is None)


def unchunked(body: Stretch) -> bytes | None:
    """Give a chunked body in one; None if it is not in chunks from its begin to its last, empty one."""
    parts: list[Stretch] = []
    at = 0
    while found := _CHUNK.match(body, at):
        size, at = int(found[1], 16), found.end()
        if size == 0:
            return b"".join(parts)
        parts.append(body[at : at + size])
        at += size
        if at > len(body):
            return None
        line_end = _LINE_END.match(body, at)
        at = line_end.end() if line_end else at
    return None


def begins_chunked(body: Stretch) -> bool:
    """Tell if a body begins with the size of a chunk."""
    return _CHUNK.match(body) is not None


def digest_state(fields: dict[str, str], block: Stretch, payload: Stretch) -> Literal["ok", "bad", "unchecked"]:
    """Compare a WARC record with the digests in its header; `payload`: its block without the HTTP headers.

    The block's digest decides where there is one. A payload's may be of the body with or without its chunks: writers
    differ, and WARC 1.1 says both. Unchecked: there is none, or none of a kind that is known.
    """
    of_block, of_payload = DIGEST_FIELDS
    told = _told(fields.get(of_block, ""))
    if told is not None:
        return "ok" if _made(told[0], block) == told[1] else "bad"
    told = _told(fields.get(of_payload, ""))
    if told is None:
        return "unchecked"
    return "ok" if any(_made(told[0], body) == told[1] for body in _bodies(payload)) else "bad"


def _bodies(payload: Stretch) -> Iterator[Stretch]:
    yield payload
    whole = unchunked(payload)
    if whole is not None:
        yield whole


def _told(value: str) -> tuple[str, bytes] | None:
    """Give name and bytes of a labelled digest: in base32, hexadecimal or base64, told apart by their lengths."""
    name, _, text = value.partition(":")
    name, text = name.strip().lower(), text.strip()
    size = _DIGESTS.get(name)
    try:
        if size is None:
            return None
        if len(text) == 2 * size:
            digest = bytes.fromhex(text)
        elif len(text.rstrip("=")) == -(-size * 8 // 5):
            digest = _base32(text.rstrip("=").upper().encode("ascii"), size)
        else:
            text = text.replace("-", "+").replace("_", "/")
            digest = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (ValueError, binascii.Error):
        return None
    return (name, digest) if len(digest) == size else None


def _base32(text: bytes, size: int) -> bytes:
    """Decode base32 (RFC 4648) without its padding, ten times as fast as the standard library; zeros fill its last byte up.

    Raises:
        ValueError: it is no base32, or is of more bytes.
    """
    if text.translate(None, _BASE32_CHARS):
        raise ValueError("not base32")
    return (int(text.translate(_BASE32), 32) >> (len(text) * 5 - size * 8)).to_bytes(size, "big")


def _made(name: str, data: Stretch) -> bytes:
    return hashlib.new(name.replace("-", ""), data, usedforsecurity=False).digest()
