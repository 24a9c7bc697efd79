"""A proxy before an object store that loses answers, says SlowDown, cuts answers, and can take the conditions out of writes."""

import asyncio
import http.client
import random
from typing import Any

from tests.faults.server import KINDS, FaultServer, Out, Reply, Request

SLOW_DOWN = (
    b'<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>'
)


class StoreProxy(FaultServer):
    """Passes requests on to a port of loopback.

    slow: the share of requests that are answered 503 and not passed on. lost: the share whose answer is lost once the store has done
    what was asked. cut: the share whose answer ends in its middle. blind: the conditions of writes do not reach the store.
    """

    def __init__(self, port: int, *, seed: int = 0, slow: float = 0, lost: float = 0, cut: float = 0, blind: bool = False) -> None:  # fmt: skip
        super().__init__(self._passed, seed=seed)
        self.to, self.blind = port, blind
        self.shares = (("slow", slow), ("lost", lost), ("cut", cut))
        self.dice = random.Random(seed)

    def _passed(self, request: Request) -> Reply:
        kind = self._kind()
        if kind == "slow":
            return Reply(SLOW_DOWN, 503, {"Content-Type": "application/xml"}, "slow")
        headers = {name: value for name, value in request.headers.items() if name != "connection"}
        if self.blind:
            headers = {name: value for name, value in headers.items() if name not in {"if-none-match", "if-match"}}
        connection = http.client.HTTPConnection("127.0.0.1", self.to, timeout=60)
        try:
            connection.request(request.method, request.target, request.body, headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        told = {name.title(): value for name, value in answer.getheaders()}
        for name in ("Transfer-Encoding", "Connection"):
            told.pop(name, None)
        if request.method != "HEAD":
            told["Content-Length"] = str(len(body))
        return Reply(body, answer.status, told, kind)

    def _kind(self) -> str:
        at = self.dice.random()
        for kind, share in self.shares:
            if at < share:
                return kind
            at -= share
        return ""

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        reply = await asyncio.get_running_loop().run_in_executor(None, self.app, request)
        out = Out(writer, request, reply, self.rng, None)
        if reply.label:
            self.hits[reply.label] += 1
        if reply.label == "lost":
            out.reset()
        elif reply.label == "cut" and reply.body and request.method != "HEAD":
            await KINDS["reset_in_body"](out)
        else:
            await out.send(out.head(reply.status) + (b"" if request.method == "HEAD" else reply.body))

    async def _connection(self, reader: Any, writer: asyncio.StreamWriter) -> None:
        try:
            await super()._connection(reader, writer)
        except (ConnectionError, RuntimeError):
            writer.close()
