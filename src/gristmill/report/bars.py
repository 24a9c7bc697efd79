"""Bars: the lines of charts that are tables, and what is laid side by side on the bar of each.

Not here: distributions (`shapes`), markup (`templates/charts.html`). Invariant: a bar is never longer than its place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from gristmill.report.words import count, percent


class Part(NamedTuple):
    """A part of a bar. kind: an outcome, which has a colour; start, width: in per cent of the whole bar."""

    kind: str
    n: int
    start: float
    width: float
    told: str


class Line(NamedTuple):
    """A line of a chart that is a table: its name, what is told of it, its bar."""

    name: str
    cells: list[str]
    bar: list[Part]
    key: str = ""


def bar(parts: Iterable[tuple[str, int]], whole: float, names: dict[str, str] | None = None) -> list[Part]:
    """Lay parts side by side on a bar that stands for `whole`; empty ones are left out. names: of kinds, where they say more."""
    laid, at = [], 0.0
    for kind, n in parts:
        if n > 0 and whole > 0:
            width = min(100 * n / whole, 100 - at)
            told = f"{(names or {}).get(kind, kind)}: {count(n)} ({percent(n, whole)})"
            laid.append(Part(kind, n, round(at, 3), round(width, 3), told))
            at += width
    return laid
