"""Failures that pass by themselves (B3: deadlock, serialization failure, resources) are waited out; those that stay are not.

A view raises the failure for as long as another session holds a lock, as a busy server would.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pymysql
import pytest
from tests.database.copy_of import Copy
from tests.database.servers import MariaDB, PostgreSQL

from gristmill.core.errors import SourceError, Transient
from gristmill.core.source import PlanContext, ReadContext
from gristmill.sources.sql import Sql

ROWS = 20
HELD_S = 0.3


def planned(dsn: str, folder: Any) -> Callable[[], list[str]]:
    """Plan a read of the view; give what reads it."""
    source = Copy(Sql(dsn=dsn, table="shaky", key="id", parallel=1, batch_rows=7), folder).source
    (split,) = source.plan(None, PlanContext(folder)).splits
    return lambda: [key for page in source.read(split, ReadContext(folder)) for key in page.rows["key"].to_pylist()]


@contextmanager
def held(pg: PostgreSQL) -> Iterator[Any]:
    """Hold the lock in a session of its own; gives the session."""
    holder = pg.connect()
    with holder.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(4711)")
        cursor.fetchall()
    yield holder
    holder.close()


def later(work: Callable[[], Any]) -> threading.Timer:
    timer = threading.Timer(HELD_S, work)
    timer.start()
    return timer


def shaky_postgresql(pg: PostgreSQL, state: str) -> None:
    pg.run(
        "CREATE TABLE docs (id int PRIMARY KEY, text text)",
        f"INSERT INTO docs SELECT n, 'text ' || n FROM generate_series(1, {ROWS}) n",
        "CREATE FUNCTION steady(t text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$ BEGIN "
        "IF EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711) THEN "
        f"RAISE EXCEPTION 'busy' USING ERRCODE = '{state}'; END IF; RETURN t; END $$",
        "CREATE VIEW shaky AS SELECT id, steady(text) AS text FROM docs",
    )


@pytest.mark.parametrize("state", ["40P01", "40001", "55P03", "57P01"])
def test_b3_what_passes_on_postgresql_is_waited_out(pg, tmp_path, state):
    shaky_postgresql(pg, state)
    read = planned(pg.dsn, tmp_path)
    with held(pg) as holder:
        timer = later(holder.close)
        assert read() == [str(n) for n in range(1, ROWS + 1)]
        timer.join()


@pytest.mark.parametrize(("state", "kind"), [("40P01", Transient), ("22012", SourceError), ("P0001", SourceError)])
def test_b3_what_stays_on_postgresql_ends_the_read(pg, tmp_path, monkeypatch, state, kind):
    monkeypatch.setattr("gristmill.database.keyset.BACKOFF_S", (0.0, 0.01))
    shaky_postgresql(pg, state)
    read = planned(pg.dsn, tmp_path)
    with held(pg), pytest.raises(SourceError) as told:
        read()
    assert type(told.value) is kind
    assert state in str(told.value)


@pytest.mark.parametrize("errno", [1213, 1205])  # a deadlock, a lock that was waited for too long
def test_b3_what_passes_on_mariadb_is_waited_out(mariadb: MariaDB, tmp_path, errno):
    mariadb.run("DROP DATABASE docs", "CREATE DATABASE docs CHARACTER SET utf8mb4")
    mariadb.run(
        "CREATE TABLE docs (id INT PRIMARY KEY, text TEXT)",
        f"INSERT INTO docs SELECT seq, CONCAT('text ', seq) FROM seq_1_to_{ROWS}",
        "CREATE FUNCTION steady(t TEXT) RETURNS TEXT READS SQL DATA BEGIN IF IS_USED_LOCK('busy') IS NOT NULL THEN "
        f"SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = {errno}; END IF; RETURN t; END",
        "CREATE VIEW shaky AS SELECT id, steady(text) AS text FROM docs",
    )
    read = planned(mariadb.dsn, tmp_path)
    holder = pymysql.connect(host="127.0.0.1", port=mariadb.port, user="root", database="docs")
    with holder.cursor() as cursor:
        cursor.execute("SELECT GET_LOCK('busy', 5)")
    timer = later(holder.close)
    assert read() == [str(n) for n in range(1, ROWS + 1)]
    timer.join()
