"""A seeded HTTP/1.1 server on loopback that can misbehave in every way a server can, and a TCP proxy that cuts.

Written on asyncio streams, not on an HTTP library, so that it can say what no library would. An *app* is a function from a
`Request` to a `Reply`; a `Fault` spoils the replies with a certain label, so many times. Everything runs in a thread of
its own, binds to a port the system chooses, and is gone when the `with` block ends.

    with FaultServer(app, [Fault("reset_in_body", label="2", times=1)], seed=7) as server:
        ...server.url..., server.requests
"""

import asyncio
import gzip
import json
import random
import socket
import ssl
import struct
import threading
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import brotli
from backports import zstd


class Request(NamedTuple):
    """What was asked. headers: names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))


class Reply(NamedTuple):
    """What would be answered if nothing were wrong. label: what faults are aimed at."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = {}  # noqa: RUF012  never changed
    label: str = ""


class Fault(NamedTuple):
    """kind: a function of `KINDS`. label: of the replies it spoils, "*" all. times: how many of them. value: of the kind."""

    kind: str
    label: str = "*"
    times: int = 1
    value: Any = None


class Out(NamedTuple):
    """What a kind of fault works with."""

    writer: asyncio.StreamWriter
    request: Request
    reply: Reply
    rng: random.Random
    value: Any

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def head(self, status: int | None = None, **headers: Any) -> bytes:
        """Give a head: the reply's headers and these; None leaves one away; `_` is `-`."""
        mine = {"Content-Type": "application/json", "Content-Length": str(len(self.reply.body))} | self.reply.headers
        mine |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"HTTP/1.1 {status or self.reply.status} Said"]
        lines += [f"{name}: {value}" for name, value in mine.items() if value is not None]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"

    async def answer(self, body: bytes, status: int | None = None, **headers: Any) -> None:
        await self.send(self.head(status, **{"Content_Length": len(body), **headers}) + body)

    def reset(self) -> None:
        """End the connection with RST, what was sent before may be lost."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def cut(self) -> int:
        """Choose a place inside the body."""
        return self.rng.randrange(1, max(2, len(self.reply.body)))


Kind = Callable[[Out], Awaitable[None]]
KINDS: dict[str, Kind] = {}
SLOW_S = 1.0  # between two bytes of a slow answer


def kind(function: Kind) -> Kind:
    KINDS[function.__name__] = function
    return function


@kind
async def well(out: Out) -> None:
    await out.answer(out.reply.body)


# --- statuses ----------------------------------------------------------------------------------------------------


@kind
async def status(out: Out) -> None:
    """value: the status, or (status, headers)."""
    code, headers = out.value if isinstance(out.value, tuple) else (out.value, {})
    body = b"" if code in {204, 304} else b'{"error": "told to"}'
    await out.answer(body, code, **{name.replace("-", "_"): text for name, text in headers.items()})


@kind
async def retry_after_date(out: Out) -> None:
    """value: seconds from now on, as the server's clock (which is a day ahead) tells it."""
    day = 86400
    now = formatdate(_now() + day, usegmt=True)
    await out.answer(b"", 429, Retry_After=formatdate(_now() + day + out.value, usegmt=True), Date=now)


def _now() -> float:
    import time

    return time.time()


# --- connections -------------------------------------------------------------------------------------------------


@kind
async def reset_at_once(out: Out) -> None:
    out.reset()


@kind
async def close_at_once(out: Out) -> None:
    out.writer.close()


@kind
async def reset_in_head(out: Out) -> None:
    head = out.head()
    await out.send(head[: out.rng.randrange(1, len(head))])
    out.reset()


@kind
async def close_in_head(out: Out) -> None:
    head = out.head()
    await out.send(head[: out.rng.randrange(1, len(head) - 2)])
    out.writer.close()


@kind
async def reset_in_body(out: Out) -> None:
    await out.send(out.head() + out.reply.body[: out.cut()])
    out.reset()


@kind
async def cut_body(out: Out) -> None:
    await out.send(out.head() + out.reply.body[: out.cut()])
    out.writer.close()


@kind
async def close_after(out: Out) -> None:
    """A whole answer that promises to keep the connection, and does not."""
    await out.answer(out.reply.body, Connection="keep-alive")
    out.writer.close()


