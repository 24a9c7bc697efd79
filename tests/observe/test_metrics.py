"""Metrics: what stands in the table, in the file and in the page is the same; labels are safe and few."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.observe.hooks import Hooks

from gristmill.observe.memory import Memory
from gristmill.observe.metrics import MANY, METRICS, Sheet
from gristmill.observe.pulse import Live

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "monitoring.md"
PROMTOOL = shutil.which("promtool")

COUNTS = {
    "read": 10, "published": 6, "unchanged": 0, "superseded": 0, "withdrawn": 1, "dropped": {"filter.length:short": 2},
    "duplicates": {"dedup.exact": 1}, "quarantined": {"json.syntax": 1},
}  # fmt: skip
REPORT = {
    "run": 7, "snapshot": 7, "status": "published", "counts": COUNTS, "sources": {"a": COUNTS}, "quality": {"quality_score": 0.75},
    "dataset_rows": 60, "dataset_quality_score": 0.9, "success_rate": 0.9, "bytes_read": 1000, "bytes_published": 300, "mb_per_s": 0.5,
    "peak_rss_mb": 200.0, "retries": 2, "errors": [{"code": "source.stale", "source": "b"}],
    "steps": [{"name": "filter.length", "in": 10, "out": 8, "seconds": 2.0, "bytes": 4_000_000}],
    "gate": [{"rule": "min_docs", "value": 6, "limit": None, "ok": True}],
    "drift": [{"source": "a", "distribution": "read.lang", "measure": "psi", "value": 0.3, "level": "warn"},
              {"source": "a", "distribution": "read.chars", "measure": "ks", "value": None, "level": "ok"}],
    "cost": {"total": 1.5, "currency": "EUR"},
}  # fmt: skip


def sheet(report=REPORT, live=None, dataset="/d", limits=None):
    memory = Memory(alerts={"failed": 1})
    memory.learn(report, started=1000.0, worker_deaths=1)
    return Sheet(memory, live, dataset, {"a": 3600, "b": 60} if limits is None else limits)


def samples(one, tmp_path):
    one.write(tmp_path / "x.prom")
    text = (tmp_path / "x.prom").read_text()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = {name: value for name, value in sample.labels.items() if name != "dataset"}
            found[(sample.name, *sorted(labels.items()))] = sample.value
    return found, text


def test_a_whole_run_in_numbers(tmp_path):
    live = Live(run=8, stage="read", tasks=4, done=1, running=2, waiting=1, bytes_done=5, rows_in=3, rows_out=2)
    found, text = samples(sheet(live=live), tmp_path)
    wanted = {
        ("gristmill_run_active",): 1,
        ("gristmill_tasks", ("state", "waiting")): 1,
        ("gristmill_tasks", ("state", "running")): 2,
        ("gristmill_stage_progress_ratio", ("stage", "read")): 0.25,
        ("gristmill_run_status", ("status", "published")): 1,
        ("gristmill_run_status", ("status", "failed")): 0,
        ("gristmill_run_records", ("outcome", "dropped")): 2,
        ("gristmill_run_source_records", ("outcome", "duplicate"), ("source", "a")): 1,
        ("gristmill_run_dropped_records", ("reason", "short"), ("step", "filter.length")): 2,
        ("gristmill_run_quarantined_records", ("code", "json.syntax")): 1,
        ("gristmill_step_bytes_per_second", ("step", "filter.length")): 2e6,
        ("gristmill_run_peak_memory_bytes",): 2e8,
        ("gristmill_run_quality_ratio",): 0.75,
        ("gristmill_drift_level", ("distribution", "read.lang"), ("measure", "psi"), ("source", "a")): 1,
        ("gristmill_run_cost", ("currency", "EUR")): 1.5,
        ("gristmill_source_last_new_timestamp_seconds", ("source", "a")): 1000,
        ("gristmill_source_stale", ("source", "b")): 1,
        ("gristmill_source_stale", ("source", "a")): 0,
        ("gristmill_records_total", ("outcome", "published"), ("source", "a")): 6,
        ("gristmill_runs_total", ("status", "published")): 1,
        ("gristmill_alerts_total", ("event", "failed")): 1,
        ("gristmill_worker_deaths_total",): 1,
    }
    assert {key: found.get(key) for key in wanted} == wanted
    assert ("gristmill_gate_limit", ("rule", "min_docs")) not in found  # what is not known is left out
    names = {name for name, *_ in found}
    assert {f"gristmill_{metric.name}" for metric in METRICS} - names == {"gristmill_gate_limit"}
    for name in names:
        assert f"# HELP {name}" in text
        assert f"# TYPE {name}" in text


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool on this machine: `make debian` installs it")
def test_promtool_has_nothing_to_say(tmp_path):
    _, text = samples(sheet(live=Live(run=8, stage="read", tasks=4, done=1)), tmp_path)
    done = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_counters_add_up_over_runs_and_refused_ones_add_no_records(tmp_path):
    memory = Memory()
    for status in ("published", "refused", "published", "failed"):
        report = {"status": "failed", "errors": []} if status == "failed" else REPORT | {"status": status}
        memory.learn(report, started=1.0)
    found, _ = samples(Sheet(memory, None, "/d", {}), tmp_path)
    assert found["gristmill_records_total", ("outcome", "read"), ("source", "a")] == 20
    assert found["gristmill_read_bytes_total",] == 3000
    assert found["gristmill_runs_total", ("status", "published")] == 2
    assert found["gristmill_run_status", ("status", "failed")] == 1
    assert found["gristmill_dataset_rows",] == 60  # a failed run leaves the dataset as it was


def test_labels_are_escaped(tmp_path):
    odd = 'a"b\\c\nd'
    found, text = samples(sheet(REPORT | {"sources": {odd: COUNTS}}, dataset=odd), tmp_path)
    assert found["gristmill_run_source_records", ("outcome", "read"), ("source", odd)] == 10
    assert r'dataset="a\"b\\c\nd"' in text


def test_a_step_that_names_a_thousand_reasons_makes_few_series(tmp_path):
    dropped = {f"custom:reason {i}": i + 1 for i in range(1000)}
    found, _ = samples(sheet(REPORT | {"counts": COUNTS | {"dropped": dropped}}), tmp_path)
    series = [key for key in found if key[0] == "gristmill_run_dropped_records"]
    assert len(series) == MANY + 1
    assert sum(found[key] for key in series) == sum(dropped.values())


def test_a_reader_sees_a_whole_file(tmp_path):
    path = tmp_path / "x.prom"
    sheet().write(path)
    before = path.stat().st_ino
    sheet().write(path)
    assert path.stat().st_ino != before  # another file in its place, not the same one written again
    assert [each.name for each in tmp_path.iterdir()] == ["x.prom"]
    with pytest.raises(OSError, match="No such file"):
        sheet().write(tmp_path / "nowhere" / "x.prom")


def test_a_pushgateway_gets_them_under_the_dataset(tmp_path):
    with Hooks() as hooks:
        sheet(dataset="/data/corpus").push(hooks.url)
    [got] = hooks.got
    assert got.method == "PUT"
    assert got.path.startswith("/metrics/job/gristmill/dataset@base64/")
    assert "gristmill_run_number{" in got.body.decode()


def test_the_page_lists_every_metric_and_no_other():
    rows = re.findall(r"^\| `gristmill_(\w+)` \| (\w+) \| (.*) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    told = [(name, kind, labels.replace("`", ""), text) for name, kind, labels, text in rows]
    assert told == [(m.name, m.kind, ", ".join(m.labels), m.help) for m in METRICS]
