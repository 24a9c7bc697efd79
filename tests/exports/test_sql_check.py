"""What `check` says of a table before anything is loaded, and that it changes nothing; what a load refuses."""

import os
import re

import pytest
from tests.exports.tables import Mill, some

from gristmill.core.errors import ConfigError, ExportError, Transient
from gristmill.exports.sql import Sql

TWO = {"id": "id", "text": "text"}


def to(place, **parameters):
    return Sql(**({"dsn": place.dsn, "table": "docs"} | parameters))


def test_check_of_an_empty_database_finds_nothing_and_makes_nothing(mill, place):
    assert to(place).check(mill.folder) == []
    if place.name == "sqlite":
        assert not place.path.exists()
    else:
        assert place.tables() == set()
    problem = to(place, create=False).check(mill.folder)[0]
    assert "set create: true" in problem
    with pytest.raises(ConfigError, match="set create: true"):
        mill.load(to(place, create=False), 1)


def test_a_table_of_ones_own_making_is_filled_as_it_is(mill, place):
    place.run(
        "CREATE TABLE docs (id VARCHAR(200) PRIMARY KEY, text TEXT NOT NULL, mine INTEGER DEFAULT 7, lang VARCHAR(5))"
    )
    export = to(place, columns=TWO | {"lang": "lang"})
    assert export.check(mill.folder) == []
    for seq in (1, 2, 4):
        mill.load(export, seq)
        assert mill.problems(place, export, seq) == []
    assert {row[2] for row in place.rows("docs", "id", "text", "mine")} == {7}


def test_without_create_table_and_ledger_must_be_there(mill, place):
    export = to(place, columns=TWO, create=False)
    place.run("CREATE TABLE docs (id VARCHAR(200) PRIMARY KEY, text TEXT)")
    assert any("gristmill_ledger" in problem for problem in export.check(mill.folder))
    with pytest.raises(ConfigError, match="there is no ledger beside") as refused:
        mill.load(export, 1)
    place.run(str(refused.value).partition("run: ")[2])
    assert export.check(mill.folder) == []
    mill.load(export, 1)
    assert mill.problems(place, export, 1) == []
    assert 'has no column "lang"' in to(place, columns=TWO | {"lang": "lang"}, create=False).check(mill.folder)[0]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ("id INTEGER PRIMARY KEY, text TEXT", r'column "id" of table ".*docs" is of type .*, which cannot hold id \(text\)'),
        ("id VARCHAR(50) PRIMARY KEY, text INTEGER", r'column "text" of .* is of type .*, which cannot hold text'),
        ("id VARCHAR(50) PRIMARY KEY, text NUMERIC(9,2)", "which cannot hold text"),
        ("id VARCHAR(50), text TEXT", r'has no unique index on "id" alone'),
        ("id VARCHAR(50), text VARCHAR(90), PRIMARY KEY (id, text)", r'has no unique index on "id" alone'),
        ("id VARCHAR(50) PRIMARY KEY, text TEXT, mine TEXT NOT NULL", r'column "mine" of .* needs a value and is not in columns:'),
        ("text TEXT", r'has no unique index on "id" alone'),
    ],
)  # fmt: skip
def test_a_table_that_will_not_do_is_told(mill, place, columns, words):
    place.run(f"CREATE TABLE docs ({columns})")
    export = to(place, columns=TWO)
    told = export.check(mill.folder)
    assert any(re.search(words, problem) for problem in told), told
    with pytest.raises(ConfigError, match=words):
        mill.load(export, 1)
    assert place.tables() == {"docs"}
    assert place.rows("docs", "text") == []


