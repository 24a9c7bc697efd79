"""The sql export on each database: a table follows the snapshots, and what is in the way is told."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.exports.tables import Mill, some

from gristmill.core.errors import ConfigError, ExportError
from gristmill.exports.sql import Sql


def to(place, **parameters):
    return Sql(**({"dsn": place.dsn, "table": "docs"} | parameters))


# --- following the snapshots ---------------------------------------------------------------------------------------


def test_a_table_follows_additions_revisions_and_withdrawals(mill, place):
    export = to(place)
    for seq, how in ((1, "all"), (2, "changes"), (3, "changes"), (4, "changes")):
        done = mill.load(export, seq)
        assert (done.how, done.rows, done.unfit) == (how, len(mill.texts[seq]), {})
        assert mill.problems(place, export, seq) == []
        assert place.ledger() == [("docs", seq, len(mill.texts[seq]))]
        assert mill.load(export, seq).how == "nothing"
    assert place.tables() == {"docs", "gristmill_ledger"}


def test_it_jumps_over_snapshots_and_back(mill, place):
    export = to(place)
    for seq in (2, 4, 1, 3):
        mill.load(export, seq)
        assert mill.problems(place, export, seq) == []


def test_only_what_changed_is_written(mill, place):
    export = to(place)
    mill.load(export, 1)
    done = mill.load(export, 2)
    whole_rows = place.name == "mariadb"  # a revised row is deleted and inserted there
    assert (done.put, done.taken) == (9, 8 if whole_rows else 4)
    done = mill.load(export, 2, thorough=True)
    assert (done.how, done.put, done.taken) == ("nothing", 0, 0)


def test_an_emptied_damaged_or_dropped_table_is_made_whole(mill, place):
    export = to(place)
    mill.load(export, 2)
    for damage in ("DELETE FROM docs", "DELETE FROM docs WHERE id = 'files/d4'", "DROP TABLE docs"):
        place.run(damage)
        assert mill.problems(place, export, 2) if "DROP" not in damage else export.verify(mill.head(2), mill.folder)
        assert mill.load(export, 2).how == "all"
        assert mill.problems(place, export, 2) == []
    place.run("DELETE FROM docs WHERE id = 'files/d4'")
    assert mill.load(export, 3).how == "all"
    assert mill.problems(place, export, 3) == []
    place.run("DROP TABLE gristmill_ledger", "DELETE FROM docs")
    assert mill.load(export, 3).how == "all"
    assert mill.problems(place, export, 3) == []


DIES = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")
connection.execute("BEGIN IMMEDIATE")
connection.execute("CREATE TABLE other AS SELECT randomblob(100000) FROM docs")
connection.execute("UPDATE docs SET text = text || randomblob(5000)")
os._exit(1)
"""


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
@pytest.mark.parametrize("thorough", [False, True])
def test_what_a_process_that_died_left_half_written_in_sqlite_is_rolled_back(mill, place, thorough):
    export = to(place)
    mill.load(export, 1)
    file = place.dsn.removeprefix("sqlite:///")
    subprocess.run([sys.executable, "-c", DIES, file], check=False, timeout=60)
    assert Path(f"{file}-journal").stat().st_size > 0
    mill.load(export, 2, thorough=thorough)
    assert mill.problems(place, export, 2) == []
    assert place.tables() == {"docs", "gristmill_ledger"}


def test_a_value_changed_by_hand_is_found_by_verify_and_mended_by_export(mill, place):
    export = to(place)
    mill.load(export, 2)
    place.run(
        "UPDATE docs SET text = 'another' WHERE id = 'files/d4'", "UPDATE docs SET url = NULL WHERE id = 'files/d6'"
    )
    assert mill.load(export, 2).how == "nothing"  # a run goes by counts
    assert export.verify(mill.head(2), mill.folder) == [
        'table "docs" has other values than the snapshot in text, url'
    ] or (
        place.name == "postgresql"
        and export.verify(mill.head(2), mill.folder)
        == ['table "public.docs" has other values than the snapshot in text, url']
    )
    done = mill.load(export, 2, thorough=True)
    assert done.how == "all"
    assert place.name == "mariadb" or (done.put, done.taken) == (2, 0)
    assert mill.problems(place, export, 2) == []


