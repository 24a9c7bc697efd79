"""How fields become columns, and what stays in `meta`."""

from datetime import UTC, date, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.core.errors import Transient
from gristmill.core.malformed import MAX_DEPTH, why_malformed
from gristmill.core.mapping import Mapping, Rows, microseconds


def row_of(record, **mapping):
    """Map one object: (row, warnings), or (code, warnings) when it is refused."""
    rows = Rows("u", Mapping(**mapping), 1 << 20)
    rows.add(record, 7, 10)
    page = rows.take(10)
    assert page.rows.num_rows + len(page.rejects) == 1
    return (page.rejects[0].code if page.rejects else page.rows.to_pylist()[0]), page.warnings


def test_only_mapped_fields_leave_meta_and_the_others_keep_their_order():
    record = {"z": 1, "text": "t", "url": "http://x", "id": 5, "a": {"deep": None}}
    row, _ = row_of(record, id="id")
    assert (row["key"], row["url"], row["origin"]) == ("5", None, "u#7")
    assert row["meta"] == '{"z":1,"url":"http://x","a":{"deep":null}}'
    assert row_of({"text": "t"})[0]["meta"] is None


@pytest.mark.parametrize(
    "mapping", [{"text": "a.b"}, {"text": "a.b", "id": "a.b"}, {"text": "{a.b}{a.b}"}, {"text": "a.b", "lang": "a.b"}]
)
def test_what_stands_under_the_path_of_an_exact_name_stays_in_meta(mapping):
    row, _ = row_of({"a.b": "lit", "a": {"b": "nest"}}, **mapping)
    assert row["text"].startswith("lit")
    assert row["meta"] == '{"a":{"b":"nest"}}'
    row, _ = row_of({"a": {"b": "nest", "c": 1}}, **mapping)
    assert (row["text"].startswith("nest"), row["meta"]) == (True, '{"a":{"c":1}}')


IDS = [("a", "a"), (0, "0"), (-12, "-12"), (2**63, str(2**63)), ("", "id.missing"), (None, "id.missing"), (True, "id.invalid"),
       (1.0, "id.invalid"), ({}, "id.invalid"), ([1], "id.invalid"), ("a\0", "id.invalid")]  # fmt: skip


@pytest.mark.parametrize(("value", "key"), IDS)
def test_id_is_a_string_or_an_integer(value, key):
    found, _ = row_of({"text": "t", "id": value}, id="id")
    assert (found if isinstance(found, str) else found["key"]) == key


def test_integer_id_beyond_64_bits_is_refused_and_not_rounded():
    assert row_of(orjson.loads(b'{"text": "t", "id": 18446744073709551616}'), id="id")[0] == "id.invalid"


def test_exact_name_wins_over_dotted_path():
    record = {"a.b": "exact", "a": {"b": "path", "c": 1}}
    assert row_of(record, text="a.b")[0]["text"] == "exact"
    row, _ = row_of({"a": {"b": "path", "c": 1}}, text="a.b")
    assert (row["text"], row["meta"]) == ("path", '{"a":{"c":1}}')
    assert row_of({"a": 3}, text="a.b")[0] == "field.missing"


TEMPLATES = [
    ("{a}: {b}", {"a": "x", "b": "y"}, "x: y"),
    ("{a}: {b}", {"a": "x"}, "x: "),
    ("{a}: {b}", {"a": None}, "field.missing"),
    ("{{{a}}}", {"a": "x"}, "{x}"),
    ("{a} {b} {c}", {"a": 1, "b": True, "c": 1.5}, "1 true 1.5"),
    ("{a}", {"a": {"b": 1}}, "field.type"),
    ("{a.b}!", {"a": {"b": "x"}}, "x!"),
    ("{a b}", {"a b": "x"}, "x"),
]


@pytest.mark.parametrize(("template", "record", "text"), TEMPLATES)
def test_template(template, record, text):
    found, _ = row_of(dict(record), text=template)
    assert (found if isinstance(found, str) else found["text"]) == text


