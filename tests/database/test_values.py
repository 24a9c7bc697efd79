# ruff: noqa: DTZ001
"""Values are written down and read back as they are; DSNs, names and queries are read as meant."""

import string
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.core.errors import ConfigError
from gristmill.database.dsn import parse, with_options
from gristmill.database.relation import query_problem, split_name
from gristmill.database.values import decode, duration_s, encode, minus, typed

VALUES = st.one_of(
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.datetimes(),
    st.datetimes(timezones=st.just(UTC)),
    st.dates(),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.uuids(),
    st.binary().map(lambda data: data.decode("utf-8", "surrogateescape")),
)


@given(VALUES)
def test_a_value_comes_back_with_its_type(value):
    written = encode(value)
    back = decode(msgspec.json.decode(msgspec.json.encode(written)))
    assert (back, type(back)) == (value, type(value))


@pytest.mark.parametrize(
    "written", [[], ["int"], ["int", "x"], ["bytes", "%"], ["time", "soon"], ["uuid", 5], None, "int"]
)
def test_a_damaged_value_is_told(written):
    with pytest.raises(ValueError, match="damaged"):
        decode(written)


@given(st.datetimes(min_value=datetime(2000, 1, 1)), st.integers(0, 10**7))
def test_a_bound_below_a_time_as_text_sorts_below_every_time_it_must_let_in(moment, overlap_s):
    for sep in "T ":
        low = minus(moment.isoformat(sep), overlap_s, 0)
        inside = moment - timedelta(seconds=overlap_s)
        assert low <= inside.isoformat(sep)
        assert minus(low, 0, 0) == low


@pytest.mark.parametrize(
    ("value", "low"),
    [
        (5, 3),
        (5.5, 3.5),
        ("k5", "k5"),
        (date(2026, 1, 2), date(2026, 1, 1)),
        ("2026-01-02", "2026-01-01"),
        ("2026-01-02T00:00:01.5Z", "2026-01-01T23:58:21"),
        (datetime(2026, 1, 2), datetime(2026, 1, 1, 23, 58, 20)),
        (datetime(1, 1, 1), datetime(1, 1, 1)),
        (b"x", b"x"),
    ],
)
def test_the_overlap_is_taken_from_the_cursor(value, low):
    assert minus(value, 100, 2) == low


def test_what_drivers_give_is_made_the_kind_it_is():
    assert typed("timetz", "2026-01-01 02:00:00+02") == datetime(2026, 1, 1, tzinfo=UTC)
    assert typed("time", datetime(2026, 1, 1)) == datetime(2026, 1, 1)
    with pytest.raises(ValueError, match="is no int"):
        typed("int", "x")
    assert [duration_s(text) for text in ("90s", "10m", "2h", "1d", "1w", "x", "")] == [
        90,
        600,
        7200,
        86400,
        604800,
        None,
        None,
    ]


@given(st.text(st.sampled_from(string.printable), min_size=6), st.sampled_from(["postgresql", "mysql+pymysql"]))
def test_no_part_of_a_dsn_that_is_secret_is_shown(password, scheme):
    from urllib.parse import quote

    dsn = f"{scheme}://me:{quote(password, safe='')}@host:5/db?password={quote(password, safe='')}&x=1"
    read = parse(dsn, Path("/"))
    shown = read.hide(f"cannot connect to {dsn} with {password} or {quote(password, safe='')}")
    assert (
        password not in shown.replace("cannot connect to", "").replace("with", "").replace("or", "")
        or password in "*** "
    )
    assert password not in read.lane
    assert parse(f"{scheme}://you:other@host:5/db?password=x&x=1", Path("/")).lane == read.lane


def test_dsns_and_their_options():
    assert parse("sqlite:///a/b.db", Path("/data")).url == "/data/a/b.db"
    assert parse("sqlite:////abs/b%20c.db?x=1", Path("/data")).url == "/abs/b c.db"
    assert parse("postgresql+psycopg://h/d", Path("/")).url == "postgresql://h/d"
    assert with_options("postgresql://h/d?connect_timeout=1", {"connect_timeout": "9", "a": "b c"}) == (
        "postgresql://h/d?connect_timeout=1&a=b%20c"
    )
    for wrong in ("", "postgresql", "h/d", "postgresql:/x"):
        with pytest.raises(ConfigError, match="dsn"):
            parse(wrong, Path("/"))
    with pytest.raises(ConfigError, match="special characters"):
        parse("postgresql://me:pa[ss@h/d", Path("/"))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("docs", (None, "docs")),
        ("cms.docs", ("cms", "docs")),
        ('"a.b"', (None, "a.b")),
        ('cms."a""b"', ("cms", 'a"b')),
        ('x"; DROP TABLE y;--', (None, 'x"; DROP TABLE y;--')),
        ("select", (None, "select")),
    ],
)
def test_table_names(written, read):
    assert split_name(written) == read


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1",
        "select ';' || \"a;b\" || `c;` from t -- ; )",
        "WITH a AS (SELECT $x$;($x$) SELECT * FROM a /* ; ( */",
        "(SELECT 1) UNION ALL (SELECT 2);",
        "VALUES (1)",
        "SELECT 'it''s (' FROM t",
    ],
)
def test_queries_that_are_one_select(query):
    assert query_problem(query) is None
