"""`gristmill run` and what follows it: exit codes, streams, signals, the lock, the gate, verify, export, the seams."""

import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time

import pytest
from tests.cli.conftest import CONFIG, TEXTS, command, records, write

SLOW = """
import os
import pty
import re
import time


def slow(records):
    if os.environ.get("GRISTMILL_TEST_SLOW"):
        time.sleep(30)
    return records
"""
BAD = '''
"""A step that cannot be opened."""

from gristmill.core.step import Transform


class Bad(Transform, frozen=True, kw_only=True):
    """Fails."""

    def open(self, folder):
        raise RuntimeError(bytes.fromhex("7365637265742074657874").decode())  # a text of a document
'''


def test_first_run_sums_up_on_stderr(ran):
    first = ran.first
    assert first.out == ""
    lines = first.err.splitlines()
    assert "run 1 published: snapshot 1 holds 9 documents" in lines
    assert any("read 12 = published 9" in line for line in lines)
    assert any("json.syntax 1" in line and "gristmill inspect --quarantined --run 1" in line for line in lines)
    assert any("corpus/runs/1/report.json" in line for line in lines)
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 14


def test_report_is_the_last_line_and_nothing_new_is_0(own):
    again = own("run", "--json")
    assert again.code == 0
    assert again.out.count("\n") == 1
    assert again.json["status"] == "nothing_new"
    assert "nothing new: snapshot 1 holds 9 documents" in again.err
    write(own.path / "data" / "b.jsonl", [{"id": "new", "text": "One more sack arrives at the mill."}])
    more = own("run", "--json", "-q")
    assert (more.code, more.err) == (0, "")
    assert more.json["counts"]["published"] == 1
    assert more.json == own("show", "--json").json


def test_verbose_names_the_stages(fresh):
    told = fresh("run", "-v").err
    assert "read: 1 tasks" in told
    assert "exports: 1 tasks" in told


def test_changed_settings(fresh):
    answer = fresh("run", "--json", "-q", "--set", "require.min_chars=10000", "--set", "gate.min_quality_score=0")
    assert answer.code == 0, answer.err
    assert answer.json["counts"]["published"] == 0


def test_refused_by_the_gate_and_accepted(fresh):
    fresh.config(CONFIG + "gate: {min_docs: 100}\n")
    refused = fresh("run", "--json")
    assert refused.code == 3
    assert refused.json["status"] == "refused"
    assert refused.json["gate"][-1] == {"rule": "min_docs", "value": 9, "limit": 100, "ok": False, "accepted": False}
    assert "refused by the gate: nothing is published" in refused.err
    assert "min_docs is 9, limit 100" in refused.err
    assert "log: " in refused.err or "report" in refused.err
    assert fresh("inspect", "--kept", "--json").json
    assert fresh("status", "--json").json["snapshot"] is None
    assert "refused" in fresh("log").out
    assert "NOT MET" in fresh("show").out
    accepted = fresh("run", "--json", "--accept-gate", "min_docs", "--why", "a small month")
    assert accepted.code == 0, accepted.err
    assert accepted.json["lineage"][-1]["why"] == "a small month"


