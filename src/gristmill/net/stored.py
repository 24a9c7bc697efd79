"""Bodies of HTTP responses that were stored as they came (WARC): chunks and encodings undone, within caps; plain text as text.

Not here: taking a response apart (`core.messages`), the encodings (`decode`). Invariants: no more than the caps comes out;
a header that lies about a body that is whole costs a warning, a body that is not whole is an error.
"""

from __future__ import annotations

from gristmill.core.messages import Response, Stretch, begins_chunked, unchunked
from gristmill.core.pages import is_utf8
from gristmill.net.decode import BadEncoding, Decoder

_UTF8 = ("utf-8", "utf8")
_BOM = b"\xef\xbb\xbf"


def decoded(response: Response, max_bytes: int, max_ratio: int) -> tuple[Stretch, list[str]]:
    """Give the body, and warnings where a header lies: `warc.not_chunked`, `warc.not_encoded`.

    Raises:
        Oversize: it is larger than `max_bytes`, or large and over `max_ratio`.
        BadEncoding: it is cut or damaged.
    """
    body, warnings = response.body, []
    transfer = [word.strip().lower() for word in response.headers.get("transfer-encoding", "").split(",")]
    if "chunked" in transfer:
        whole = unchunked(body)
        if whole is None and begins_chunked(body):
            raise BadEncoding("its chunks are cut or not as long as they say")
        if whole is None:
            warnings.append("warc.not_chunked")
        else:
            body = whole
    # RFC 9112, 7: gzip and deflate may be done to the transfer too, and are undone first.
    transfer = [word for word in transfer if word not in {"chunked", "identity"}]
    encoding = ",".join(filter(None, [response.headers.get("content-encoding", ""), *transfer]))
    if encoding and len(body):
        decoder = Decoder(encoding, max_bytes, max_ratio)
        decoder.feed(bytes(body))
        body = decoder.finish()
        if decoder.lied:
            warnings.append("warc.not_encoded")
    return body, warnings


def text_of(body: Stretch, charset: str | None) -> str | Stretch | None:
    """Give plain text, as UTF-8 where it is written so; None if it is not in its charset."""
    if (charset or "utf-8").lower() in _UTF8:
        body = body[len(_BOM) :] if body[: len(_BOM)] == _BOM else body
        return body if is_utf8(body) else None
    try:
        return str(body, charset or "utf-8").removeprefix("\ufeff")
    except (UnicodeDecodeError, LookupError):
        return None
