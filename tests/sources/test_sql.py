"""The sql source on SQLite: what a run reads, what the next one finds, and what bad tables come to."""

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.database.copy_of import Copy
from tests.database.tables import Table
from tests.examples import examples
from tests.extract import pdfs

import gristmill
from gristmill.config import load
from gristmill.core.errors import SourceError
from gristmill.core.source import PlanContext, ReadContext, State, Window
from gristmill.sources.sql import Sql
from gristmill.testing import laws

AWKWARD = [
    'x"; DROP TABLE y;--',
    "with space",
    "select",
    "таблица",
    "表 名",
    "a:b",
    "50%",
    "it's",
    "q?",
    "n" * 70,
    "back\\slash",
    "{brace}",
    "new\nline",
]


def splits(copy: Copy) -> int:
    assert copy.plan is not None
    return len(copy.plan.splits)


# --- what is read ------------------------------------------------------------------------------------------------


def test_rows_become_pages_with_their_columns_mapped_and_all_others_in_meta(table):
    table.run(
        "CREATE TABLE docs (id INTEGER PRIMARY KEY, text TEXT, at TEXT, u TEXT, l TEXT, n INT, r REAL, b BLOB, z)"
    )
    table.run("INSERT INTO docs VALUES (7, 'body', '2026-01-02T03:04:05Z', 'http://e', 'en', 5, 1.5, x'c3', NULL)")
    copy = table.copy(cursor="at", time="at", url="u", lang="l").run()
    assert copy.rows["7"] == {
        "key": "7",
        "text": "body",
        "origin": "rows#7",
        "url": "http://e",
        "time": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "fetched_at": None,
        "lang": "en",
        "license": None,
        "meta": '{"n":5,"r":1.5,"b":"C3","z":null}',
    }
    (advice,) = copy.source.check(table.folder)
    assert re.search(r'cursor: no index of table "docs" begins with at, .*; add an index on \(at, id\)', advice)


def test_paths_and_templates_are_mapped_as_in_files(table):
    table.run("CREATE TABLE docs (id INTEGER PRIMARY KEY, title TEXT, payload TEXT, n INT)")
    table.run('INSERT INTO docs VALUES (1, \'T\', \'{"body": "B", "lang": "de", "rest": [1]}\', 4)')
    table.run("INSERT INTO docs VALUES (2, 'T', '{\"lang\": 5}', 4)")
    table.run("INSERT INTO docs VALUES (3, 'T', 'no json', 4)")
    copy = table.copy(text="{title}\n\n{payload.body}", lang="payload.lang").run()
    assert copy.texts() == {"1": "T\n\nB", "2": "T\n\n", "3": "T\n\n"}
    assert [orjson.loads(copy.rows[key]["meta"]) for key in "123"] == [
        {"payload": {"rest": [1]}, "n": 4},
        {"payload": {"lang": 5}, "n": 4},
        {"payload": "no json", "n": 4},
    ]
    assert copy.warnings == {"lang.type": 1}
    copy = table.copy(text="payload.body").run()
    assert copy.texts() == {"1": "B"}
    assert copy.rejects == [("field.missing", "rows#2"), ("field.missing", "rows#3")]


def test_a_key_of_several_columns_names_rows_apart(table):
    table.run("CREATE TABLE docs (a TEXT, b TEXT, text TEXT, PRIMARY KEY (a, b)) WITHOUT ROWID")
    keys = [("x", "y"), ("x/y", ""), ("x", "/y"), ("x%2F", "y"), ("", "x/y"), ("x%", "2Fy")]
    for a, b in keys:
        table.run("INSERT INTO docs VALUES (?, ?, ?)", a, b, a + "|" + b)
    copy = table.copy(batch_rows=1).run()
    assert copy.texts() == {
        a.replace("%", "%25").replace("/", "%2F") + "/" + b.replace("%", "%25").replace("/", "%2F"): f"{a}|{b}"
        for a, b in keys
    }


def test_pages_of_any_size_give_the_same_rows_in_the_same_order(table):
    table.docs(50)
    table.run("UPDATE docs SET at = '2026-01-01 00:00:07'")  # ties on the cursor (H8)
    source = table.copy(cursor="at").source
    state = State({}, None)
    seen = []
    for rows in (1, 2, 7, 50, 100):
        copy = table.copy(cursor="at", batch_rows=rows).run(batch_bytes=64)
        copy.run(window=Window(since="2026-01-01 00:00:00"))
        seen.append([(key, row["text"]) for key, row in copy.rows.items()])
        assert (copy.doubled, len(copy.rows)) == (0, 50)
    assert all(each == seen[0] for each in seen)
    assert source.plan(state, PlanContext(table.folder)).splits


