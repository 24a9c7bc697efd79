"""The sql source on a real PostgreSQL: types, late commits, a server that fails, and names of any kind."""

import threading
import time
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from tests.database.copy_of import Copy
from tests.database.restarts import restarts
from tests.database.servers import PostgreSQL
from tests.examples import some

from gristmill.core.errors import SourceError, SourceMisconfigured, Transient
from gristmill.core.source import PlanContext, ReadContext
from gristmill.sources.sql import Sql

AWKWARD = [
    'x"; DROP TABLE y;--',
    "with space",
    "select",
    "таблица",
    "表 名",
    "a:b",
    "50%",
    "it's",
    "n" * 63,
    "back\\s",
    "{b}",
]


def copy(server: PostgreSQL, folder: Any, **parameters: Any) -> Copy:
    return Copy(Sql(**({"dsn": server.dsn, "table": "docs"} | parameters)), folder)


def docs(server: PostgreSQL, n: int = 5) -> None:
    server.run(
        "CREATE TABLE docs (id int PRIMARY KEY, text text, at timestamptz)",
        "CREATE INDEX ON docs (at, id)",
        f"INSERT INTO docs SELECT n, 'text ' || n, '2026-01-01Z'::timestamptz + n * interval '1 s' FROM generate_series(1, {n}) n",
    )


def texts(server: PostgreSQL) -> dict[str, str]:
    return {str(key): text for key, text in server.run("SELECT id, text FROM docs")}


# --- what is read ------------------------------------------------------------------------------------------------

TYPED = {
    "numeric": ("1234567890123456789012345678.90", "1234567890123456789012345678.90"),
    "numeric(3,1)": ("NaN", None),
    "float8": ("Infinity", None),
    "float4": ("1.5", 1.5),
    "int2": ("7", 7),
    "bool": ("true", True),
    "uuid": ("00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000a"),
    "json": ('{"a": 1, "a": "\\u0000"}', '{"a": 1, "a": "\\u0000"}'),
    "jsonb": ('{"a":[1,2]}', '{"a": [1, 2]}'),
    "inet": ("10.0.0.1/8", "10.0.0.1/8"),
    "int4range": ("[1,5)", "[1,5)"),
    "tsvector": ("'a' 'b'", "'a' 'b'"),
    "money": ("1.5", "$1.50"),
    "interval": ("1 day 2 hours", "P1DT2H"),
    "timestamp": ("infinity", None),
    "timestamptz": ("2026-01-02 03:04:05.678+02", "2026-01-02T01:04:05.678+00:00"),
    "date": ("10000-01-01", None),
    "time": ("03:04:05", "03:04:05"),
    "bytea": ("\\x00ff", "AP8="),
    "text[]": ('{a,"b c"}', '{a,"b c"}'),
    "point": ("(1,2)", "(1,2)"),
    "char(5)": ("ab", "ab"),
    "bit(3)": ("101", "101"),
}


def test_b5_every_type_becomes_json_that_says_what_the_cell_says(pg, tmp_path):
    columns = ", ".join(f'"{name}" {name}' for name in TYPED)
    cells = ", ".join("'" + value.replace("'", "''") + "'" for value, _ in TYPED.values())
    pg.run(
        f"CREATE TABLE docs (id int PRIMARY KEY, text text, {columns})", f"INSERT INTO docs VALUES (1, 't', {cells})"
    )
    pg.run("INSERT INTO docs (id, text) VALUES (2, 't')")
    found = copy(pg, tmp_path).run()
    assert orjson.loads(found.rows["1"]["meta"]) == {name: value for name, (_, value) in TYPED.items()}
    assert orjson.loads(found.rows["2"]["meta"]) == dict.fromkeys(TYPED)
    assert found.warnings == {"sql.not_finite": 4}


