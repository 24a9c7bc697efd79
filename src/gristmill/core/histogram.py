"""Histograms with fixed bins: how often a number fell where, or a word came; any two of one name can be added.

The edges follow from the distribution's name alone: counted things (`COUNTED`) have log-spaced whole edges, four an octave;
every other number has hundredths from 0 to 1, and two edges an octave beyond, below zero one. Of words at most `WORDS` are
told apart; the rest counts as `other`. Which ones is decided by a fixed order of words (shorter first), never by how often or
when they came, so that it does not matter in what parts and in which order words are counted.

Not here: what is counted (`engine.distributions`), comparing (`engine.drift`). Invariants: adding is commutative and associative
and loses no count; edges never change within a version of the format, as stored histograms are compared with later ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gristmill.core.batch import Bytes, Int64s

# What stands last in a distribution's name, behind its step, of all that is counted in whole things.
COUNTED = frozenset({"chars", "words", "bytes", "lines", "sentences", "paragraphs"})
COUNT_EDGES = tuple(sorted({round(2 ** (k / 4)) for k in range(4 * 22 + 1)}))
NUMBER_EDGES = (
    *(-(2.0**k) for k in range(20, -4, -1)),
    *(0.0, 0.001, 0.002, 0.005),
    *(k / 100 for k in range(1, 101)),
    *(2.0 ** (k / 2) for k in range(1, 41)),
)
UNMEASURED = 255  # the bin of what was not measured, or is no number: counted nowhere
WORDS = 1000
OTHER = "other"
UNKNOWN = "unknown"
# BCP 47, loosely: what does not look like a language's name is no language, and may be text.
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8}){0,3}|unknown|other")


class Histogram(msgspec.Struct, frozen=True, omit_defaults=True):
    """Of numbers: `edges`, and one count more: below the first edge, from each edge on to the next, from the last on.

    Of words: `values`, how often each came.
    """

    edges: list[int | float] = []
    counts: list[int] = []
    values: dict[str, int] = {}

    @property
    def total(self) -> int:
        """How many were counted."""
        return sum(self.counts) + sum(self.values.values())

    def add(self, other: Histogram) -> Histogram:
        """Give both together.

        Raises:
            ValueError: their edges differ, or one is of words.
        """
        if self.edges != other.edges:
            raise ValueError("histograms with other edges cannot be added")
        counts = [mine + more for mine, more in zip(self.counts, other.counts, strict=True)]
        words = dict(self.values)
        for word, n in other.values.items():
            words[word] = words.get(word, 0) + n
        return Histogram(self.edges, counts, few_words(words))


@cache
def _edges(name: str) -> tuple[tuple[int | float, ...], npt.NDArray[np.float64]]:
    edges = COUNT_EDGES if name.rpartition(":")[2] in COUNTED else NUMBER_EDGES
    return edges, np.array(edges, np.float64)


def bins(name: str, values: npt.NDArray[np.generic]) -> Bytes:
    """Give the bin of each value, uint8; `UNMEASURED` for what is no number."""
    numbers = values.astype(np.float64)
    found = np.searchsorted(_edges(name)[1], numbers, side="right").astype(np.uint8)
    found[np.isnan(numbers)] = UNMEASURED
    return found


def counted(bins_: Bytes) -> Int64s:
    """Give how often each of 256 bins stands in `bins_`; such arrays are added as they are."""
    return np.bincount(bins_, minlength=256).astype(np.int64)


def of_numbers(name: str, counts: Int64s) -> Histogram:
    """Give the histogram of a distribution from the counts of its bins."""
    edges = _edges(name)[0]
    return Histogram(list(edges), counts[: len(edges) + 1].tolist())


def of_words(words: Mapping[str, int]) -> Histogram:
    """Give the histogram of words; what came no time is left out."""
    return Histogram(values=few_words({word: n for word, n in words.items() if n}))


def few_words(words: Mapping[str, int]) -> dict[str, int]:
    """Give words as they are if they are few; else those that are first in order, the rest as `other`."""
    if len(words) < WORDS:
        return dict(words)
    ranked = sorted(words.keys() - {OTHER}, key=lambda word: (len(word), word))
    if len(ranked) < WORDS:
        return dict(words)
    few = {word: words[word] for word in ranked[: WORDS - 1]}
    return few | {OTHER: sum(words.values()) - sum(few.values())}


def languages(column: pa.Array) -> dict[str, int]:
    """Count the languages a column names: null is `unknown`, what looks like none is `other`."""
    words, found = column.value_counts().flatten()
    counts: dict[str, int] = {}
    for word, n in zip(words.to_pylist(), found.to_pylist(), strict=True):
        name = UNKNOWN if word is None else word if len(word) < 40 and _is_language(word) else OTHER
        counts[name] = counts.get(name, 0) + n
    return counts


@lru_cache(1024)
def _is_language(word: str) -> bool:
    return _LANGUAGE.fullmatch(word) is not None
