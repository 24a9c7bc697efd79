"""Bodies of HTTP responses that were stored as they came (WARC): chunks and encodings undone, within caps; plain text as text.

Not here: taking a response apart (`core.messages`), the encodings (`decode`). Invariants: no more than the caps comes out;
a header that lies about a body that is whole costs a warning, a body that is not whole is an error.
"""

from __future__ import annotations

from gristmill.core.encodings import problem
from gristmill.core.messages import Response, Stretch, begins_chunked, unchunked
from gristmill.core.pages import is_utf8
from gristmill.net.decode import BadEncoding, Decoder

_TRANSFER = {"gzip", "x-gzip", "deflate"}  # RFC 9112, 7; any other word is none, and means nothing
_UTF8 = ("utf-8", "utf8")
_BOM = b"\xef\xbb\xbf"


def decoded(response: Response, max_bytes: int, max_ratio: int) -> tuple[Stretch, list[str]]:
    """Give the body, and warnings where a header lies: `warc.not_chunked`, `warc.not_encoded`.

    Raises:
        Oversize: it is larger than `max_bytes`, or large and over `max_ratio`.
        BadEncoding: it is cut or damaged.
    """
    body, warnings = response.body, []
    words = response.headers.get("transfer-encoding", "").lower().split(",")
    transfer = [word.partition(";")[0].strip(' \t"') for word in words]
    if "chunked" in transfer:
        whole = unchunked(body)
        if whole is None and begins_chunked(body):
            raise BadEncoding("its chunks are cut or not as long as they say")
        if whole is None:
            warnings.append("warc.not_chunked")
        else:
            body = whole
    packed = [word for word in transfer if word in _TRANSFER]
    if packed and len(body):
        whole = _untransferred(body, packed, max_bytes, max_ratio)
        if whole is None:
            warnings.append("warc.not_encoded")
        else:
            body = whole
    encoding = response.headers.get("content-encoding", "")
    if encoding and len(body):
        decoder = Decoder(encoding, max_bytes, max_ratio)
        decoder.feed(bytes(body))
        body = decoder.finish()
        if decoder.lied and "warc.not_encoded" not in warnings:
            warnings.append("warc.not_encoded")
    return body, warnings


def _untransferred(body: Stretch, packed: list[str], max_bytes: int, max_ratio: int) -> bytes | None:
    """Undo what was done to the transfer besides chunks; None if the body does not begin so: a crawler had undone it, or a server lies."""
    head = bytes(body[:2])
    if packed[-1] == "deflate" and not (len(head) == 2 and head[0] & 15 == 8 and (head[0] << 8 | head[1]) % 31 == 0):
        return None  # without the head of zlib it could be anything
    decoder = Decoder(",".join(packed), max_bytes, max_ratio)
    decoder.feed(bytes(body))
    whole = decoder.finish()
    return None if decoder.lied else whole


def text_of(body: Stretch, charset: str | None) -> str | Stretch | None:
    """Give plain text, as UTF-8 where it is written so; None if it is not in its charset, or that is none of texts."""
    if (charset or "utf-8").lower() in _UTF8:
        body = body[len(_BOM) :] if body[: len(_BOM)] == _BOM else body
        return body if is_utf8(body) else None
    if charset and problem(charset):
        return None
    try:
        return str(body, charset or "utf-8").removeprefix("\ufeff")
    except (ValueError, LookupError):
        return None
