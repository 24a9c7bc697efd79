"""The ui as a user starts it, in a process of its own, and a client that says exactly what a test wants said."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Answer:
    """What came back. headers: by lower-case name."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")


@dataclass
class Served:
    """A running ui. root: where its pages lie; token: what opens it; cookie: what it gave for the token."""

    port: int
    root: str
    token: str
    cookie: str = ""
    child: Any = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.root}/"

    def raw(self, head: str, body: bytes = b"") -> Answer:
        """Send bytes as they are, and give the answer."""
        with socket.create_connection(("127.0.0.1", self.port), 20) as wire:
            wire.sendall(head.replace("\n", "\r\n").encode("latin-1") + b"\r\n" + body)
            whole = b""
            while part := wire.recv(1 << 16):
                whole += part
        top, _, rest = whole.partition(b"\r\n\r\n")
        first, *lines = top.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return Answer(int(first.split()[1]), headers, rest)

    def ask(
        self, path: str = "/", *, method: str = "GET", host: str = "", cookie: str | None = None, more: str = ""
    ) -> Answer:
        """Ask for a page of the ui as a browser would, but for what a test says otherwise; more: further header lines."""
        sent = self.cookie if cookie is None else cookie
        lines = [
            f"{method} {self.root}{path} HTTP/1.1",
            f"Host: {host or f'127.0.0.1:{self.port}'}",
            "Connection: close",
        ]
        lines += [f"Cookie: {sent}"] * bool(sent) + [line for line in more.split("\n") if line]
        return self.raw("\n".join(lines) + "\n")


@contextmanager
def serving(folder: Path) -> Iterator[Served]:
    """Start `gristmill ui` for the config in a folder, open it with its token, and end it with Ctrl-C."""
    # A suite that runs in the background has Ctrl-C ignored, and so have its children.
    heeding = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from gristmill.cli import main; main()"
    command = [sys.executable, "-c", heeding, "ui", "--port", "0", "--json"]
    child = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = child.stdout.readline()
        assert line, child.stderr.read()
        told = json.loads(line)
        address, _, token = told["url"].partition("?token=")
        served = Served(told["port"], "/" + address.split("/")[3], token, child=child)
        first = served.ask(f"/?token={token}", cookie="")
        assert first.status == 303, first.text
        served.cookie = first.headers["set-cookie"].partition(";")[0]
        yield served
        child.send_signal(signal.SIGINT)
        assert child.wait(20) == 130
        assert "Traceback" not in child.stderr.read()
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
        child.stderr.close()
