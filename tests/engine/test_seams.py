"""The seams for schedulers: plan, work, gate and commit in processes of their own give what one run gives, however often."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.examples import some

from gristmill import Dataset, GateRefused, Pipeline
from gristmill.core.errors import ConfigError, LockedError
from gristmill.store import claim
from gristmill.store.layout import Layout
from gristmill.testing import crash

CONFIG = """version: 1
dataset: ./corpus
sources:
  - {name: a, files: {path: "data/0.jsonl", text: text, id: id}}
  - {name: b, files: {path: "data/[1-2].jsonl", text: text, id: id}}
  - {name: c, files: {path: "data/3.jsonl", text: text, id: id}}
steps:
  - clean.text
  - dedup.exact
exports:
  - name: chunks
    jsonl: {path: ./out}
gate: {min_kept_ratio: 0.3}
"""


def write(folder, name, numbers, time_s=1_700_000_000):
    """Write records into a file of a fixed time, which is part of what a source knows of it."""
    path = folder / "data" / f"{name}.jsonl"
    records = [{"id": f"d{n}", "text": f"Sack number {n} is ground today."} for n in numbers]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    os.utime(path, (time_s, time_s))


def project(folder):
    (folder / "data").mkdir(parents=True)
    (folder / "gristmill.yml").write_text(CONFIG)
    for n in range(4):
        write(folder, n, [*range(10 * n, 10 * n + 10), 0] if n else range(10))
    return folder


def opened(folder):
    return Pipeline.from_file(folder / "gristmill.yml")


def work_all(pipeline, planned, parts=2):
    for stage in planned["stages"]:
        for part in range(1, parts + 1):
            pipeline.stage_work(planned["seq"], stage, (part, parts))


def staged(folder):
    """Make a snapshot by the seams."""
    pipeline = opened(folder)
    planned = pipeline.stage_plan()
    work_all(pipeline, planned)
    pipeline.stage_gate(planned["seq"], workers=1)
    report = pipeline.stage_commit(planned["seq"], workers=1, exported=False)
    pipeline.export()
    return report


def seqs(folder):
    return Dataset(folder / "corpus").seqs()


def test_a_staged_run_leaves_the_bytes_of_a_run_in_one_process(tmp_path):
    whole, parts = project(tmp_path / "whole"), project(tmp_path / "parts")
    for folder in (whole, parts):  # the second day revises, removes and adds
        for day in range(2):
            if day:
                (folder / "data" / "1.jsonl").unlink()
                write(folder, 2, [20, 21, 77])
                write(folder, 3, range(90, 99))
            report = opened(folder).run(workers=1) if folder == whole else staged(folder)
            assert report.status == "published"
    assert crash.lasting(whole, "corpus", ["out"]) == crash.lasting(parts, "corpus", ["out"])
    assert Dataset(parts / "corpus").verify(config=opened(parts).config) == []


def test_what_is_kept_between_gate_and_commit_is_gone_after_it(tmp_path):
    folder = project(tmp_path / "p")
    pipeline, layout = opened(folder), Layout(folder / "corpus")
    seq = pipeline.stage_plan()["seq"]
    report = pipeline.stage_gate(seq, workers=1)
    assert [(rule["rule"], rule["ok"]) for rule in report.gate if rule["rule"] == "min_kept_ratio"] == [
        ("min_kept_ratio", True)
    ]
    assert seqs(folder) == []
    assert layout.candidate(seq).exists()
    assert layout.judged(seq).exists()
    report = pipeline.stage_commit(seq)
    assert (report.status, report.snapshot, report.exports["chunks"]["chunks"]) == ("published", seq, 1)
    assert not layout.candidate(seq).exists()
    assert not layout.judged(seq).exists()
    assert not layout.staging(seq).exists()


def test_what_is_exported_after_the_commit_stands_in_the_report(tmp_path):
    folder = project(tmp_path / "p")
    assert staged(folder).exports == {}
    assert Dataset(folder / "corpus").report(1)["exports"]["chunks"]["chunks_written"] == 1
    opened(folder).export()
    assert Dataset(folder / "corpus").report(1)["exports"]["chunks"]["chunks_written"] == 1


@pytest.mark.parametrize(("host", "kept"), [("another-machine", True), (socket.gethostname(), False)])
def test_what_another_machine_staged_is_trusted_and_what_this_one_staged_before_a_restart_is_not(tmp_path, host, kept):
    folder = project(tmp_path / "p")
    pipeline, layout = opened(folder), Layout(folder / "corpus")
    planned = pipeline.stage_plan()
    work_all(pipeline, planned)
    taken = json.loads(layout.claim(planned["seq"]).read_text())
    layout.claim(planned["seq"]).write_text(json.dumps(taken | {"boot": "another", "host": host}))
    staged_before = {path: path.stat().st_ino for path in layout.staging(planned["seq"]).rglob("*.arrow")}
    pipeline.stage_gate(planned["seq"], workers=1)
    staged_after = {path: path.stat().st_ino for path in layout.staging(planned["seq"]).rglob("*.arrow")}
    assert (staged_before == staged_after) is kept
    assert pipeline.stage_commit(planned["seq"], workers=1).counts.published == 40


def test_everything_may_be_done_again_and_again(tmp_path):
    folder = project(tmp_path / "p")
    pipeline = opened(folder)
    planned = pipeline.stage_plan()
    assert pipeline.stage_plan() == planned
    assert planned["stages"] == pipeline.stages() == ["read", "reread", "identity", "merge-0", "stage-1", "withdraw"]
    for _ in range(2):
        work_all(pipeline, planned)
    seq = planned["seq"]
    for _ in range(2):
        assert pipeline.stage_gate(seq, workers=1).snapshot == seq
    for _ in range(3):
        assert pipeline.stage_commit(seq, workers=1, exported=False).snapshot == seq
        assert pipeline.stage_gate(seq, workers=1).snapshot == seq
        assert pipeline.stage_work(seq, "read")["tasks"] == 0
    assert seqs(folder) == [seq]
    assert pipeline.stage_plan() == {"status": "nothing_new", "snapshot": seq}


def test_the_stages_of_one_part_may_be_worked_on_at_once(tmp_path):
    """Each process works out again what the barriers before it decided."""
    folder = project(tmp_path / "p")
    opened(folder).run(workers=1)
    for n in range(4):
        write(folder, n, range(10 * n, 10 * n + 5))
    pipeline = opened(folder)
    planned = pipeline.stage_plan()
    for stage in ("read", "reread", "identity", "merge-0"):
        pipeline.stage_work(planned["seq"], stage)
    command = [sys.executable, "-m", "gristmill", "stage", "work", str(planned["seq"]), "stage-1", "-q", "--part"]
    started = [
        subprocess.Popen([*command, f"{part}/3"], cwd=folder, stdout=subprocess.PIPE, text=True) for part in (1, 2, 3)
    ]
    answers = [json.loads(process.communicate(timeout=120)[0]) for process in started]
    assert [answer["tasks"] for answer in answers] == [1, 1, 1]
    assert pipeline.stage_commit(planned["seq"], workers=1).counts.withdrawn == 20


def test_a_refused_run_stays_refused(tmp_path):
    folder = project(tmp_path / "p")
    pipeline = opened(folder)
    (folder / "gristmill.yml").write_text(CONFIG.replace("0.3", "0.99"))
    strict = opened(folder)
    seq = strict.stage_plan()["seq"]
    for asked in (strict.stage_gate, strict.stage_gate, strict.stage_commit, pipeline.stage_commit):
        with pytest.raises(GateRefused, match=r"min_kept_ratio is 0\.9\d+, limit 0\.99"):
            asked(seq, workers=1)
    assert seqs(folder) == []
    again = strict.stage_plan()["seq"]
    assert again > seq
    strict.stage_gate(again, workers=1, accept_gate=["min_kept_ratio"], why="a test")
    strict.stage_commit(again, workers=1)
    assert seqs(folder) == [again]
    assert Dataset(folder / "corpus").manifest().lineage[0]["why"] == "a test"


def test_a_run_that_had_to_read_to_find_nothing_new_ends_at_the_gate(tmp_path):
    shutil.copy(Path(__file__).parent / "scripted.py", tmp_path)
    (tmp_path / "world.json").write_text(json.dumps({"splits": [[{"unit": "u", "rows": {"a": "one"}}]], "cursor": 1}))
    (tmp_path / "gristmill.yml").write_text("version: 1\ndataset: ./corpus\nsources:\n- {name: s, ./scripted.py: {}}\n")
    pipeline = opened(tmp_path)
    assert pipeline.run(workers=1).status == "published"
    seq = pipeline.stage_plan()["seq"]
    for asked in (pipeline.stage_gate, pipeline.stage_gate, pipeline.stage_commit):
        assert (asked(seq, workers=1).status, seqs(tmp_path)) == ("nothing_new", [1])


def test_only_the_open_run_is_gone_on_with(tmp_path):
    folder = project(tmp_path / "p")
    pipeline = opened(folder)
    seq = pipeline.stage_plan()["seq"]
    (folder / "gristmill.yml").write_text(CONFIG.replace("  - clean.text\n", ""))
    other = opened(folder)
    newer = other.stage_plan()["seq"]
    assert newer > seq
    for asked in (pipeline.stage_gate, pipeline.stage_commit):
        with pytest.raises(ConfigError, match=f"run {seq} is not open"):
            asked(seq, workers=1)
    with pytest.raises(ConfigError, match=f"run {seq} is not open"):
        pipeline.stage_work(seq, "read")
    with pytest.raises(ConfigError, match=f"run {seq} was planned with another config; put it back, or plan again"):
        other.stage_work(seq, "read")
    other.stage_commit(newer, workers=1)
    assert seqs(folder) == [newer]


@pytest.mark.parametrize(
    ("stage", "part", "told"),
    [
        ("read", (0, 2), "part 0/2 is none; parts go from 1/2 to 2/2"),
        ("read", (3, 2), "part 3/2 is none; parts go from 1/2 to 2/2"),
        (
            "merge-9",
            (1, 1),
            "there is no stage 'merge-9'; run 1 has read, reread, identity, merge-0, stage-1, withdraw",
        ),
        ("identity", (1, 1), "stage read of run 1 is not done yet; identity comes after it"),
    ],
)
def test_work_that_cannot_be_done_is_refused_with_what_can(tmp_path, stage, part, told):
    pipeline = opened(project(tmp_path))
    assert pipeline.stage_plan()["seq"] == 1
    with pytest.raises(ConfigError, match=re.escape(told)):
        pipeline.stage_work(1, stage, part)
    with pytest.raises(ConfigError, match=r"run 2 has no plan in .*; run `gristmill stage plan` first"):
        pipeline.stage_work(2, stage, part)


def test_a_run_that_failed_for_good_is_told_with_why(tmp_path):
    folder = project(tmp_path)
    pipeline = opened(folder)
    seq = pipeline.stage_plan()["seq"]
    pipeline.stage_gate(seq, workers=1)
    pipeline.stage_commit(seq, workers=1)
    layout = Layout(folder / "corpus")
    told = Dataset(folder / "corpus").report(seq)
    failed = told | {"status": "failed", "errors": [{"stage": "run", "source": "", "message": "the disk burnt"}]}
    layout.report(seq + 1).parent.mkdir()
    layout.plan(seq + 1).write_bytes(layout.plan(seq).read_bytes())
    layout.report(seq + 1).write_text(json.dumps(failed | {"run": seq + 1}))
    with pytest.raises(ConfigError, match=r"run 2 failed for good \(the disk burnt\); run `gristmill stage plan`"):
        pipeline.stage_work(seq + 1, "read")


def test_gate_and_commit_hold_the_lock_and_work_does_not(tmp_path):
    folder = project(tmp_path / "p")
    pipeline = opened(folder)
    seq = pipeline.stage_plan()["seq"]
    with claim.DatasetLock(Layout(folder / "corpus")):
        pipeline.stage_work(seq, "read")
        for asked in (pipeline.stage_gate, pipeline.stage_commit):
            with pytest.raises(LockedError):
                asked(seq, workers=1)


@pytest.mark.slice
@pytest.mark.parametrize("failpoint", some(["manifest.written", "commit.after_delta", "report.written"], 1))
def test_a_commit_killed_and_done_again_publishes_once(tmp_path, failpoint):
    folder = project(tmp_path / "p")
    pipeline = opened(folder)
    seq = pipeline.stage_plan()["seq"]
    pipeline.stage_gate(seq, workers=1)
    command = [sys.executable, "-m", "gristmill", "stage", "commit", str(seq), "-q", "--workers", "1"]
    armed = os.environ | {"GRISTMILL_FAILPOINT": f"{failpoint}=kill"}
    assert subprocess.run(command, cwd=folder, env=armed, capture_output=True, check=False).returncode == -9
    report = pipeline.stage_commit(seq, workers=1)
    assert (report.status, report.counts.published, report.balanced) == ("published", 40, True)
    assert seqs(folder) == [seq]
    assert not Layout(folder / "corpus").judged(seq).exists()
    assert Dataset(folder / "corpus").verify(config=pipeline.config) == []


def test_the_next_plan_completes_what_died_after_its_commit(tmp_path):
    folder = project(tmp_path / "p")
    pipeline = opened(folder)
    seq = pipeline.stage_plan()["seq"]
    pipeline.stage_gate(seq, workers=1)
    pipeline.stage_commit(seq, workers=1, exported=False)
    Layout(folder / "corpus").report(seq).unlink()
    assert not (folder / "out").exists()
    assert pipeline.stage_plan()["status"] == "nothing_new"
    assert (folder / "out" / "manifest.json").exists()
    assert Dataset(folder / "corpus").report(seq)["counts"]["published"] == 40


def test_a_clock_that_went_back_since_the_plan_makes_no_time_of_the_run_negative(tmp_path):
    pipeline = opened(project(tmp_path))
    seq = pipeline.stage_plan()["seq"]
    path = pipeline.layout.claim(seq)
    taken = json.loads(path.read_text())
    path.write_text(json.dumps(taken | {"time": "2999-01-01T00:00:00Z"}))
    assert pipeline.stage_commit(seq, workers=1).seconds >= 0