def test_mapped_columns_of_other_types_are_text_and_endless_times_are_null(pg, tmp_path):
    pg.run(
        "CREATE TYPE tongue AS ENUM ('en', 'de')",
        "CREATE DOMAIN body AS text",
        "CREATE TABLE docs (id uuid PRIMARY KEY, text body, lang tongue, t timestamptz, d date, raw bytea)",
        "INSERT INTO docs SELECT ('00000000-0000-0000-0000-00000000000' || n)::uuid, 'b' || n, 'de', "
        "('{2026-01-01 00:00:00+01,infinity,-infinity,294276-01-01,NULL}'::timestamptz[])[n], "
        "('{2026-01-01,infinity,-infinity,10000-01-01,NULL}'::date[])[n], '\\xc3a9' FROM generate_series(1, 5) n",
        "UPDATE docs SET raw = '\\xff' WHERE text = 'b5'",
    )
    for column, first in (("t", datetime(2025, 12, 31, 23, tzinfo=UTC)), ("d", datetime(2026, 1, 1, tzinfo=UTC))):
        found = copy(pg, tmp_path, lang="lang", time=column).run()
        assert [row["time"] for _, row in sorted(found.rows.items())] == [first, None, None, None, None]
        assert found.warnings["sql.not_finite"] == 6  # three in the time, three in the other column in meta
        assert {row["lang"] for row in found.rows.values()} == {"de"}
        assert "00000000-0000-0000-0000-000000000003" in found.rows
    found = copy(pg, tmp_path, text="raw").run()
    assert set(found.texts().values()) == {"é"}
    assert found.rejects == [("text.encoding", "rows#00000000-0000-0000-0000-000000000005")]


@pytest.mark.slice
@pytest.mark.parametrize(
    "kind",
    some(["int2", "int8", "text", "uuid", "numeric", "timestamptz", "timestamp", "date", "bytea", "inet"], 4),
)
def test_a_table_is_paged_by_a_key_of_any_ordered_type(pg, tmp_path, kind):
    value = {
        "text": "chr(64 + n) || '''\\é'",
        "uuid": "lpad(n::text, 32, '0')::uuid",
        "timestamptz": "'2026-01-01Z'::timestamptz + n * interval '1 us'",
        "timestamp": "'2026-01-01'::timestamp + n * interval '1 us'",
        "date": "'2026-01-01'::date + n",
        "bytea": "decode(lpad(to_hex(n), 2, '0'), 'hex')",
        "inet": "('10.0.0.' || n)::inet",
    }.get(kind, "n - 10")
    pg.run(f"CREATE TABLE docs (id {kind} PRIMARY KEY, text text)")
    pg.run(f"INSERT INTO docs SELECT {value}, 't' || n FROM generate_series(1, 30) n")
    found = copy(pg, tmp_path, batch_rows=4, parallel=1).run()
    assert sorted(found.texts().values()) == sorted(f"t{n}" for n in range(1, 31))
    assert max(found.arrived.values()) == 1
    pg.run(f"DELETE FROM docs WHERE id = (SELECT {value} FROM (SELECT 7 AS n) s)")
    assert len(found.run().rows) == 29
    if kind in {"int2", "int8", "text", "numeric", "timestamptz", "timestamp", "date"}:
        found = copy(pg, tmp_path, cursor="id", batch_rows=4, scan_keys=1).run()
        assert (len(found.rows), len(found.run().plan.splits)) == (29, 0)


def test_cursors_that_are_endless_are_read_with_those_that_are_null(pg, tmp_path):
    docs(pg, 3)
    pg.run(
        "INSERT INTO docs VALUES (7, 'inf', 'infinity'), (8, '-inf', '-infinity'), (9, 'null', NULL), (10, 'far', '12000-01-01')"
    )
    found = copy(pg, tmp_path, cursor="at").run()
    assert found.texts() == texts(pg)
    pg.run("UPDATE docs SET text = text || '!' WHERE id > 6", "INSERT INTO docs VALUES (4, 'new', '2026-01-02Z')")
    assert found.run().texts() == texts(pg)
    assert found.arrived.keys() >= {"4", "7", "8", "9", "10"}
    pg.run("ALTER TABLE docs ALTER at TYPE text[] USING '{}'")
    with pytest.raises(SourceError, match="cursor: at is of a type that has no order"):
        copy(pg, tmp_path, cursor="at").run()


def test_a_large_cell_is_refused_on_the_server(pg, tmp_path):
    docs(pg, 3)
    pg.run("UPDATE docs SET text = repeat('x', 100000000) WHERE id = 2", "ALTER TABLE docs ADD j jsonb")
    pg.run("UPDATE docs SET j = to_jsonb(repeat('y', 3000000)) WHERE id = 3")
    found = copy(pg, tmp_path, max_cell_bytes=1_000_000).run()
    assert found.rows.keys() == {"1"}
    assert found.rejects == [("size.cap", "rows#2"), ("size.cap", "rows#3")]


