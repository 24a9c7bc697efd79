"""What a benchmark answers, what it is held against, and how that is shown."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
FLOORS = HERE / "floors.json"
RESULTS = HERE / "results.json"
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


class Measure(NamedTuple):
    """A figure. samples: the single measurements it is the median of."""

    value: float
    unit: str
    what: str
    samples: tuple[float, ...] = ()


def median(values: Sequence[float], unit: str, what: str) -> Measure:
    """Make a figure of several measurements."""
    return Measure(round(statistics.median(values), 3), unit, what, tuple(round(value, 3) for value in values))


def floors() -> dict[str, dict[str, float]]:
    """Give, by name, `floor` (not less), `ceiling` (not more) and `aim`."""
    loaded: dict[str, dict[str, float]] = json.loads(FLOORS.read_text())
    return loaded


def holds(value: float, limits: dict[str, float]) -> bool:
    """Tell if a value keeps to its floor and its ceiling."""
    return limits.get("floor", value) <= value <= limits.get("ceiling", value)


def table(measures: dict[str, Any], limits: dict[str, dict[str, float]]) -> str:
    """Give the figures as a Markdown table; those with a limit first."""
    rows = ["| figure | measured | floor | aim | what |", "| --- | ---: | ---: | ---: | --- |"]
    for name in sorted(measures, key=lambda name: (name not in limits, name)):
        value, unit, what = (measures[name][key] for key in ("value", "unit", "what"))
        limit = limits.get(name, {})
        mark = "" if holds(value, limit) else " **MISSED**"
        bound = (
            f">= {limit['floor']:g}" if "floor" in limit else f"<= {limit['ceiling']:g}" if "ceiling" in limit else ""
        )
        aim = f"{limit['aim']:g}" if "aim" in limit else ""
        rows.append(f"| `{name}` | {value:.4g} {unit}{mark} | {bound} | {aim} | {what} |")
    return "\n".join(rows)


def readme_section(results: dict[str, Any], limits: dict[str, dict[str, float]]) -> str:
    """Give what stands between the markers of the README."""
    machine = results["machine"]
    where = f"{machine['cores']} cores of {', '.join(machine['cpu'])}, {machine['memory_gb']} GB, Python {machine['python']}"
    lines = [
        BEGIN,
        f"Measured by `make bench` on {where}; medians of {results['repeats']} interleaved runs on {results['megabytes']} MB.",
        "",
        table(results["measures"], limits),
        END,
    ]
    return "\n".join(lines)


def put_into(text: str, section: str) -> str:
    """Replace what stands between the markers.

    Raises:
        ValueError: the markers are not there exactly once.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"the text needs {BEGIN} and {END} exactly once")
    before, rest = text.split(BEGIN)
    return before + section + rest.split(END)[1]
