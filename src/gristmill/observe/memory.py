"""What watching remembers from run to run: totals, the last report, and which troubles were told of when.

It lies in one small file of the dataset, `monitoring/state.json`, written only where the config asks to be watched. Not here: what
is told (`observe.alerts`), what is measured (`observe.metrics`). Invariants: nothing of it decides a record or a snapshot; lost or
damaged it begins anew, and the worst that follows is an alert told twice and counters that begin at 0.
"""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from gristmill.core import access
from gristmill.observe.events import Json
from gristmill.observe.pulse import write_whole

GOOD = ("published", "nothing_new")
# What of a report numbers are made of. Lists of names and texts for people are left out.
_KEPT = (
    "run", "snapshot", "status", "counts", "balanced", "quality", "dataset_rows", "dataset_quality_score", "success_rate", "sources",
    "steps", "bytes_read", "bytes_published", "compression_ratio", "seconds", "mb_per_s", "peak_rss_mb", "retries", "gate", "drift",
    "cost",
)  # fmt: skip
_LASTING = (
    "snapshot",
    "dataset_rows",
    "dataset_quality_score",
)  # of the dataset: a run that failed leaves them as they were


class Memory(msgspec.Struct):
    """What is remembered. Times are seconds since 1970.

    records: by source and outcome. runs: by status. report: the numbers of the last one. started, ended: of that run. succeeded: the
    end of the last good one. given: when each source last gave a record that was not known. bad: what was wrong with the last run,
    until a good one. stale: sources that are. sent: when each standing trouble was last told, by its key.
    """

    version: int = 1
    records: dict[str, dict[str, int]] = {}
    runs: dict[str, int] = {}
    bytes_read: int = 0
    bytes_published: int = 0
    retries: int = 0
    worker_deaths: int = 0
    alerts: dict[str, int] = {}
    alert_failures: int = 0
    report: dict[str, Any] = {}
    started: float = 0.0
    ended: float = 0.0
    succeeded: float = 0.0
    given: dict[str, float] = {}
    bad: str = ""
    stale: list[str] = []
    sent: dict[str, float] = {}

    def learn(self, report: Json, started: float, worker_deaths: int = 0) -> None:
        """Take in the report of a run that has just ended."""
        status = report["status"]
        before = (
            {key: self.report[key] for key in _LASTING if key in self.report}
            if not report.get("counts", {}).get("read")
            else {}
        )
        self.report = before | {key: report[key] for key in _KEPT if report.get(key) is not None}
        self.started, self.ended = started, time.time()
        self.runs[status] = self.runs.get(status, 0) + 1
        if status in GOOD:
            self.succeeded = self.ended
        published = status not in ("refused", "failed")
        rolled_back = any("rolled_back_to" in entry for entry in report.get("lineage", []))
        for source, counts in report.get("sources", {}).items():
            totals = self.records.setdefault(source, {})
            for outcome, n in outcomes(counts).items() if published else []:
                totals[outcome] = totals.get(outcome, 0) + n
            if published and counts["read"] > counts["unchanged"] and not rolled_back:
                self.given[source] = started
        self.bytes_read += report.get("bytes_read", 0)
        self.bytes_published += report.get("bytes_published", 0) if published else 0
        self.retries += report.get("retries", 0)
        self.worker_deaths += worker_deaths
        if status != "failed":  # a failed run did not look
            self.stale = sorted({e["source"] for e in report.get("errors", []) if e["code"] == "source.stale"})


def outcomes(counts: Json) -> dict[str, int]:
    """Give the records of a report's counts by outcome, each outcome a number."""
    names = {"duplicates": "duplicate"}
    return {names.get(key, key): sum(n.values()) if isinstance(n, dict) else n for key, n in counts.items()}


def load(path: Path) -> Memory:
    """Read what is remembered; nothing, where it cannot be read."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Memory)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Memory()
    return found if found.version == 1 else Memory()


@contextmanager
def opened(path: Path | None) -> Iterator[Memory]:
    """Give what is remembered to change it; what it is in the end is kept. One at a time; where nothing can be written, nothing is.

    None: nothing is remembered.
    """
    if path is None:
        yield Memory()
        return
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            access.make_folder(path.parent, access.FOLDER)
            lock = held.enter_context(access.append(path.with_name("lock")))
            fcntl.flock(lock, fcntl.LOCK_EX)
        memory = load(path)
        yield memory
        with contextlib.suppress(OSError):
            write_whole(path, msgspec.json.format(msgspec.json.encode(memory), indent=1) + b"\n")