def test_a_json_cell_that_is_nested_too_deep_costs_its_row_where_a_path_leads_into_it(pg, tmp_path):
    depths = (1, 17, 18, 250, 255, 1000, 2000)  # of what lies in a cell, which is one level down in its row
    pg.run(
        "CREATE TABLE docs (id int PRIMARY KEY, text text, payload jsonb)",
        *(f"""INSERT INTO docs VALUES ({n}, 't', '{{"body": "[[", "x": {"[" * n}{"]" * n}}}')""" for n in depths),
    )
    for max_depth, good in ((254, depths[:4]), (19, depths[:2])):
        found = copy(pg, tmp_path, text="payload.body", max_depth=max_depth).run()
        assert found.texts() == {str(n): "[[" for n in good}
        assert sorted(found.rejects) == sorted(("json.depth", f"rows#{n}") for n in depths if n not in good)
    assert len(copy(pg, tmp_path, max_depth=1).run().rows) == len(depths), "a cell that nobody looks into is text"


def test_a_wide_table_a_view_and_a_schema(pg, tmp_path):
    pg.run(
        "CREATE SCHEMA cms",
        f"CREATE TABLE cms.docs (id int PRIMARY KEY, text text, {', '.join(f'c{n} int' for n in range(300))})",
        "INSERT INTO cms.docs VALUES (1, 't', 5)",
        "CREATE VIEW cms.seen AS SELECT * FROM cms.docs",
    )
    meta = orjson.loads(copy(pg, tmp_path, table="cms.docs").run().rows["1"]["meta"])
    assert (len(meta), meta["c0"], meta["c299"]) == (300, 5, None)
    assert copy(pg, tmp_path, table="cms.seen", key="id").run().texts() == {"1": "t"}
    assert "has no primary key" in copy(pg, tmp_path, table="cms.seen").source.check(tmp_path)[0]
    assert "did you mean 'docs'" in copy(pg, tmp_path, table="cms.dosc").source.check(tmp_path)[0]
    (problem,) = copy(pg, tmp_path, table="cms.seen", key="id", cursor="id", horizon="xmin").source.check(tmp_path)
    assert "xmin" in problem
    pg.run("DROP SCHEMA cms CASCADE")


@pytest.mark.slice
@pytest.mark.parametrize("name", some(AWKWARD, 2))
def test_b6_names_of_any_kind_are_read_as_they_stand(pg, tmp_path, name):
    quoted = '"' + name.replace('"', '""') + '"'
    pg.run(
        f"CREATE TABLE {quoted} ({quoted} int PRIMARY KEY, text text, cursor int)",
        f"INSERT INTO {quoted} VALUES (1, 'a', 1), (2, 'b', 2)",
        "CREATE TABLE y (id int)",
    )
    for parameters in (
        {"table": name},
        {"table": f"public.{name}"},
        {"table": None, "query": f"SELECT * FROM {quoted}"},
    ):
        found = copy(pg, tmp_path, **parameters, key=name, cursor="cursor").run()
        assert found.texts() == {"1": "a", "2": "b"}
    found = copy(pg, tmp_path, table=name).run()
    assert found.texts() == {"1": "a", "2": "b"}
    found = copy(pg, tmp_path, table=name, text="text", key="cursor").run()
    assert orjson.loads(found.rows["2"]["meta"]) == {name: 2}
    pg.run("SELECT * FROM y")


def test_check_sees_keys_indexes_and_permissions(pg, tmp_path):
    docs(pg)
    assert copy(pg, tmp_path, cursor="at").source.check(tmp_path) == []
    pg.run(
        "ALTER TABLE docs ADD o int",
        "CREATE INDEX ON docs (o) WHERE o > 1",
        "CREATE UNIQUE INDEX ON docs (lower(text))",
    )
    problems = copy(pg, tmp_path, cursor="o", key="text").source.check(tmp_path)
    assert [problem.split(": ")[:2] for problem in problems] == [["note", "key"], ["note", "key"], ["note", "cursor"]]
    assert "no unique index" in problems[0]
    assert "can be NULL" in problems[1]
    pg.run("CREATE ROLE reader LOGIN PASSWORD 'hunter22'", "GRANT USAGE ON SCHEMA public TO reader")
    dsn = pg.dsn.replace("postgres@", "reader:hunter22@")
    (problem,) = copy(pg, tmp_path, dsn=dsn).source.check(tmp_path)
    assert "permission denied for table docs" in problem
    assert "hunter22" not in problem
    (problem,) = copy(pg, tmp_path, dsn=dsn.replace("/postgres?", "/nowhere?")).source.check(tmp_path)
    assert "hunter22" not in problem
    pg.run("DROP OWNED BY reader", "DROP ROLE reader")


