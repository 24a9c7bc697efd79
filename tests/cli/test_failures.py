"""What a failure leaves behind, what a plan tells of sources that failed or were not asked, and streams that take nothing."""

import os
import sqlite3
import subprocess
import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.cli.conftest import Project, command, write
from tests.examples import some

from gristmill.console import session

TWO = """version: 1
dataset: ./corpus
sources:
  - name: db
    sql: {dsn: "sqlite:///docs.db", table: docs, cursor: at}
    on_error: fail
  - name: files
    files: {path: "data/*.jsonl", id: id}
"""


@pytest.fixture
def two(tmp_path, monkeypatch):
    """Give a project of a table and a folder, and an empty folder for the logs that would lie in the system's own."""
    (tmp_path / "tmp").mkdir()
    made = partial(tempfile.NamedTemporaryFile, dir=tmp_path / "tmp")
    monkeypatch.setattr(session, "tempfile", SimpleNamespace(NamedTemporaryFile=made))
    with sqlite3.connect(tmp_path / "docs.db") as connection:
        connection.execute("CREATE TABLE docs (id INTEGER PRIMARY KEY, text TEXT, at TEXT)")
        connection.execute("INSERT INTO docs VALUES (1, 'A row of the table.', '2026-01-01 00:00:00')")
    connection.close()
    write(tmp_path / "data" / "a.jsonl", [{"id": "a", "text": "A record of the file."}])
    return Project(tmp_path).config(TWO)


def litter(project):
    return list((project.path / "tmp").glob("gristmill-*"))


def test_an_expected_failure_leaves_one_log_beside_the_dataset_and_none_elsewhere(two):
    (two.path / "data" / "a.jsonl").unlink()
    answer = two("plan")
    assert (answer.code, "log: " in answer.err, litter(two)) == (1, False, []), "there is no dataset to keep a log in"
    for _ in range(3):
        answer = two("run")
        assert answer.code == 1
        assert answer.err.splitlines()[-1] == "log: corpus/last-failure.log"
    log = (two.path / "corpus" / "last-failure.log").read_text()
    assert "SourceError" in log
    assert "Traceback" not in answer.err
    assert log.count("SourceError:\n") == 1, "of the last failure only"
    assert litter(two) == []
    write(two.path / "data" / "a.jsonl", [{"id": "a", "text": "A record of the file."}])
    assert two("run").code == 0
    assert two("verify").code == 0, "a log among a dataset's files is no damage"


def test_what_nobody_expects_leaves_a_log_wherever_there_is_room(two, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError(bytes.fromhex("73656372657420776f726473").decode())

    monkeypatch.setattr("gristmill.console.survey.planned", broken)
    answer = two("plan")
    (log,) = litter(two)
    assert answer.code == 1
    assert Path(answer.err.splitlines()[-1].removeprefix("log: ")).name == log.name
    assert two("run").code == 0
    os.utime(two.path / "corpus" / "runs" / "1" / "log.jsonl", (0, 0))  # else it would be taken for the failure's own
    assert two("plan").err.splitlines()[-1] == "log: corpus/last-failure.log"
    assert len(litter(two)) == 1
    for text in (log.read_text(), (two.path / "corpus" / "last-failure.log").read_text()):
        assert "in broken" in text
        assert "secret" not in text


@pytest.mark.parametrize("verb", ["plan", "run"])
def test_a_mistake_of_the_config_found_in_planning_exits_2_with_its_place(two, verb):
    two.config(TWO.replace("cursor: at", "cursor: when"))
    answer = two(verb)
    assert answer.code == 2
    told = 'gristmill.yml:5:5: source \'db\' (sql): cursor: table "docs" has no column "when"; it has id, text, at'
    assert answer.err.splitlines()[0].startswith(f"error: {told}"), answer.err
    assert litter(two) == []
    two.config(TWO.replace("cursor: at", "cursor: when").replace("fail", "skip"))
    answer = two("run", "--json")
    assert (answer.code, answer.json["status"]) == (0, "partial"), "a source that may be left out is left out"


@pytest.mark.parametrize("window", ["2026-05-01..2026-02-01", "2026-05-01..2026-05-01"])
def test_a_window_that_ends_before_it_begins_exits_2_even_where_the_source_may_be_left_out(two, window):
    two.config(TWO.replace("fail", "skip"))
    answer = two("run", "--source", "db", "--window", window)
    assert answer.code == 2
    assert "it ends before it begins" in answer.err
    assert two("run", "--source", "files", "--window", window).code == 2


def test_a_plan_tells_a_source_that_failed_from_units_that_cannot_be_read(two):
    two.config(TWO.replace("cursor: at", "cursor: when").replace("fail", "skip"))
    answer = two("plan")
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["source", "files"]
    assert any(line.startswith("  ! db failed and would be left out: cursor: table") for line in lines)
    assert "would run: 1 task over 45 B" in lines, "no steps, so none are told"
    found = two("plan", "--json").json["sources"]["db"]
    assert (found["new"], found["failed"], found["asked"]) == (None, [], True)
    assert "no column" in found["failure"]


def test_a_plan_of_one_source_says_that_the_others_were_not_asked(two):
    answer = two("plan", "--source", "files")
    lines = answer.out.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["source", "files"]
    assert "not asked: db" in lines
    found = two("plan", "--source", "files", "--json").json["sources"]
    assert (found["db"]["new"], found["db"]["asked"], found["db"]["failure"]) == (None, False, None)
    assert (found["files"]["new"], found["files"]["asked"]) == (1, True)


STREAMS = [">&-", "2>&-", ">/dev/full", "2>/dev/full", "<&- >&- 2>&-", "2>&1 >/dev/null | true", "--workers 2 >&- 2>&-"]


def shell(folder, line):
    words = ["bash", "-c", f"{' '.join(command())} {line}; exit ${{PIPESTATUS[0]}}"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.slice
def test_a_stream_that_is_closed_full_or_unread_changes_nothing_of_a_run(own):
    tried = some(STREAMS, 2)
    for n, streams in enumerate(tried):
        write(
            own.path / "data" / f"more{n}.jsonl", [{"id": f"m{n}", "text": f"What came on day {n} is ground as well."}]
        )
        assert shell(own.path, f"run --json {streams}").returncode == 0, streams
    assert [line["status"] for line in own("log", "--json").json] == ["published"] * (len(tried) + 1)
    assert own("verify").code == 0


@pytest.mark.slice
@pytest.mark.parametrize("verb", some(["log", "schema", "--version", "explain web/d1 --json"], 2))
def test_what_standard_output_does_not_take_is_told_and_ends_with_1(ran, verb):
    full = shell(ran.path, f"{verb} >/dev/full")
    assert (full.returncode, full.stderr) == (
        1,
        "error: standard output takes nothing (No space left on device): what was to be told there is lost\n",
    )
    shut = shell(ran.path, f"{verb} >&-")
    assert (shut.returncode, shut.stderr) == (0, "")


def test_a_failure_keeps_its_code_whatever_takes_its_words(ran):
    for streams in (">&-", "2>&-", ">/dev/full 2>/dev/full"):
        assert shell(ran.path, f"explain nobody --json {streams}").returncode == 2
