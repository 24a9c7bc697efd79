"""The sql source through SQLAlchemy, on a real MariaDB: types, incremental reading, a server that fails."""

import threading
import time
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from tests.database.copy_of import Copy
from tests.database.servers import MariaDB

from gristmill.core.errors import SourceError, Transient
from gristmill.core.source import PlanContext, ReadContext
from gristmill.sources.sql import Sql


@pytest.fixture
def db(mariadb: MariaDB) -> MariaDB:
    mariadb.run("DROP DATABASE docs", "CREATE DATABASE docs CHARACTER SET utf8mb4")
    return mariadb


def copy(server: MariaDB, folder: Any, **parameters: Any) -> Copy:
    return Copy(Sql(**({"dsn": server.dsn, "table": "docs"} | parameters)), folder)


def docs(server: MariaDB, n: int = 5) -> None:
    server.run(
        "CREATE TABLE docs (id INT PRIMARY KEY, text TEXT, at DATETIME(6), KEY (at, id))",
        f"INSERT INTO docs SELECT seq, CONCAT('text ', seq), '2026-01-01' + INTERVAL seq SECOND FROM seq_1_to_{n}",
    )


def texts(server: MariaDB) -> dict[str, str]:
    return {str(key): text for key, text in server.run("SELECT id, text FROM docs")}


def test_every_type_becomes_json_that_says_what_the_cell_says(db, tmp_path):
    db.run(
        "CREATE TABLE docs (id BIGINT UNSIGNED PRIMARY KEY, text LONGTEXT, lang ENUM('en','de'), t TIMESTAMP(3) NULL, "
        "d DECIMAL(30,5), f DOUBLE, b BLOB, j JSON, y YEAR, bits BIT(3), tm TIME, s SET('a','b'), day DATE, yes BOOL)",
        "SET time_zone = '+05:00'",
    )
    db.run(
        "SET time_zone = '+00:00'",
        "INSERT INTO docs VALUES (18446744073709551615, 'grüße 🎈', 'de', '2026-01-02 03:04:05.678', 1.5, 0.1, x'00ff', "
        "'{\"a\": [1]}', 2026, b'101', '25:00:00', 'a,b', '2026-01-02', true)",
        "INSERT INTO docs (id, text) VALUES (1, 'null')",
    )
    found = copy(db, tmp_path, time="t", lang="lang").run()
    row = found.rows["18446744073709551615"]
    assert (row["text"], row["lang"]) == ("grüße 🎈", "de")
    assert row["time"] == datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)
    assert orjson.loads(row["meta"]) == {
        "d": "1.50000",
        "f": 0.1,
        "b": "AP8=",
        "j": '{"a": [1]}',
        "y": 2026,
        "bits": "BQ==",
        "tm": "1 day, 1:00:00",
        "s": "a,b",
        "day": "2026-01-02",
        "yes": 1,
    }
    assert set(orjson.loads(found.rows["1"]["meta"]).values()) == {None}


@pytest.mark.parametrize("parameters", [{"cursor": "at"}, {"cursor": "at", "parallel": 1, "batch_rows": 3}, {}])
def test_new_changed_late_and_deleted_rows_are_found(db, tmp_path, parameters):
    docs(db, 12)
    found = copy(db, tmp_path, **parameters, **({"scan_keys": 1} if parameters else {}), max_gone_ratio=0.2).run()
    assert found.texts() == texts(db)
    if parameters:
        assert len(found.run().plan.splits) == 0
    db.run(
        "INSERT INTO docs VALUES (20, 'new', '2026-01-01 12:00:00.5'), (21, 'new too', '2026-01-01 12:00:00.5')",
        "UPDATE docs SET text = 'changed', at = '2026-01-01 12:00:01' WHERE id = 3",
    )
    assert found.run().texts() == texts(db)
    db.run("INSERT INTO docs VALUES (22, 'late', '2026-01-01 11:55:00')", "DELETE FROM docs WHERE id = 5")
    if parameters:
        found.scan_now()
    assert found.run().texts() == texts(db)
    assert found.doubled == 0


