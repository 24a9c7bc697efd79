"""Divergence: PSI and KS are what their definitions say, and chance stays below the noise that is told with them."""

import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from gristmill.core import divergence, histogram
from gristmill.core.histogram import Histogram


def numbers(name, values):
    return histogram.of_numbers(name, histogram.counted(histogram.bins(name, np.array(values, np.float64))))


def plain_groups(before, now, least):
    """Join neighbouring bins until they hold `least` of both sides' mean share; what is left over joins the last."""
    groups, held = [], (0, 0)
    for x, y in zip(before, now, strict=True):
        held = held[0] + x, held[1] + y
        if Fraction(held[0], 2 * sum(before)) + Fraction(held[1], 2 * sum(now)) >= least:
            groups.append(held)
            held = (0, 0)
    last = groups.pop()
    return [*groups, (last[0] + held[0], last[1] + held[1])]


def plain_psi(groups):
    before, now = zip(*groups, strict=True)
    total = 0.0
    for x, y in groups:
        expected = (x + 0.5) / (sum(before) + 0.5 * len(groups))
        actual = (y + 0.5) / (sum(now) + 0.5 * len(groups))
        total += (actual - expected) * math.log(actual / expected)
    return total


def plain_ks(before, now):
    return max(abs(sum(before[:i]) / sum(before) - sum(now[:i]) / sum(now)) for i in range(1, len(before) + 1))


COUNTS = st.dictionaries(st.integers(0, 168), st.integers(1, 30), min_size=1).map(
    lambda filled: [filled.get(i, 0) for i in range(169)]
)


@settings(max_examples=examples(100), deadline=None, derandomize=True, database=None)
@given(COUNTS, COUNTS)
def test_psi_and_ks_of_numbers_equal_the_plain_python(before, now):
    edges = list(histogram.NUMBER_EDGES)
    found = divergence.psi(Histogram(edges, before), Histogram(edges, now))[0]
    assert found == pytest.approx(plain_psi(plain_groups(before, now, Fraction(1, 10))), abs=1e-12)
    assert divergence.ks(Histogram(edges, before), Histogram(edges, now))[0] == pytest.approx(plain_ks(before, now))


@settings(max_examples=examples(100), deadline=None, derandomize=True, database=None)
@given(*[st.dictionaries(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), st.integers(1, 99), min_size=1)] * 2)
def test_psi_of_words_equals_the_plain_python(before, now):
    b, n = sum(before.values()), sum(now.values())
    groups, rest = [], [b, n]
    for word in sorted({*before, *now}):
        x, y = before.get(word, 0), now.get(word, 0)
        if Fraction(x, 2 * b) + Fraction(y, 2 * n) >= Fraction(1, 20):
            groups.append((x, y))
            rest = [rest[0] - x, rest[1] - y]
    found = divergence.psi(Histogram(values=before), Histogram(values=now))[0]
    assert found == pytest.approx(plain_psi([*groups, tuple(rest)]), abs=1e-12)


def test_a_known_shift_has_the_value_it_has_by_hand():
    """Half of a hundred texts of 10 characters become texts of 100."""
    before, now = numbers("chars", [10] * 100 + [100] * 100), numbers("chars", [10] * 50 + [100] * 150)
    low, high = (50.5 / 201, 100.5 / 201), (150.5 / 201, 100.5 / 201)
    by_hand = sum((actual - expected) * math.log(actual / expected) for actual, expected in (low, high))
    assert divergence.psi(before, now)[0] == pytest.approx(by_hand)
    assert divergence.psi(before, now)[0] == pytest.approx(0.2716, abs=1e-4)
    assert divergence.ks(before, now)[0] == 0.25
    before, now = Histogram(values={"en": 90, "de": 10}), Histogram(values={"en": 10, "de": 90})
    assert divergence.psi(before, now)[0] == pytest.approx(2 * 80 / 101.5 * math.log(90.5 / 10.5))


def test_the_same_is_no_drift_and_all_other_is_the_most():
    for one in (numbers("chars", [1, 5, 5, 900]), numbers("spaces", [0.1] * 9), Histogram(values={"en": 3})):
        assert divergence.psi(one, one)[0] == 0
        if one.counts:
            assert divergence.ks(one, one)[0] == 0
    assert divergence.ks(numbers("chars", [3] * 9), numbers("chars", [4] * 9))[0] == 1
    assert divergence.psi(numbers("non_ascii", [0.0] * 200), numbers("non_ascii", [0.9] * 200))[0] > 5


@pytest.mark.parametrize("n", [100, 300, 2000])
def test_chance_stays_under_its_noise(n):
    """Two samples of one thing, 300 times: nothing is over what should be exceeded once in a million times."""
    chance = np.random.default_rng(n)
    for _ in range(300):
        for name, draw in (
            ("chars", lambda k: chance.lognormal(6, 1.5, k)),
            ("spaces", lambda k: chance.beta(8, 40, k)),
        ):
            before, now = numbers(name, draw(n)), numbers(name, draw(n // 2))
            for value, noise in (divergence.psi(before, now), divergence.ks(before, now)):
                assert value < noise
        words = [Histogram(values=Counter(chance.zipf(1.6, k).clip(0, 40).astype(str).tolist())) for k in (n, n // 2)]
        assert divergence.psi(*words)[0] < divergence.psi(*words)[1]


def test_noise_is_little_where_there_are_many_records():
    """At ten thousand records on both sides the limits of a config decide, not chance."""
    many = numbers("chars", np.random.default_rng(1).lognormal(6, 1.5, 10_000))
    assert divergence.psi(many, many)[1] < 0.02
    assert divergence.ks(many, many)[1] < 0.05