def test_a_read_goes_on_from_any_page(table):
    table.docs(40)
    for parameters in ({}, {"cursor": "at"}):
        source = table.copy(parallel=1, batch_rows=7, **parameters).source
        (split,) = source.plan(None, PlanContext(table.folder)).splits
        whole = list(source.read(split, ReadContext(table.folder, 400)))
        for at in range(1, len(whole)):
            context = ReadContext(table.folder, 400, resume=whole[at - 1].resume)
            rest = [key for page in source.read(split, context) for key in page.rows["key"].to_pylist()]
            assert rest == [key for page in whole[at:] for key in page.rows["key"].to_pylist()]
        assert all(page.versioned and page.resume for page in whole if page.rows.num_rows)


def test_a_large_table_is_cut_by_key_and_nothing_is_lost_at_the_borders(table):
    table.run("CREATE TABLE docs (id PRIMARY KEY, text TEXT, at INT)")
    for kind in ("%d", "k%05d"):
        table.run("DELETE FROM docs")
        table.connection.execute("BEGIN")
        convert = int if kind == "%d" else str
        table.connection.executemany(
            "INSERT INTO docs VALUES (?, ?, ?)", [(convert(kind % (i * i)), f"t{i}", i % 9) for i in range(25_000)]
        )
        table.connection.execute("COMMIT")
        for parameters in ({}, {"cursor": "at", "scan_keys": 7}, {"cursor": "at"}):
            copy = table.copy(**parameters).run()
            assert (splits(copy), copy.doubled) == (4, 0)
            assert copy.texts() == {str(key): text for key, text in table.run("SELECT id, text FROM docs")}
            assert max(copy.arrived.values()) == 1


# --- what the next run finds -------------------------------------------------------------------------------------


def test_a_run_over_nothing_new_plans_nothing(table):
    table.docs()
    copy = table.copy(cursor="at").run().run()
    assert (splits(copy), copy.rows.keys()) == (0, {"1", "2", "3"})


def test_new_and_changed_rows_are_found_and_older_ones_left_alone(table):
    table.docs(5)
    copy = table.copy(cursor="at", overlap="0s").run()
    table.put(6, at="2026-01-02 00:00:00")
    table.put(2, "new text", at="2026-01-02 00:00:01")
    copy.run()
    assert copy.texts() == table.texts()
    assert copy.arrived.keys() == {"2", "5", "6"}  # 5 stands at the old cursor, which is read again (H8)


def test_what_was_committed_late_is_found_within_the_overlap_only(table):
    table.docs(5)
    table.put(9, at="2026-01-01 12:00:00")
    copy = table.copy(cursor="at").run()
    table.put(7, at="2026-01-01 11:50:00")
    table.put(8, at="2026-01-01 11:49:59")
    copy.run()
    assert copy.arrived.keys() == {"7", "9"}
    assert splits(copy.run()) == 0


def test_integer_cursors_overlap_by_a_number(table):
    table.docs(5)
    copy = table.copy(cursor="id", overlap=2).run()
    table.put(3, "changed")
    table.put(2, "not seen")
    table.put(6)
    copy.run()
    assert copy.arrived.keys() == {"3", "4", "5", "6"}


def test_rows_without_a_cursor_are_read_in_a_pass_of_their_own_each_run(table):
    table.docs(3)
    table.run("UPDATE docs SET at = NULL WHERE id = 2")
    copy = table.copy(cursor="at").run()
    assert copy.texts() == table.texts()
    table.run("UPDATE docs SET text = 'silently' WHERE id = 2")
    copy.run()
    assert copy.texts() == table.texts()
    assert copy.arrived.keys() == {"2"}


def test_tombstones_delete_and_undelete(table):
    table.docs(4)
    table.run("ALTER TABLE docs ADD gone")
    table.run("UPDATE docs SET gone = 0 WHERE id = 1")
    copy = table.copy(cursor="at", deleted="gone").run()
    assert copy.texts() == table.texts()
    assert "gone" not in orjson.loads(copy.rows["1"]["meta"])
    table.run("UPDATE docs SET gone = '2026-01-05', at = '2026-01-05 00:00:00', text = NULL WHERE id IN (2, 3)")
    copy.run()
    assert (copy.rows.keys(), copy.deleted, copy.rejects) == ({"1", "4"}, ["2", "3"], [])
    table.run("UPDATE docs SET gone = NULL, at = '2026-01-05 00:00:09', text = 'back' WHERE id = 3")
    copy.run()
    assert copy.texts() == {"1": "text 1", "3": "back", "4": "text 4"}


