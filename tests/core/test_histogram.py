"""Histograms: a value falls between its edges, and the parts in which things are counted do not matter."""

import json
import math
from collections import Counter
from itertools import pairwise

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from gristmill.core import histogram
from gristmill.core.histogram import Histogram

NAMES = ("chars", "filter.length:words", "lang_score", "spaces")
VALUES = st.floats() | st.integers(0, 1 << 40).map(float) | st.sampled_from(histogram.NUMBER_EDGES)


def whole(name, values):
    return histogram.of_numbers(name, histogram.counted(histogram.bins(name, np.array(values, np.float64))))


def plain(name, values):
    """Count as the module says it: below the first edge, from each edge on to the next, from the last on."""
    edges = histogram.COUNT_EDGES if name.endswith(("chars", "words")) else histogram.NUMBER_EDGES
    ends = [-math.inf, *edges, math.inf]
    found = [sum(low <= v < high or (v == high == math.inf) for v in values) for low, high in pairwise(ends)]
    return Histogram(list(edges), found)


@settings(max_examples=examples(100), deadline=None, derandomize=True, database=None)
@given(st.sampled_from(NAMES), st.lists(VALUES, max_size=30))
def test_a_value_falls_between_its_edges(name, values):
    assert whole(name, values) == plain(name, values)
    assert whole(name, values).total == sum(not math.isnan(v) for v in values)


@settings(max_examples=examples(100), deadline=None, derandomize=True, database=None)
@given(st.sampled_from(NAMES), st.lists(st.lists(VALUES, max_size=8), min_size=1, max_size=5), st.randoms())
def test_numbers_are_the_same_in_whatever_parts_and_order_they_are_counted(name, parts, chance):
    added = whole(name, parts[0])
    for part in parts[1:]:
        added = added.add(whole(name, part))
    everything = [value for part in parts for value in part]
    chance.shuffle(everything)
    assert added == whole(name, everything)


@settings(max_examples=examples(200), deadline=None, derandomize=True, database=None)
@given(st.lists(st.lists(st.text("ab", max_size=3) | st.just("other"), max_size=9), min_size=1, max_size=6), st.data())
def test_words_are_the_same_in_whatever_parts_and_order_they_are_counted(parts, data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histogram, "WORDS", data.draw(st.integers(1, 8)))
        expected = histogram.of_words(Counter(word for part in parts for word in part))
        heap = [histogram.of_words(Counter(part)) for part in parts]
        while len(heap) > 1:  # any tree of additions
            one = heap.pop(data.draw(st.integers(0, len(heap) - 1)))
            other = heap.pop(data.draw(st.integers(0, len(heap) - 1)))
            heap.append(one.add(other) if data.draw(st.booleans()) else other.add(one))
        assert heap[0] == expected
        assert len(expected.values) <= histogram.WORDS
        assert expected.total == sum(map(len, parts))


def test_edges_are_those_of_the_first_release():
    """Stored histograms are compared with later ones: an edge that moves breaks every baseline."""
    counts, numbers = histogram.COUNT_EDGES, histogram.NUMBER_EDGES
    assert (len(counts), counts[:12], counts[-2:]) == (84, (1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 16), (3526975, 4194304))
    assert (len(numbers), numbers[0], numbers[-1]) == (168, -1048576.0, 1048576.0)
    assert [n for n in numbers if 0 <= n <= 0.03] == [0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03]
    assert all(edges == tuple(sorted(set(edges))) and len(edges) < 250 for edges in (counts, numbers))


def test_only_what_looks_like_a_language_is_named():
    """A column that was mapped to the wrong field must not bring text into a report."""
    column = pa.array(["en", "zh-Hant", "pt_BR", None, "en", "The secret", "x" * 500, "", "e\n", "sr-Latn-RS-a-b-c"])
    assert histogram.languages(column) == {"en": 2, "zh-Hant": 1, "pt_BR": 1, "unknown": 1, "other": 5}
    assert histogram.languages(pa.nulls(3, pa.string())) == {"unknown": 3}
    assert histogram.languages(pa.array([], pa.string())) == {}


def test_a_histogram_is_the_same_after_json():
    for one in (whole("chars", [0, 5, 5]), whole("spaces", [0.5, -1]), histogram.of_words({"en": 2, "de": 0})):
        content = msgspec.json.encode(one)
        assert msgspec.json.decode(content, type=Histogram) == one
        assert msgspec.json.encode(msgspec.json.decode(content, type=Histogram)) == content
    assert json.loads(msgspec.json.encode(histogram.of_words({"en": 2, "de": 0}))) == {"values": {"en": 2}}


def test_what_has_other_edges_cannot_be_added():
    with pytest.raises(ValueError, match="edges"):
        whole("chars", [1]).add(whole("spaces", [1]))
    with pytest.raises(ValueError, match="edges"):
        whole("chars", [1]).add(histogram.of_words({"en": 2}))
