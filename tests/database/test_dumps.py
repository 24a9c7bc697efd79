"""Other people's databases, from ../shared/data/sql: every table is read whole, by each kind of server, with the values it holds."""

import re
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from tests.database.copy_of import Copy

from gristmill.sources.sql import Sql

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Rows = list[tuple[Any, ...]]
CHINOOK = 11  # tables
CHINOOK_ROWS = 15_607


def dump(shared: Path, name: str) -> bytes:
    return zstd.decompress((shared / "sql" / f"{name}.zst").read_bytes())


def statements(text: str) -> list[str]:
    """Give the statements of a dump; none of them holds a semicolon at the end of a line within a text."""
    bare = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    found = (part.strip() for part in re.split(r";[ \t]*\r?\n", bare))
    return [part for part in found if part and not part.startswith("\\")]


def read_all(dsn: str, folder: Path, tables: dict[str, list[str]], ask: Callable[[str], Rows], quote: str) -> int:
    """Read each table, compare it with what the server's own client gives; give the rows of all. tables: columns of each."""
    total = 0
    for table, columns in tables.items():
        copy = Copy(Sql(dsn=dsn, table=table, text=f"{{{columns[-1]}}}|"), folder).run()
        names = ", ".join(f"{quote}{name}{quote}" for name in columns)
        there = ask(f"SELECT {names} FROM {quote}{table}{quote}")
        assert (len(copy.rows), copy.rejects, copy.doubled) == (len(there), [], 0), table
        metas = [orjson.loads(row["meta"] or "{}") for row in copy.rows.values()]
        rest = [name for name in columns if name in metas[0]]  # all but the key and the text
        assert sorted(plain(meta, rest) for meta in metas) == sorted(
            plain(dict(zip(columns, row, strict=True)), rest) for row in there
        ), table
        texts = sorted(row["text"] for row in copy.rows.values())
        assert texts == sorted(f"{'' if row[-1] is None else spelled(row[-1])}|" for row in there), table
        total += len(there)
    return total


def plain(row: dict[str, Any], names: list[str]) -> list[str]:
    """Spell a row's cells alike, whatever a driver makes of numbers and times."""
    return [spelled(row[name]) for name in names]


def spelled(cell: Any) -> str:
    text = "" if cell is None else str(cell)
    if re.fullmatch(r"-?\d+\.\d+", text):
        return text.rstrip("0").rstrip(".")
    return re.sub(r"^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)$", r"\1 \2", text)


@pytest.mark.parametrize("made", ["from its dump", "as it lies"])
def test_all_of_chinook_is_read_from_sqlite(shared, tmp_path, made):
    path = tmp_path / "chinook.db"
    if made == "as it lies":
        path.write_bytes(dump(shared, "Chinook_Sqlite.sqlite"))
    with closing(sqlite3.connect(path)) as connection:
        if made == "from its dump":
            connection.executescript(dump(shared, "Chinook_Sqlite.sql").decode("utf-8-sig"))
            connection.commit()
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        tables = {
            name: [column[1] for column in connection.execute(f'PRAGMA table_info("{name}")')]
            for name in names
            if not name.startswith("sqlite_")
        }
        assert len(tables) == CHINOOK
        read = read_all("sqlite:///chinook.db", tmp_path, tables, lambda sql: connection.execute(sql).fetchall(), '"')
    assert read == CHINOOK_ROWS


def test_all_of_chinook_is_read_from_postgresql(shared, pg, tmp_path):
    text = dump(shared, "Chinook_PostgreSql.sql").decode()
    pg.run(*statements(text[text.index("CREATE TABLE") :]))
    listed = pg.run(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
    )
    assert read_all(pg.dsn, tmp_path, by_table(listed), pg.run, '"') == CHINOOK_ROWS


def test_all_of_chinook_is_read_from_mariadb(shared, mariadb, tmp_path):
    mariadb.run("DROP DATABASE docs", "CREATE DATABASE docs CHARACTER SET utf8mb4")
    text = dump(shared, "Chinook_MySql.sql").decode()
    mariadb.run("SET foreign_key_checks = 0", *statements(text[text.index("CREATE TABLE") :]))
    listed = mariadb.run(
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'docs' ORDER BY table_name, ordinal_position"
    )
    assert read_all(mariadb.dsn, tmp_path, by_table(listed), mariadb.run, "`") == CHINOOK_ROWS


def by_table(listed: Rows) -> dict[str, list[str]]:
    tables: dict[str, list[str]] = {}
    for table, column in listed:
        tables.setdefault(table, []).append(column)
    assert len(tables) == CHINOOK
    return tables


def test_the_periodic_table_is_read_and_a_boolean_of_it_is_a_tombstone(shared, pg, tmp_path):
    text = dump(shared, "periodic_table.sql").decode()
    create = re.search(r"CREATE TABLE .*?\);", text, re.DOTALL)[0]
    columns, body = re.search(
        r"^COPY public\.periodic_table \((.*?)\) FROM stdin;\n(.*?)^\\\.$", text, re.DOTALL | re.MULTILINE
    ).groups()
    lines = [line.split("\t") for line in body.splitlines()]
    values = ["(" + ", ".join("NULL" if cell == "\\N" else f"$q${cell}$q$" for cell in line) + ")" for line in lines]
    pg.run(create, f"INSERT INTO periodic_table VALUES {', '.join(values)}")
    names = [name.strip('" ') for name in columns.split(",")]
    copy = Copy(Sql(dsn=pg.dsn, table="periodic_table", key="AtomicNumber", text="Element"), tmp_path).run()
    assert copy.texts() == {line[0]: line[1] for line in lines}
    for line in lines:
        wanted = dict(zip(names, line, strict=True))
        meta = orjson.loads(copy.rows[line[0]]["meta"])
        assert {name: told(cell) for name, cell in meta.items()} == {name: wanted[name] for name in meta}
    radioactive = [line[0] for line in lines if line[names.index("Radioactive")] == "t"]
    source = Sql(dsn=pg.dsn, table="periodic_table", key="AtomicNumber", text="Element", deleted="Radioactive")
    assert sorted(Copy(source, tmp_path).run().deleted, key=int) == radioactive


def told(cell: Any) -> str:
    """Spell a cell as a dump of PostgreSQL does."""
    return "\\N" if cell is None else str(cell)[0].lower() if isinstance(cell, bool) else str(cell)