def test_a_look_at_all_keys_finds_what_was_deleted(table):
    table.docs(100)
    copy = table.copy(cursor="at", scan_keys=7, overlap="5s").run()
    table.run("DELETE FROM docs WHERE id IN (3, 50, 70)")
    copy.run()
    assert (splits(copy), len(copy.rows)) == (0, 100)
    copy.scan_now()
    copy.run()
    assert copy.texts() == table.texts()
    assert copy.state is not None
    assert copy.state.units is not None
    (unit,) = copy.state.units.to_pylist()
    table.put(101)
    table.run("DELETE FROM docs WHERE id = 4")
    copy.scan_now()
    copy.run()
    assert copy.texts() == table.texts()
    (later,) = copy.state.units.to_pylist()
    assert later["ords"][: len(unit["ords"])] == unit["ords"], "rows of earlier runs can still be withdrawn"


@pytest.mark.parametrize("parameters", [{}, {"cursor": "at", "scan_keys": 1}])
def test_a_mass_deletion_stops_the_run_and_can_be_allowed(table, parameters):
    table.docs(100)
    copy = table.copy(**parameters).run()
    table.run("DELETE FROM docs WHERE id <= 6")
    if parameters:
        copy.scan_now()
    with pytest.raises(SourceError, match=r"6 of 100 known keys of table \"docs\" are gone.*max_gone_ratio: 1"):
        copy.run()
    copy.source = table.copy(max_gone_ratio=1, **parameters).source
    assert copy.run().texts() == table.texts()


def test_an_emptied_table_stops_the_run_and_can_be_allowed(table):
    table.docs(3)
    copies = [table.copy().run(), table.copy(cursor="at").run()]
    table.run("DELETE FROM docs")
    for copy, words in zip(copies, ("are gone", "no row of table .* has a cursor any more"), strict=True):
        with pytest.raises(SourceError, match=words):
            copy.run()
    copies[0].source = table.copy(max_gone_ratio=1).source
    assert copies[0].run().rows == {}


def test_without_a_cursor_all_is_read_and_what_is_gone_is_withdrawn(table):
    table.docs(60)
    copy = table.copy().run()
    table.run("DELETE FROM docs WHERE id = 2")
    table.run("UPDATE docs SET text = 'no cursor moved' WHERE id = 3")
    assert copy.run().texts() == table.texts()
    assert copy.plan is not None
    assert (copy.plan.replaced, len(copy.arrived)) == (["rows"], 59)


def test_a_cursor_that_goes_back_stops_the_run_unless_only_the_newest_rows_were_deleted(table):
    table.docs(80)
    copy = table.copy(cursor="at").run()
    table.run("DELETE FROM docs WHERE id > 70")
    assert splits(copy.run()) >= 0
    table.put(81)
    assert "81" in copy.run().rows
    table.run("UPDATE docs SET at = '2025-01-01 00:00:0' || (id % 10)")
    with pytest.raises(SourceError, match=r"went back.*--full-refresh"):
        copy.run()


def test_a_split_that_is_lost_does_not_move_the_cursor(table):
    table.docs(3)
    copy = table.copy(cursor="at").run(lost=0)
    assert (copy.rows, copy.state and copy.state.doc) == ({}, {})
    assert copy.run().texts() == table.texts()
    before = copy.state
    table.put(4)
    copy.run(lost=0)
    assert before is not None
    assert copy.state is not None
    assert copy.state.doc == before.doc
    assert copy.run().texts() == table.texts()


def test_a_backfill_reads_its_window_and_leaves_the_cursor_alone(table):
    table.docs(9)
    copy = table.copy(cursor="at").run()
    table.run("UPDATE docs SET text = 'changed' WHERE id IN (2, 3, 4)")
    before = copy.state
    copy.run(window=Window("2026-01-01 00:00:03", "2026-01-01 00:00:05"))
    assert copy.arrived.keys() == {"3", "4"}
    assert copy.state is not None
    assert before is not None
    assert copy.state.doc == before.doc
    fresh = table.copy(cursor="id").run(window=Window("2", "4"))
    assert (fresh.rows.keys(), fresh.state and fresh.state.doc) == ({"2", "3"}, {})
    assert fresh.run().texts() == table.texts()


def test_a_dropped_column_stops_the_run_if_it_is_mapped_and_is_counted_if_it_is_not(table):
    table.docs()
    copy = table.copy(cursor="at").run()
    table.run("ALTER TABLE docs DROP title")
    table.run("INSERT INTO docs VALUES (4, 'x', '2026-03-01 00:00:00')")
    assert copy.run().warnings == {"sql.columns_changed": 1}
    table.run("ALTER TABLE docs ADD more TEXT")
    assert copy.run().warnings == {"sql.columns_changed": 1}
    table.run("ALTER TABLE docs RENAME COLUMN text TO body")
    with pytest.raises(SourceError, match='text: table "docs" has no column "text"'):
        copy.run()


