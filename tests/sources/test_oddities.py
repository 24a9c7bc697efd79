"""Values that change on the way in are counted: several under one key, integers that no 64 bits hold."""

import json
from collections import Counter

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from gristmill.core.oddities import oddities, oddities_of_one

TWICE, RANGE = "json.duplicate_key", "json.int_range"


class Pairs(list):
    """An object, as pairs of keys and values, for JSON may have a key twice."""


def written(value, separators) -> str:
    if isinstance(value, Pairs):
        pairs = (json.dumps(key) + separators[1] + written(inner, separators) for key, inner in value)
        return "{" + separators[0].join(pairs) + "}"
    if isinstance(value, list):
        return "[" + separators[0].join(written(inner, separators) for inner in value) + "]"
    return json.dumps(value)


def codes_of(value):
    """Give the codes of a value, by their definition."""
    if type(value) is int and not -(2**63) <= value < 2**64:
        yield RANGE
    if isinstance(value, Pairs):
        if len({key for key, _ in value}) < len(value):
            yield TWICE
        value = [inner for _, inner in value]
    if isinstance(value, list):
        for inner in value:
            yield from codes_of(inner)


CASES = {
    "nothing": (b'{"text": "t", "n": [1, {"a": {}}]}', []),
    "a key twice": (b'{"text": "one", "text": "two"}', [TWICE]),
    "a key twice, with spaces": (b'{"text" : "one", "n": 1, "text" :"two"}', [TWICE]),
    "a key twice, within, with a space": (b'{"text": "t", "m": {"k" :1, "k" :2}}', [TWICE]),
    "a key twice, within, with one space": (b'{"text": "t", "m": {"k":1, "k" :2}}', [TWICE]),
    "a key twice, within, with blanks": (b'{"m": [{"k"\t :1, "k"  \t:2}]}', [TWICE]),
    "no key twice, with blanks": (b'{"m": {"k" :1, "l"\t:2, "k : " : "k :"}}', []),
    "a key twice, within": (b'{"text": "t", "a": [{"b": {"c": 1, "c": 1}}]}', [TWICE]),
    "a key twice, spelled in two ways": (b'{"ab": 1, "a\\u0062": 2, "text": "t"}', [TWICE]),
    "text about keys": (b'{"text": "\\"a\\": 1, \\"a\\": 2"}', []),
    "text with another spelling of quotes": (b'{"text": "\\u0022a\\u0022: 1"}', []),
    "a key twice, beside quotes by their number": (
        rb'{"text": "f", "a": "x", "a": "\u0022\u0022\u0022\u0022"}',
        [TWICE],
    ),
    "backslashes before such a number": (rb'{"text": "\\u0022", "b": {"c": "\\\u0022"}}', []),
    "text that ends before a colon": (b'{"text": "x\\\\", "b": ":"}', []),
    "equal keys in different objects": (b'{"a": {"x": 1}, "b": {"x": 1}, "x": 1}', []),
    "2**64 - 1": (b'{"n": 18446744073709551615, "text": "t"}', []),
    "2**64": (b'{"n": 18446744073709551616, "text": "t"}', [RANGE]),
    "-2**63": (b'{"n": -9223372036854775808, "text": "t"}', []),
    "-2**63 - 1": (b'{"n": -9223372036854775809, "text": "t"}', [RANGE]),
    "30 digits": (b'{"n": [123456789012345678901234567890], "text": "t"}', [RANGE]),
    "30 digits in a text": (b'{"text": "123456789012345678901234567890"}', []),
    "30 digits of a fraction": (b'{"n": 0.123456789012345678901234567890}', []),
    "both": (b'{"n": 99999999999999999999, "n": 1}', [TWICE, RANGE]),
    "a list": (b'[{"a": 1, "a": 2}]', [TWICE]),
    "a number": (b"99999999999999999999", [RANGE]),
}


@pytest.mark.parametrize(("piece", "codes"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("size", [0, 10_000], ids=["short", "long"])
def test_what_is_odd_is_counted_and_nothing_else(piece, codes, size):
    piece += b" " * size
    assert sorted(oddities_of_one(piece, orjson.loads(piece))) == sorted(codes)


def test_of_many_lines_the_odd_ones_count_each_once():
    pieces = [piece for piece, _ in CASES.values()] * 20
    wanted = Counter(code for _, codes in CASES.values() for code in codes * 20)
    assert oddities(pieces, list(map(orjson.loads, pieces))) == wanted
    assert oddities([], []) == Counter()


@pytest.mark.parametrize("n", range(40))
def test_a_long_number_is_found_wherever_it_stands(n):
    line = b'{"text": "%s", "n": 18446744073709551616, "m": 1}' % (b"x" * n)
    minus = b'{"text": "%s", "n": [-9223372036854775809]}' % (b"1 " * n)
    for piece in (line, minus, line + b" " * 5000, minus + b" " * 5000):
        assert oddities_of_one(piece, orjson.loads(piece)) == Counter([RANGE])


def test_files_count_them_and_take_the_last(read):
    twice = b'{"text": "one", "text": "two", "n": 18446744073709551616}'
    out = read({"a.jsonl": twice + b"\n" + b'{"text": "three"}\n', "b.json": b"[" + twice + b"]", "c.json": twice})
    assert [row["text"] for row in out.rows] == ["two", "three", "two", "two"]
    assert out.warnings == {TWICE: 3, RANGE: 3}


def test_memory_and_time_stay_bounded_on_hostile_lines():
    deep = b'{"a":' * 900 + b"1" + b"}" * 900
    many = b'{"text": "' + b'\\":' * 500_000 + b'"}'
    digits = b'{"text": "' + b"9" * 2_000_000 + b'"}'
    pieces = [deep, many, digits]
    assert oddities(pieces, list(map(orjson.loads, pieces))) == Counter()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text('"\\:a{}', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(st.tuples(st.sampled_from(["a", '"', ":"]), inner), max_size=3).map(Pairs)
    ),
    max_leaves=8,
)


@settings(max_examples=examples(80), deadline=None)
@given(st.lists(VALUES, max_size=5), st.sampled_from([(",", ":"), (", ", ": "), ("\t,", ":\t")]))
def test_any_values_are_counted_as_by_their_definition(values, separators):
    pieces = [written(value, separators).encode() for value in values]
    wanted = Counter(code for value in values for code in {*codes_of(value)})
    assert oddities(pieces, list(map(orjson.loads, pieces))) == wanted
    singly = Counter(code for piece in pieces for code in oddities_of_one(piece, orjson.loads(piece)))
    assert singly == wanted
