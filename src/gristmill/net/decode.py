"""Decoding a body as its Content-Encoding says, within caps: gzip, deflate, br (if installed), zstd, and chains of them.

Not here: reading the bytes (`fetch.py`), charsets, compressed files (`core.files`). Invariants: no more than a block of
output is made at a time, and the caps are looked at after each; a stream that ends early is an error; a body that is
not what its header says is either told apart by its first bytes and passed on as it is, with a note, or an error.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from typing import Any, Protocol

_BLOCK_BYTES = 256 << 10
_FREE_BYTES = 10 << 20  # below this much output no ratio is too high
_MAX_CHAIN = 2
# RFC 9659: a server must not need a window above 8 MB for Content-Encoding: zstd, and a client need not give one.
_ZSTD_WINDOW_LOG = 23
_ALIASES = {"x-gzip": "gzip"}


class Oversize(Exception):
    """More bytes, or a higher ratio, than allowed; the message has the figures."""


class BadEncoding(Exception):
    """The body is not what its Content-Encoding says, or ends early."""


class _Codec(Protocol):
    def feed(self, data: bytes) -> Iterator[bytes]: ...
    def finish(self) -> None: ...


def accepted() -> str:
    """Give the value of Accept-Encoding: what can be decoded here."""
    return "gzip, deflate, br, zstd" if _brotli() is not None else "gzip, deflate, zstd"


class Decoder:
    """Decodes one body. Feed it the bytes as they come, then `finish`."""

    def __init__(self, encoding: str, max_bytes: int, max_ratio: int) -> None:
        names = [_ALIASES.get(name, name) for part in encoding.split(",") if (name := part.strip().lower())]
        self._names = [name for name in names if name != "identity"]
        if len(self._names) > _MAX_CHAIN:
            raise BadEncoding(f"{len(self._names)} encodings one over the other; at most {_MAX_CHAIN} are decoded")
        self._codecs: list[_Codec] | None = None if self._names else []
        self._head = b""
        self._max_bytes, self._max_ratio = max_bytes, max_ratio
        self.bytes_in = self.bytes_out = 0
        self.lied = False
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Take some bytes of the body.

        Raises:
            Oversize: a cap was passed.
            BadEncoding: the bytes are damaged.
        """
        self.bytes_in += len(data)
        if self.bytes_in > self._max_bytes:
            raise Oversize(f"more than {self._max_bytes} bytes")
        if self._codecs is None:
            self._head += data
            if len(self._head) < 4:
                return
            self._begin()
            data = self._head
        self._run(data, self._codecs or [])

    def finish(self) -> bytes:
        """Give the decoded body.

        Raises:
            Oversize, BadEncoding: as `feed` does, or the stream ends early.
        """
        if self._codecs is None and self._head:
            self._begin()
            self._run(self._head, self._codecs or [])
        for codec in (self._codecs or []) if self.bytes_in else []:  # an empty body (HEAD, 304) needs no end
            codec.finish()
        return b"".join(self._parts)

    def _begin(self) -> None:
        """Make the codecs, outermost first, unless the first bytes show that the header lies."""
        outer = self._names[-1]
        actual = _told(self._head, outer)
        self.lied = actual != outer
        if actual is None:
            self._codecs = []
        else:
            self._codecs = [_codec(name, self._head) for name in [actual, *reversed(self._names[:-1])]]

    def _run(self, data: bytes, codecs: list[_Codec]) -> None:
        if not codecs:
            self.bytes_out += len(data)
            self._check()
            self._parts.append(data)
            return
        for block in codecs[0].feed(data):
            if len(codecs) > 1:
                self._run(block, codecs[1:])
            else:
                self.bytes_out += len(block)
                self._check()
                self._parts.append(block)

    def _check(self) -> None:
        if self.bytes_out > self._max_bytes:
            raise Oversize(f"more than {self._max_bytes} bytes when decoded")
        if self.bytes_out > _FREE_BYTES and self.bytes_out > self._max_ratio * self.bytes_in:
            raise Oversize(f"expands more than {self._max_ratio} times: {self.bytes_in} bytes gave {self.bytes_out}")


