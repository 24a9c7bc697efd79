"""Bins: what a page does with the histograms of `distributions.json`: join, coarsen, quantiles, shares.

    {"edges": [e0, ..., ek], "counts": [...]}    numbers; k counts, or k + 2 with one open bin at each end
    {"values": {"en": 12, ...}}                  words

Not here: making them (`engine`), drawing them (`templates/charts.html`). Invariant: joining and coarsening keep every count.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from gristmill.report import words

Json = dict[str, Any]

SHOWN = 24  # bars of a chart


class Numbers(NamedTuple):
    """A histogram of numbers: n counts over n + 1 edges; an open end has the edge -inf or inf."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        """All that was counted."""
        return sum(self.counts)


class Bin(NamedTuple):
    """One bar's place: what it is called, in full and on an axis, and the share of each series in it."""

    name: str
    mark: str
    counts: list[int]
    shares: list[float]


def numbers_of(plain: Json) -> Numbers | None:
    """Read a histogram of numbers; None if it is none, or not one we know."""
    edges, counts = plain.get("edges"), plain.get("counts")
    if not edges or not counts:
        return None
    if len(counts) == len(edges) + 1:
        edges = [float("-inf"), *edges, float("inf")]
    return Numbers(tuple(edges), tuple(counts)) if len(edges) == len(counts) + 1 else None


def words_of(plain: Json) -> dict[str, int] | None:
    """Read a histogram of words; None if it is none."""
    values = plain.get("values")
    return dict(values) if isinstance(values, dict) else None


def joined(many: Sequence[Numbers]) -> Numbers | None:
    """Add up histograms over the same edges; None if there are none, or their edges differ."""
    if not many or any(one.edges != many[0].edges for one in many):
        return None
    return Numbers(many[0].edges, tuple(map(sum, zip(*(one.counts for one in many), strict=True))))


def joined_words(many: Sequence[dict[str, int]]) -> dict[str, int]:
    """Add up histograms of words."""
    total: dict[str, int] = {}
    for one in many:
        for word, n in one.items():
            total[word] = total.get(word, 0) + n
    return total


def coarse(series: Sequence[Numbers], most: int = SHOWN) -> list[Bin]:
    """Give at most `most` bins for series over the same edges; empty ones at both ends are left out."""
    filled = [i for i in range(len(series[0].counts)) if any(one.counts[i] for one in series)]
    if not filled:
        return []
    first, last = filled[0], filled[-1]
    step = -(-(last - first + 1) // most)
    bins = []
    for at in range(first, last + 1, step):
        end = min(at + step, last + 1)
        counts = [sum(one.counts[at:end]) for one in series]
        shares = [n / one.total if one.total else 0.0 for n, one in zip(counts, series, strict=True)]
        low, high = series[0].edges[at], series[0].edges[end]
        mark = "<" + words.short(high) if low == float("-inf") else words.short(low)
        bins.append(Bin(_name(low, high), mark, counts, shares))
    return bins


def _name(low: float, high: float) -> str:
    if low == float("-inf"):
        return f"< {words.count(high)}"
    return f"≥ {words.count(low)}" if high == float("inf") else f"{words.count(low)} to {words.count(high)}"


def word_bins(series: Sequence[dict[str, int]], most: int = SHOWN) -> list[Bin]:
    """Give the commonest words of all series; the rest is one bin."""
    totals = [sum(one.values()) for one in series]
    every = sorted(joined_words(series).items(), key=lambda item: (-item[1], item[0]))
    cut = most if len(every) <= most else most - 1
    rows = [(words.cut(word, 60), [one.get(word, 0) for one in series]) for word, _ in every[:cut]]
    if rest := [word for word, _ in every[cut:]]:
        rows.append((f"{len(rest):,} others", [sum(one.get(word, 0) for word in rest) for one in series]))
    return [
        Bin(name, name, counts, [n / total if total else 0.0 for n, total in zip(counts, totals, strict=True)])
        for name, counts in rows
    ]


def quantile(one: Numbers, q: float) -> float | None:
    """Give the value that a share `q` of all lies below, straight inside a bin; an open bin gives its inner edge."""
    if not one.total:
        return None
    ends = list(accumulate(one.counts))
    at = min(bisect_left(ends, q * one.total), len(ends) - 1)
    while not one.counts[at]:
        at += 1
    low, high = one.edges[at], one.edges[at + 1]
    if low == float("-inf"):
        return high
    if high == float("inf"):
        return low
    return low + (high - low) * (q * one.total - (ends[at] - one.counts[at])) / one.counts[at]