@pytest.mark.parametrize("kind", ["DATETIME(6)", "VARCHAR(30)"])
def test_a_row_of_a_time_to_come_hides_none_that_comes_after_it(db, tmp_path, kind):
    db.run(
        f"CREATE TABLE docs (id INT PRIMARY KEY, text TEXT, at {kind})",
        "INSERT INTO docs VALUES (1, 'old', UTC_TIMESTAMP() - INTERVAL 9 DAY), (9, 'far', '2037-01-01 00:00:00')",
    )
    found = copy(db, tmp_path, cursor="at").run()
    assert found.warnings == {"cursor.future": 1}
    db.run("INSERT INTO docs VALUES (2, 'new', UTC_TIMESTAMP() - INTERVAL 3 DAY)")
    assert found.run().texts() == texts(db)
    assert len(found.run().plan.splits) == 0


@pytest.mark.parametrize(
    ("kind", "there", "gone", "neither"),
    [
        ("BIT(1)", ["b'0'"], ["b'1'"], []),
        ("DECIMAL(5,2)", ["0"], ["1.5"], []),
        ("DATETIME", [], ["'2026-01-01'"], []),
        ("VARCHAR(20)", ["'no'", "''"], ["'Yes'", "'2026-01-01'"], ["'archived'"]),
        ("ENUM('Y','N','?')", ["'N'"], ["'Y'"], ["'?'"]),
    ],
)
def test_tombstones_of_any_type_mean_what_they_say(db, tmp_path, kind, there, gone, neither):
    db.run(f"CREATE TABLE docs (id INT PRIMARY KEY, text TEXT, gone {kind})", "INSERT INTO docs VALUES (0, 't', NULL)")
    for i, word in enumerate([*there, *gone, *neither], 1):
        db.run(f"INSERT INTO docs VALUES ({i}, 't', {word})")
    found = copy(db, tmp_path, deleted="gone").run()
    assert found.rows.keys() == {str(i) for i in range(1 + len(there))}
    assert len(found.deleted) == len(gone)
    assert [code for code, _ in found.rejects] == ["deleted.unknown"] * len(neither)


def test_keys_of_several_columns_templates_tombstones_and_queries(db, tmp_path):
    db.run(
        "CREATE TABLE docs (a VARCHAR(20), b INT, text TEXT, j JSON, gone BOOL, PRIMARY KEY (a, b))",
        "INSERT INTO docs SELECT CONCAT('k', seq MOD 3), seq, CONCAT('t', seq), '{\"x\": 5}', seq = 7 FROM seq_1_to_30",
    )
    found = copy(db, tmp_path, batch_rows=4, deleted="gone").run()
    assert (len(found.rows), found.deleted, found.rows["k1/4"]["text"]) == (29, ["k1/7"], "t4")
    found = copy(db, tmp_path, batch_rows=4, text="{a}: {text} {j.x}").run()
    assert found.rows["k1/4"]["text"] == "k1: t4 5"
    query = "SELECT CONCAT(a, b) AS id, text, '10:20' AS note FROM docs"
    found = copy(db, tmp_path, table=None, query=query, key="id", batch_rows=7).run()
    assert (len(found.rows), orjson.loads(found.rows["k14"]["meta"])) == (30, {"note": "10:20"})


@pytest.mark.parametrize("name", ["x`; DROP TABLE y;--", "with space", "select", "таблица", "a:b", "50%", "it's"])
def test_b6_names_of_any_kind_are_read_as_they_stand(db, tmp_path, name):
    quoted = "`" + name.replace("`", "``") + "`"
    db.run(
        f"CREATE TABLE {quoted} ({quoted} INT PRIMARY KEY, text TEXT, at INT)",
        f"INSERT INTO {quoted} VALUES (1, 'a', 1), (2, 'b', 2)",
        "CREATE TABLE y (id INT)",
    )
    for parameters in ({}, {"cursor": "at"}, {"cursor": name}):
        assert copy(db, tmp_path, table=name, **parameters).run().texts() == {"1": "a", "2": "b"}
    found = copy(db, tmp_path, table=name, key="at").run()
    assert orjson.loads(found.rows["2"]["meta"]) == {name: 2}
    db.run("SELECT * FROM y")