def test_nothing_can_be_written_through_a_query(pg, tmp_path):
    docs(pg)
    query = "WITH gone AS (DELETE FROM docs RETURNING id, text) SELECT * FROM gone"
    (problem,) = copy(pg, tmp_path, table=None, query=query, key="id").source.check(tmp_path)
    assert "the database says" in problem
    pg.run("CREATE FUNCTION wipe() RETURNS int LANGUAGE sql AS 'DELETE FROM docs; SELECT 1'")
    source = copy(pg, tmp_path, table=None, query="SELECT id, text || wipe() AS text FROM docs", key="id").source
    with pytest.raises(SourceError, match="read-only"):
        source.plan(None, PlanContext(tmp_path))
    assert len(texts(pg)) == 5


def test_splits_and_states_hold_no_secret(pg, tmp_path):
    docs(pg)
    dsn = pg.dsn.replace("postgres@", "postgres:hunter22@")
    found = copy(pg, tmp_path, dsn=dsn, cursor="at", scan_keys=1).run()
    assert found.plan is not None
    written = orjson.dumps([[s.id, s.spec, s.lane] for s in found.plan.splits]) + orjson.dumps([found.plan.ceiling])
    assert b"hunter22" not in written
    assert dsn.encode() not in written
    assert found.plan.splits[0].lane_cap == 4


# --- rows of times to come, and tombstones ---------------------------------------------------------------------------


@pytest.mark.slice
@pytest.mark.parametrize("kind", some(["timestamptz", "timestamp", "date", "text"], 2))
def test_a_row_of_a_time_to_come_hides_none_that_comes_after_it(pg, tmp_path, kind):
    pg.run(
        f"CREATE TABLE docs (id int PRIMARY KEY, text text, at {kind})",
        "INSERT INTO docs VALUES (1, 'old', (now() - interval '9 d')::timestamp::text::"
        + kind
        + "), (9, 'far', '2099-01-01 00:00:00')",
    )
    found = copy(pg, tmp_path, cursor="at").run()
    assert found.warnings == {"cursor.future": 1}
    pg.run(f"INSERT INTO docs VALUES (2, 'new', (now() - interval '3 d')::timestamp::text::{kind})")
    assert found.run().texts() == texts(pg)
    assert len(found.run().plan.splits) == 0
    pg.run("UPDATE docs SET text = 'mended', at = (now() - interval '1 d')::timestamp::text::" + kind + " WHERE id = 9")
    assert (found.run().texts(), found.warnings) == (texts(pg), {})


@pytest.mark.slice
@pytest.mark.parametrize(
    ("kind", "there", "gone", "neither"),
    some(
        [
            ("bool", ["false"], ["true"], []),
            ("int", ["0"], ["1", "-7"], []),
            ("numeric", ["0.00"], ["1.5"], ["NaN"]),
            ("timestamptz", [], ["2026-01-01", "infinity"], []),
            ("date", [], ["2026-01-01"], []),
            ("text", ["no", "false", ""], ["yes", "2026-01-01 00:00:00+02"], ["archived"]),
            ("state", ["f"], ["t"], ["draft"]),
            ("uuid", [], ["00000000-0000-0000-0000-00000000000a"], []),
            ("jsonb", ["false", "null"], ["true"], ["{}"]),
        ],
        3,
    ),
)
def test_tombstones_of_any_type_mean_what_they_say(pg, tmp_path, kind, there, gone, neither):
    pg.run("DROP TYPE IF EXISTS state", "CREATE TYPE state AS ENUM ('t', 'f', 'draft')")
    pg.run(f"CREATE TABLE docs (id int PRIMARY KEY, text text, gone {kind})", "INSERT INTO docs VALUES (0, 't', NULL)")
    for i, word in enumerate([*there, *gone, *neither], 1):
        pg.run(f"INSERT INTO docs VALUES ({i}, 't', '{word}')")
    found = copy(pg, tmp_path, deleted="gone").run()
    assert found.rows.keys() == {str(i) for i in range(1 + len(there))}
    assert len(found.deleted) == len(gone)
    assert [code for code, _ in found.rejects] == ["deleted.unknown"] * len(neither)
    pg.run("DROP TABLE docs", "DROP TYPE state")