def test_a_column_dropped_between_plan_and_read_stops_the_run(table):
    table.docs()
    source = table.copy(cursor="at").source
    (split,) = source.plan(None, PlanContext(table.folder)).splits
    table.run("ALTER TABLE docs DROP title")
    with pytest.raises(SourceError, match="title"):
        list(source.read(split, ReadContext(table.folder)))


# --- bad tables --------------------------------------------------------------------------------------------------


def test_cells_that_are_not_utf8_cost_their_row_only(table):
    table.docs(4)
    table.run("UPDATE docs SET text = CAST(x'61ff62' AS TEXT) WHERE id = 2")
    table.run("UPDATE docs SET title = CAST(x'c328' AS TEXT) WHERE id = 3")
    copy = table.copy().run()
    assert copy.rows.keys() == {"1", "4"}
    assert copy.rejects == [("text.encoding", "rows#2"), ("text.encoding", "rows#3")]
    table.run("CREATE TABLE keyed (id TEXT PRIMARY KEY, text TEXT)")
    table.run("INSERT INTO keyed VALUES (CAST(x'61ff' AS TEXT), 'bad key'), ('a', 'a'), ('b', 'b'), ('', 'none')")
    copy = table.copy(table="keyed").run()
    assert copy.rows.keys() == {"a", "b"}
    assert sorted(copy.rejects) == [("id.invalid", "rows#a\\xff"), ("id.missing", 'rows#""')]


def test_nul_in_a_text_is_taken_out_and_counted_and_in_a_key_refused(table):
    table.run("CREATE TABLE docs (id TEXT PRIMARY KEY, text TEXT, title TEXT)")
    table.run(
        "INSERT INTO docs VALUES ('a', 'x' || char(0) || 'y', char(0)), ('b' || char(0), 't', ''), ('c', 'z', 'é')"
    )
    copy = table.copy(batch_rows=1).run()
    assert copy.texts() == {"a": "xy", "c": "z"}
    assert copy.warnings == {"text.nul": 1}
    assert copy.rejects == [("id.invalid", "rows#b\\0")]


def test_null_text_null_key_and_numbers_for_text(table):
    table.run("CREATE TABLE docs (id TEXT UNIQUE, text, at INT)")
    rows = [("a", None, 1), (None, "no key", 2), ("c", 7, 3), ("d", b"bytes", 4), ("e", 1.5, 5), (None, "none", None)]
    for row in rows:
        table.run("INSERT INTO docs VALUES (?, ?, ?)", *row)
    for parameters in ({}, {"cursor": "at"}):
        copy = table.copy(key="id", **parameters).run()
        assert copy.texts() == {"c": "7", "d": "bytes", "e": "1.5"}
        assert sorted(copy.rejects) == [
            ("field.missing", "rows#a"),
            ("id.missing", "rows#?0"),
            ("id.missing", "rows#?1"),
        ]


def test_a_large_cell_is_refused_without_being_read(table):
    table.docs(3)
    table.run("UPDATE docs SET text = zeroblob(9000000) WHERE id = 2")
    table.run("UPDATE docs SET title = hex(zeroblob(2000000)) WHERE id = 3")
    copy = table.copy(max_cell_bytes=1_000_000, batch_rows=1).run()
    assert copy.texts() == {"1": "text 1"}
    assert copy.rejects == [("size.cap", "rows#2"), ("size.cap", "rows#3")]


@pytest.mark.parametrize("kind", ["TEXT", "TEXT NOT NULL"])
@pytest.mark.parametrize("text", ["text", "{text}", "{title}: {text}"])
def test_a_large_cell_is_told_from_one_that_is_null(table, kind, text):
    table.run(f"CREATE TABLE docs (id INTEGER PRIMARY KEY, text {kind}, title TEXT)")
    nothing = "" if "NOT" in kind else None
    for i, row in enumerate([("a", "t"), ("x" * 3000, "t"), ("b", "x" * 3000), (nothing, "t"), ("c", None)]):
        table.run("INSERT INTO docs VALUES (?, ?, ?)", i, *row)
    copy = table.copy(text=text, max_cell_bytes=2000).run()
    assert [origin for code, origin in copy.rejects if code == "size.cap"] == ["rows#1", "rows#2"]
    assert [origin for code, origin in copy.rejects if code == "field.missing"] == (
        ["rows#3"] if nothing is None and "title" not in text else []
    )
    assert {"0", "4"} <= copy.texts().keys()


def test_no_cell_is_taken_for_one_that_is_too_large(table):
    table.run("CREATE TABLE docs (id INTEGER PRIMARY KEY, text, note)")
    for i, (text, note) in enumerate([("\0o12", "\0oabc"), (b"\0o7", b"\0o"), ("x" * 3000, b"y"), (b"z", "w" * 3000)]):
        table.run("INSERT INTO docs VALUES (?, ?, ?)", i, text, note)
    copy = table.copy(max_cell_bytes=2000).run()
    assert copy.texts() == {"0": "o12", "1": "o7"}
    assert copy.rejects == [("size.cap", "rows#2"), ("size.cap", "rows#3")]
    table.run("UPDATE docs SET text = ?", "\0o<p>page</p>")
    copy = table.copy(max_cell_bytes=2000, format="html").run()
    assert [origin for code, origin in copy.rejects if code == "size.cap"] == ["rows#3"]


