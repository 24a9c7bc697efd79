"""Shapes: distributions before and after, and against the last snapshot, ready to draw.

    {"version": 1, "sources": {NAME: {"read": {DIST: HIST}, "published": {DIST: HIST}}}}

Not here: the arithmetic of histograms (`bins`), measuring drift (`engine`). Invariants: all sources are drawn as one where their bins are
the same; what cannot be joined is told source by source in figures; where there are more distributions than a page can draw, those that
changed most are drawn and the others named.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from gristmill.report import bins, words
from gristmill.report.bins import Bin, Numbers
from gristmill.report.words import count

Json = dict[str, Any]

CHARTS = 16
LINES = 12  # sources under one chart
SERIES = ("read", "published", "last snapshot")
STEP = 10  # units a bin is wide in a drawing, which is 100 high
HIGHEST = 96  # of the highest bar
_QUANTILES = (0.1, 0.5, 0.9)
_FIRST = ("chars", "lang")


class Shape(NamedTuple):
    """One distribution. series: which of SERIES there are; totals: of each; bins: of all of them; top: the highest share.

    drawn: its class and a path for each series; marks: what stands below; rows: counts and quantiles by source.
    """

    name: str
    kind: str
    series: list[str]
    totals: list[int]
    bins: list[Bin]
    top: float
    drawn: list[tuple[str, str]]
    marks: list[str]
    rows: list[list[str]]

    @property
    def change(self) -> float:
        """How far the series lie apart: the greatest difference of a share."""
        return max((max(each.shares) - min(each.shares) for each in self.bins), default=0.0)


def shapes(now: Json, before: Json) -> Json:
    """Give the distributions of a run beside those of the snapshot it was built on."""
    sources, old = now.get("sources") or {}, before.get("sources") or {}
    names = sorted({name for part in sources.values() for side in part.values() for name in side} - {"reasons"})
    found = [shape for name in names if (shape := _shape(name, sources, old)) is not None]
    found.sort(key=lambda shape: (_FIRST.index(shape.name) if shape.name in _FIRST else 9, -shape.change, shape.name))
    return {"shapes": found[:CHARTS], "left": [shape.name for shape in found[CHARTS:]]}


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
    totals = [sum(each.counts[at] for each in found) for at in range(len(shown))]
    tops = {
        i: [100 - round(HIGHEST * each.shares[at] / top) if top else 100 for each in found]
        for at, i in enumerate(shown)
    }
    order = [i for i in (1, 0, 2) if i in tops]  # outlines over bars
    drawn = [(SERIES[i].partition(" ")[0], _line(tops[i]) if i == 2 else _bars(tops[i])) for i in order]
    marks = [each.mark for each in found]
    if len(found) > 5:
        marks = [marks[round(i * (len(found) - 1) / 4)] for i in range(5)]
    return Shape(name, kind, [SERIES[i] for i in shown], totals, found, top, drawn, marks, rows)


def _bars(tops: list[int]) -> str:
    """Give bars as one path; an empty one is left out."""
    return "".join(f"M{STEP * i + 1},100V{top}h{STEP - 2}V100" for i, top in enumerate(tops) if top < 100)


def _line(tops: list[int]) -> str:
    """Give a line in steps as one path."""
    return f"M0,{tops[0]}" + "".join(f"V{top}h{STEP}" for top in tops)


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
