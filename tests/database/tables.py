"""A table in an SQLite file, for tests of what a source makes of it."""

import sqlite3
from pathlib import Path
from typing import Any

from tests.database.copy_of import Copy

from gristmill.sources.sql import Sql


class Table:
    """A table in an SQLite file, written by the standard library's driver, and the copy a source makes of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.connection = sqlite3.connect(folder / "docs.db", isolation_level=None)

    def run(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(statement, values).fetchall()

    def docs(self, n: int = 3) -> None:
        self.run("CREATE TABLE docs (id INTEGER PRIMARY KEY, text TEXT, at TEXT, title TEXT)")
        self.run("CREATE INDEX docs_at ON docs (at, id)")
        for i in range(1, n + 1):
            self.put(i)

    def put(self, i: int, text: str | None = None, at: str | None = None) -> None:
        when = at or f"2026-01-01 {i // 3600:02d}:{i // 60 % 60:02d}:{i % 60:02d}"
        self.run("INSERT OR REPLACE INTO docs VALUES (?, ?, ?, ?)", i, text or f"text {i}", when, f"title {i}")

    def copy(self, **parameters: Any) -> Copy:
        return Copy(Sql(**({"dsn": "sqlite:///docs.db", "table": "docs"} | parameters)), self.folder)

    def texts(self) -> dict[str, str]:
        return {str(i): text for i, text in self.run("SELECT id, text FROM docs")}