def test_what_is_not_there_is_a_mistake_of_the_config(pg, tmp_path):
    docs(pg)
    for parameters in ({"table": "dosc"}, {"cursor": "when"}, {"cursor": "id", "overlap": "1m"}):
        with pytest.raises(SourceMisconfigured):
            copy(pg, tmp_path, **parameters).source.plan(None, PlanContext(tmp_path))


# --- late commits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "found"),
    [({}, True), ({"overlap": "0s"}, False), ({"horizon": "xmin"}, True)],
    ids=["10m", "0s", "xmin"],
)
def test_h8_a_row_committed_after_a_newer_one_was_read(pg, tmp_path, parameters, found):
    docs(pg)
    made = copy(pg, tmp_path, cursor="at", **parameters).run()
    late = pg.connect()
    try:
        with late.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("INSERT INTO docs VALUES (100, 'late', now())")
            cursor.execute("UPDATE docs SET text = 'late too', at = now() WHERE id = 2")
            time.sleep(0.01)
            pg.run("INSERT INTO docs VALUES (101, 'in time', now())")
            made.run()
            assert "100" not in made.rows
            assert ("101" in made.rows) is ("horizon" not in parameters), (
                "the horizon withholds what is younger than open work"
            )
            cursor.execute("COMMIT")
    finally:
        late.close()
    made.run()
    assert (made.texts() == texts(pg)) is found
    if found:
        assert len(made.run().plan.splits) == 0


def test_the_horizon_finds_what_no_overlap_would(pg, tmp_path):
    docs(pg)
    made = copy(pg, tmp_path, cursor="at", horizon="xmin").run()
    late = pg.connect()
    try:
        with late.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SAVEPOINT s")
            cursor.execute("INSERT INTO docs VALUES (100, 'of the past', '2000-01-01')")
            cursor.execute("RELEASE s")
            for n in range(3):
                pg.run(f"INSERT INTO docs VALUES ({200 + n}, 'new', now())")
                made.run()
            cursor.execute("COMMIT")
    finally:
        late.close()
    pg.run("VACUUM FREEZE docs", "UPDATE docs SET text = 'no cursor moved' WHERE id = 3")
    assert made.run().texts() == texts(pg)
    assert made.state is not None
    made.state = type(made.state)(made.state.doc | {"horizon": made.state.doc["horizon"] + 10**6}, made.state.units)
    with pytest.raises(SourceError, match="went back"):
        made.run()


def test_the_ceiling_holds_while_rows_move(pg, tmp_path):
    """B2: rows that are written while a run reads are left to the next run, each key comes once a split."""
    docs(pg, 400)
    made = copy(pg, tmp_path, cursor="at", batch_rows=50, parallel=1)
    read = made.source.read

    def moving(split: Any, context: Any) -> Any:
        for number, page in enumerate(read(split, context)):
            yield page
            if number < 3:
                pg.run(
                    f"UPDATE docs SET at = now(), text = text || '!' WHERE id % 100 = {number}",
                    f"INSERT INTO docs VALUES ({1000 + number + made.seq * 10}, 'during', now())",
                    f"DELETE FROM docs WHERE id = {395 + number}",
                )

    class Moving:
        plan, fold, read = made.source.plan, made.source.fold, staticmethod(moving)

    source, made.source = made.source, Moving  # type: ignore[assignment]
    made.run()
    assert max(made.arrived.values()) == 1
    assert not any(int(key) >= 1000 for key in made.rows)
    made.source = source
    made.run()
    assert {key: text for key, text in made.texts().items() if key not in {"395", "396", "397"}} == texts(pg)


# --- a server that fails -----------------------------------------------------------------------------------------


def test_b1_three_kills_while_others_write(pg, tmp_path):
    result = restarts(pg, tmp_path, kills=3, seed=11)
    assert (result.lost, result.wrong, result.surplus, result.doubled) == (0, 0, 0, 0), result


