"""Serving: a socket on the loopback, and the server behind it.

Not here: the app. Invariant: nothing but 127.0.0.1 is ever listened on; what is asked for is written nowhere.
"""

from __future__ import annotations

import contextlib
import socket

import uvicorn

from gristmill.core.errors import ConfigError
from gristmill.ui.guard import Guard

HOST = "127.0.0.1"
MOST_AT_ONCE = 16


def listen(port: int) -> socket.socket:
    """Give a socket that listens on the loopback; port 0: any that is free.

    Raises:
        ConfigError: the port is taken, or not ours to take.
    """
    try:
        return socket.create_server((HOST, port))
    except (OSError, OverflowError) as error:
        raise ConfigError(f"port {port} cannot be listened on ({error}); give another with --port, or 0 for any that is free") from None  # fmt: skip


def serve(app: Guard, at: socket.socket) -> None:
    """Answer until a signal ends it."""
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MOST_AT_ONCE,
        timeout_graceful_shutdown=2,
    )
    with contextlib.closing(at):
        uvicorn.Server(config).run(sockets=[at])
