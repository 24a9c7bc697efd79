r"""Divergence: how unlike two histograms of one distribution are, and how unlike chance alone makes them.

With e the n records before, a the m records now, both by bin:

    pooled   neighbouring bins are joined from below until they hold POOL of both sides' mean share, so at most 1 / POOL groups;
             a word stands alone from WORD_POOL on, the others are one group
    PSI      sum over groups of (A - E) * ln(A / E), with A = (a + 1/2) / (m + groups / 2), E = (e + 1/2) / (n + groups / 2)
    KS       greatest distance of the two cumulative shares, over all bins as they are; of numbers only
    noise    what two samples of one thing exceed about once in a million times, by n and m alone

PSI is read by convention: below 0.1 nothing, 0.1 to 0.25 a little, above 0.25 a lot (Siddiqi, Credit Risk Scorecards, 2006); the half
record a group (Jeffreys) keeps an empty one finite. KS is an effect size here: a p-value would call every difference significant at
the numbers of records there are. Noise of PSI: (1/n + 1/m) times chi-squared with groups - 1 degrees of freedom (Yurdakul, Statistical
properties of PSI, 2018), its quantile by Wilson and Hilferty (1931); of KS: 2 exp(-2 d^2 n m / (n + m)) solved for d (Smirnov).

Not here: which histograms are compared, and what comes of it (`engine.drift`). Invariant: a histogram and itself are 0 apart; what
is measured depends on the counts alone.
"""

from __future__ import annotations

import math

from gristmill.core.histogram import Histogram

POOL = 0.1
WORD_POOL = 0.05
RARE, RARE_Z = 1e-6, 4.753424  # how often chance alone may look like drift, and where the normal distribution has it


def psi(before: Histogram, now: Histogram) -> tuple[float, float]:
    """Give the population stability index of two histograms of one distribution, none of them empty; and its noise."""
    pairs = _pooled_words(before, now) if before.values or now.values else _pooled(before, now)
    b, n = (sum(pair[i] for pair in pairs) + len(pairs) / 2 for i in (0, 1))
    shares = [((x + 0.5) / b, (y + 0.5) / n) for x, y in pairs]
    value = math.fsum((actual - expected) * math.log(actual / expected) for expected, actual in shares)
    free = max(len(pairs) - 1, 1)
    chi_squared = free * (1 - 2 / (9 * free) + RARE_Z * math.sqrt(2 / (9 * free))) ** 3
    return value, (1 / before.total + 1 / now.total) * chi_squared


def ks(before: Histogram, now: Histogram) -> tuple[float, float]:
    """Give the greatest distance of the cumulative shares of two histograms of numbers, none of them empty; and its noise."""
    b, n = before.total, now.total
    below_b = below_n = furthest = 0
    for x, y in zip(before.counts, now.counts, strict=True):
        below_b, below_n = below_b + x, below_n + y
        furthest = max(furthest, abs(below_b * n - below_n * b))
    return furthest / (b * n), math.sqrt(math.log(2 / RARE) / 2 * (1 / b + 1 / n))


def _pooled(before: Histogram, now: Histogram) -> list[tuple[int, int]]:
    b, n = before.total, now.total
    groups: list[tuple[int, int]] = []
    x = y = 0
    for more_x, more_y in zip(before.counts, now.counts, strict=True):
        x, y = x + more_x, y + more_y
        if x / b + y / n >= 2 * POOL:
            groups.append((x, y))
            x = y = 0
    last = groups.pop()  # there is one: all together have a share of 1 on both sides
    return [*groups, (last[0] + x, last[1] + y)]


def _pooled_words(before: Histogram, now: Histogram) -> list[tuple[int, int]]:
    b, n = before.total, now.total
    pairs = [(before.values.get(word, 0), now.values.get(word, 0)) for word in sorted({**before.values, **now.values})]
    alone = [(x, y) for x, y in pairs if x / b + y / n >= 2 * WORD_POOL]
    return [*alone, (b - sum(x for x, _ in alone), n - sum(y for _, y in alone))]