@kind
async def hang(out: Out) -> None:
    await asyncio.sleep(3600)


@kind
async def slow_head(out: Out) -> None:
    for byte in out.head():
        await out.send(bytes([byte]))
        await asyncio.sleep(SLOW_S)


@kind
async def slow_body(out: Out) -> None:
    await out.send(out.head())
    for byte in out.reply.body:
        await out.send(bytes([byte]))
        await asyncio.sleep(SLOW_S)


# --- framing -----------------------------------------------------------------------------------------------------


def chunked(body: bytes, size: int = 1000) -> bytes:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)


@kind
async def chunks(out: Out) -> None:
    await out.send(out.head(Content_Length=None, Transfer_Encoding="chunked") + chunked(out.reply.body) + b"0\r\n\r\n")


@kind
async def cut_chunks(out: Out) -> None:
    data = chunked(out.reply.body)
    await out.send(out.head(Content_Length=None, Transfer_Encoding="chunked") + data[: out.rng.randrange(1, len(data))])
    out.writer.close()


@kind
async def no_last_chunk(out: Out) -> None:
    await out.send(out.head(Content_Length=None, Transfer_Encoding="chunked") + chunked(out.reply.body))
    out.writer.close()


@kind
async def bad_chunk_size(out: Out) -> None:
    await out.send(out.head(Content_Length=None, Transfer_Encoding="chunked") + b"zz\r\n" + out.reply.body)
    out.writer.close()


@kind
async def no_length(out: Out) -> None:
    """Whole, but only the end of the connection says so."""
    await out.send(out.head(Content_Length=None, Connection="close") + out.reply.body)
    out.writer.close()


@kind
async def cut_no_length(out: Out) -> None:
    await out.send(out.head(Content_Length=None, Connection="close") + out.reply.body[: out.cut()])
    out.writer.close()


@kind
async def short_length(out: Out) -> None:
    """More bytes than Content-Length says; the rest stands in the way of the next answer."""
    await out.send(out.head(Content_Length=out.cut()) + out.reply.body)


@kind
async def two_lengths(out: Out) -> None:
    head = out.head().replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n")
    await out.send(head + out.reply.body)


@kind
async def length_and_chunks(out: Out) -> None:
    await out.send(out.head(Transfer_Encoding="chunked") + chunked(out.reply.body) + b"0\r\n\r\n")


@kind
async def negative_length(out: Out) -> None:
    await out.send(out.head(Content_Length=-5) + out.reply.body)


@kind
async def early_hints(out: Out) -> None:
    await out.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n")
    await out.answer(out.reply.body)


@kind
async def not_http(out: Out) -> None:
    await out.send(b"SSH-2.0-OpenSSH_9.9\r\n" * 3)
    out.writer.close()


@kind
async def header_flood(out: Out) -> None:
    many = "".join(f"X-Flood-{n}: {n}\r\n" for n in range(5000)).encode()
    await out.send(out.head()[:-2] + many + b"\r\n" + out.reply.body)


@kind
async def header_huge(out: Out) -> None:
    await out.send(out.head(X_Huge="a" * (1 << 20)) + out.reply.body)


@kind
async def header_endless(out: Out) -> None:
    await out.send(out.head()[:-2])
    while True:
        await out.send(b"X-More: " + b"a" * 4000 + b"\r\n")