def test_columns_that_change_their_type_on_the_way_lose_nothing(table):
    table.run("CREATE TABLE docs (id INTEGER PRIMARY KEY, text, url, n)")
    table.run("BEGIN")
    for i in range(3000):
        url = None if i < 2000 else f"u{i}"
        n = [i, f"s{i}", i / 2, None, b"\xff\x00", "x" * 100][i // 500]
        table.run("INSERT INTO docs VALUES (?, ?, ?, ?)", i, i if i < 1000 else f"t{i}", url, n)
    table.run("COMMIT")
    copy = table.copy(url="url").run(batch_bytes=1 << 12)
    assert copy.texts() == {str(i): str(i) if i < 1000 else f"t{i}" for i in range(3000)}
    assert [copy.rows[str(i)]["url"] for i in (0, 1999, 2000, 2999)] == [None, None, "u2000", "u2999"]
    metas = [orjson.loads(copy.rows[str(i)]["meta"])["n"] for i in (1, 501, 1001, 1501, 2001, 2501)]
    assert metas == [1, "s501", 500.5, None, "FF00", "x" * 100]


def test_infinity_becomes_null_and_is_counted(table):
    table.run("CREATE TABLE docs (id INTEGER PRIMARY KEY, text TEXT, r REAL, note TEXT)")
    table.run("INSERT INTO docs VALUES (1, 'a', 9e999, 'e+999'), (2, 'b', -9e999, NULL), (3, 'c', 1e300, 'e+999')")
    copy = table.copy().run()
    assert [orjson.loads(copy.rows[key]["meta"])["r"] for key in "123"] == [None, None, 1e300]
    assert copy.warnings == {"sql.not_finite": 2}


def test_times_in_any_spelling_and_those_that_are_none(table):
    table.run("CREATE TABLE docs (id INTEGER PRIMARY KEY, text TEXT, t)")
    for i, value in enumerate(["2026-01-02", "2026-01-02T03:04:05+02:00", 1767225600, 1767225600123, "soon", None]):
        table.run("INSERT INTO docs VALUES (?, 't', ?)", i, value)
    copy = table.copy(time="t").run()
    found = [copy.rows[str(i)]["time"] for i in range(6)]
    assert found == [
        datetime(2026, 1, 2, tzinfo=UTC),
        datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC),
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1, 0, 0, 0, 123000, tzinfo=UTC),
        None,
        None,
    ]
    assert (copy.warnings, orjson.loads(copy.rows["4"]["meta"])) == ({"time.unparsed": 1}, {"time": "soon"})


def test_keys_of_mixed_types_are_refused(table):
    table.run("CREATE TABLE docs (id PRIMARY KEY, text TEXT)")
    table.run("INSERT INTO docs VALUES (1, 'a'), ('x', 'b')")
    with pytest.raises(SourceError, match='column "id" of table "docs" holds values of several types'):
        table.copy().run()
    table.run("UPDATE docs SET id = CAST(x'ff41' AS TEXT) WHERE id = 'x'")  # SQLite looks at no text
    table.run("INSERT INTO docs VALUES (2, 'c')")
    with pytest.raises(SourceError, match=r"of several types .*udcffA"):
        table.copy().run()


def test_a_key_that_is_none_is_refused(table):
    table.run("CREATE TABLE docs (id INT, text TEXT)")
    table.run("INSERT INTO docs VALUES (1, 'a'), (1, 'b'), (2, 'c')")
    assert "has no primary key" in table.copy().source.check(table.folder)[0]
    with pytest.raises(SourceError, match='1 keys of table "docs" are of more than one row'):
        table.copy(key="id").run()
    (advice,) = [line for line in table.copy(key="id").source.check(table.folder) if "unique" in line]
    assert advice.startswith("note: key: no unique index")


@pytest.mark.parametrize("name", AWKWARD)
def test_b6_names_of_any_kind_are_read_as_they_stand(table, name):
    quoted = '"' + name.replace('"', '""') + '"'
    table.run(f'CREATE TABLE {quoted} ({quoted} INTEGER PRIMARY KEY, text TEXT, "at {name.replace(chr(34), "")}" INT)')
    table.run(f"INSERT INTO {quoted} VALUES (1, 'a', 1), (2, 'b', 2)")
    table.run("CREATE TABLE y (id INTEGER PRIMARY KEY)")
    at = f"at {name.replace(chr(34), '')}"
    for parameters in ({"table": name}, {"table": f"main.{name}"}, {"table": None, "query": f"SELECT * FROM {quoted}"}):
        copy = table.copy(**parameters, key=name, cursor=at).run()
        assert copy.texts() == {"1": "a", "2": "b"}
        copy = table.copy(**parameters, key=name).run()
        assert orjson.loads(copy.rows["1"]["meta"]) == {at: 1}
    assert table.run("SELECT count(*) FROM y") == [(0,)]