def test_rows_of_others_stop_a_load_or_are_deleted_if_so_told(mill, place):
    export = to(place)
    mill.load(export, 1)
    place.run("CREATE TABLE other AS SELECT * FROM docs WHERE id = 'files/d1'", "UPDATE other SET id = 'mine'")
    place.run("INSERT INTO docs SELECT * FROM other")
    before = place.rows("docs", "id", "text")
    for seq in (1, 2):
        with pytest.raises(ConfigError, match="holds 41 rows, 40 of which gristmill put there"):
            mill.load(export, seq)
    assert place.rows("docs", "id", "text") == before
    done = mill.load(to(place, extra_rows="delete"), 2)
    assert done.how == "all"
    assert mill.problems(place, export, 2) == []
    # as many as were deleted: a count does not tell, looking does
    place.run("DELETE FROM docs WHERE id = 'files/d1'", "INSERT INTO docs SELECT * FROM other")
    assert mill.load(export, 2).how == "nothing"
    assert "other ids" in export.verify(mill.head(2), mill.folder)[0]
    if place.name != "mariadb":
        with pytest.raises(ConfigError, match="rows, 41 of which"):
            mill.load(export, 2, thorough=True)
    mill.load(to(place, extra_rows="delete"), 2, thorough=True)
    assert mill.problems(place, export, 2) == []


def test_a_table_with_rows_is_not_taken_over(mill, place):
    place.run(
        "CREATE TABLE docs (id VARCHAR(100) PRIMARY KEY, text TEXT)", "INSERT INTO docs VALUES ('mine', 'precious')"
    )
    export = to(place, columns={"id": "id", "text": "text"})
    with pytest.raises(ConfigError, match="holds 1 rows, 0 of which gristmill put there"):
        mill.load(export, 1)
    assert place.rows("docs", "id", "text") == [("mine", "precious")]
    mill.load(to(place, columns={"id": "id", "text": "text"}, extra_rows="delete"), 1)
    assert mill.problems(place, export, 1) == []


def test_a_table_of_another_dataset_is_refused(mill, place, tmp_path):
    export = to(place)
    mill.load(export, 1)
    other = Mill(tmp_path / "other").put(*some(3))
    other.run()
    with pytest.raises(ConfigError, match="holds another dataset, by its row in gristmill_ledger"):
        other.load(export, 1)
    assert "holds another dataset" in export.verify(other.head(1), other.folder)[0]
    assert mill.problems(place, export, 1) == []
    place.run("DELETE FROM gristmill_ledger WHERE target = 'docs'")
    other.load(to(place, extra_rows="delete"), 1)
    assert other.problems(place, export, 1) == []


def test_a_ledger_of_a_snapshot_that_is_not_known_leads_to_all_rows(mill, place):
    export = to(place)
    mill.load(export, 1)
    for change in ("snapshot = 77", "manifest = 'of another history'"):
        place.run(f"UPDATE gristmill_ledger SET {change} WHERE target = 'docs'")
        assert mill.load(export, 2).how == "all"
        assert mill.problems(place, export, 2) == []


# --- columns -------------------------------------------------------------------------------------------------------

COLUMNS = {
    "key": "id",
    "body": "text",
    "year": {"field": "meta.year", "type": "int"},
    "words": "meta.deep.list",
    "all": {"field": "meta.deep", "type": "json"},
    "score": {"field": "meta.score", "type": "float"},
    "flag": {"field": "meta.is", "type": "bool"},
    "at": "time",
}