@kind
async def endless_body(out: Out) -> None:
    await out.send(out.head(Content_Length=None, Transfer_Encoding="chunked"))
    while True:
        await out.send(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


async def for_ever(out: Out, begin: bytes, again: bytes) -> None:
    await out.send(begin)
    while True:
        await out.send(again)


@kind
async def chunk_extension_endless(out: Out) -> None:
    await for_ever(out, out.head(Content_Length=None, Transfer_Encoding="chunked") + b"5;", b"a" * 0x10000)


@kind
async def trailers_endless(out: Out) -> None:
    head = out.head(Content_Length=None, Transfer_Encoding="chunked")
    await for_ever(out, head + b"0\r\n", b"X-Trailer: " + b"a" * 4000 + b"\r\n")


@kind
async def hints_endless(out: Out) -> None:
    await for_ever(out, b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 100)


@kind
async def reason_endless(out: Out) -> None:
    await for_ever(out, b"HTTP/1.1 200 ", b"a" * 0x10000)


@kind
async def tiny_chunks_endless(out: Out) -> None:
    await for_ever(out, out.head(Content_Length=None, Transfer_Encoding="chunked"), b"1\r\na\r\n" * 10000)


@kind
async def empty_members_endless(out: Out) -> None:
    """Gzip members that hold nothing, one after the other."""
    head = out.head(Content_Length=None, Transfer_Encoding="chunked", Content_Encoding="gzip")
    await for_ever(out, head, chunked(gzip.compress(b"", mtime=0) * 1000, 0x10000))


@kind
async def zstd_window(out: Out) -> None:
    """A frame that asks for a window of 2 GiB."""
    await out.answer(b"\x28\xb5\x2f\xfd\x00" + bytes([(31 - 10) << 3]) + b"\x01\x00\x00", Content_Encoding="zstd")


# --- encodings ---------------------------------------------------------------------------------------------------

ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "x-gzip": lambda data: gzip.compress(data, mtime=0),
    "deflate": zlib.compress,
    "br": lambda data: brotli.compress(data, quality=4),
    "zstd": zstd.compress,
    "gzip, br": lambda data: brotli.compress(gzip.compress(data, mtime=0), quality=4),
}


@kind
async def encoded(out: Out) -> None:
    """value: the Content-Encoding."""
    await out.answer(ENCODERS[out.value](out.reply.body), Content_Encoding=out.value)


@kind
async def raw_deflate(out: Out) -> None:
    coder = zlib.compressobj(wbits=-15)
    await out.answer(coder.compress(out.reply.body) + coder.flush(), Content_Encoding="deflate")


@kind
async def gzip_members(out: Out) -> None:
    half = len(out.reply.body) // 2
    body = ENCODERS["gzip"](out.reply.body[:half]) + ENCODERS["gzip"](out.reply.body[half:])
    await out.answer(body, Content_Encoding="gzip")


@kind
async def encoded_cut(out: Out) -> None:
    data = ENCODERS[out.value or "gzip"](out.reply.body)
    await out.answer(data[: out.rng.randrange(5, len(data) - 1)], Content_Encoding=out.value or "gzip")


@kind
async def encoded_damaged(out: Out) -> None:
    data = bytearray(ENCODERS["gzip"](out.reply.body))
    for at in range(12, min(40, len(data))):
        data[at] ^= 0xA5
    await out.answer(bytes(data), Content_Encoding="gzip")


@kind
async def lying_encoding(out: Out) -> None:
    """value: what it says; the body is plain."""
    await out.answer(out.reply.body, Content_Encoding=out.value or "gzip")


@kind
async def unknown_encoding(out: Out) -> None:
    await out.answer(out.reply.body, Content_Encoding="rot13")


