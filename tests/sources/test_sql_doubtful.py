"""The sql source and rows it cannot take at their word: cursors of times to come or of other types, odd tombstones, no key."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.database.tables import Table

from gristmill.core.errors import ConfigError, SourceError, SourceMisconfigured
from gristmill.core.source import PlanContext, ReadContext, Reject, Window

NOW = datetime.now(UTC).replace(tzinfo=None)


def ago(**units: float) -> str:
    return (NOW - timedelta(**units)).isoformat(" ", "seconds")


def ahead(**units: float) -> str:
    return (NOW + timedelta(**units)).isoformat(" ", "seconds")


def state_of(copy):
    assert copy.state is not None
    return copy.state.doc


# --- cursors of times to come -------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False], ids=["in the first run", "in a later one"])
def test_a_row_of_a_time_to_come_hides_none_that_comes_after_it(table, first):
    table.docs(0)
    table.put(1, at=ago(days=3))
    if first:
        table.put(9, at="2099-01-01 00:00:00")
    copy = table.copy(cursor="at").run()
    table.put(9, at="2099-01-01 00:00:00")
    table.put(2, at=ago(days=2))
    copy.run()
    assert (copy.texts(), copy.warnings) == (table.texts(), {"cursor.future": 1})
    assert state_of(copy)["cursor"] == ["text", ago(days=2)]
    for i in (3, 4):
        table.put(i, at=ago(hours=5 - i))
        assert copy.run().texts() == table.texts()
    assert len(copy.run().plan.splits) == 0, "nothing moved, so nothing is read, not even the row ahead"
    assert copy.warnings == {"cursor.future": 1}


def test_a_row_ahead_is_read_again_when_anything_changed_and_settles_when_its_time_has_come(table):
    table.docs(0)
    table.put(1, at=ago(days=3))
    table.put(9, at="2099-01-01 00:00:00")
    copy = table.copy(cursor="at").run()
    table.put(9, "mended", at=ago(days=1))
    table.put(8, "also far", at="2098-01-01 00:00:00")
    copy.run()
    assert (copy.texts(), copy.arrived.keys()) == (table.texts(), {"1", "8", "9"})
    assert state_of(copy)["cursor"] == ["text", ago(days=1)]
    table.run("DELETE FROM docs WHERE id = 8")
    table.put(2, at=ago(hours=23))
    assert "2" in copy.run().rows


def test_clocks_that_differ_by_hours_are_no_news_and_move_nothing_too_far(table):
    table.docs(0)
    table.put(1, at=ago(days=3))
    table.put(2, at=ahead(hours=9))
    copy = table.copy(cursor="at").run()
    assert (copy.texts(), copy.warnings) == (table.texts(), {})
    assert state_of(copy)["cursor"] == ["text", ago(days=3)]


def test_a_table_that_lies_ahead_as_a_whole_is_read_as_a_whole(table):
    table.docs(0)
    for i in range(5):
        table.put(i, at=f"2099-01-01 00:00:0{i}")
    copy = table.copy(cursor="at").run()
    assert (copy.texts(), copy.warnings, state_of(copy).get("cursor")) == (table.texts(), {"cursor.future": 5}, None)
    table.run("UPDATE docs SET text = 'changed', at = ? WHERE id = 3", ago(hours=1))
    table.run("DELETE FROM docs WHERE id = 4")
    assert copy.run().texts() == table.texts()
    assert state_of(copy)["cursor"] == ["text", ago(hours=1)]


@pytest.mark.parametrize("word", ["never", "~", "9999"])
def test_a_text_among_times_that_sorts_after_them_all_hides_nothing(table, word):
    table.docs(0)
    table.put(1, at=ago(days=3))
    table.put(9, at=word)
    copy = table.copy(cursor="at", overlap="1h").run()
    table.put(2, at=ago(days=2))
    assert copy.run().texts() == table.texts()
    assert copy.warnings == {"cursor.future": 1}


def test_a_text_that_is_no_time_has_no_clock(table):
    table.docs(0)
    for i, word in enumerate(["a", "b", "zz"]):
        table.put(i, at=word)
    copy = table.copy(cursor="at").run()
    assert (copy.warnings, state_of(copy)["cursor"]) == ({}, ["text", "zz"])


def test_a_window_without_end_does_not_take_the_cursor_ahead_of_the_clock(table):
    table.docs(0)
    table.put(1, at=ago(days=3))
    table.put(9, at="2099-01-01 00:00:00")
    copy = table.copy(cursor="at").run(window=Window(since=ago(days=4)))
    assert copy.texts() == table.texts()
    table.put(2, at=ago(days=2))
    assert copy.run().texts() == table.texts()


def test_the_guard_against_a_cursor_that_goes_back_is_not_fooled_by_a_row_ahead(table):
    table.docs(80)
    table.put(99, at="2099-01-01 00:00:00")
    copy = table.copy(cursor="at").run()
    table.run("UPDATE docs SET at = '2025-01-01 00:00:0' || (id % 10) WHERE id < 99")
    with pytest.raises(SourceError, match="went back"):
        copy.run()


# --- cursors of several types -------------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", ["soon", "", b"\x01"], ids=repr)
def test_a_cursor_of_another_type_costs_its_row_a_look_each_run_and_stops_nothing(table, odd):
    table.run("CREATE TABLE docs (id INTEGER PRIMARY KEY, text TEXT, v)")
    for i, v in enumerate([5, 6.5, odd, None]):
        table.run("INSERT INTO docs VALUES (?, ?, ?)", i, f"text {i}", v)
    copy = table.copy(cursor="v", overlap=1).run()
    assert (copy.texts(), copy.warnings) == (table.texts(), {"cursor.type": 1})
    (note,) = [advice for advice in copy.source.check(table.folder) if "hold no number" in advice]
    assert note.startswith(
        'note: cursor: 1 rows of table "docs" hold no number in v, as the others do (2); they are read'
    )
    table.run("UPDATE docs SET text = 'silently' WHERE id = 2")
    table.run("INSERT INTO docs VALUES (7, 'new', 7)")
    copy.run()
    assert (copy.texts(), copy.arrived.keys()) == (table.texts(), {"1", "2", "3", "7"})
    table.run("UPDATE docs SET v = 8 WHERE id = 2")
    copy.run()
    assert (copy.texts(), copy.warnings, float(state_of(copy)["cursor"][1])) == (table.texts(), {}, 8)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_fractions_among_integers_are_read_once_each(table, rows):
    table.run("CREATE TABLE docs (id INTEGER PRIMARY KEY, text TEXT, v)")
    for i, v in enumerate([1, 1.5, 2, 2.5, 2.5, 3]):
        table.run("INSERT INTO docs VALUES (?, ?, ?)", i, f"text {i}", v)
    copy = table.copy(cursor="v", batch_rows=rows).run()
    table.run("UPDATE docs SET text = text || '!', v = v + 3")
    assert copy.run().texts() == table.texts()
    assert max(copy.arrived.values()) == 1


def test_what_a_cursor_held_at_the_last_run_says_which_type_is_the_odd_one(table):
    table.run("CREATE TABLE docs (id INTEGER PRIMARY KEY, text TEXT, v)")
    table.run("INSERT INTO docs VALUES (1, 'a', 5)")
    copy = table.copy(cursor="v").run()
    for i in range(2, 9):
        table.run("INSERT INTO docs VALUES (?, 'b', ?)", i, f"v{i}")
    assert copy.run().texts() == table.texts()
    assert (copy.warnings, state_of(copy)["cursor"]) == ({"cursor.type": 7}, ["int", 5])
    fresh = table.copy(cursor="v").run()
    assert (fresh.warnings, state_of(fresh)["cursor"]) == ({"cursor.type": 1}, ["text", "v8"])
    assert fresh.texts() == table.texts()


def test_a_key_of_another_type_stops_the_run_and_is_named(table):
    table.run("CREATE TABLE docs (id PRIMARY KEY, text TEXT)")
    table.run("INSERT INTO docs VALUES (1, 'a'), (2, 'b'), ('x7', 'c')")
    with pytest.raises(
        SourceError, match=r'key: column "id" of table "docs" holds .* \(2 integer, 1 text; one text is "x7"\)'
    ):
        table.copy().run()


@pytest.mark.parametrize("declared", ["INT", ""])
def test_an_emptied_table_with_a_cursor_of_numbers_is_called_that(table, declared):
    table.run(f"CREATE TABLE docs (id INTEGER PRIMARY KEY, text TEXT, v {declared})")
    source = table.copy(cursor="v", overlap=2)
    assert source.run().rows == {}
    table.run("INSERT INTO docs VALUES (1, 'a', 5)")
    copy = source.run()
    assert copy.texts() == {"1": "a"}
    table.run("DELETE FROM docs")
    with pytest.raises(SourceError, match=r'no row of table "docs" has a cursor any more.*max_gone_ratio: 1') as told:
        copy.run()
    assert not isinstance(told.value, ConfigError)
    copy.source = table.copy(cursor="v", overlap=2, max_gone_ratio=1, scan_keys=1).source
    copy.run()
    table.run("INSERT INTO docs VALUES (6, 'later', 6)")
    assert "6" in copy.run().rows


# --- tombstones ---------------------------------------------------------------------------------------------------

THERE = [None, 0, 0.0, "0", "false", "F", "no", "off", "", "0000-00-00 00:00:00"]
GONE = [1, 2.5, "1", "true", "T", "Yes", "on", "2026-01-05", "2026-01-05T03:04:05Z", 1767225600]
NEITHER = ["archived", "deleted", b"\xff"]


@pytest.mark.parametrize("declared", ["", "TEXT", "INT"])
def test_tombstones_mean_what_they_say(table, declared):
    table.run(f"CREATE TABLE docs (id INTEGER PRIMARY KEY, text TEXT, v INT, gone {declared})")
    words = THERE + GONE + NEITHER
    for i, word in enumerate(words):
        table.run("INSERT INTO docs VALUES (?, 't', ?, ?)", i, i, word)
    for parameters in ({}, {"cursor": "v", "scan_keys": 1}):
        copy = table.copy(deleted="gone", **parameters).run()
        assert copy.rows.keys() == {str(i) for i in range(len(THERE))}
        assert copy.deleted == [str(i) for i in range(len(THERE), len(THERE + GONE))]
        assert sorted(copy.rejects) == sorted(
            [("deleted.unknown", "rows#20"), ("deleted.unknown", "rows#21"), ("text.encoding", "rows#22")]
        )


def test_a_look_at_all_keys_finds_what_was_marked_deleted_without_its_cursor_moving(table):
    table.docs(3)
    table.run("ALTER TABLE docs ADD gone TEXT")
    copy = table.copy(cursor="at", deleted="gone", scan_keys=1).run()
    table.run("UPDATE docs SET gone = CASE id WHEN 1 THEN 'no' WHEN 2 THEN 'yes' ELSE 'perhaps' END")
    copy.scan_now()
    copy.run()
    assert copy.rows.keys() == {"1", "3"}, "what says neither is not withdrawn by a guess"


def test_what_was_published_of_a_row_stands_while_its_tombstone_says_neither(table):
    table.docs(3)
    table.run("ALTER TABLE docs ADD gone TEXT")
    copy = table.copy(deleted="gone").run()
    table.run("UPDATE docs SET gone = 'perhaps', text = 'unseen' WHERE id = 2")
    copy.run()
    assert copy.plan is not None
    assert copy.plan.replaced == ["rows"], "what is not seen in this run is withdrawn"
    assert (copy.texts(), copy.rejects) == (
        {"1": "text 1", "2": "text 2", "3": "text 3"},
        [("deleted.unknown", "rows#2")],
    )


# --- rows without a key -------------------------------------------------------------------------------------------


def rejects(table: Table, **parameters) -> list[Reject]:
    source = table.copy(**parameters).source
    plan = source.plan(None, PlanContext(table.folder))
    context = ReadContext(table.folder)
    return [each for split in plan.splits for page in source.read(split, context) for each in page.rejects]


def test_rows_without_a_key_are_told_apart_by_number_cursor_and_size(table):
    table.run("CREATE TABLE docs (a TEXT, b INT, text TEXT, at TEXT, UNIQUE (a, b))")
    table.run("INSERT INTO docs VALUES (NULL, 4, 'secret words', '2026-01-02 03:04:05'), (NULL, NULL, 'x', 'private')")
    table.run("INSERT INTO docs VALUES ('a', 1, 'good', '2026-01-01 00:00:00')")
    first, second = rejects(table, key=["a", "b"], cursor="at")
    assert (first.code, first.origin) == ("id.missing", "rows#?0")
    assert first.detail == "the key is NULL, beside it 4; its cursor is 2026-01-02 03:04:05"
    assert first.bytes >= len("secret words")
    assert (second.origin, second.detail) == ("rows#?1", "the key is NULL"), "a text in the cursor is told to nobody"
    (alone, also) = rejects(table, key=["a", "b"])
    assert (alone.origin, also.origin) == ("rows#?0", "rows#?1")


def test_keys_that_are_empty_or_no_text_are_told_as_they_are(table):
    table.run("CREATE TABLE docs (id TEXT PRIMARY KEY, text TEXT)")
    table.run("INSERT INTO docs VALUES ('', 'five!'), (CAST(x'61ff' AS TEXT), 'two'), ('n' || char(0), 'three')")
    found = sorted((each.code, each.origin, each.bytes > 0) for each in rejects(table))
    assert found == [
        ("id.invalid", "rows#a\\xff", True),
        ("id.invalid", "rows#n\\0", True),
        ("id.missing", 'rows#""', True),
    ]


# --- what the config asks for and is not there ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "window", "words"),
    [
        ({"cursor": "when"}, Window(), 'cursor: table "docs" has no column "when"'),
        ({"key": "idd"}, Window(), 'key: table "docs" has no column "idd"'),
        ({"text": "body"}, Window(), 'text: table "docs" has no column "body"'),
        ({"deleted": "gone"}, Window(), 'deleted: table "docs" has no column "gone"'),
        ({"table": "dcos"}, Window(), r"did you mean 'docs'\?"),
        ({"cursor": "id", "overlap": "5m"}, Window(), "give the overlap as a number"),
        ({"cursor": "at", "overlap": 5}, Window(), "give the overlap as a duration"),
        ({}, Window("1", "2"), "needs a cursor column"),
        ({"cursor": "id"}, Window("yesterday", None), "no value of the cursor"),
        ({"cursor": "id"}, Window("9", "10"), None),
        ({"cursor": "id"}, Window("10", "9"), "it ends before it begins"),
        ({"cursor": "id"}, Window("9", "9"), "it ends before it begins, or there"),
        ({"cursor": "at"}, Window("2026-05-01", "2026-02-01"), "it ends before it begins"),
    ],
)
def test_what_a_config_asks_for_in_vain_is_a_mistake_of_the_config(table, parameters, window, words):
    table.docs()
    source = table.copy(**parameters).source
    if words is None:
        source.plan(None, PlanContext(table.folder, window))
        return
    with pytest.raises(ConfigError, match=words) as told:
        source.plan(None, PlanContext(table.folder, window))
    of_the_source = (
        window == Window()
    )  # what a table has not may be left out by on_error: skip, a wrong command may not
    assert isinstance(told.value, SourceMisconfigured) is isinstance(told.value, SourceError) is of_the_source
    assert told.value.exit_code == 2
