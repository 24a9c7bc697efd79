"""The sql export in runs: beside other exports, with a database that is away, with others that load at the same time, killed."""

import json
import random
import sqlite3
import threading

import msgspec
import pytest
from tests.exports.kills import FAILPOINTS, Scene, dataset, kills, warm
from tests.exports.tables import InSQLite, Mill, some

import gristmill
from gristmill.config.settings import BoundExport
from gristmill.core.errors import ConfigError, ExportError, Transient
from gristmill.database.dsn import Dsn
from gristmill.database.loading import Loading
from gristmill.database.writing import AlchemyWriter
from gristmill.exports.sql import Sql

CONFIG = """\
version: 1
dataset: ./corpus
sources:
  - name: web
    files: {path: "data/*.jsonl", id: id}
exports:
  - name: rows
    sql: {dsn: "${env:ROWS_DSN}", table: docs, columns: {id: id, body: text, year: {field: meta.year, type: int}}}
  - name: lines
    jsonl: {path: ./out}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "gristmill.yml").write_text(CONFIG)
    monkeypatch.setenv("ROWS_DSN", "sqlite:///rows.db?note=hush-hush")
    return tmp_path


@pytest.fixture(scope="session")
def large(tmp_path_factory):
    return dataset(tmp_path_factory.mktemp("large"), 900)


@pytest.fixture(scope="session")
def loader(tmp_path_factory):
    with warm(tmp_path_factory.mktemp("warm")) as process:
        yield process


def write(folder, *ids, **fields):
    lines = [json.dumps({"id": each, "text": f"The text of {each}."} | fields) for each in ids]
    (folder / "data" / f"{ids[0]}.jsonl").write_text("\n".join(lines) + "\n")


def pipeline(folder):
    return gristmill.Pipeline.from_file(folder / "gristmill.yml")


def test_a_run_loads_the_table_and_tells_what_it_did(folder):
    write(folder, "a", "b", year="1984")
    report = pipeline(folder).run(workers=1)
    assert report.exports == {
        "rows": {"how": "all", "rows": 2, "rows_put": 2, "rows_taken": 0, "unfit": {}},
        "lines": {"chunks_written": 1, "chunks": 1},
    }
    assert InSQLite(folder / "rows.db").rows() == [("web/a", "The text of a.", 1984), ("web/b", "The text of b.", 1984)]
    write(folder, "c", year="MM")
    report = pipeline(folder).run(workers=1)
    assert report.exports["rows"]["unfit"] == {"year": 1}
    assert report.warnings == {"export.unfit": 1}
    dataset = gristmill.Dataset(folder / "corpus")
    assert dataset.verify(None, pipeline(folder).config) == []
    assert dataset.explain("web/c")["published"][0]["exports"]["rows"] == "docs"
    assert all(b"hush" not in path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_what_others_did_to_the_table_is_mended_at_the_start_of_a_run(folder):
    write(folder, "a", "b")
    pipeline(folder).run(workers=1)
    InSQLite(folder / "rows.db").run("DELETE FROM docs WHERE id = 'web/a'")
    told = gristmill.Dataset(folder / "corpus").verify(None, pipeline(folder).config)
    assert told == ['export rows: table "docs" holds 1 rows, the snapshot 2; repair it with `gristmill export rows`']
    assert pipeline(folder).run(workers=1).status == "nothing_new"
    assert len(InSQLite(folder / "rows.db").rows()) == 2
    (folder / "rows.db").unlink()
    assert "there is no file" in gristmill.Dataset(folder / "corpus").verify(None, pipeline(folder).config)[0]
    assert pipeline(folder).export("rows")["rows"]["rows_put"] == 2


def test_a_table_that_cannot_be_loaded_keeps_neither_snapshots_nor_other_exports(folder, monkeypatch):
    monkeypatch.setenv("ROWS_DSN", f"sqlite:///{folder}/away/rows.db")
    for each in ("a", "b"):
        write(folder, each)
        report = pipeline(folder).run(workers=1)
        assert report.status == "published_export_failed"
        assert report.exports == {
            "lines": {"chunks_written": 1, "chunks": len(report.exports) and (1 if each == "a" else 2)}
        }
        assert [(error["code"], error["context"]) for error in report.errors] == [("export.failed", {"export": "rows"})]
        assert "unable to open database file" in report.errors[0]["message"]
    with pytest.raises(ExportError, match="export rows: the database says"):  # nothing new, and still not whole
        pipeline(folder).run(workers=1)
    (folder / "away").mkdir()
    assert pipeline(folder).run(workers=1).status == "nothing_new"
    assert len(InSQLite(folder / "away" / "rows.db").rows()) == 2


def test_check_looks_at_exports(folder, monkeypatch):
    write(folder, "a")
    assert pipeline(folder).problems() == []
    assert not (folder / "rows.db").exists()
    monkeypatch.setenv("ROWS_DSN", "sqlite:///away/rows.db")
    (told,) = pipeline(folder).problems()
    assert "export 'rows' (sql): dsn: there is no folder" in told
    assert "gristmill.yml:8" in told


def test_two_exports_into_one_table_are_refused(folder):
    text = CONFIG + '  - name: again\n    sql: {dsn: "${env:ROWS_DSN}", table: docs}\n'
    (folder / "gristmill.yml").write_text(text)
    with pytest.raises(ConfigError, match="two exports load the same table") as refused:
        pipeline(folder)
    assert "hush" not in str(refused.value)


def test_any_history_ends_in_the_same_rows(tmp_path):
    """Runs with and without the export, tables that are damaged: what the table holds is always the newest snapshot."""
    place, mill, dice = InSQLite(tmp_path / "rows.db"), Mill(tmp_path / "mill"), random.Random(20261125)
    export = Sql(dsn=place.dsn, table="docs")
    for at in range(8):
        mill.put(*some(dice.randrange(1, 9), 10 * at))
        mill.put(*({"id": each, "text": f"Said {at}: {each}."} for each in mill.records if dice.random() < 0.2))
        mill.take(*(each for each in list(mill.records)[1:] if dice.random() < 0.15))
        report = mill.run(*([export] if dice.random() < 0.6 or at == 7 else []))
        if at and dice.random() < 0.3:
            place.run("DELETE FROM docs WHERE rowid % 3 = 0")
    mill.pipeline(export).export()
    assert mill.problems(place, export, report.snapshot) == []


def test_those_who_load_at_the_same_time_wait_for_each_other(mill, place):
    export = Sql(dsn=place.dsn, table="docs")
    for round_ in range(2):
        start, failed = threading.Barrier(4), []

        def load(seq, start=start, failed=failed):
            start.wait()
            try:
                for _ in range(5):
                    try:
                        mill.load(export, seq)
                    except Transient:  # a run tries again
                        continue
                    return
                failed.append("it never came to its turn")
            except BaseException as error:
                failed.append(repr(error))

        threads = [threading.Thread(target=load, args=(seq,)) for seq in (1, 2, 2, 3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == [], round_
        ((_, seq, _),) = place.ledger()
        assert mill.problems(place, export, seq) == []


def test_a_load_waits_for_whoever_is_writing_the_file(mill, tmp_path):
    """A journal beside it is not only what a dead process leaves."""
    place = InSQLite(tmp_path / "rows.db")
    export = Sql(dsn=place.dsn, table="docs")
    mill.load(export, 1)
    other = sqlite3.connect(place.path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    other.execute("CREATE TABLE theirs (id INTEGER)")
    assert place.path.with_name("rows.db-journal").exists()
    theirs = threading.Timer(0.3, other.execute, ["COMMIT"])
    theirs.start()
    mill.load(export, 2)
    theirs.join()
    assert mill.problems(place, export, 2) == []
    other.close()


def test_any_other_database_of_sqlalchemy_is_filled_by_plain_statements(mill, tmp_path):
    """No dialect of its own: what MariaDB's tests show, by another one."""
    place = InSQLite(tmp_path / "rows.db")
    export = Sql(dsn=place.dsn, table="docs")
    dsn = Dsn("other", place.dsn, "lane", ())
    spec = msgspec.structs.replace(export._spec(dsn), batch_rows=7)
    for seq, how in ((1, "all"), (2, "changes"), (2, "nothing"), (4, "changes"), (1, "changes")):
        writer = AlchemyWriter(dsn, 5)
        try:
            assert Loading(writer, spec, mill.head(seq), force=False).run().how == how
        finally:
            writer.close()
        assert dict(place.rows("docs", "id", "text")) == mill.texts[seq]
        assert place.ledger() == [("docs", seq, len(mill.texts[seq]))]