@lru_cache
def bomb(encoding: str, size: int = 1 << 30) -> bytes:
    """Give `size` zero bytes encoded; made in pieces, so that making one costs no memory."""
    if encoding == "gzip, gzip":
        return gzip.compress(bomb("gzip", size), mtime=0)
    piece = bytes(1 << 20)
    count = size >> 20
    if encoding == "br":
        coder = brotli.Compressor(quality=1)
        return b"".join([*(coder.process(piece) for _ in range(count)), coder.finish()])
    if encoding == "zstd":
        packer = zstd.ZstdCompressor()
        return b"".join([*(packer.compress(piece) for _ in range(count)), packer.flush()])
    deflater = zlib.compressobj(1, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
    return b"".join([*(deflater.compress(piece) for _ in range(count)), deflater.flush()])


@kind
async def bombed(out: Out) -> None:
    """value: the Content-Encoding, or that and the size."""
    encoding, size = out.value if isinstance(out.value, tuple) else (out.value, 1 << 30)
    await out.answer(bomb(encoding, size), Content_Encoding=encoding)


# --- what the answer says ----------------------------------------------------------------------------------------


@kind
async def lying_type(out: Out) -> None:
    await out.answer(out.reply.body, Content_Type=out.value or "text/html; charset=utf-16")


@kind
async def other_charset(out: Out) -> None:
    """value: the charset, in which the JSON really is."""
    body = json.dumps(json.loads(out.reply.body), ensure_ascii=False).encode(out.value, "replace")
    await out.answer(body, Content_Type=f'application/json; charset="{out.value}"')


@kind
async def cut_json(out: Out) -> None:
    """Whole by its length, cut by its content."""
    await out.answer(out.reply.body[: out.cut()])


@kind
async def html(out: Out) -> None:
    await out.answer(b"<!doctype html><title>Log in</title><form>Please log in", Content_Type="text/html")


@kind
async def nothing(out: Out) -> None:
    await out.answer(b"")


@kind
async def instead(out: Out) -> None:
    """value: another JSON answer."""
    await out.answer(json.dumps(out.value).encode())


@kind
async def redirect(out: Out) -> None:
    """value: Location, or (status, Location); `{target}` is what was asked for."""
    code, location = out.value if isinstance(out.value, tuple) else (302, out.value)
    await out.answer(b"", code, Location=location.replace("{target}", out.request.target))


class Threaded:
    """A loop in a thread, and what serves in it."""

    def __enter__(self) -> Any:
        self.loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()
        self._server = self._run(self._serve())
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    async def _serve(self) -> asyncio.Server:
        raise NotImplementedError

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hold each connection's task.

        The loop holds it weakly, and once the client has sent its end of file the selector holds the transport no
        more: task, reader and transport are then a ring that the collector may take. A task that is cancelled before its
        first turn never comes to what it would do at its end, so the connection is closed for it.
        """
        task = self.loop.create_task(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.close())

    async def _close(self) -> None:
        self._server.close()
        for _ in range(5):  # a connection that was just accepted gets its task a turn or two later
            await asyncio.sleep(0)
            others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)


class FaultServer(Threaded):
    """Serves an app, and spoils some replies. requests: all that came, in order. hits: faults done, by kind."""

    def __init__(
        self,
        app: Callable[[Request], Reply],
        faults: list[Fault] | None = None,
        *,
        seed: int = 0,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.app, self.tls, self.host, self._port = app, tls, host, port
        self.rng = random.Random(seed)
        self.requests: list[Request] = []
        self.hits: Counter[str] = Counter()
        self._left = [[fault, fault.times] for fault in faults or []]

    @property
    def url(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.tls else ''}://{name}:{self.port}"

    def spoil(self, *faults: Fault) -> None:
        """Put other faults in the place of those there are."""
        self._left = [[fault, fault.times] for fault in faults]

    async def _serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._accepted, self.host, self._port, ssl=self.tls, limit=1 << 20)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing() and (request := await _request(reader)) is not None:
                self.requests.append(request)
                await self._answer(request, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, or the server ends
        finally:
            writer.close()

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        reply = self.app(request)
        name, value = "well", None
        for entry in self._left:
            fault = entry[0]
            if entry[1] and fault.label in {"*", reply.label}:
                entry[1] -= 1
                name, value = fault.kind, fault.value
                self.hits[name] += 1
                break
        await KINDS[name](Out(writer, request, reply, self.rng, value))


async def _request(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    headers = {name.strip().lower(): value.strip() for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, target, headers, body)


class TcpProxy(Threaded):
    """Passes bytes on to a port of loopback, and cuts.

    cuts: for each connection in turn, the bytes of the answer after which it is reset; None, and connections beyond the
    list: never. passed: bytes passed back, by connection.
    """

    def __init__(self, port: int, cuts: list[int | None]) -> None:
        self._target, self._cuts = port, list(cuts)
        self.passed: list[int] = []

    async def _serve(self) -> asyncio.Server:
        return await asyncio.start_server(self._accepted, "127.0.0.1", 0)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        mine = len(self.passed)
        self.passed.append(0)
        left = self._cuts[mine] if mine < len(self._cuts) else None
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except (OSError, asyncio.CancelledError):
            return writer.close()
        forward = asyncio.create_task(_pump(reader, back))
        try:
            while data := await there.read(1 << 16):
                part = data if left is None else data[:left]
                writer.write(part)
                await writer.drain()
                self.passed[mine] += len(part)
                if left is not None:
                    left -= len(part)
                    if not left:
                        break
            if left == 0:
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            back.close()  # before anything is waited for: the proxy may end just then, and cancel that
            writer.close()
            forward.cancel()
            await asyncio.gather(forward, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
