"""Cost: processor time of this process and its children, what a run costs by the config's prices, and jumps of it.

Not here: what a run will cost (`engine.estimate`). Invariants: a price that is not in the config makes no cost, never a zero;
machines are paid for while they are held, so by cores times wall clock, not by how busy they were.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Iterable
from typing import Any

import msgspec

from gristmill.config.settings import Cost
from gristmill.engine.report import Report, error_entry, whole_report
from gristmill.store import claim
from gristmill.store.layout import Layout

JUMP = "cost.jump"
_MIN_RUNS = 3  # to compare with
_LAST_RUNS = 10
_MIN_BYTES = 1_000_000  # read by a run whose cost per GB says something


def cpu_s() -> float:
    """Give the processor time of this process and of its children that have ended, in seconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def compute(prices: Cost, cores: float, seconds: float) -> float | None:
    """Give what `cores` cost for so long; None without a price."""
    return None if prices.core_hour is None else prices.core_hour * cores * seconds / 3600


def storage(prices: Cost, stored_bytes: float) -> float | None:
    """Give what bytes cost for the months of the config; None without a price."""
    return None if prices.gb_month is None else prices.gb_month * prices.months * stored_bytes / 1e9


def in_all(prices: Cost, cores: float, seconds: float, stored_bytes: float) -> dict[str, Any] | None:
    """Give `{"total", "currency", "parts": {"compute", "storage"}}`; None where the config has no price."""
    parts = {"compute": compute(prices, cores, seconds), "storage": storage(prices, stored_bytes)}
    known = {name: round(value, 6) for name, value in parts.items() if value is not None}
    if not known:
        return None
    return {"total": round(sum(known.values()), 6), "currency": prices.currency, "parts": known}


def per_gb(report: dict[str, Any]) -> float | None:
    """Give what a GB read by a run cost; None for runs without a cost, or that read next to nothing."""
    cost, read = report.get("cost"), report.get("bytes_read") or 0
    return None if not cost or read < _MIN_BYTES else float(cost["total"]) / (read / 1e9)


def trend(reports: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give run, total, currency and cost per GB read of the last runs that have a cost, the oldest first."""
    told = [
        {"run": report["run"], "total": report["cost"]["total"], "currency": report["cost"]["currency"], "per_gb": each}
        for report in reports
        if (each := per_gb(report)) is not None
    ]
    return told[-_LAST_RUNS:]


def jump(prices: Cost, report: dict[str, Any], before: Iterable[dict[str, Any]]) -> str | None:
    """Say by how much a run's cost per GB is above the median of the runs before; None if it is within `cost.jump`."""
    now = per_gb(report)
    known = [run["per_gb"] for run in trend(before) if run["currency"] == prices.currency]
    if now is None or prices.jump is None or len(known) < _MIN_RUNS:
        return None
    usual = statistics.median(known)
    if now <= prices.jump * usual:
        return None
    return (
        f"a GB cost {now:.3g} {prices.currency}, {now / usual:.1f} times the median of the last {len(known)} runs ({usual:.3g}); "
        "`gristmill status` shows the trend, `gristmill show` where the time went"
    )


def settle(prices: Cost, layout: Layout, stored_bytes: int, config: str, report: Report) -> None:
    """Put into a finished run's report what it cost, a jump of that, and what had been estimated for it.

    stored_bytes: that were planned; config: its fingerprint.
    """
    report.cost = in_all(prices, report.cores, report.seconds, report.bytes_published)
    report.estimate = beside(prices, layout, stored_bytes, config, report)
    if report.cost is not None and report.run is not None:
        told = jump(prices, report.to_json(), reports_before(layout, report.run))
        if told:
            report.errors.append(error_entry("cost", None, JUMP, told, claim.now(), {}))


def reports_before(layout: Layout, run: int) -> list[dict[str, Any]]:
    """Give the reports of the last runs before one, the oldest first."""
    found: list[dict[str, Any]] = []
    for seq in range(run - 1, 0, -1):
        if len(found) == _LAST_RUNS:
            break
        report = whole_report(layout, seq)
        found += [report] if report is not None else []
    return found[::-1]


def beside(prices: Cost, layout: Layout, stored_bytes: int, config: str, report: Report) -> dict[str, Any] | None:
    """Give what the kept estimate said, at today's prices, beside what was measured; None if it was made for another plan."""
    try:
        kept = msgspec.json.decode(layout.estimate.read_bytes())
    except (OSError, msgspec.DecodeError):
        return None
    if (kept["head"], kept["config"], kept["bytes"]) != (report.parent or 0, config, stored_bytes):
        return None
    measured = {
        "seconds": report.seconds,
        "cpu_seconds": report.cpu_seconds,
        "table_bytes": report.bytes_published,
        "cost": report.cost["total"] if report.cost else None,
    }
    cost = in_all(
        prices, kept["cores"] * kept["machines"], kept["seconds"], kept["dataset_bytes"] + sum(kept["exports"].values())
    )
    said = {**kept, "cost": cost["total"] if cost else None}
    return {
        name: {"estimated": said[name], "measured": value, "ratio": round(said[name] / value, 3)}
        for name, value in measured.items()
        if value and said[name] is not None
    }