@pytest.mark.parametrize(
    ("spec", "right"), [("{a}", True), ("{{x}}", True), ("{a", False), ("a}", False), ("{}", False), ("{a}}", False)]
)
def test_stray_braces_are_found(spec, right):
    assert bool(Mapping(text=spec).problems()) != right


TIMES = [
    ("2024-02-29T12:00:00Z", datetime(2024, 2, 29, 12, tzinfo=UTC)),
    ("2024-02-29T12:00:00+02:00", datetime(2024, 2, 29, 10, tzinfo=UTC)),
    ("2024-02-29", datetime(2024, 2, 29, tzinfo=UTC)),
    ("2024-02-29 12:00:00.123456789", datetime(2024, 2, 29, 12, 0, 0, 123456, tzinfo=UTC)),
    (1709208000, datetime(2024, 2, 29, 12, tzinfo=UTC)),
    (1709208000.5, datetime(2024, 2, 29, 12, 0, 0, 500000, tzinfo=UTC)),
    (1709208000123, datetime(2024, 2, 29, 12, 0, 0, 123000, tzinfo=UTC)),
    (date(2024, 2, 29), datetime(2024, 2, 29, tzinfo=UTC)),
    (-1, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
]


@pytest.mark.parametrize(("value", "moment"), TIMES)
def test_time_is_understood(value, moment):
    row, warnings = row_of({"text": "t", "when": value}, time="when")
    assert (row["time"], row["meta"], warnings) == (moment, None, {})


@pytest.mark.parametrize("value", ["yesterday", "", True, [], 1e300, float("nan"), 10**18, "2024-13-01"])
def test_time_that_is_not_understood_stays_in_meta(value):
    row, warnings = row_of({"text": "t", "when": value}, time="when")
    assert (row["time"], warnings) == (None, {"time.unparsed": 1})
    assert "when" in row["meta"]
    assert row_of({"text": "t", "when": None}, time="when") == ({**row, "meta": None}, {})


@given(st.integers() | st.floats() | st.text() | st.datetimes() | st.none() | st.binary())
def test_no_time_value_raises(value):
    found = microseconds(value)
    assert found is None or isinstance(found, int)


def test_optional_column_of_another_type_stays_in_meta():
    row, warnings = row_of({"text": "t", "u": 5, "l": "de"}, url="u", lang="l")
    assert (row["url"], row["lang"], row["meta"], warnings) == (None, "de", '{"u":5}', {"url.type": 1})


def test_one_field_may_fill_two_columns():
    row, _ = row_of({"text": "t", "u": "x"}, id="u", url="u")
    assert (row["key"], row["url"], row["meta"]) == ("x", "x", None)


def test_nul_is_removed_and_counted():
    row, warnings = row_of({"text": "a\0b\0", "m": "\0"})
    assert (row["text"], row["meta"], warnings) == ("ab", '{"m":"\\u0000"}', {"text.nul": 1})


def test_memory_shortage_is_not_called_malformed():
    with pytest.raises(Transient):
        why_malformed(b"{}", ValueError("not enough memory"))


@given(st.binary(max_size=60) | st.text('{}[]",:\\u0aNn1e+-. \n', max_size=60).map(str.encode))
def test_every_refusal_has_a_word(data):
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError as error:
        code, detail = why_malformed(data, error)
        assert code in {"json.syntax", "json.nan", "json.extra", "text.encoding", "text.surrogate"}
        assert detail


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 5_000, 1_000_000])
def test_depth_is_told_without_recursion(depth):
    for data in (b"[" * depth + b"]" * depth, b'{"a":' * depth, b"[" * depth):
        with pytest.raises(orjson.JSONDecodeError) as caught:
            orjson.loads(data)
        assert why_malformed(data, caught.value)[0] == "json.depth"
