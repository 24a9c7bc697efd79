"""Bodies of HTTP responses that were stored as they came (WARC): chunks and content encodings undone, within caps.

Not here: taking a response apart (`core.messages`), the encodings (`decode`). Invariants: no more than the caps comes out;
a header that lies about a body that is whole costs a warning, a body that is not whole is an error.
"""

from __future__ import annotations

from gristmill.core.messages import Response, Stretch, begins_chunked, unchunked
from gristmill.net.decode import BadEncoding, Decoder


def decoded(response: Response, max_bytes: int, max_ratio: int) -> tuple[Stretch, list[str]]:
    """Give the body, and warnings where a header lies: `warc.not_chunked`, `warc.not_encoded`.

    Raises:
        Oversize: it is larger than `max_bytes`, or large and over `max_ratio`.
        BadEncoding: it is cut or damaged.
    """
    body, warnings = response.body, []
    if "chunked" in response.headers.get("transfer-encoding", "").lower():
        whole = unchunked(body)
        if whole is None and begins_chunked(body):
            raise BadEncoding("its chunks are cut or not as long as they say")
        if whole is None:
            warnings.append("warc.not_chunked")
        else:
            body = whole
    encoding = response.headers.get("content-encoding", "")
    if encoding and len(body):
        decoder = Decoder(encoding, max_bytes, max_ratio)
        decoder.feed(bytes(body))
        body = decoder.finish()
        if decoder.lied:
            warnings.append("warc.not_encoded")
    return body, warnings