def test_locked_is_5(own):
    with (own.path / "corpus" / "lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        began = time.monotonic()
        answer = own("run", "--json")
        waited = own("run", "--wait", "0.5")
    assert (answer.code, waited.code) == (5, 5)
    assert time.monotonic() - began >= 0.5
    assert "held by another run" in answer.err
    assert answer.json["errors"][0]["code"] == "LockedError"


def test_waits_for_the_lock(own):
    with (own.path / "corpus" / "lock").open("r+b") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(command("run", "-q", "--wait"), cwd=own.path)
        time.sleep(1)
        assert process.poll() is None
    assert process.wait(60) == 0


@pytest.mark.parametrize("seconds", ["nan", "-1"])
def test_what_is_no_time_to_wait_is_refused(own, seconds):
    for verb in (["run"], ["gc"], ["rollback", "1"], ["upgrade"]):
        answer = own(*verb, f"--wait={seconds}")
        assert (answer.code, "it takes seconds, 0 or more" in answer.err) == (2, True)


def test_damage_is_4_and_exports_are_repaired(own):
    chunk = next((own.path / "out").glob("*.zst"))
    whole = chunk.read_bytes()
    chunk.write_bytes(whole[:-1])
    assert own("verify").code == 4
    assert "export chunks: 1 chunk written" in own("export").err
    assert chunk.read_bytes() == whole
    shard = next((own.path / "corpus" / "table").glob("*.parquet"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    found = own("verify", "--json")
    assert found.code == 4
    assert shard.name in found.json["damage"][0]
    assert "error: snapshot 1: 1 damaged thing" in found.err


def test_config_errors_are_2_with_their_place(fresh):
    fresh.config(CONFIG.replace("min_chars", "min_char").replace("dedup.exact", "dedup.exakt"))
    for verb in ("check", "run", "plan"):
        answer = fresh(verb, "--json")
        assert answer.code == 2
        problems = answer.err.splitlines()
        assert [line.split(" ")[1] for line in problems] == ["gristmill.yml:8:21:", "gristmill.yml:9:5:"], answer.err
        assert "did you mean 'min_chars'?" in problems[0]
        assert "did you mean 'dedup.exact'?" in problems[1]
    assert len(fresh("check", "--json").json["problems"]) == 2


def test_missing_data(fresh):
    """For `check` something to mend; a run may find it there the next time."""
    (fresh.path / "data" / "a.jsonl").unlink()
    checked = fresh("check")
    assert checked.code == 2
    assert "gristmill.yml:5:5: " in checked.err
    assert not (fresh.path / "corpus").exists()
    run = fresh("run", "--json")
    assert run.code == 1
    assert 'no file matches "data/*.jsonl"' in run.err
    assert run.json["errors"][0]["code"] == "SourceError"


def test_unexpected_failure_has_a_log_without_values(fresh):
    (fresh.path / "bad.py").write_text(BAD)
    fresh.config(CONFIG.replace("  - clean.text\n", "  - ./bad.py\n"))
    answer = fresh("run", "--json")
    assert answer.code == 1
    assert "RuntimeError" in answer.err
    log = fresh.path / next(line.removeprefix("log: ") for line in answer.err.splitlines() if line.startswith("log: "))
    assert log == fresh.path / "corpus" / "runs" / "1" / "log.jsonl"
    assert "bad.py" in log.read_text()
    assert "secret" not in answer.err + answer.out + log.read_text()
    assert answer.json["status"] == "failed"
    assert "raise RuntimeError" in fresh("run", "--debug").err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_by_a_signal_and_gone_on_with(fresh, number, code):
    (fresh.path / "slow.py").write_text(SLOW)
    fresh.config(CONFIG.replace("  - clean.text\n", '  - custom: {call: "./slow.py:slow", mode: list}\n'))
    write(fresh.path / "data" / "a.jsonl", [{"id": i, "text": f"{TEXTS[0]} {i}"} for i in range(300)])
    process = subprocess.Popen(
        command("run", "-v"),
        cwd=fresh.path,
        env=os.environ | {"GRISTMILL_TEST_SLOW": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    for line in process.stderr:
        if line.startswith("read: "):
            break
    time.sleep(0.5)
    process.send_signal(number)
    ended = process.wait(timeout=20)
    out, err = process.communicate(
        timeout=90
    )  # a fork server that still loads has the pipes open until it sees that nobody is left
    assert ended == code, err
    assert (out, err.splitlines()[-1]) == ("", "error: stopped; run again to go on")
    assert "Traceback" not in err
    assert fresh("status", "--json").json["unfinished"] == 1
    again = fresh("run", "--json")
    assert again.code == 0, again.err
    assert "going on with run 1" in again.err
    assert again.json["counts"]["published"] == 300


LOST = """
import os
import signal
import sys

if os.environ.pop("GRISTMILL_TEST_LOST", None):
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    except BaseException:
        {then}


def same(records):
    return records
"""


@pytest.mark.parametrize("then", ["sys.stderr.write('swallowed')", "raise ImportError('cannot import') from None"])
def test_p4_a_signal_that_a_library_takes_for_its_own_failure_stops_all_the_same(fresh, then):
    (fresh.path / "lossy.py").write_text(LOST.format(then=then))
    fresh.config(CONFIG.replace("  - clean.text\n", '  - custom: {call: "./lossy.py:same", mode: list}\n'))
    answer = subprocess.run(
        command("run"), cwd=fresh.path, env=os.environ | {"GRISTMILL_TEST_LOST": "1"},
        capture_output=True, encoding="utf-8", timeout=60, check=False,
    )  # fmt: skip
    assert (answer.returncode, answer.stdout) == (143, ""), answer.stderr
    assert answer.stderr.splitlines()[-1].endswith("error: stopped; run again to go on")
    assert ("swallowed" in answer.stderr) == ("swallowed" in then)
    again = fresh("run", "--json")
    assert (again.code, again.json["status"]) == (0, "published"), again.err


def test_three_seams(fresh):
    fresh.config(CONFIG)
    planned = fresh("stage", "plan")
    assert planned.code == 0, planned.err
    assert planned.out.count("\n") == 1
    seq = planned.json["seq"]
    assert fresh("stage", "work", seq, "read", "--part", "1/2").json["tasks"] == 1
    assert fresh("stage", "work", seq, "read", "--part", "2/2").json["tasks"] == 0
    done = fresh("stage", "commit", seq)
    assert done.code == 0, done.err
    assert done.json["status"] == "published"
    assert done.json["counts"]["read"] == len(records())
    assert fresh("stage", "plan").json["status"] == "nothing_new"


def test_unwritable_dataset_is_2_with_the_place(fresh):
    fresh.config(CONFIG.replace("./corpus", "./data/a.jsonl/corpus"))
    answer = fresh("run", "--json")
    assert answer.code == 2
    assert "a.jsonl" in answer.err
    assert json.loads(answer.out)["status"] == "failed"


def test_on_a_terminal(fresh):
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS"}}
    process = subprocess.Popen(
        command("run", "--json"), cwd=fresh.path, stdout=subprocess.PIPE, stderr=slave, env=env | {"TERM": "xterm"}
    )
    os.close(slave)
    seen = b""
    with contextlib.suppress(OSError):  # the end of a pseudo-terminal
        while data := os.read(master, 1 << 16):
            seen += data
    os.close(master)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out)["status"] == "published"  # no bar gets into the data
    assert b"\x1b[32mpublished\x1b[0m" in seen
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode("utf-8")).replace("\r", "\n").splitlines()
    assert any(re.match(r"read +━+ 100%", line) for line in shown)
    assert max(map(len, shown)) <= 80
