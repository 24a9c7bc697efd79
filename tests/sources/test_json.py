"""The scanner finds the ends of values as a parser does, wherever the blocks are cut, in linear time."""

import json
import time

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples, some

from gristmill.core.mapping import Mapping, Rows
from gristmill.sources.formats.json import Scan, read, values

HOSTILE = st.text('"\\{}[], a\n', max_size=60).map(str.encode)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text('ab"\\[]{},é', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('k"\\]}', max_size=3), inner, max_size=3),
    max_leaves=8,
)


def cut(data, cuts):
    borders = [0, *sorted(c % (len(data) + 1) for c in cuts), len(data)]
    return [data[a:b] for a, b in zip(borders, borders[1:], strict=False)]  # noqa: RUF007


def ends_of(data, array):
    """Find the ends one byte at a time: the definition."""
    depth, in_string, escape, found = int(array), False, False, []
    for at, char in enumerate(data.decode()):
        if escape:
            escape = False
            if char in '"\\':  # outside of strings it is wrong before anything else, and the parser will say so
                continue
        escape = char == "\\"
        in_string ^= char == '"'
        if not in_string and char in "[{":
            depth += 1
        elif not in_string and char in "]}":
            depth = depth - 1 if array else max(depth - 1, 0)
            if depth <= 0:
                found.append(at + 1)
        elif not in_string and char == "," and array and depth == 1:
            found.append(at + 1)
    return found


@settings(max_examples=examples(160))
@given(HOSTILE, st.lists(st.integers(0, 60), max_size=8), st.booleans())
def test_ends_are_those_of_the_definition(data, cuts, array):
    scan, at, found = Scan(array=array), 0, []
    for block in cut(data, cuts):
        found += [at + end for end in scan.ends(block)]
        at += len(block)
    assert found == ends_of(data, array)


@given(HOSTILE, st.lists(st.integers(0, 60), max_size=8), st.integers(1, 30))
def test_values_cover_every_byte_once(data, cuts, max_bytes):
    found = list(values(cut(data, cuts), Scan(array=True), 0, max_bytes))
    assert [value.start for value in found] == [0, *(value.end for value in found)][: len(found)]
    assert not found or found[-1].end == len(data)
    for value in found:
        assert value.data == (data[value.start : value.end] if value.end - value.start <= max_bytes else None)


@given(st.lists(JSON, max_size=6), st.lists(st.integers(0, 200), max_size=8), st.sampled_from([None, 1]), st.booleans())
def test_elements_are_those_the_standard_library_finds(elements, cuts, indent, array):
    parts = [json.dumps({"text": "t", "v": v}, ensure_ascii=False, indent=indent) for v in elements]
    data = ("\ufeff [" + ",\n".join(parts) + " ]\n" if array else "\n" + "".join(parts)).encode()
    rows = Rows("u", Mapping(), 1 << 20)
    [page] = read(iter(cut(data, cuts)), rows, 1 << 20)
    assert page.rejects == []
    assert page.bytes_in == len(data)
    assert [orjson.loads(meta)["v"] for meta in page.rows["meta"].to_pylist()] == elements
    origins = [int(origin.partition("#")[2]) for origin in page.rows["origin"].to_pylist()]
    assert [data[at : at + 1] for at in origins] == [b"{"] * len(elements)


@pytest.mark.slice
@pytest.mark.parametrize("unit", some([b'"', b"\\", b'\\"', b"[", b"]", b"{", b"}", b'"a"', b"[]"], 3), ids=repr)
def test_hostile_bytes_take_linear_time(unit):
    blocks = [unit * (1 << 20)] * 8
    began = time.process_time()
    for array in (True, False):
        scan = Scan(array=array)
        for block in blocks:
            scan.ends(block)
    assert time.process_time() - began < 20
