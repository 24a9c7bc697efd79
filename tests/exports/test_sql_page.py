"""The page and the example of the sql export are true; batches made ahead are the batches."""

import shutil
import sys
import threading
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from tests.exports.tables import InSQLite

import gristmill
from gristmill.database.ahead import ahead
from gristmill.database.outgoing import Column, Outgoing
from gristmill.exports.sql import Sql

ROOT = Path(__file__).resolve().parents[2]


def test_the_page_names_every_parameter():
    page = (ROOT / "docs" / "exports.md").read_text("utf-8")
    assert [field.name for field in msgspec.structs.fields(Sql) if f"`{field.name}`" not in page] == []


def test_the_example_fills_its_table(tmp_path, monkeypatch):
    for name in ("exports/sql", "quickstart/data/web"):
        shutil.copytree(ROOT / "examples" / name, tmp_path / name)
    monkeypatch.setenv("ROWS_DSN", f"sqlite:///{tmp_path}/rows.db")
    pipeline = gristmill.Pipeline.from_file(tmp_path / "exports" / "sql" / "gristmill.yml")
    report = pipeline.run(workers=1)
    assert report.status == "published"
    rows = InSQLite(tmp_path / "rows.db").rows("documents", "id", "body", "language", "title", "details")
    assert len(rows) == report.dataset_rows > 20
    assert gristmill.Dataset(tmp_path / "exports" / "sql" / "corpus").verify(None, pipeline.config) == []


def test_a_missing_extra_is_told_with_its_command(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("gristmill.database", "adbc_driver"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "adbc_driver_manager", None)
    (told,) = Sql(dsn="sqlite:///x.db", table="docs").check(tmp_path)
    assert 'pip install "gristmill[sql]"' in told


def batch(n):
    return pa.record_batch({"n": [n]})


def test_batches_made_ahead_keep_their_order():
    assert [each.column(0)[0].as_py() for each in ahead(batch(n) for n in range(50))] == list(range(50))


def test_an_error_in_making_them_comes_out_and_closing_ends_the_thread():
    def failing():
        yield batch(1)
        raise OSError("the disk is gone")

    taken = ahead(failing())
    assert next(taken).num_rows == 1
    with pytest.raises(OSError, match="the disk is gone"):
        next(taken)
    endless = ahead(batch(n) for n in iter(int, 1))
    next(endless)
    endless.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "gristmill-ahead"]


def test_long_texts_go_in_smaller_batches():
    outgoing = Outgoing("sqlite", [Column("id", "id", "text"), Column("text", "text", "text")], refuse=False)
    rows = pa.record_batch({"id": [str(n) for n in range(40)], "text": ["x" * 1_000_000] * 40})
    sizes = [each.num_rows for each in outgoing.batches([rows], 8192)]
    assert sum(sizes) == 40
    assert max(sizes) <= 9


def test_the_terminal_says_what_was_done_to_a_table():
    from gristmill.console import terminal

    done = {"how": "changes", "rows": 7, "rows_put": 3, "rows_taken": 2, "unfit": {}}
    assert terminal.export_line("rows", done) == "export rows: 3 rows written, 2 deleted"
    assert terminal.export_line("rows", done | {"rows_put": 0, "rows_taken": 0}) == "export rows: whole already"
    assert terminal.export_line("lines", {"chunks_written": 1, "chunks": 4}) == "export lines: 1 chunk written"
