"""Spent: the time, memory and money of a run, as its page tells them.

Not here: measuring (`engine`). Invariant: what was not measured, or has no price, is left out and never a zero.
"""

from __future__ import annotations

from typing import Any

from gristmill.report import words
from gristmill.report.bars import Line, Part, bar
from gristmill.report.words import count, percent, size

Json = dict[str, Any]

ROWS = 30


def times(steps: list[Json]) -> list[Line]:
    """Give the time in each step, and how fast it was."""
    whole = sum(step["seconds"] for step in steps)
    most = max((step["seconds"] for step in steps), default=0.0)
    lines = []
    for step in steps:
        told = speed(step["bytes"] / 1e6 / step["seconds"]) if step["seconds"] else "–"
        cells = [words.seconds(step["seconds"]), percent(step["seconds"], whole), size(step["bytes"]), told]
        micros = round(step["seconds"] * 1e6)
        lines.append(Line(step["name"], cells, _time_bar(micros, most * 1e6, cells)))
    return lines


def _time_bar(micros: int, whole: float, cells: list[str]) -> list[Part]:
    return [part._replace(told=f"{cells[0]} ({cells[1]})") for part in bar([("time", micros)], whole)]


def facts(report: Json) -> list[tuple[str, str]]:
    """Give time, speed, sizes and memory of a run."""
    exports = "; ".join(f"{name}: {_numbers(made)}" for name, made in report.get("exports", {}).items())
    facts = [
        ("time", words.seconds(report["seconds"])),
        ("speed", f"{speed(report['mb_per_s'])} MB/s over {size(report['bytes_read'])} read"),
        ("written", f"{size(report['bytes_published'])}, {report['compression_ratio']:.3g} times smaller than its text"),
        ("peak memory", f"{report['peak_rss_mb']:,.0f} MB in one process"),
        ("tasks tried again", count(report.get("retries", 0))),
        ("exports", exports or "none"),
    ]  # fmt: skip
    score = report.get("dataset_quality_score")
    return [*facts, ("quality score of the dataset", count(score))] if score is not None else facts


def _numbers(made: Json) -> str:
    """Tell what an export did: its numbers, with their names."""
    return ", ".join(f"{key.replace('_', ' ')} {count(n)}" for key, n in made.items() if isinstance(n, int | float))


def cost(found: Any) -> Json | None:
    """Give what a run cost, and its parts; None where there was no price."""
    if not isinstance(found, dict) or "total" not in found:
        return None
    unit = str(found.get("currency", ""))
    parts = {name: n for name, n in (found.get("parts") or {}).items() if isinstance(n, int | float)}
    most, whole = max(parts.values(), default=0), float(found["total"])
    lines = []
    for name, n in sorted(parts.items(), key=lambda item: (-item[1], item[0]))[:ROWS]:
        laid = [part._replace(told=f"{count(n)} {unit}") for part in bar([("time", round(n * 1e6))], most * 1e6)]
        lines.append(Line(name, [f"{count(n)} {unit}", percent(n, whole)], laid))
    return {"total": f"{count(whole)} {unit}", "lines": lines}


def estimate(found: Json) -> list[list[str]]:
    """Give what had been estimated beside what was measured."""
    shown = {"seconds": words.seconds, "cpu_seconds": words.seconds, "table_bytes": size}
    return [
        [
            name.replace("_", " "),
            *(shown.get(name, count)(row[key]) for key in ("estimated", "measured")),
            count(row["ratio"]),
        ]
        for name, row in found.items()
    ]


def speed(mb_per_s: float) -> str:
    """Give MB/s in three digits."""
    return f"{mb_per_s:,.0f}" if mb_per_s >= 100 else f"{mb_per_s:.3g}"