def test_columns_take_fields_and_paths_of_meta(mill, place):
    import msgspec

    export = msgspec.convert({"dsn": place.dsn, "table": "docs", "columns": COLUMNS}, Sql)
    done = mill.load(export, 1)
    assert done.unfit == {}
    (row,) = [row for row in place.rows("docs", "key", "year", "words", "score", "flag") if row[0] == "files/d0"]
    assert row == ("files/d0", 1999, '[1,"zwei"]', 0.5, True)
    assert export.verify(mill.head(1), mill.folder) == []
    assert mill.load(export, 2).unfit == {"year": 1}  # it says MM
    assert ("files/d0", None) in place.rows("docs", "key", "year")
    assert export.verify(mill.head(2), mill.folder) == []
    strict = msgspec.structs.replace(export, unfit="fail")
    with pytest.raises(ExportError, match=r'column "year": 1 values of meta\.year are no int'):
        mill.load(strict, 2)


def test_changed_columns_are_added_and_filled(mill, place):
    mill.load(to(place, columns={"id": "id", "text": "text"}), 1)
    export = to(place, columns={"id": "id", "text": "text", "lang": "lang", "year": "meta.year"})
    assert mill.load(export, 1).how == "all"
    assert ("files/d0", None, "1999") in place.rows("docs", "id", "lang", "year")
    assert mill.problems(place, export, 1) == []
    fewer = to(place, columns={"id": "id", "text": "text"})
    mill.load(fewer, 2)
    assert mill.problems(place, fewer, 2) == []


def test_a_column_of_ones_own_keeps_its_values(mill, place):
    if place.name == "mariadb":
        pytest.skip("a revised row is deleted and inserted there, as the page says")
    export = to(place)
    mill.load(export, 1)
    place.run("ALTER TABLE docs ADD COLUMN mine TEXT", "UPDATE docs SET mine = id")
    mill.load(export, 2)
    assert ("files/d3", "Revised 3.", "files/d3") in place.rows("docs", "id", "text", "mine")
    assert ("files/d100", "The text of d100.", None) in place.rows("docs", "id", "text", "mine")
    mill.load(to(place, unfit="fail"), 3)  # another digest: all rows are compared
    assert ("files/d3", "All new: d3.", "files/d3") in place.rows("docs", "id", "text", "mine")


ODD = ["do\"u`b'le; DROP TABLE precious; --", "select", "Ünïcödé 漢字 per%cent %s co:lon br(ack)[0] \\n"]


def test_odd_names_are_names(mill, place):
    place.run("CREATE TABLE precious (id INTEGER)")
    for name in ODD:
        table = '"' + name.replace('"', '""') + '"'
        columns = {f"{name} id": "id", f"{name} text": "text", f"{name} year": "meta.year"}
        export = to(place, table=table, columns=columns)
        assert mill.load(export, 1).rows == 40
        assert mill.load(export, 2).how == "changes"
        more = to(place, table=table, columns=columns | {f"{name} lang": "lang"})
        assert export.check(mill.folder) == more.check(mill.folder) == []
        mill.load(more, 2)
        assert more.verify(mill.head(2), mill.folder) == []
        assert dict(place.rows(name, *list(columns)[:2])) == mill.texts[2]
    assert "precious" in place.tables()


def test_injected_values_are_values(tmp_path, place):
    place.run("CREATE TABLE precious (id INTEGER)")
    bad = [
        "'; DROP TABLE precious; --",
        "\\'; DROP TABLE precious; --",
        "\\",
        "%s %(c0)s :c0 ?",
        "\\N",
        "\\.",
        "', '",
        "$1",
        "NULL",
    ]
    mill = Mill(tmp_path / "mill").put(
        *({"id": text, "text": f"{text} in a text", "url": text, "k": text} for text in bad)
    )
    mill.run()
    export = to(place)
    mill.load(export, 1)
    assert mill.problems(place, export, 1) == []
    mill.take(*bad[:4]).run()
    mill.load(export, 2)
    assert mill.problems(place, export, 2) == []
    assert "precious" in place.tables()


def test_ids_that_differ_little_differ(tmp_path, place):
    ids = ["a", "A", "á", "a ", " a", "ａ", "a\u0301", "ß", "ss", "x" * 700]
    mill = Mill(tmp_path / "mill").put(*({"id": each, "text": f"{each!r} is one"} for each in ids))
    mill.run()
    export = to(place)
    mill.load(export, 1)
    assert mill.problems(place, export, 1) == []
