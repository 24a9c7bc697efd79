"""A proxy before PostgreSQL that cuts the connection at COMMIT: before the server is told, or before it can answer."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path
from typing import Literal

Cut = Literal["before", "after", "never"]
# COMMIT as a statement that is parsed, bound and executed in one message; it is parsed alone before that.
_COMMIT, _EXECUTE = b"\x00COMMIT\x00", b"E\x00\x00\x00\t"


class Proxy:
    """Listens where libpq looks for a server in `folder`; `cut` is done to the next COMMIT, then connections pass."""

    def __init__(self, folder: Path, server: Path) -> None:
        folder.mkdir()
        folder.chmod(0o777)
        self._server = str(server / ".s.PGSQL.5432")
        self.cut: Cut = "never"
        self.cuts = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / ".s.PGSQL.5432"))
        self._listener.listen()
        self.dsn = f"postgresql://postgres@/postgres?host={folder}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._server)
            except OSError:
                client.close()
                server.close()
                continue
            threading.Thread(target=self._both, args=(client, server), daemon=True).start()

    def _both(self, client: socket.socket, server: socket.socket) -> None:
        with client, server:
            back = threading.Thread(target=self._pass, args=(server, client, False), daemon=True)
            back.start()
            self._pass(client, server, True)
            back.join()

    def _pass(self, source: socket.socket, to: socket.socket, asking: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                if asking and self.cut != "never" and _COMMIT in data and _EXECUTE in data:
                    cut, self.cut = self.cut, "never"
                    self.cuts += 1
                    if cut == "after":
                        source.shutdown(socket.SHUT_RDWR)  # no answer comes through any more
                        to.sendall(data)
                        to.recv(1 << 10)
                    break
                to.sendall(data)
        except OSError:
            pass
        finally:
            for each in (source, to):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