def test_a_name_with_a_dot_stands_in_quotes(table):
    table.run('CREATE TABLE "a.b" (id INTEGER PRIMARY KEY, text TEXT)')
    table.run("INSERT INTO \"a.b\" VALUES (1, 't')")
    assert table.copy(table='"a.b"').run().texts() == {"1": "t"}
    assert table.copy(table='main."a.b"').run().texts() == {"1": "t"}
    (problem,) = table.copy(table="a.b").source.check(table.folder)
    assert 'table "a.b" cannot be read' in problem


# --- what is refused before ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"query": "SELECT 1"}, "give either table or query"),
        ({"table": None}, "give either table or query"),
        ({"table": ""}, "is no name"),
        ({"table": "a.b.c.d\0"}, "is no name"),
        ({"table": None, "query": "SELECT 1"}, "name the columns that are unique"),
        ({"table": None, "key": "id", "query": "DELETE FROM docs"}, "begins with no SELECT"),
        ({"table": None, "key": "id", "query": "SELECT 1; DROP TABLE docs"}, "holds a semicolon"),
        ({"table": None, "key": "id", "query": "SELECT 1) AS q; --"}, "bracket that was not opened"),
        ({"table": None, "key": "id", "query": "SELECT (1"}, "bracket that is not closed"),
        ({"table": None, "key": "id", "query": "SELECT 'x"}, "quote that is not closed"),
        ({"table": None, "key": "id", "query": " -- nothing"}, "is empty"),
        ({"key": []}, "name one column"),
        ({"key": ["a", "a"]}, "name one column"),
        ({"overlap": "10m"}, "overlap: needs a cursor"),
        ({"scan_keys": 3}, "scan_keys: needs a cursor"),
        ({"cursor": "at", "overlap": "ten"}, "is no duration"),
        ({"cursor": "at", "overlap": -1}, "cannot be negative"),
        ({"cursor": "at", "horizon": "xmin"}, "needs a table of PostgreSQL"),
        ({"timeout": "0s"}, "is no duration"),
        ({"text": "{a"}, "stray brace"),
    ],
)
def test_parameters_no_run_could_work_with(parameters, words):
    with pytest.raises(ValueError, match=words):
        Sql(**({"dsn": "sqlite:///docs.db", "table": "docs"} | parameters))


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"dsn": "docs.db"}, "dsn: not of the form"),
        ({"dsn": "sqlite://"}, "SQLite needs the path of a file"),
        ({"dsn": "sqlite:///:memory:"}, "SQLite needs the path of a file"),
        ({"dsn": "sqlite:///nope.db"}, "there is no file"),
        ({"dsn": "nosuch+driver://u:hunter22@h/d"}, "install the driver"),
        ({"table": "dcos"}, r"did you mean 'docs'\?"),
        ({"key": "idd"}, r"no column \"idd\"; did you mean 'id'\?"),
        ({"cursor": "when"}, 'no column "when"'),
        ({"text": "body"}, 'no column "body"; it has id, text, at, title'),
        ({"text": "{a} {text}"}, 'no column "a"'),
        ({"deleted": "gone"}, 'no column "gone"'),
        ({"cursor": "at", "overlap": 5}, "give the overlap as a duration"),
        ({"cursor": "id", "overlap": "5m"}, "give the overlap as a number"),
    ],
)
def test_check_says_what_to_do(table, parameters, words):
    table.docs()
    source = table.copy(**parameters).source
    problems = source.check(table.folder)
    if not problems:
        with pytest.raises(SourceError, match=words):
            source.plan(None, PlanContext(table.folder))
        return
    assert "hunter22" not in problems[0]
    assert re.search(words, problems[0]), problems


def test_a_query_is_read_like_a_table(table):
    table.docs(9)
    query = "SELECT id, text || ' :x' AS text, at FROM docs WHERE title <> '12:30' -- all\n;"
    copy = table.copy(table=None, query=query, key="id", cursor="at").run()
    assert copy.texts() == {str(i): f"text {i} :x" for i in range(1, 10)}
    table.put(10)
    assert len(copy.run().rows) == 10


