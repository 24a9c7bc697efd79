"""Shapes: distributions before and after, and against the last snapshot, ready to draw.

    {"version": 1, "sources": {NAME: {"read": {DIST: HIST}, "published": {DIST: HIST}}}}

Not here: the arithmetic of histograms (`bins`), measuring drift (`engine`). Invariant: all sources are drawn as one where their bins are
the same; what cannot be joined is told source by source in figures.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from gristmill.report import bins, words
from gristmill.report.bins import Bin, Numbers
from gristmill.report.words import count

Json = dict[str, Any]

CHARTS = 24  # more are told in figures only
LINES = 12  # sources under one chart
SERIES = ("read", "published", "last snapshot")
_QUANTILES = (0.1, 0.5, 0.9)


class Shape(NamedTuple):
    """One distribution. totals: of each series; bins: of all of them; points: the last series as a line; top: the highest share; rows: by source."""

    name: str
    kind: str
    series: list[str]
    totals: list[int]
    bins: list[Bin]
    top: float
    points: str
    ticks: list[str]
    rows: list[list[str]]


def shapes(now: Json, before: Json) -> Json:
    """Give the distributions of a run beside those of the snapshot it was built on."""
    sources, old = now.get("sources") or {}, before.get("sources") or {}
    names = sorted({name for part in sources.values() for side in part.values() for name in side} - {"reasons"})
    names.sort(key=lambda name: (name != "chars", name != "lang"))
    drawn = [shape for name in names if (shape := _shape(name, sources, old)) is not None]
    return {"shapes": drawn[:CHARTS], "left": [shape.name for shape in drawn[CHARTS:]]}


def _hists(name: str, sources: Json, side: str) -> dict[str, Json]:
    return {source: part[side][name] for source, part in sources.items() if name in part.get(side, {})}


def _shape(name: str, sources: Json, old: Json) -> Shape | None:
    sides = [_hists(name, sources, "read"), _hists(name, sources, "published"), _hists(name, old, "published")]
    if any("values" in hist for side in sides for hist in side.values()):
        series = [bins.joined_words([w for hist in side.values() if (w := bins.words_of(hist))]) for side in sides]
        shown = [i for i, one in enumerate(series) if one]
        found = bins.word_bins([series[i] for i in shown]) if shown else []
        return _made(name, "words", shown, found, []) if found else None
    joined = [bins.joined([n for hist in side.values() if (n := bins.numbers_of(hist))]) for side in sides]
    shown = [i for i, one in enumerate(joined) if one is not None and one.total]
    numbers = [one for one in joined if one is not None and one.total]
    rows = _rows(sides[0], sides[1])
    if not numbers or any(one.edges != numbers[0].edges for one in numbers):
        return _made(name, "numbers", [], [], rows) if rows else None
    return _made(name, "numbers", shown, bins.coarse(numbers), rows)


def _made(name: str, kind: str, shown: list[int], found: list[Bin], rows: list[list[str]]) -> Shape:
    top = max((share for each in found for share in each.shares), default=0.0)
    points = ""
    if 2 in shown and top:
        width = 100 / len(found)
        steps = [(i, 100 - 100 * each.shares[-1] / top) for i, each in enumerate(found)]
        points = " ".join(f"{i * width:.2f},{y:.1f} {(i + 1) * width:.2f},{y:.1f}" for i, y in steps)
    marks = [each.mark for each in found]
    if len(found) > 5:
        marks = [marks[round(i * (len(found) - 1) / 4)] for i in range(5)]
    totals = [sum(each.counts[at] for each in found) for at in range(len(shown))]
    return Shape(name, kind, [SERIES[i] for i in shown], totals, found, top, points, marks, rows)


def _rows(read: dict[str, Json], published: dict[str, Json]) -> list[list[str]]:
    """Give count and quantiles of each source, before and after."""
    rows = []
    for source in sorted(read.keys() | published.keys())[:LINES]:
        row = [words.cut(source, 60)]
        for side in (read, published):
            numbers = bins.numbers_of(side.get(source, {}))
            row += _told(numbers) if numbers is not None and numbers.total else ["0", "–"]
        rows.append(row)
    return rows


def _told(numbers: Numbers) -> list[str]:
    marks = " / ".join(words.short(bins.quantile(numbers, q) or 0.0) for q in _QUANTILES)
    return [count(numbers.total), marks]
