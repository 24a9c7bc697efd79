"""How a dataset is said to stand: after calls that came to no run, while a run lives, before there is a report, on a narrow terminal."""

import fcntl
import json

import pytest
from tests.cli.conftest import CONFIG

from gristmill.console import runs

DEAD = """  - name: dead
    files: {path: "nowhere/*.jsonl"}
    on_error: skip
"""


@pytest.fixture
def partial(own):
    """Give a project that ran, and has a source now that is dead and may be left out."""
    return own.config(CONFIG.replace("steps:\n", f"{DEAD}steps:\n"))


def test_a_run_that_finds_nothing_new_and_a_source_dead_advises_what_can_be_done(partial):
    answer = partial("run")
    assert (answer.code, "None" in answer.err) == (0, False)
    assert answer.err.splitlines()[1].startswith("nothing new, but not all sources could be asked: snapshot 1 holds 9")
    assert answer.err.splitlines()[2].split() == ["next", "gristmill", "status"]


def test_status_check_is_1_while_a_source_is_dead_although_nothing_was_published(partial):
    assert partial("run").code == 0
    for argv in (["status"], ["status", "--check"]):
        assert "a run left out dead: dead: no file matches" in partial(*argv).err
    checked = partial("status", "--check", "--json")
    assert (checked.code, [each["event"] for each in checked.json["health"]]) == (1, ["partial"])
    partial.config(CONFIG)
    assert partial("run").code == 0
    assert partial("status", "--check").code == 0, "it is well again"


def test_status_check_is_1_after_a_partial_run_that_published(partial):
    (partial.path / "data" / "b.jsonl").write_text('{"id": "n", "text": "A new record in a new file."}\n')
    assert partial("run", "--json").json["run"] == 2
    checked = partial("status", "--check", "--json")
    assert (checked.code, checked.json["health"][0]["title"]) == (1, "run 2 left out dead")


def test_status_check_is_1_after_a_run_that_failed_in_planning(own):
    own.config(CONFIG.replace("data/*.jsonl", "nowhere/*.jsonl"))
    failed = own("run")
    assert failed.code == 1
    assert "error: gristmill.yml:5:5: source 'web' (files): all 1 files" in failed.err, "which source failed is said"
    assert "a run failed before it took a number: gristmill.yml:5:5: source 'web'" in own("status").err
    assert own("status", "--check").code == 1
    own.config(CONFIG)
    assert own("run").code == 0
    assert own("status", "--check").code == 0


def test_a_run_that_lives_is_not_told_to_be_dead(own):
    run = own.path / "corpus" / "runs" / "2"
    run.mkdir()
    claim = json.loads((own.path / "corpus" / "runs" / "1" / "claim.json").read_bytes())
    (run / "claim.json").write_text(json.dumps(claim | {"seq": 2, "parent": 1}))
    with (own.path / "corpus" / "lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        shown, found = own("status").out, own("status", "--json").json
        assert "did not end" not in shown + own("plan").out
        assert "last run 2: not ended yet, started" in shown
        assert found["unfinished"] is None
    assert "run 2 did not end; `gristmill run` goes on with it" in own("status").out
    assert own("status", "--json").json["unfinished"] == 2


def test_show_before_any_report_names_no_run_0(own):
    (own.path / "corpus" / "runs" / "1" / "report.json").unlink()
    for verb in ("show", "report"):
        answer = own(verb)
        assert answer.code == 2
        assert "no run has a report yet; run 1 has begun and not ended" in answer.err


def test_a_log_fits_into_80_columns_with_whole_words(ran):
    lines = ran("log", "--json").json
    wide = runs.log_lines(lines, None)
    assert "quality_score" in wide[0]
    long = {"status": "published_export_failed", "read": 1_234_567, "published": 1_234_567, "rows": 1_234_567}
    narrow = runs.log_lines([lines[0] | {"rolled_back_to": 1}, lines[0] | long], 80)
    assert all(len(line) <= 80 for line in narrow)
    assert not any("…" in line for line in narrow)
    assert {"run", "status", "started", "read", "published", "rows"} <= set(narrow[0].split())
    assert runs.log_lines(lines, 200) == wide


def test_a_failure_names_the_log_of_its_own_run_and_of_no_other(own):
    step = own.path / "mine.py"
    step.write_text("def broken(record):\n    raise ValueError\n")
    (own.path / "data" / "b.jsonl").write_text(
        '{"id": "n", "text": "A new record."}\n{"id": "m", "text": "Another one."}\n'
    )
    before = (own.path / "gristmill.yml").read_text()
    own.config(before.replace("steps:\n", 'steps:\n  - custom: {call: "./mine.py:broken", mode: record}\n'))
    failed = own("run")
    assert (failed.code, failed.err.splitlines()[-1]) == (1, "log: corpus/runs/2/log.jsonl")
    next((own.path / "corpus" / "table").glob("*.parquet")).unlink()
    failed = own("inspect", "--kept", "--run", "1")
    assert (failed.code, failed.err.splitlines()[-1]) == (1, "log: corpus/last-failure.log"), (
        "not that of the run before"
    )