def test_b1_a_read_goes_on_after_its_session_is_killed_and_gives_up_in_time(pg, tmp_path, monkeypatch):
    docs(pg, 3000)
    monkeypatch.setattr("gristmill.database.keyset.BACKOFF_S", (0.0, 0.01, 0.02))
    source = copy(pg, tmp_path, parallel=1, batch_rows=1000).source
    (split,) = source.plan(None, PlanContext(tmp_path)).splits
    keys = []
    for number, page in enumerate(source.read(split, ReadContext(tmp_path, 4096))):
        keys += page.rows["key"].to_pylist()
        if number % 20 == 1:
            pg.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'gristmill'")
    assert keys == [str(n) for n in range(1, 3001)]
    source = copy(
        pg, tmp_path, parallel=1, batch_rows=50
    ).source  # so that most of it is not read ahead when the server dies
    reading = source.read(split, ReadContext(tmp_path, 4096))
    first = next(reading)
    pg.kill()
    try:
        pages: list[Any] = []
        with pytest.raises(Transient):
            pages.extend(page for page in reading if not pages.append(page))
    finally:
        pg.start()
    last = pages[-1] if pages else first
    rest = source.read(split, ReadContext(tmp_path, 4096, resume=last.resume))
    assert next(rest).rows["key"][0].as_py() == str(int(last.rows["key"][-1].as_py()) + 1)
    rest.close()
    assert first.resume == {"after": [["int", int(first.rows["key"][-1].as_py())]]}


def test_b3_a_statement_timeout_halves_the_page(pg, tmp_path, monkeypatch):
    monkeypatch.setattr("gristmill.database.keyset.BACKOFF_S", (0.0,) * 12)
    docs(pg, 30)
    pg.run(
        "CREATE FUNCTION slowly(t text) RETURNS text LANGUAGE plpgsql STABLE AS "
        "'BEGIN PERFORM pg_sleep(0.012); RETURN t; END'",
        "CREATE VIEW slow AS SELECT id, slowly(text) AS text FROM docs",
    )
    found = copy(pg, tmp_path, table="slow", key="id", timeout="1s", parallel=1, batch_rows=30).run()
    assert found.texts() == texts(pg)
    assert max(found.arrived.values()) == 1
    pg.run(
        "CREATE OR REPLACE FUNCTION slowly(t text) RETURNS text LANGUAGE plpgsql STABLE AS 'BEGIN PERFORM pg_sleep(2); RETURN t; END'"
    )
    monkeypatch.setattr("gristmill.database.keyset.BACKOFF_S", (0.0,) * 2)
    source = copy(pg, tmp_path, table="slow", key="id", timeout="1s", parallel=1, batch_rows=2).source
    (split,) = source.plan(None, PlanContext(tmp_path)).splits
    with pytest.raises(SourceError, match=r"statement timeout \(SQLSTATE 57014\)"):
        list(source.read(split, ReadContext(tmp_path)))


def test_b3_a_lock_and_a_full_server_are_waited_for(pg, tmp_path):
    docs(pg, 20)
    source = copy(pg, tmp_path, timeout="1s", parallel=1).source
    (split,) = source.plan(None, PlanContext(tmp_path)).splits
    locker = pg.connect()
    try:
        with locker.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("LOCK TABLE docs IN ACCESS EXCLUSIVE MODE")

            def let_go() -> None:
                time.sleep(1.5)
                cursor.execute("COMMIT")

            thread = threading.Thread(target=let_go)
            thread.start()
            pages = list(source.read(split, ReadContext(tmp_path)))
            thread.join()
    finally:
        locker.close()
    assert sum(page.rows.num_rows for page in pages) == 20
    held = [pg.connect() for _ in range(36)]
    try:
        threading.Timer(0.4, lambda: [each.close() for each in held]).start()
        assert sum(page.rows.num_rows for page in source.read(split, ReadContext(tmp_path))) == 20
    finally:
        for each in held:
            each.close()


def test_an_error_that_stays_is_told_without_the_data(pg, tmp_path):
    docs(pg, 50)
    query = "SELECT id, CASE WHEN id = 40 THEN (text || ' secret')::int::text ELSE text END AS text FROM docs"
    source = copy(pg, tmp_path, table=None, query=query, key="id", parallel=1).source
    (split,) = source.plan(None, PlanContext(tmp_path)).splits
    with pytest.raises(SourceError) as told:
        list(source.read(split, ReadContext(tmp_path)))
    assert "22P02" in str(told.value)
    assert "secret" not in str(told.value)
    assert not isinstance(told.value, Transient)


def test_a_stopped_server_is_worth_another_try_and_a_wrong_table_is_not(pg, tmp_path):
    docs(pg)
    with pytest.raises(Transient):
        copy(pg, tmp_path, dsn="postgresql://u:hunter22@127.0.0.1:1/x").source.plan(None, PlanContext(tmp_path))
    with pytest.raises(SourceError) as told:
        copy(pg, tmp_path, table="nope").source.plan(None, PlanContext(tmp_path))
    assert not isinstance(told.value, Transient)
