"""A real SFTP server over a folder, by paramiko, on loopback, for the tests."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import paramiko

USER, PASSWORD = "reader", "canary-password-of-sftp"


class Served(NamedTuple):
    """A running server. known_hosts: a file with its key."""

    port: int
    known_hosts: Path


class _Login(paramiko.ServerInterface):
    def check_auth_password(self, username: str, password: str) -> int:
        good = (username, password) == (USER, PASSWORD)
        return paramiko.AUTH_SUCCESSFUL if good else paramiko.AUTH_FAILED

    def get_allowed_auths(self, username: str) -> str:
        return "password"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED


class _Files(paramiko.SFTPServerInterface):
    """Serves the folder as "/"; a folder called `forbidden` cannot be listed."""

    root: Path

    def _real(self, path: str) -> str:
        return str(self.root) + self.canonicalize(path)

    def list_folder(self, path: str) -> Any:
        if path.endswith("forbidden"):
            return paramiko.SFTP_PERMISSION_DENIED
        try:
            return [
                paramiko.SFTPAttributes.from_stat(one.lstat(), one.name) for one in Path(self._real(path)).iterdir()
            ]
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)

    def stat(self, path: str) -> Any:
        try:
            return paramiko.SFTPAttributes.from_stat(Path(self._real(path)).stat())
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)

    lstat = stat

    def open(self, path: str, flags: int, attr: Any) -> Any:
        try:
            file = Path(self._real(path)).open("rb")  # noqa: SIM115 - the handle closes it
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)
        handle = paramiko.SFTPHandle(flags)
        handle.readfile = file
        return handle


@contextlib.contextmanager
def sftp(root: Path, folder: Path) -> Iterator[Served]:
    """Serve `root`; `folder` holds the known_hosts file."""
    key = paramiko.ECDSAKey.generate()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    known = folder / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n")
    transports: list[paramiko.Transport] = []
    files = type("Files", (_Files,), {"root": root})

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, files)
            with contextlib.suppress(paramiko.SSHException, EOFError):
                transport.start_server(server=_Login())
            transports.append(transport)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield Served(port, known)
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)
        for transport in transports:
            transport.close()
            transport.join(10)