def test_a_view_is_told(mill, place):
    place.run("CREATE TABLE t (id VARCHAR(50) PRIMARY KEY, text VARCHAR(100))", "CREATE VIEW docs AS SELECT * FROM t")
    assert "is a view; name a table" in to(place, columns=TWO).check(mill.folder)[0]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"columns": {"text": "text"}}, "exactly one column must be filled from id"),
        ({"columns": {"id": "id", "again": "id"}}, "exactly one column must be filled from id"),
        ({"columns": {"id": "id", "t": "txt"}}, "there is no field 'txt'; did you mean 'text'"),
        ({"columns": {"id": "id", "t": "meta."}}, "is no path; write meta.key"),
        ({"columns": {"id": "id", "": "text"}}, "is no name of a column"),
        ({"table": "a.b.c"}, "is no name"),
        ({"dsn": "sqlite:///x.db", "table": "s.docs"}, "SQLite has no schemas"),
        ({"wait": "soon"}, "is no duration"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(parameters, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        Sql(**({"dsn": "sqlite:///x.db", "table": "docs"} | parameters))


# --- PostgreSQL ----------------------------------------------------------------------------------------------------


def test_types_and_key_of_a_table_made_in_postgresql(mill, pg):
    mill.load(Sql(dsn=pg.dsn, table="docs"), 1)
    types = dict(pg.run("SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'docs'"))
    assert types == {
        **dict.fromkeys(("id", "text", "source", "origin", "url", "lang", "script", "license"), "text"),
        **dict.fromkeys(("time", "fetched_at"), "timestamp with time zone"),
        "lang_score": "real",
        "meta": "jsonb",
        "content_hash": "bytea",
        **dict.fromkeys(("ord", "seq"), "bigint"),
    }
    found = pg.run("SELECT time::text, meta->>'year', octet_length(content_hash) FROM docs WHERE id = 'files/d0'")
    assert found == [(None, "1999", 16)]
    assert pg.run("SELECT (time AT TIME ZONE 'UTC')::text FROM docs WHERE id = 'files/d1'") == [
        ("2026-01-02 03:04:05.678901",)
    ]
    assert pg.run("SELECT conname FROM pg_constraint WHERE conrelid = 'docs'::regclass AND contype = 'p'") == [
        ("docs_pkey",)
    ]


def test_a_schema_of_its_own(mill, pg):
    export = Sql(dsn=pg.dsn, table='"My Schema".docs')
    assert export.check(mill.folder) == ['there is no schema "My Schema"; make it']
    with pytest.raises(ExportError, match='schema "My Schema" does not exist'):
        mill.load(export, 1)
    pg.run('DROP SCHEMA IF EXISTS "My Schema" CASCADE', 'CREATE SCHEMA "My Schema"')
    mill.load(export, 1)
    mill.load(export, 2)
    assert export.verify(mill.head(2), mill.folder) == []
    assert pg.run('SELECT snapshot FROM "My Schema".gristmill_ledger') == [(2,)]
    assert pg.run("SELECT to_regclass('public.docs') IS NULL") == [(True,)]
    pg.run('DROP SCHEMA "My Schema" CASCADE')


def test_other_types_that_hold_the_values_are_filled_through_a_cast(mill, pg):
    pg.run(
        "CREATE TABLE docs (id varchar(200) PRIMARY KEY, text text, at timestamp, ord int8, n int2, meta json, score float8)"
    )
    columns = TWO | {"at": "time", "ord": "ord", "n": "meta.year", "meta": "meta", "score": "lang_score"}
    export = Sql(dsn=pg.dsn, table="docs", columns=columns)
    for seq in (1, 2):
        assert mill.load(export, seq).unfit == ({} if seq == 1 else {"n": 1})
        assert export.verify(mill.head(seq), mill.folder) == []
    assert pg.run("SELECT at::text FROM docs WHERE id = 'files/d1'") == [("2026-01-02 03:04:05.678901",)]
    pg.run("ALTER TABLE docs ALTER at TYPE timestamptz(3)")
    assert "is of type timestamptz(3), which cannot hold time" in export.check(mill.folder)[0]


def test_rights_that_are_missing_are_told(mill, pg):
    pg.run("DROP ROLE IF EXISTS writer", "CREATE ROLE writer LOGIN", "REVOKE ALL ON SCHEMA public FROM public, writer")
    pg.run("GRANT USAGE ON SCHEMA public TO writer")
    dsn = pg.dsn.replace("postgres@", "writer@")
    export = Sql(dsn=dsn, table="docs")
    assert 'may make no tables in schema "public"' in export.check(mill.folder)[0]
    with pytest.raises(ExportError, match="permission denied for schema public"):
        mill.load(export, 1)
    mill.load(Sql(dsn=pg.dsn, table="docs"), 1)
    told = export.check(mill.folder)
    assert 'may not SELECT, INSERT, UPDATE, DELETE on table "public.docs"' in told[0]
    assert "may not SELECT, INSERT, UPDATE on" in told[1]
    pg.run("GRANT ALL ON ALL TABLES IN SCHEMA public TO writer")
    assert export.check(mill.folder) == []
    mill.load(export, 2)
    assert export.verify(mill.head(2), mill.folder) == []
    pg.run("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM writer")
    with pytest.raises(ExportError, match="permission denied for table"):
        mill.load(export, 3)
    assert pg.run("SELECT snapshot FROM gristmill_ledger") == [(2,)]


def test_values_that_postgresql_cannot_hold_are_counted_or_refused(tmp_path, pg):
    mill = Mill(tmp_path)
    mill.put(*some(3), {"id": "nul", "url": "a\0b", "k\0ey": "\\u0000 and \0", "fine": "\\\\u0000"})
    mill.run()
    with pytest.raises(ExportError, match=r'column "url": 1 values of url hold NUL; nothing is loaded'):
        mill.load(Sql(dsn=pg.dsn, table="docs", unfit="fail"), 1)
    assert pg.run("SELECT to_regclass('docs') IS NULL") == [(True,)]
    export = Sql(dsn=pg.dsn, table="docs")
    assert mill.load(export, 1).unfit == {"url": 1, "meta": 1}
    assert export.verify(mill.head(1), mill.folder) == []
    assert pg.run("SELECT url, meta->>'fine', meta->>E'k\ufffdey' FROM docs WHERE id = 'files/nul'") == [
        ("a\ufffdb", "\\\\u0000", "\\u0000 and \ufffd")
    ]


def test_a_value_too_long_for_its_column_changes_nothing(mill, place):
    if place.name == "sqlite":
        pytest.skip("SQLite holds texts of any length in any column")
    place.run("CREATE TABLE docs (id VARCHAR(200) PRIMARY KEY, text VARCHAR(12))")
    with pytest.raises(ExportError, match=r"too long"):
        mill.load(to(place, columns=TWO), 1)
    assert place.rows("docs") == []


# --- SQLite and MariaDB ----------------------------------------------------------------------------------------------


def test_an_sqlite_file_that_cannot_be_written_is_told(mill, tmp_path):
    if os.geteuid() == 0:
        assert "there is no folder" in Sql(dsn=f"sqlite:///{tmp_path}/none/x.db", table="docs").check(mill.folder)[0]
        return
    tmp_path.chmod(0o500)
    try:
        assert "may not be written" in Sql(dsn=f"sqlite:///{tmp_path}/x.db", table="docs").check(mill.folder)[0]
    finally:
        tmp_path.chmod(0o700)


def test_types_of_sqlite_that_convert_are_refused(mill, tmp_path):
    from tests.exports.tables import InSQLite

    place = InSQLite(tmp_path / "x.db")
    place.run("CREATE TABLE docs (id STRING PRIMARY KEY, text TEXT)")  # of NUMERIC affinity: '007' would become 7
    assert "which cannot hold id" in to(place, columns=TWO).check(mill.folder)[0]


def test_rights_in_mariadb(mill, mariadb):
    mariadb.run("DROP DATABASE docs", "CREATE DATABASE docs CHARACTER SET utf8mb4", "DROP USER IF EXISTS writer@'%'")
    mariadb.run("CREATE USER writer@'%'", "GRANT SELECT, INSERT ON docs.* TO writer@'%'")
    export = Sql(dsn=mariadb.dsn.replace("root@", "writer@"), table="docs")
    assert export.check(mill.folder) == ['the user may not CREATE, DELETE, UPDATE on table "docs"; GRANT it']
    with pytest.raises(ExportError, match="CREATE command denied"):
        mill.load(export, 1)
    mariadb.run("GRANT ALL ON docs.* TO writer@'%'")
    assert export.check(mill.folder) == []
    mill.load(export, 1)
    assert export.verify(mill.head(1), mill.folder) == []


def test_a_collation_that_takes_ids_for_one_is_found_out(tmp_path, mariadb):
    mariadb.run("DROP DATABASE docs", "CREATE DATABASE docs CHARACTER SET utf8mb4")
    mill = Mill(tmp_path).put({"id": "a"}, {"id": "A"})
    mill.run()
    mariadb.run("CREATE TABLE docs (id VARCHAR(50) COLLATE utf8mb4_general_ci PRIMARY KEY, text TEXT)")
    with pytest.raises(ExportError, match="IntegrityError 1062"):
        mill.load(Sql(dsn=mariadb.dsn, table="docs", columns=TWO), 1)


def test_tables_without_transactions_are_refused(mill, mariadb):
    mariadb.run("DROP DATABASE docs", "CREATE DATABASE docs CHARACTER SET utf8mb4")
    mariadb.run("CREATE TABLE docs (id VARCHAR(50) PRIMARY KEY, text TEXT) ENGINE=Aria")
    export = Sql(dsn=mariadb.dsn, table="docs", columns=TWO)
    assert "Aria, which has no transactions" in export.check(mill.folder)[0]
    with pytest.raises(ConfigError, match="no transactions"):
        mill.load(export, 1)


# --- what does not answer ------------------------------------------------------------------------------------------


def test_a_database_that_does_not_answer_is_told_without_its_secret(mill, tmp_path):
    for dsn in (
        f"postgresql://me:hush-hush@/postgres?host={tmp_path}",
        "mysql+pymysql://me:hush-hush@127.0.0.1:9/docs",
        "nosuchdialect://me:hush-hush@127.0.0.1/docs",
    ):
        export = Sql(dsn=dsn, table="docs")
        (told,) = export.check(mill.folder)
        assert "hush" not in told + str(export.fingerprint())
        assert told
        with pytest.raises((Transient, ExportError)) as failed:
            mill.load(export, 1)
        assert "hush" not in str(failed.value)
        assert "hush" not in "".join(export.verify(mill.head(1), mill.folder))