def test_the_database_cannot_be_written(table):
    table.docs()
    source = table.copy(table=None, query="SELECT * FROM docs", key="id").source
    from gristmill.database.connect import connect
    from gristmill.database.dsn import parse

    connection = connect(parse(source.dsn, table.folder), 10)
    try:
        with pytest.raises(SourceError, match=r"readonly|read-only"):
            connection._execute("DELETE FROM docs")
    finally:
        connection.close()


def test_a_state_of_something_else_is_refused(table):
    table.docs()
    copy = table.copy(cursor="at").run()
    copy.source = table.copy(cursor="id").source
    with pytest.raises(SourceError, match=r"the state is not of .* --full-refresh"):
        copy.run()


def test_a_cursor_that_changes_its_type_and_an_overlap_it_cannot_have_are_refused(table):
    table.run("CREATE TABLE docs (id INTEGER PRIMARY KEY, text TEXT, at)")
    table.run("INSERT INTO docs VALUES (1, 'a', 5)")
    copy = table.copy(cursor="at").run()
    table.run("UPDATE docs SET at = 5.5")
    assert copy.run().texts() == table.texts()
    table.run("UPDATE docs SET at = 'v6'")
    with pytest.raises(SourceError, match=r"holds text values now, float at the last run; run with --full-refresh"):
        copy.run()
    assert table.copy(cursor="at").run().texts() == table.texts()
    with pytest.raises(SourceError, match="it can overlap by no duration"):
        table.copy(cursor="at", overlap="5m").run()


def test_the_source_loads_without_its_extra():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['sqlalchemy', 'adbc_driver_manager', 'adbc_driver_postgresql']))\n"
        "from gristmill.sources.sql import Sql; from pathlib import Path\n"
        "sys.stdout.write(Sql(dsn='sqlite:///a.db', table='t').check(Path('.'))[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 'pip install "gristmill[sql]"' in done.stdout


# --- any history --------------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "late", "touch", "delete", "null", "far", "odd", "run", "lost"]), st.integers(0, 12)
    ),
    max_size=30,
)


@settings(max_examples=examples(10), deadline=None)
@given(steps=STEPS, rows=st.integers(1, 5))
def test_h8_any_history_ends_with_the_table(tmp_path_factory, steps, rows):
    table = Table(tmp_path_factory.mktemp("history"))
    try:
        table.docs(0)
        copy = table.copy(cursor="at", scan_keys=1, max_gone_ratio=1, batch_rows=rows)
        now = 1000
        for what, i in steps:
            now += 1
            if what in {"put", "touch"}:
                table.put(i, f"text at {now}", at=f"2026-01-01 00:{now // 60:02d}:{now % 60:02d}")
            elif what == "late":
                table.put(i, f"late at {now}", at=f"2026-01-01 00:{(now - 300) // 60:02d}:{now % 60:02d}")
            elif what == "null":
                table.run("UPDATE docs SET at = NULL, text = ? WHERE id = ?", f"null at {now}", i)
            elif what == "far":  # a wrong year
                table.put(i, f"far at {now}", at=f"{2100 + i}-01-01 00:00:00")
            elif what == "odd":  # bytes among texts
                table.run("UPDATE docs SET at = x'01', text = ? WHERE id = ?", f"odd at {now}", i)
            elif what == "delete":
                table.run("DELETE FROM docs WHERE id = ?", i)
            else:
                try:
                    copy.run(lost=0 if what == "lost" else None)
                except SourceError as error:  # all newest rows at once are more than a deletion is believed to be
                    assert "went back" in str(error) or "has a cursor any more" in str(error)  # noqa: PT017
        table.put(99, at="2026-01-01 01:00:00")
        if copy.state is not None and copy.state.doc:
            copy.scan_now()
        copy.run()
        assert copy.texts() == table.texts()
    finally:
        table.connection.close()


# --- documents in cells --------------------------------------------------------------------------------------------

ARTICLE = "The mill stands by the river and grinds what the carts bring in from the fields, day after day and year after year."
HTML = f"<html lang='en'><head><title>Mill</title></head><body><nav><a href='/'>Home</a></nav><article>{'<p>' + ARTICLE + '</p>'}{'<p>' + ARTICLE[::-1] + '</p>'}</article></body></html>"


