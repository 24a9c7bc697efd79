"""Rows of Arrow as Python objects: no time becomes another one, whatever stands beside it."""

import datetime as dt

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.core.objects import objects, row_bytes, values

US, UTC_US = pa.timestamp("us"), pa.timestamp("us", "UTC")
INFINITY = 2**63 - 1  # of PostgreSQL and DuckDB
NAMED = "294247-01-10 04:00:54.775807"
EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001

STRANGE = {
    "infinity": (pa.array([INFINITY], US), NAMED),
    "infinity in a zone": (pa.array([INFINITY], pa.timestamp("us", "Europe/Berlin")), f"{NAMED}Z"),
    "minus infinity": (pa.array([1 - INFINITY], US), "-290308-12-21 19:59:05.224194"),
    "the year 10000": (pa.array([253_402_300_800_000_000], US), "10000-01-01 00:00:00.000000"),
    "the year 0": (pa.array([-62_135_596_800_000_001], US), "0000-12-31 23:59:59.999999"),
    "seconds": (pa.array([2**62], pa.timestamp("s")), "146138514283-06-19 07:45:04"),
    "milliseconds": (pa.array([2**62], pa.timestamp("ms", "UTC")), "146140482-04-24 15:36:27.904Z"),
    "a day": (pa.array([2**31 - 1], pa.date32()), "5881580-07-11"),
    "a day in milliseconds": (pa.array([2_932_897 * 86_400_000], pa.date64()), "10000-01-01"),
    "24 o'clock": (pa.array([86_400_000_000], pa.time64("us")), "24:00:00.000000"),
    "24 o'clock in seconds": (pa.array([86_400], pa.time32("s")), "24:00:00"),
    "past midnight": (pa.array([90_000 * 10**9 + 5], pa.time64("ns")), "25:00:00.000000005"),
    "before midnight": (pa.array([-1], pa.time64("us")), "-00:00:00.000001"),
    "a duration": (pa.array([2**62], pa.duration("s")), str(2**62)),
}


@pytest.mark.parametrize(("column", "text"), STRANGE.values(), ids=STRANGE)
def test_a_time_that_python_has_no_value_for_is_text_and_its_neighbours_are_what_they_are(column, text):
    kind = column.type
    alone = pa.array([0, None], kind)
    assert values(column) == [text]
    both = pa.concat_arrays([alone, column, alone])
    assert values(both) == [*values(alone), text, *values(alone)]
    assert values(both.slice(1, 2)) == [None, text]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([[0, INFINITY], None, [], [None]], pa.list_(US)), [[EPOCH, NAMED], None, [], [None]]),
        (pa.array([[0, INFINITY], None, [0, 0]], pa.list_(US, 2)), [[EPOCH, NAMED], None, [EPOCH, EPOCH]]),
        (pa.array([[0, INFINITY], None, [0]], pa.list_view(US)), [[EPOCH, NAMED], None, [EPOCH]]),
        (pa.array([{"a": 0}, None, {"a": INFINITY}], pa.struct([("a", US)])), [{"a": EPOCH}, None, {"a": NAMED}]),
        (pa.array([[("k", 0)], None, [("a", INFINITY)]], pa.map_(pa.string(), US)), [[("k", EPOCH)], None, [("a", NAMED)]]),
        (pa.array([0, INFINITY, 0], US).dictionary_encode(), [EPOCH, NAMED, EPOCH]),
        (pa.array([[{"a": [0]}], [{"a": [INFINITY]}, None]], pa.list_(pa.struct([("a", pa.list_(US))]))), [[{"a": [EPOCH]}], [{"a": [NAMED]}, None]]),
    ],
)  # fmt: skip
def test_so_it_is_in_lists_and_objects(column, expected):
    assert values(column) == expected
    for begin in range(len(column)):
        assert values(column.slice(begin)) == expected[begin:]


@given(st.lists(st.none() | st.integers(-(2**63) + 1, INFINITY) | st.integers(-(2**40), 2**40), min_size=1))
def test_what_a_value_is_does_not_depend_on_what_it_is_read_with(numbers):
    for kind in (US, UTC_US, pa.timestamp("ns"), pa.timestamp("s"), pa.time64("us")):
        column = pa.array(numbers, kind)
        assert values(column) == [values(column.slice(at, 1))[0] for at in range(len(column))]
        nested = pa.ListArray.from_arrays(pa.array([0, len(column)], pa.int32()), column)
        assert values(nested) == [values(column)]


def test_rows_without_columns_are_as_many_as_they_are():
    assert [*objects(pa.table({"a": [1, 2]}).select([]).to_batches()[0])] == [{}, {}]


@pytest.mark.parametrize("kind", [pa.string_view(), pa.binary_view()])
def test_views_of_bytes_count_what_they_show(kind):
    column = pa.array(["a", None, "a text that is longer than a view holds", ""], kind)
    assert row_bytes(column).tolist() == [2, 1, 40, 1]


def test_text_that_is_none_is_told_and_shown_as_bytes_but_within_objects():
    bad = pa.array([b"a", b"\xff"]).view(pa.string())
    assert values(bad) == ["a", b"\xff"]
    with pytest.raises(UnicodeDecodeError):
        values(pa.StructArray.from_arrays([bad], ["a"]))
