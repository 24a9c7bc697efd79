"""A dataset of a few snapshots that is loaded into tables, and the databases the tables may lie in, seen from outside."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.database.servers import MariaDB, PostgreSQL

import gristmill
from gristmill.config.settings import BoundExport
from gristmill.core.load import Loaded
from gristmill.engine.loads import Head
from gristmill.exports.sql import Sql
from gristmill.sources.files import Files
from gristmill.store.layout import Layout
from gristmill.store.snapshot import read_manifest

Record = dict[str, Any]


class Place:
    """A database. quote: how it writes a name."""

    name = ""
    quote = '"'

    def __init__(self, dsn: str, run: Callable[..., list[tuple[Any, ...]]]) -> None:
        self.dsn = dsn
        self.run = run

    def named(self, name: str) -> str:
        """Give a name quoted."""
        return self.quote + name.replace(self.quote, 2 * self.quote) + self.quote

    def rows(self, table: str = "docs", *columns: str) -> list[tuple[Any, ...]]:
        """Give the rows of a table, sorted."""
        listed = ", ".join(map(self.named, columns)) or "*"
        return sorted(self.run(f"SELECT {listed} FROM {self.named(table)}"), key=repr)

    def ledger(self) -> list[tuple[Any, ...]]:
        """Give what the ledger says: table, snapshot, rows."""
        return self.rows("gristmill_ledger", "target", "snapshot", "row_count")

    def tables(self) -> set[str]:
        """Give the names of all tables."""
        raise NotImplementedError


class InPostgreSQL(Place):
    """A PostgreSQL server."""

    name = "postgresql"

    def tables(self) -> set[str]:
        return {name for (name,) in self.run("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}


class InMariaDB(Place):
    """A MariaDB server."""

    name = "mariadb"
    quote = "`"

    def tables(self) -> set[str]:
        return {name for (name,) in self.run("SHOW TABLES")}


class InSQLite(Place):
    """A file."""

    name = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path

        def run(*statements: str) -> list[tuple[Any, ...]]:
            connection = sqlite3.connect(path, isolation_level=None)
            try:
                for statement in statements:
                    rows = connection.execute(statement).fetchall()
                return rows
            finally:
                connection.close()

        super().__init__(f"sqlite:///{path}", run)

    def tables(self) -> set[str]:
        return {name for (name,) in self.run("SELECT name FROM sqlite_master WHERE type = 'table'")}


def _postgresql(request: Any, folder: Path) -> Place:
    server: PostgreSQL = request.getfixturevalue("pg")
    return InPostgreSQL(server.dsn, server.run)


def _mariadb(request: Any, folder: Path) -> Place:
    server: MariaDB = request.getfixturevalue("mariadb")
    server.run("DROP DATABASE docs", "CREATE DATABASE docs CHARACTER SET utf8mb4")
    return InMariaDB(server.dsn, server.run)


PLACES = {
    "postgresql": _postgresql,
    "sqlite": lambda request, folder: InSQLite(folder / "rows.db"),
    "mariadb": _mariadb,
}


class Mill:
    """A pipeline of one file of records."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records: dict[str, Record] = {}
        self.texts: dict[int, dict[str, str]] = {}  # by snapshot and id
        (folder / "data").mkdir(parents=True, exist_ok=True)

    def pipeline(self, *exports: Sql) -> gristmill.Pipeline:
        """Give the pipeline with these exports, called rows0, rows1, ..."""
        source = Files(path=str(self.folder / "data" / "*.jsonl"), id="id", url="url", lang="lang", time="time")
        bound = [BoundExport(name=f"rows{at}", part="sql", export=export) for at, export in enumerate(exports)]
        return gristmill.Pipeline(dataset=self.folder / "corpus", sources=[source], exports=bound)

    def put(self, *records: Record) -> Mill:
        """Add records, or put others in the place of those with the same id; each has some text."""
        for record in records:
            self.records[record["id"]] = {"text": f"The text of {record['id']}."} | record
        return self

    def take(self, *ids: str) -> Mill:
        """Take records away."""
        for each in ids:
            del self.records[each]
        return self

    def run(self, *exports: Sql) -> Any:
        """Write the file, if it is another, and run."""
        content = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in self.records.values())
        path = self.folder / "data" / "all.jsonl"
        if not path.exists() or path.read_text("utf-8") != content:
            path.write_text(content, "utf-8")
        report = self.pipeline(*exports).run(workers=1)
        texts = {f"files/{each}": record["text"].replace("\0", "") for each, record in self.records.items()}
        self.texts.setdefault(report.snapshot, texts)
        return report

    def head(self, seq: int) -> Head:
        """Give a snapshot to be loaded."""
        layout = Layout(self.folder / "corpus")
        return Head(layout, read_manifest(layout.manifest(seq)))

    def load(self, export: Sql, seq: int, *, thorough: bool = False) -> Loaded:
        """Load a snapshot, without a run."""
        return export.load(self.head(seq), self.folder, thorough=thorough)

    def problems(self, place: Place, export: Sql, seq: int) -> list[str]:
        """Hold the table's ids and texts against the records, and let `verify` look at every value."""
        found = place.rows(export.table, "id", "text")
        told = [] if found == sorted(self.texts[seq].items(), key=repr) else ["the table holds other texts"]
        return told + export.verify(self.head(seq), self.folder)


def some(n: int, start: int = 0, **fields: Any) -> list[Record]:
    """Give records of distinct ids."""
    return [{"id": f"d{at}", **fields} for at in range(start, start + n)]


def history(folder: Path) -> Mill:
    """Make four snapshots: 40 records; 5 more, 3 revised and 4 withdrawn; all texts revised; half of them withdrawn."""
    mill = Mill(folder)
    odd = {"id": "odd", "text": "Grüße, 漢字, 🎈, \"quoted\", 'single', \\back, % and :colon\n\tand more", "lang": "de"}
    mill.put(*some(39, lang="en", url="https://example.org/é?a=1&b=%20", time="2026-01-02T03:04:05.678901Z"), odd)
    mill.put({"id": "d0", "year": 1999, "deep": {"list": [1, "zwei"], "none": None}, "score": 0.5, "is": True})
    assert mill.run().snapshot == 1
    mill.put(
        *some(5, 100), *({"id": f"d{at}", "text": f"Revised {at}."} for at in (3, 5, 8)), {"id": "d0", "year": "MM"}
    )
    assert mill.take("d10", "d11", "d12", "odd").run().snapshot == 2
    mill.put(*({"id": each, "text": f"All new: {each}."} for each in mill.records))
    assert mill.run().snapshot == 3
    assert mill.take(*list(mill.records)[::2]).run().snapshot == 4
    return mill