def test_html_in_a_column_becomes_its_main_text(table):
    table.run("CREATE TABLE docs (id INTEGER PRIMARY KEY, page, n INT, gone INT)")
    rows = [
        (1, HTML, 0),
        (2, HTML.encode("utf-16"), 0),
        (3, None, 0),
        (4, b"%PDF-1.7 no page", 0),
        (5, HTML, 1),
        (6, "", 0),
    ]
    for i, page, gone in rows:
        table.run("INSERT INTO docs VALUES (?, ?, 7, ?)", i, page, gone)
    table.run("INSERT INTO docs VALUES (8, zeroblob(3000000), 7, 0)")
    copy = table.copy(text="page", format="html", deleted="gone", max_cell_bytes=2_000_000, batch_rows=2).run()
    assert (copy.deleted, ("field.missing", "rows#3") in copy.rejects, ("size.cap", "rows#8") in copy.rejects) == (
        ["5"],
        True,
        True,
    )
    assert "rows#4" in {origin for _, origin in copy.rejects}
    for key in "12":
        assert ARTICLE in copy.rows[key]["text"]
        assert "Home" not in copy.rows[key]["text"]
        meta = orjson.loads(copy.rows[key]["meta"])
        assert (meta["n"], meta["document"]["title"], copy.rows[key]["lang"]) == (7, "Mill", "en")
    assert "resiliparse" in orjson.dumps(orjson.loads(copy.rows["1"]["meta"])["document"]["extractor"]).decode()


def test_what_is_no_pdf_is_refused_and_paths_are(table):
    table.run("CREATE TABLE docs (id INTEGER PRIMARY KEY, page BLOB, j TEXT)")
    table.run("INSERT INTO docs VALUES (1, x'00', '{}')")
    copy = table.copy(text="page", format="pdf").run()
    assert [code.partition(".")[0] for code, _ in copy.rejects] == ["pdf"] or copy.rejects[0][0] == "type.mismatch"
    with pytest.raises(ValueError, match="must be one column"):
        table.copy(text="{page}", format="html")
    with pytest.raises(SourceError, match="must be columns"):
        table.copy(text="page", lang="j.lang", format="html").run()


def test_pdf_in_a_column_becomes_its_text(table):
    table.run("CREATE TABLE docs (id INTEGER PRIMARY KEY, page BLOB)")
    table.run("INSERT INTO docs VALUES (1, ?)", pdfs.plain(("One line", "and another"), info=b"/Title (A title)"))
    copy = table.copy(text="page", format="pdf").run()
    assert copy.texts() == {"1": "One line\nand another"}
    assert orjson.loads(copy.rows["1"]["meta"])["document"]["title"] == "A title"


# --- in a pipeline ---------------------------------------------------------------------------------------------------

ROOT = Path(__file__).resolve().parents[2]


def test_example_and_page_hold_the_same_source_and_load(tmp_path, monkeypatch):
    monkeypatch.setenv("ARTICLES_DSN", "postgresql://reader@host/cms")
    page = (ROOT / "docs" / "sources" / "sql.md").read_text("utf-8")
    shown = re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1]
    (tmp_path / "gristmill.yml").write_text(f"version: 1\ndataset: ./corpus\n{shown}")
    example = ROOT / "examples" / "sources" / "sql" / "gristmill.yml"
    (from_page,), (from_example,) = (load.load(path).sources for path in (tmp_path / "gristmill.yml", example))
    assert from_page.source == from_example.source
    fields = {field.name for field in msgspec.structs.fields(Sql)}
    assert {name for name in fields if f"`{name}`" in page} == fields, "every parameter stands in the page"


def test_a_pipeline_over_a_table_balances_over_days(table):
    table.docs(40)
    (table.folder / "gristmill.yml").write_text(
        "version: 1\ndataset: ./corpus\nsources:\n"
        "  - name: docs\n    sql: {dsn: 'sqlite:///docs.db', table: docs, cursor: at, deleted: gone, scan_keys: 1}\n"
    )
    table.run("ALTER TABLE docs ADD gone INT")

    def run():
        report = gristmill.Pipeline.from_file(table.folder / "gristmill.yml").run()
        laws.assert_laws(table.folder / "corpus", [])
        return report

    def there():
        rows = laws.head_rows(table.folder / "corpus", ["id", "text"]).to_pylist()
        return {row["id"].removeprefix("docs/"): row["text"] for row in rows}

    assert (run().status, there()) == ("published", table.texts())
    assert run().status == "nothing_new"
    table.run("INSERT INTO docs VALUES (50, 'new', '2026-01-01 00:00:50', 't', NULL)")
    table.run("UPDATE docs SET text = 'changed', at = '2026-01-01 00:00:51' WHERE id = 3")
    table.run("UPDATE docs SET gone = 1, at = '2026-01-01 00:00:52' WHERE id = 4")
    report = run()
    assert (report.counts.published, report.counts.withdrawn) == (2, 2)  # 3 anew; its old text and 4 withdrawn
    assert there() == {key: text for key, text in table.texts().items() if key != "4"}


def test_a_cursor_far_in_the_future_is_counted_as_it_hides_what_comes_before_it(table):
    table.docs()
    source = Sql(dsn="sqlite:///docs.db", table="docs", cursor="at")
    assert source.plan(None, PlanContext(table.folder)).warnings == {}
    table.put(9, at="2099-01-01 00:00:00")
    assert source.plan(None, PlanContext(table.folder)).warnings == {"cursor.future": 1}