def _told(head: bytes, name: str) -> str | None:
    """Give the encoding of a body by its first bytes, where those tell; None: it has none at all."""
    if name not in {"gzip", "deflate", "zstd"}:
        return name
    if head.startswith(b"\x1f\x8b"):  # no deflate stream begins so
        return "gzip"
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[0] >> 4 == 5 and head[1:4] == b"\x2a\x4d\x18"):
        return "zstd"
    return "deflate" if name == "deflate" else None


def _codec(name: str, head: bytes) -> _Codec:
    if name == "gzip":
        return _Zlib(31, many=True)
    if name == "deflate":  # RFC 9110 means zlib; some servers send it without the zlib header
        wrapped = len(head) >= 2 and head[0] & 15 == 8 and (head[0] << 8 | head[1]) % 31 == 0
        return _Zlib(15 if wrapped else -15, many=False)
    if name == "zstd":
        return _Zstd()
    if name == "br" and _brotli() is not None:
        return _Brotli()
    raise BadEncoding(f"the encoding {name[:20]!r} cannot be decoded here")


class _Zlib:
    """gzip (several members are one body) or deflate."""

    def __init__(self, wbits: int, *, many: bool) -> None:
        self._wbits, self._many = wbits, many
        self._inner = zlib.decompressobj(wbits)

    def feed(self, data: bytes) -> Iterator[bytes]:
        try:
            while data:
                if self._inner.eof:
                    if not self._many:
                        raise BadEncoding("more bytes follow the end of the deflate stream")
                    self._inner = zlib.decompressobj(self._wbits)
                block = self._inner.decompress(data, _BLOCK_BYTES)
                data = self._inner.unused_data if self._inner.eof else self._inner.unconsumed_tail
                if block:
                    yield block
        except zlib.error as error:
            raise BadEncoding(f"damaged: {error}") from None

    def finish(self) -> None:
        if not self._inner.eof:
            raise BadEncoding("the compressed body ends early")


class _Zstd:
    def __init__(self) -> None:
        self._zstd: Any = _zstd()
        self._inner = self._make()

    def _make(self) -> Any:
        options = {self._zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
        return self._zstd.ZstdDecompressor(options=options)

    def feed(self, data: bytes) -> Iterator[bytes]:
        try:
            while data or not (self._inner.eof or self._inner.needs_input):
                if self._inner.eof:
                    self._inner = self._make()
                block = self._inner.decompress(data, _BLOCK_BYTES)
                data = self._inner.unused_data if self._inner.eof else b""
                if block:
                    yield block
        except self._zstd.ZstdError as error:
            raise BadEncoding(f"damaged: {error}") from None

    def finish(self) -> None:
        if not self._inner.eof:
            raise BadEncoding("the compressed body ends early")


class _Brotli:
    def __init__(self) -> None:
        self._brotli = _brotli()
        self._inner = self._brotli.Decompressor()

    def feed(self, data: bytes) -> Iterator[bytes]:
        try:
            if self._inner.is_finished():
                raise BadEncoding("more bytes follow the end of the br stream")
            yield self._inner.process(data, output_buffer_limit=_BLOCK_BYTES)
            while not self._inner.can_accept_more_data():
                yield self._inner.process(b"", output_buffer_limit=_BLOCK_BYTES)
        except self._brotli.error as error:
            raise BadEncoding(f"damaged: {error}") from None

    def finish(self) -> None:
        if not self._inner.is_finished():
            raise BadEncoding("the compressed body ends early")


def _brotli() -> Any:
    """Give the brotli module if one is installed whose decoder can be bounded."""
    try:
        import brotli  # type: ignore[import-untyped, import-not-found, unused-ignore]
    except ImportError:
        return None
    return brotli if hasattr(brotli.Decompressor, "can_accept_more_data") else None


def _zstd() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd
