"""Watching real runs: who hears what and when, what stands on disk, and that a run ends as it would have ended unwatched."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta

import pytest
from tests.cli.conftest import Project, command
from tests.observe.hooks import Hooks
from tests.properties.lab import Lab, jsonl

from gristmill.core.errors import ConfigError, GateRefused, LockedError, SourceError
from gristmill.engine import watch
from gristmill.observe import channels, memory
from gristmill.store.claim import DatasetLock

CANARY = "Grindstone canary of the document."
TOKEN = "token-of-the-test"
SLOW = """import os, time
def slow(texts):
    time.sleep(float(os.environ.get("GRISTMILL_TEST_SLOW", "0")))
    return texts
"""
IMPORTED = """import sys
from gristmill import Pipeline
from gristmill.observe.events import Silent
class Begun(Silent):
    def run(self, begins):
        self.known = set(sys.modules)
events = Begun()
report = Pipeline.from_file("gristmill.yml").run(workers=1, events=events)
print([name for name in sys.modules if name not in events.known and name.startswith(("openlineage", "prometheus_client", "requests"))])
print(report.status)
"""


def texts(n, begin=0):
    return jsonl([{"id": str(i), "text": f"{CANARY} {i}"} for i in range(begin, begin + n)])


@pytest.fixture(name="hooks")
def _hooks(monkeypatch):
    monkeypatch.setattr(channels, "_PAUSES_S", (0.01, 0.01))
    with Hooks() as hooks:
        monkeypatch.setenv("HOOK", f"{hooks.url}/{TOKEN}")
        yield hooks


@pytest.fixture(name="lab")
def _lab(tmp_path, hooks):
    config = {
        "sources": [
            {"name": "a", "files": {"path": "a/*", "id": "id"}},
            {"name": "b", "files": {"path": "b/*", "id": "id"}, "on_error": "skip"},
        ],
        "monitoring": {"textfile": "metrics.prom"},
        "alerts": [{"webhook": {"url": "${env:HOOK}"}}],
    }
    lab = Lab(tmp_path / "lab", config)
    lab.base = config
    lab.put("a/1.jsonl", texts(10))
    lab.put("b/1.jsonl", texts(5, 100))
    return lab


def told(hooks):
    """Give event and title of what was told, and forget it."""
    got = [(each.json["event"], each.json["title"].removeprefix("gristmill: ")) for each in hooks.got]
    hooks.got.clear()
    return got


def age(lab, seq):
    """Make a run two hours older."""
    path = lab.dataset / f"runs/{seq}/claim.json"
    claim = json.loads(path.read_bytes())
    claim["time"] = (datetime.fromisoformat(claim["time"]) - timedelta(hours=2)).isoformat()
    path.write_text(json.dumps(claim))


def numbers(lab):
    """Give the samples of the textfile, without the label of the dataset."""
    text = re.sub(r'dataset="[^"]*",?', "", (lab.folder / "metrics.prom").read_text()).replace("{}", "")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_a_good_run_tells_nobody(lab, hooks):
    assert lab.run().status == "published"
    assert lab.run().status == "nothing_new"
    assert told(hooks) == []
    assert not (lab.dataset / "runs/1/heartbeat.json").exists()
    found = numbers(lab)
    assert found['gristmill_run_status{status="nothing_new"}'] == 1
    assert found['gristmill_runs_total{status="published"}'] == 1
    assert found["gristmill_dataset_rows"] == 15


def test_refused_then_well_again(lab, hooks):
    lab.run()
    lab.configure(lab.base | {"gate": {"min_docs": 100}})
    lab.put("a/2.jsonl", texts(1, 50))
    with pytest.raises(GateRefused):
        lab.run()
    [got] = hooks.got
    assert (got.json["run"], got.json["snapshot"], got.json["codes"]) == (2, 1, ["gate.refused"])
    assert "min_docs" in got.json["text"]
    assert told(hooks) == [("refused", "run 2 was refused by the gate")]
    assert numbers(lab)['gristmill_run_status{status="refused"}'] == 1
    lab.configure(lab.base | {"gate": {}})
    lab.run()
    assert told(hooks) == [("recovered", "run 3 is well again (published)")]
    lab.run()
    assert told(hooks) == []


def test_a_failure_is_told_with_its_code_and_without_text(lab, hooks):
    (lab.folder / "bad.py").write_text("def bad(texts):\n    raise RuntimeError(texts[0]['text'])\n")
    lab.configure(lab.base | {"steps": [{"custom": {"call": "./bad.py:bad", "mode": "list"}}]})
    with pytest.raises(Exception, match="steps raised"):
        lab.run()
    [got] = hooks.got
    assert (got.json["event"], got.json["codes"], got.json["run"]) == ("failed", ["TooManyErrors"], 1)
    assert lab.open().report(1)["status"] == "failed"
    assert numbers(lab)['gristmill_run_status{status="failed"}'] == 1
    log = (lab.dataset / "runs/1/log.jsonl").read_text()
    assert '"event":"run.failed"' in log
    everything = log + got.body.decode() + (lab.folder / "metrics.prom").read_text()
    everything += (lab.dataset / "monitoring/state.json").read_text() + (lab.dataset / "runs/1/report.json").read_text()
    assert CANARY not in everything
    assert TOKEN not in everything


def test_a_run_that_cannot_begin_is_told_too(lab, hooks):
    lab.take("a/1.jsonl")
    with pytest.raises(SourceError):
        lab.run()
    [got] = hooks.got
    assert (got.json["event"], got.json["run"], got.json["codes"]) == ("failed", None, ["SourceError"])
    assert got.json["title"] == "gristmill: a run failed before it took a number"


def test_usage_and_a_held_dataset_are_nobodys_trouble(lab, hooks):
    lab.run()
    before = (lab.folder / "metrics.prom").stat().st_mtime_ns
    with pytest.raises(ConfigError):
        lab.run(accept_gate=["min_dox"], why="x")
    with pytest.raises(ConfigError):
        lab.run(source="nosuch")
    with DatasetLock(lab.pipeline().layout), pytest.raises(LockedError):
        lab.run()
    assert told(hooks) == []
    assert (lab.folder / "metrics.prom").stat().st_mtime_ns == before


def test_a_source_left_out_is_told_once_a_period(lab, hooks):
    lab.take("b/1.jsonl")
    assert lab.run().status == "partial"
    assert told(hooks) == [("partial", "run 1 left out b")]
    lab.put("a/2.jsonl", texts(1, 50))
    assert lab.run().status == "partial"
    assert told(hooks) == []
    lab.put("b/1.jsonl", texts(5, 100))
    lab.run()
    assert told(hooks) == [("recovered", "run 3 is well again (published)")]
    lab.take("b/1.jsonl")
    lab.run()
    assert told(hooks) == [("partial", "a run left out b")]


def test_a_silent_source_is_told_once_a_period(lab, hooks):
    sources = [lab.base["sources"][0] | {"freshness": "1h"}, lab.base["sources"][1]]
    lab.configure(lab.base | {"sources": sources})
    lab.run()
    age(lab, 1)
    lab.run()
    assert told(hooks) == [("stale", "source a is stale")]
    found = numbers(lab)
    assert found['gristmill_source_stale{source="a"}'] == 1
    assert found['gristmill_source_freshness_limit_seconds{source="a"}'] == 3600
    lab.run()
    assert told(hooks) == []
    lab.put("a/2.jsonl", texts(1, 50))
    lab.run()
    age(lab, 2)
    lab.run()
    assert told(hooks) == [("stale", "source a is stale")]


def test_only_the_events_asked_for(lab, hooks):
    lab.configure(
        lab.base | {"alerts": [{"webhook": {"url": "${env:HOOK}", "on": ["stalled"]}}], "gate": {"min_docs": 100}}
    )
    with pytest.raises(GateRefused):
        lab.run()
    assert told(hooks) == []


def test_a_channel_that_fails_stands_in_the_report_and_changes_no_outcome(lab, hooks):
    lab.configure(lab.base | {"monitoring": {"textfile": "nowhere/metrics.prom"}})
    lab.take("b/1.jsonl")
    hooks.answers = [404]
    report = lab.run()
    assert report.status == "partial"
    late = [error for error in report.errors if error["stage"] == "watch"]
    assert [(error["code"], error["message"]) for error in late] == [
        ("alert.failed", "alerts[0] (webhook): partial: HTTP 404"),
        (
            "monitor.failed",
            f"cannot write monitoring.textfile {str(lab.folder / 'nowhere/metrics.prom')!r}: FileNotFoundError: No such file or directory",
        ),
    ]
    assert lab.open().report(1)["errors"] == report.errors
    assert memory.load(lab.dataset / "monitoring/state.json").alert_failures == 1
    assert "HTTP 404" in (lab.dataset / "runs/1/log.jsonl").read_text()


def test_a_channel_that_hangs_holds_a_run_up_for_its_time_and_no_longer(lab, hooks, monkeypatch):
    monkeypatch.setattr(watch, "TELL_S", 0.5)
    lab.run()
    hooks.slow_s = 60
    lab.take("b/1.jsonl")
    began = time.monotonic()
    report = lab.run()
    assert time.monotonic() - began < 45
    assert [error["message"] for error in report.errors if error["code"] == "alert.failed"] == [
        "alerts[0] (webhook): partial: given up, it took too long"
    ]


def test_the_records_are_those_of_a_run_that_nobody_watches(lab, tmp_path):
    lab.run()
    plain = Lab(tmp_path / "plain", {"sources": lab.base["sources"]})
    plain.put("a/1.jsonl", texts(10))
    plain.put("b/1.jsonl", texts(5, 100))
    plain.run()
    assert lab.bytes() == plain.bytes()
    assert not (plain.dataset / "monitoring").exists()
    assert (plain.dataset / "runs/1/log.jsonl").exists()


# --- the command line ---------------------------------------------------------------------------------------------


def test_status_and_alert_look_from_outside(lab, hooks):
    project = Project(lab.folder)
    lab.run()
    assert project("status", "--check").code == 0
    assert project("alert").out == "nothing to tell\n"
    lab.configure(lab.base | {"gate": {"min_docs": 100}, "monitoring": {"expect_every": "1s"}})
    lab.put("a/2.jsonl", texts(1, 50))
    with pytest.raises(GateRefused):
        lab.run()
    hooks.got.clear()
    time.sleep(1.1)
    checked = project("status", "--check", "--json")
    assert checked.code == 1
    assert [each["event"] for each in checked.json["health"]] == ["refused", "missed"]
    assert "error: refused: run 2 was refused by the gate" in checked.err
    assert "error: missed: no run has ended" in checked.err
    assert project("alert").out == "sent: alerts[0] (webhook): missed\n"  # that it was refused, the run has told
    assert project("alert").out == "nothing to tell\n"
    assert told(hooks) == [("missed", "no run has ended")]


def test_a_scheduler_that_cannot_plan_is_told_of_and_what_it_plans_counts_as_a_run(lab, hooks):
    project = Project(lab.folder)
    lab.run()
    file = lab.folder / "a/1.jsonl"
    aside = file.rename(lab.folder / "aside")
    assert project("stage", "plan").code == 1
    [got] = hooks.got
    assert (got.json["run"], got.json["codes"]) == (None, ["SourceError"])
    assert told(hooks) == [("failed", "a run failed before it took a number")]
    assert numbers(lab)['gristmill_run_status{status="failed"}'] == 1
    assert "error: failed: a run failed before it took a number" in project("status", "--check").err
    aside.rename(file)
    ended = memory.load(lab.dataset / "monitoring/state.json").ended
    assert project("stage", "plan", "--json").json["status"] == "nothing_new"
    assert memory.load(lab.dataset / "monitoring/state.json").ended > ended, "what `expect_every` looks at"
    assert project("status", "--check").code == 0
    assert told(hooks) == [("recovered", "a run is well again (nothing new)")]


def test_parts_that_fail_are_told_of_once_and_their_run_stays_open(lab, hooks):
    project = Project(lab.folder)
    seq = project("stage", "plan", "--json").json["seq"]
    assert not (lab.dataset / f"runs/{seq}/heartbeat.json").exists()
    plan = lab.dataset / f"runs/{seq}/plan.json"
    kept = plan.read_bytes()
    plan.write_bytes(kept[:-20])
    for part in ("1/2", "2/2", "2/2"):
        assert project("stage", "work", str(seq), "read", "--part", part).code == 1
    [got] = hooks.got
    assert (got.json["run"], got.json["codes"]) == (seq, ["StoreError"])
    assert told(hooks) == [("failed", f"run {seq} failed")]
    assert numbers(lab)['gristmill_runs_total{status="failed"}'] == 1
    assert f"error: failed: run {seq} failed" in project("status", "--check").err
    assert (lab.dataset / f"runs/{seq}/log.jsonl").read_text().count('"event":"run.failed"') == 3
    assert not (lab.dataset / f"runs/{seq}/report.json").exists()
    plan.write_bytes(kept)
    assert project("stage", "commit", str(seq)).code == 0
    assert told(hooks) == [("recovered", f"run {seq} is well again (published)")]
    assert project("status", "--check").code == 0


def test_an_export_that_a_scheduler_cannot_make_is_told_of_once_and_so_is_that_it_is_there(lab, hooks):
    lab.configure(lab.base | {"exports": [{"jsonl": {"path": "out"}}]})
    project = Project(lab.folder)
    seq = project("stage", "plan", "--json").json["seq"]
    assert project("stage", "commit", str(seq), "--no-exports").code == 0
    (lab.folder / "out").write_bytes(b"in the way")
    assert [project("export").code for _ in range(2)] == [1, 1]
    [got] = hooks.got
    assert (got.json["run"], got.json["snapshot"], got.json["codes"]) == (seq, seq, ["export.failed"])
    assert told(hooks) == [("failed", f"run {seq} is published, but an export failed")]
    assert numbers(lab)['gristmill_run_status{status="published_export_failed"}'] == 1
    assert "is published, but an export failed" in project("status", "--check").err
    assert project("status", "--json").json["exports"]["jsonl"]["state"] == "damaged"
    (lab.folder / "out").unlink()
    assert [project("export").code for _ in range(2)] == [0, 0]
    assert told(hooks) == [("recovered", f"run {seq} is well again (published)")]
    assert numbers(lab)['gristmill_runs_total{status="published"}'] == 1
    assert project("status", "--check").code == 0


def test_a_test_goes_over_every_channel_whatever_it_asks_for(lab, hooks):
    on = {"url": "${env:HOOK}", "on": ["stalled"]}
    lab.configure(lab.base | {"alerts": [{"webhook": on}, {"webhook": on}]})
    project = Project(lab.folder)
    assert project("alert", "--test", "--json").json["sent"] == [
        "alerts[0] (webhook): test",
        "alerts[1] (webhook): test",
    ]
    assert told(hooks) == [("test", "a test of the alerts")] * 2
    hooks.answers = [404]
    answer = project("alert", "--test")
    assert answer.code == 1
    assert "HTTP 404" in answer.err
    assert TOKEN not in answer.err
    assert not lab.dataset.exists()


def test_lines_for_machines(lab):
    project = Project(lab.folder)
    for how in (["--log-format", "json"], []):
        lines = [json.loads(line) for line in project("run", *how).err.splitlines()]
        assert all({"time", "level", "event"} <= line.keys() for line in lines)
        lab.configure(lab.base | {"monitoring": {"log": "json"}})
        lab.put("a/2.jsonl", texts(1, 50))
    assert {line["task"] for line in lines if line["event"] == "task.done"} >= {"r-000000"}
    assert {line["run"] for line in lines if line["event"] not in {"stage.begins", "message"}} == {2}
    answer = project("run", "--set", "sources.a.path=nowhere/*")
    assert answer.code == 1
    assert [json.loads(line)["event"] for line in answer.err.splitlines()][-1] == "message"
    assert project("run", "--log-format", "text").err.startswith("run 3 published")


def test_nothing_is_imported_for_lineage_and_metrics_beside_a_run(lab):
    """A signal in the middle of an import can leave its lock taken, and the thread that sends waited for it until it was given up."""
    lab.configure(lab.base | {"monitoring": {"openlineage": {"file": "lineage.jsonl"}, "textfile": "metrics.prom"}})
    done = subprocess.run([sys.executable, "-c", IMPORTED], cwd=lab.folder, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "published"]
    assert (lab.folder / "lineage.jsonl").exists()
    assert (lab.folder / "metrics.prom").exists()


def test_a_run_that_is_stopped_or_killed(lab, hooks):
    """While it lives `status` tells how far it is; stopped it tells nobody; killed it is found from outside; gone on with it is well."""
    (lab.folder / "slow.py").write_text(SLOW)
    steps = [{"custom": {"call": "./slow.py:slow", "mode": "list"}}]
    lab.configure(
        lab.base
        | {
            "steps": steps,
            "monitoring": {"openlineage": {"file": "lineage.jsonl"}, "textfile": "metrics.prom", "stall": "2s"},
        }
    )
    project = Project(lab.folder)
    beat = lab.dataset / "runs/1/heartbeat.json"
    for number in (signal.SIGTERM, signal.SIGKILL):
        process = subprocess.Popen(
            command("run"), cwd=lab.folder, env=os.environ | {"GRISTMILL_TEST_SLOW": "60"}, start_new_session=True
        )
        try:
            deadline = time.monotonic() + 60
            while (
                not (beat.exists() and json.loads(beat.read_bytes())["stage"] == "read") and time.monotonic() < deadline
            ):
                time.sleep(0.05)
            if number == signal.SIGKILL:
                live, heard, wanted = project("status"), [], ("stalled", "run 1 stands still")
                while ("stalled: no" not in live.out or wanted not in heard) and time.monotonic() < deadline:
                    live = project("status")
                    heard += told(hooks)
                assert "running: run 1, stage read: 0 of 2 tasks" in live.out
                assert "stalled: no progress for" in live.out
                assert wanted in heard
        finally:
            if number == signal.SIGKILL:
                os.killpg(process.pid, number)  # its workers, too, who would sleep on
            process.send_signal(number)
            process.wait(timeout=60)
        if number == signal.SIGTERM:
            assert numbers(lab)["gristmill_run_active"] == 0
            assert [each for each in told(hooks) if each[0] != "stalled"] == []  # a busy machine may plan for that long
    assert (
        numbers(lab)["gristmill_run_active"] == 1
    )  # and its heartbeat grows old, which is what the rule GristmillRunDied looks at
    checked = project("status", "--check", "--json")
    assert [(each["event"], each["title"]) for each in checked.json["health"]] == [("failed", "run 1 did not end")]
    assert project("alert").out == "sent: alerts[0] (webhook): failed\n"
    assert project("alert").out == "nothing to tell\n"
    hooks.got.clear()
    assert project("run").code == 0
    assert [each for each in told(hooks) if each[0] != "stalled"] == [("recovered", "run 1 is well again (published)")]
    assert not beat.exists()
    events = [json.loads(line) for line in (lab.folder / "lineage.jsonl").read_text().splitlines()]
    assert [event["eventType"] for event in events][-2:] == ["START", "COMPLETE"]
    assert len({event["run"]["runId"] for event in events}) == 1  # what is gone on with is the same run