def test_a_load_that_stops_midway_leaves_no_trace(mill, place):
    export = Sql(dsn=place.dsn, table="docs")
    mill.load(export, 1)

    class Stopping:
        """A snapshot whose shards end in an error."""

        def __init__(self, head):
            self.head = head

        def __getattr__(self, name):
            return getattr(self.head, name)

        def since(self, *_):
            return None

        def live(self, columns):
            yield from list(self.head.live(columns))[:1]
            raise OSError("the disk is gone")

    for damage in ((), ("DELETE FROM docs",)):
        place.run("SELECT 1", *damage)
        with pytest.raises(OSError, match="the disk is gone"):
            export.load(Stopping(mill.head(3)), mill.folder, thorough=False)
        assert place.ledger() == [("docs", 1, 40)]
    mill.load(export, 3)
    assert mill.problems(place, export, 3) == []


@pytest.mark.parametrize("place", ["sqlite", "postgresql", "mariadb"], indirect=True)
def test_killed_around_commit_the_table_is_one_snapshot_whole(place, request, large, loader, tmp_path):
    """A slice of `python -m tests.exports.kills 100 SEED`."""
    server = request.getfixturevalue("postgresql") if place.name == "postgresql" else None
    kinds = [*FAILPOINTS, "moment", *(["cut before", "cut after"] if server else [])]
    result = kills(place, server, Scene(large, loader, tmp_path), len(kinds), 20261125, kinds)
    assert (result.problems, result.lost, result.doubled, result.wrong) == ([], 0, 0, 0)
    assert result.before >= 2
    assert result.after >= 1
    assert result.cut == 2 * (server is not None)


def test_exports_are_bound_by_their_class():
    bound = BoundExport(name="rows", part="sql", export=Sql(dsn="sqlite:///x.db", table="t"))
    assert "x.db" not in json.dumps(bound.export.fingerprint())
