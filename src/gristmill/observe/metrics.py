"""Metrics: a run and its dataset as numbers for Prometheus, in a textfile or at a pushgateway.

`METRICS` is the whole list; the table in docs/how-to/monitoring.md is held to it by a test. What tells of one run is a gauge and is
that of the last run that ended; what adds up over runs is a counter (`_total`). Not here: what is remembered between runs
(`observe.memory`), the run as it goes on (`observe.pulse`). Invariants: base units, and the unit in the name; a label has few values
(the many reasons of a user's own filter are cut to the most frequent); no label holds a text of a document.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from gristmill.observe.events import Json
from gristmill.observe.memory import Memory, outcomes
from gristmill.observe.pulse import Live

if TYPE_CHECKING:
    from prometheus_client.core import Metric as Family

STATUSES = ("published", "nothing_new", "partial", "published_export_failed", "refused", "failed")
LEVELS = {"ok": 0, "warn": 1, "block": 2}
MANY = 50  # values of a label that data could make many of; the rest is summed up as `other`
PUSH_S = 5.0  # longest a pushgateway may take


class Metric(msgspec.Struct, frozen=True):
    """One metric: its name without `gristmill_`, its type, its labels beside `dataset`, and what it says."""

    name: str
    kind: Literal["gauge", "counter"]
    labels: tuple[str, ...]
    help: str


def _gauge(name: str, told: str, *labels: str) -> Metric:
    return Metric(name, "gauge", labels, told)


def _counter(name: str, told: str, *labels: str) -> Metric:
    return Metric(name, "counter", labels, told)


METRICS = (
    _gauge("heartbeat_timestamp_seconds", "When these numbers were written; while a run lives at least every 30 s."),
    _gauge("run_active", "1 while a run goes on, else 0."),
    _gauge("run_stalled", "1 while a run makes no progress for longer than monitoring.stall."),
    _gauge("tasks", "Tasks of the present stage, by state: waiting, running, done.", "state"),
    _gauge("stage_progress_ratio", "Share of the present stage that is done, by stage.", "stage"),
    _gauge("stage_read_bytes", "Stored bytes of the input done in the present stage.", "stage"),
    _gauge("stage_records", "Records into and out of the tasks done in the present stage.", "stage", "direction"),
    _gauge("run_number", "Number of the last run that took one."),
    _gauge("snapshot_number", "Number of the newest published snapshot."),
    _gauge("run_status", "1 for the status of the last run, 0 for the others.", "status"),
    _gauge("run_start_timestamp_seconds", "When the last run began."),
    _gauge("run_end_timestamp_seconds", "When the last run ended."),
    _gauge("last_success_timestamp_seconds", "When the last run ended that published, or found nothing new."),
    _gauge("run_duration_seconds", "How long the last run took."),
    _gauge("run_records", "Records of the last run by outcome; read is the sum of the others but withdrawn.", "outcome"),
    _gauge("run_source_records", "Records of the last run by source and outcome.", "source", "outcome"),
    _gauge("run_dropped_records", "Records that filters of the last run dropped.", "step", "reason"),
    _gauge("run_duplicate_records", "Records of the last run that repeat others.", "step"),
    _gauge("run_quarantined_records", "Records of the last run that are quarantined.", "code"),
    _gauge("run_read_bytes", "Input of the last run, decompressed."),
    _gauge("run_read_bytes_per_second", "Input of the last run over the time it took."),
    _gauge("run_published_bytes", "Shards the last run added, as stored."),
    _gauge("run_quality_ratio", "Valid records over those that reached require, in the last run."),
    _gauge("run_success_ratio", "Records of the last run that were not quarantined, over those read."),
    _gauge("run_retries", "Tries of tasks that failed in the last run."),
    _gauge("run_peak_memory_bytes", "Most memory a process of the last run held."),
    _gauge("run_cost", "Cost of the last run, in its currency, where the report tells one.", "currency"),
    _gauge("step_seconds", "Time the step took in the last run, over all tasks.", "step"),
    _gauge("step_bytes", "Text that went into the step in the last run.", "step"),
    _gauge("step_bytes_per_second", "Text over time of the step in the last run.", "step"),
    _gauge("step_records", "Records into and out of the step in the last run.", "step", "direction"),
    _gauge("gate_value", "What a rule of the gate measured in the last run.", "rule"),
    _gauge("gate_limit", "The limit of the rule.", "rule"),
    _gauge("gate_ok", "1 where the rule held.", "rule"),
    _gauge("drift_value", "How far a distribution of the last run lies from its baseline.", "source", "distribution", "measure"),
    _gauge("drift_level", "0 well, 1 warns, 2 blocks.", "source", "distribution", "measure"),
    _gauge("dataset_rows", "Rows of the newest snapshot."),
    _gauge("dataset_quality_ratio", "Valid records over those that reached require, over the whole dataset."),
    _gauge("source_last_new_timestamp_seconds", "When the source last gave a record that was not known.", "source"),
    _gauge("source_lag_seconds", "How long the source had given nothing new when these numbers were written.", "source"),
    _gauge("source_freshness_limit_seconds", "How long it may, where the config says so.", "source"),
    _gauge("source_stale", "1 where it has for longer.", "source"),
    _counter("runs_total", "Runs that ended, by status.", "status"),
    _counter("records_total", "Records of published runs by source and outcome.", "source", "outcome"),
    _counter("read_bytes_total", "Input of all runs, decompressed."),
    _counter("published_bytes_total", "Shards added, as stored."),
    _counter("retries_total", "Tries of tasks that failed."),
    _counter("worker_deaths_total", "Worker processes that died."),
    _counter("alerts_total", "Alerts that were delivered, by event.", "event"),
    _counter("alert_failures_total", "Alerts that a channel did not take."),
)  # fmt: skip

Sample = tuple[str, tuple[str, ...], float | None]


def sampled(memory: Memory, live: Live | None, limits: Mapping[str, int | None], now: float) -> Iterator[Sample]:
    """Give (name, label values, value) of all there is to tell; a value that is not known is None and is left out."""
    yield "heartbeat_timestamp_seconds", (), now
    yield from _of_live(live)
    yield from _of_run(memory)
    yield from _of_report(memory.report)
    for source, limit in limits.items():
        given = memory.given.get(source)
        yield "source_last_new_timestamp_seconds", (source,), given
        yield "source_lag_seconds", (source,), None if given is None else max(0.0, now - given)
        yield "source_freshness_limit_seconds", (source,), limit
        yield "source_stale", (source,), None if limit is None else source in memory.stale
    for status in STATUSES:
        yield "runs_total", (status,), memory.runs.get(status, 0)
    for source, counted in memory.records.items():
        for outcome, n in counted.items():
            yield "records_total", (source, outcome), n
    for event, n in memory.alerts.items():
        yield "alerts_total", (event,), n
    for name in ("bytes_read", "bytes_published", "retries", "worker_deaths", "alert_failures"):
        told = {"bytes_read": "read_bytes", "bytes_published": "published_bytes"}.get(name, name)
        yield f"{told}_total", (), getattr(memory, name)


def _of_live(live: Live | None) -> Iterator[Sample]:
    yield "run_active", (), live is not None
    yield "run_stalled", (), live is not None and live.stalled
    counts = (live.waiting, live.running, live.done) if live is not None else (0, 0, 0)
    for state, n in zip(("waiting", "running", "done"), counts, strict=True):
        yield "tasks", (state,), n
    if live is not None and live.tasks:
        yield "stage_progress_ratio", (live.stage,), live.done / live.tasks
        yield "stage_read_bytes", (live.stage,), live.bytes_done
        yield "stage_records", (live.stage, "in"), live.rows_in
        yield "stage_records", (live.stage, "out"), live.rows_out


def _of_run(memory: Memory) -> Iterator[Sample]:
    report = memory.report
    yield "run_number", (), report.get("run")
    yield "snapshot_number", (), report.get("snapshot")
    for status in STATUSES if report else ():
        yield "run_status", (status,), status == report["status"]
    yield "run_start_timestamp_seconds", (), memory.started or None
    yield "run_end_timestamp_seconds", (), memory.ended or None
    yield "last_success_timestamp_seconds", (), memory.succeeded or None
    yield "run_duration_seconds", (), memory.ended - memory.started if memory.ended else None


def _of_report(report: Json) -> Iterator[Sample]:
    counts = report.get("counts", {})
    for outcome, n in outcomes(counts).items():
        yield "run_records", (outcome,), n
    for source, part in report.get("sources", {}).items():
        for outcome, n in outcomes(part).items():
            yield "run_source_records", (source, outcome), n
    for key, n in _most(counts.get("dropped", {})).items():
        step, _, reason = key.partition(":")
        yield "run_dropped_records", (step, reason), n
    for step, n in counts.get("duplicates", {}).items():
        yield "run_duplicate_records", (step,), n
    for code, n in _most(counts.get("quarantined", {})).items():
        yield "run_quarantined_records", (code,), n
    yield "run_read_bytes", (), report.get("bytes_read")
    yield "run_read_bytes_per_second", (), _times(report.get("mb_per_s"), 1e6)
    yield "run_published_bytes", (), report.get("bytes_published")
    yield "run_quality_ratio", (), report.get("quality", {}).get("quality_score")
    yield "run_success_ratio", (), report.get("success_rate")
    yield "run_retries", (), report.get("retries")
    yield "run_peak_memory_bytes", (), _times(report.get("peak_rss_mb"), 1e6)
    yield "dataset_rows", (), report.get("dataset_rows")
    yield "dataset_quality_ratio", (), report.get("dataset_quality_score")
    cost = report.get("cost")
    if isinstance(cost, dict) and isinstance(cost.get("total"), int | float):
        yield "run_cost", (str(cost.get("currency", "")),), cost["total"]
    for step in report.get("steps", []):
        name = (step["name"],)
        yield "step_seconds", name, step["seconds"]
        yield "step_bytes", name, step["bytes"]
        yield "step_bytes_per_second", name, step["bytes"] / step["seconds"] if step["seconds"] else None
        yield "step_records", (*name, "in"), step["in"]
        yield "step_records", (*name, "out"), step["out"]
    for rule in report.get("gate", []):
        yield "gate_value", (rule["rule"],), rule["value"]
        yield "gate_limit", (rule["rule"],), rule["limit"]
        yield "gate_ok", (rule["rule"],), rule["ok"]
    for drift in report.get("drift") or []:
        where = (str(drift["source"]), str(drift["distribution"]), str(drift["measure"]))
        yield "drift_value", where, drift["value"]
        yield "drift_level", where, LEVELS.get(drift["level"], 0)


def _most(counted: Mapping[str, int]) -> dict[str, int]:
    """Keep the most frequent; what a user's own step names could be without end."""
    ranked = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(n for _, n in ranked[MANY:])
    return dict(ranked[:MANY]) | ({"other": rest} if rest else {})


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def bring_in() -> None:
    """Import what numbers are written and sent with."""
    import prometheus_client.core  # noqa: F401


class Sheet:
    """All numbers of one dataset at one time, as prometheus_client collects them (a collector)."""

    def __init__(self, memory: Memory, live: Live | None, dataset: str, limits: Mapping[str, int | None]) -> None:
        self.dataset = dataset
        self.samples: dict[str, list[tuple[tuple[str, ...], float]]] = {}
        for name, labels, value in sampled(memory, live, limits, time.time()):
            if value is not None:
                self.samples.setdefault(name, []).append((labels, float(value)))

    def collect(self) -> Iterator[Family]:
        """Give the families that have a sample."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for metric in METRICS:
            make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
            family = make(f"gristmill_{metric.name}", metric.help, labels=["dataset", *metric.labels])
            for labels, value in self.samples.get(metric.name, []):
                family.add_metric([self.dataset, *labels], value)
            if family.samples:
                yield family

    def write(self, path: Path) -> None:
        """Put them in a textfile, in one step."""
        from prometheus_client import write_to_textfile

        write_to_textfile(str(path), self)

    def push(self, gateway: str) -> None:
        """Put them at a pushgateway, in the place of those of this dataset that were there."""
        from prometheus_client import push_to_gateway

        push_to_gateway(gateway, "gristmill", self, {"dataset": self.dataset}, timeout=PUSH_S)