def test_check_and_errors_say_what_to_do_without_the_password(db, tmp_path):
    docs(db)
    assert copy(db, tmp_path, cursor="at").source.check(tmp_path) == []
    (problem,) = copy(db, tmp_path, table="dosc").source.check(tmp_path)
    assert "did you mean 'docs'" in problem
    problems = copy(db, tmp_path, key="text", cursor="id").source.check(tmp_path)
    assert [problem.split(": ")[:2] for problem in problems] == [["note", "key"], ["note", "key"]]
    wrong = db.dsn.replace("root@", "nobody:hunter22@")
    (problem,) = copy(db, tmp_path, dsn=wrong).source.check(tmp_path)
    assert "Access denied" in problem
    assert "hunter22" not in problem
    with pytest.raises(SourceError) as told:
        copy(db, tmp_path, dsn=wrong).source.plan(None, PlanContext(tmp_path))
    assert not isinstance(told.value, Transient)
    with pytest.raises(Transient):
        copy(db, tmp_path, dsn="mysql+pymysql://u:hunter22@127.0.0.1:1/x").source.plan(None, PlanContext(tmp_path))


def test_b1_a_read_goes_on_after_its_session_is_killed(db, tmp_path):
    docs(db, 2000)
    source = copy(db, tmp_path, parallel=1, batch_rows=100).source
    (split,) = source.plan(None, PlanContext(tmp_path)).splits
    keys = []
    for number, page in enumerate(source.read(split, ReadContext(tmp_path, 1024))):
        keys += page.rows["key"].to_pylist()
        if number in {3, 7, 12}:
            ours = db.run("SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID() AND db = 'docs'")
            db.run(*(f"KILL {number}" for (number,) in ours))
    assert keys == [str(n) for n in range(1, 2001)]


def test_b3_a_statement_timeout_halves_the_page(db, tmp_path, monkeypatch):
    monkeypatch.setattr("gristmill.database.keyset.BACKOFF_S", (0.0,) * 12)
    docs(db, 30)
    db.run("CREATE VIEW slow AS SELECT id, CONCAT(text, LEFT(SLEEP(0.05), 0)) AS text, at FROM docs")
    source = copy(db, tmp_path, table="slow", key="id", timeout="1s", parallel=1, batch_rows=60).source
    spec = copy(db, tmp_path, parallel=1).source.plan(None, PlanContext(tmp_path)).splits[0]
    read = [row for page in source.read(spec, ReadContext(tmp_path)) for row in page.rows["text"].to_pylist()]
    assert sorted(read) == sorted(texts(db).values())


def test_the_session_is_read_only(db, tmp_path):
    from gristmill.database.connect import connect
    from gristmill.database.dsn import parse

    connection = connect(parse(db.dsn, tmp_path), 10)
    try:
        import sqlalchemy as sa

        with pytest.raises(SourceError):
            connection.rows(sa.text("CREATE TABLE t (a INT)"))
    finally:
        connection.close()


def test_a_large_result_is_streamed(db, tmp_path):
    db.run(
        "CREATE TABLE docs (id INT PRIMARY KEY, text LONGTEXT)",
        "INSERT INTO docs SELECT seq, REPEAT('x', 100000) FROM seq_1_to_400",
    )
    source = copy(db, tmp_path, parallel=1, max_cell_bytes=150_000).source
    (split,) = source.plan(None, PlanContext(tmp_path)).splits
    sizes = [page.rows.nbytes for page in source.read(split, ReadContext(tmp_path, 1 << 20))]
    assert len(sizes) > 10
    assert max(sizes) < 8 << 20


def test_rows_written_while_others_are_read_come_whole(db, tmp_path):
    docs(db, 500)
    found = copy(db, tmp_path, cursor="at", batch_rows=40)
    stop = threading.Event()

    def write() -> None:
        n = 1000
        while not stop.is_set():
            n += 1
            db.run(
                f"INSERT INTO docs VALUES ({n}, 'during {n}', NOW(6))",
                f"UPDATE docs SET text = CONCAT(text, '!'), at = NOW(6) WHERE id = {n % 500 + 1}",
            )
            time.sleep(0.002)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(4):
            found.run(batch_bytes=1 << 10)
    finally:
        stop.set()
        thread.join()
    assert found.run().texts() == texts(db)
