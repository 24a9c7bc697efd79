"""Worlds of the `sql` source: a table in SQLite and in PostgreSQL, read by cursor or whole."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

from gristmill.testing.world import Can, Part

OVERLAP = 100
TABLE = (
    "CREATE TABLE entries (id VARCHAR(40) NOT NULL PRIMARY KEY, body TEXT, version BIGINT NOT NULL, gone BOOLEAN NOT NULL)",
    "CREATE INDEX by_version ON entries (version, id)",
)


class SqliteByCursor:
    """A table with a version number and a column for tombstones."""

    can = Can(delete="tombstone", late=True, window=True, resume=True, spoil=True)
    secret = ""
    settings: ClassVar[dict[str, Any]] = {"cursor": "version", "overlap": OVERLAP, "deleted": "gone"}
    dsn = "sqlite:///world.db"

    def start(self, folder: Path) -> None:
        self.folder = folder
        self.table: dict[str, tuple[str, int, bool]] = {}
        self.clock = 1000
        self._do(*TABLE)

    def stop(self) -> None:
        (self.folder / "world.db").unlink(missing_ok=True)

    def config(self) -> dict[str, Any]:
        return {"sql": {"dsn": self.dsn, "table": "entries", "key": "id", "text": "body"} | self.settings}

    def rows(self) -> dict[str, str]:
        return {key: text for key, (text, _, gone) in self.table.items() if not gone}

    def insert(self, key: str, text: str) -> None:
        self.clock += 10
        self._put(key, text, self.clock)

    update = insert

    def late(self, key: str, text: str) -> None:
        self._put(key, text, self.clock - OVERLAP // 2)

    def delete(self, key: str) -> None:
        self.clock += 10
        self._put(key, self.table[key][0], self.clock, gone=True)

    def window(self) -> Part:
        versions = sorted(version for _, version, _ in self.table.values())
        since, until = versions[3], versions[20]
        inside = {key: text for key, (text, version, _) in self.table.items() if since <= version < until}
        return Part(since=str(since), until=str(until), rows=inside)

    def spoil(self, mark: str) -> list[str]:
        self.clock += 10
        self._do(f"INSERT INTO entries VALUES ('bad', CAST(x'ff{mark.encode().hex()}' AS TEXT), {self.clock}, FALSE)")
        return ["text.encoding"]

    def wipe(self) -> None:
        keep = sorted(self.table)[:3]
        self.table = {key: self.table[key] for key in keep}
        self._do(f"DELETE FROM entries WHERE id NOT IN ({', '.join(repr(key) for key in keep)})")

    def _put(self, key: str, text: str, version: int, *, gone: bool = False) -> None:
        self.table[key] = (text, version, gone)
        self._do(
            f"DELETE FROM entries WHERE id = '{key}'",
            f"INSERT INTO entries VALUES ('{key}', '{text}', {version}, {'TRUE' if gone else 'FALSE'})",
        )

    def _do(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.folder / "world.db")) as connection, connection:
            for statement in statements:
                connection.execute(statement)


class SqliteWhole(SqliteByCursor):
    """A table without cursor."""

    can = Can(delete="whole", resume=True, spoil=True, wipe=True)
    settings: ClassVar[dict[str, Any]] = {"max_gone_ratio": 0.5}

    def delete(self, key: str) -> None:
        del self.table[key]
        self._do(f"DELETE FROM entries WHERE id = '{key}'")


class _Postgres(SqliteByCursor):
    """The same in PostgreSQL; the password is a word that must come out nowhere."""

    secret = "pw-0d6f11"
    dsn = "${env:CONFORMANCE_DSN}"

    def __init__(self, server: Any) -> None:
        self.server = server
        self.connection: Any = None

    def start(self, folder: Path) -> None:
        os.environ["CONFORMANCE_DSN"] = self.server.dsn.replace("postgres@", f"postgres:{self.secret}@")
        self.connection = self.server.connect()
        self._do("SET synchronous_commit = off")
        super().start(folder)

    def stop(self) -> None:
        if self.connection is not None:
            self._do("DROP TABLE entries")
            self.connection.close()
            self.connection = None

    def spoil(self, mark: str) -> list[str]:
        self.clock += 10
        self._do(f"INSERT INTO entries VALUES ('bad {mark}', NULL, {self.clock}, FALSE)")
        return ["field.missing"]

    def _do(self, *statements: str) -> None:
        with self.connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


class PostgresByCursor(_Postgres):
    """By cursor, with an overlap."""


class PostgresByHorizon(_Postgres):
    """By cursor, late rows by the xmin horizon: however old their version."""

    can = Can(delete="tombstone", late=True, window=True, resume=True, spoil=True, moving=True)
    settings: ClassVar[dict[str, Any]] = {"cursor": "version", "horizon": "xmin", "deleted": "gone"}

    def late(self, key: str, text: str) -> None:
        self._put(key, text, 1)


class PostgresWhole(_Postgres):
    """Read whole."""

    can = SqliteWhole.can
    settings = SqliteWhole.settings
    delete = SqliteWhole.delete
