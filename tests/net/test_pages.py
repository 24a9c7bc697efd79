"""Where the next page is, by what the answer says; and when a listing goes in circles."""

import json

import msgspec
import pytest

from gristmill.core.errors import SourceError
from gristmill.net.pages import Check, Guards, Pagination, Seen, dig, following, next_link
from gristmill.net.since import Since


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ("", None),
        ("<https://a/?p=2>; rel=next", "https://a/?p=2"),
        ('<https://a/?p=1>; rel="prev", <https://a/?p=3>; rel="next"', "https://a/?p=3"),
        ('</x,y;z>; title="a, b; rel=next"; rel="next last"', "/x,y;z"),
        ('<a>; rel="prev";title="<b>; rel=next"', None),
        ("<a>; REL=NEXT", "a"),
        ('<a>;rel="last" , <b>;rel="next"', "b"),
        ("<a>", None),
        ("nonsense; rel=next", None),
        ("<a>; rel=nextish", None),
        ("<" + "a" * 8000 + ">" + "; x" * 4000, None),
    ],
)
def test_the_next_link_of_a_header(header, target):
    assert next_link(header) == target


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("", "all"),
        ("a", [1, {"b": None}]),
        ("a.0", 1),
        ("a.-1.b", None),
        ("a.5", None),
        ("c.d", 2),
        ("e.f", 3),
        ("x.y", None),
        ("a.b", None),
    ],
)
def test_a_path_leads_into_objects_and_lists(path, value):
    data = {"a": [1, {"b": None}], "c": {"d": 2}, "e.f": 3}
    assert dig(data, path) == (data if value == "all" else value)


def seen(data, count=3, headers=None, so_far=3, last=None):
    return Seen(data, headers or {}, count, last, so_far)


NUMBER = Pagination(kind="page", param="p")
OFFSET = Pagination(kind="offset", param="o")
CURSOR = Pagination(kind="cursor", param="c", next="next")
LINK = Pagination(kind="next_link", next="next")


@pytest.mark.parametrize(
    ("how", "token", "page", "after"),
    [
        (Pagination(), {}, seen({"next": "x"}), None),
        (LINK, {}, seen({"next": "/x"}), {"url": "/x"}),
        (LINK, {}, seen({"next": None}), None),
        (LINK, {}, seen({"next": ""}), None),
        (LINK, {}, seen({}), None),
        (LINK, {}, seen({"next": False}), None),
        (CURSOR, {}, seen({"next": 7}), {"value": 7}),
        (CURSOR, {}, seen({"next": "a=="}), {"value": "a=="}),
        (NUMBER, {"value": 1}, seen({}), {"value": 2}),
        (NUMBER, {"value": 9}, seen({}, count=0), None),
        (OFFSET, {"value": 0}, seen({}, count=3), {"value": 3}),
        (OFFSET, {"value": 3}, seen({}, count=0), None),
        (msgspec.structs.replace(OFFSET, overlap=1), {"value": 0}, seen({}, count=3), {"value": 2}),
        (msgspec.structs.replace(OFFSET, overlap=2), {"value": 4}, seen({}, count=2), None),
        (msgspec.structs.replace(OFFSET, total_records="n"), {"value": 3}, seen({"n": 6}, count=3), None),
        (msgspec.structs.replace(OFFSET, total_records="n"), {"value": 3}, seen({"n": "7"}, count=3), {"value": 6}),
        (msgspec.structs.replace(NUMBER, total_pages="n"), {"value": 2}, seen({"n": 2}), None),
        (msgspec.structs.replace(NUMBER, total_pages="n"), {"value": 1}, seen({"n": 2}), {"value": 2}),
        (msgspec.structs.replace(NUMBER, total_pages="n", start=0), {"value": 1}, seen({"n": 2}), None),
        (msgspec.structs.replace(NUMBER, total_records="n"), {"value": 2}, seen({"n": 7}, so_far=6), {"value": 3}),
        (msgspec.structs.replace(NUMBER, has_more="more"), {"value": 2}, seen({"more": True}, count=0), {"value": 3}),
        (msgspec.structs.replace(NUMBER, has_more="more"), {"value": 2}, seen({"more": "false"}), None),
        (msgspec.structs.replace(CURSOR, has_more="more"), {}, seen({"more": False, "next": "x"}), None),
        (
            Pagination(kind="cursor", param="c", last_record="id", has_more="more"),
            {},
            seen({"more": True}, last={"id": 5}),
            {"value": 5},
        ),
    ],
)
def test_the_page_after_this_one(how, token, page, after):
    assert following(how, token, page) == after


@pytest.mark.parametrize(
    ("how", "page", "says"),
    [
        (msgspec.structs.replace(LINK, has_more="more"), seen({"more": True}), "no next page is given"),
        (LINK, seen({"next": {"href": "x"}}), "as dict"),
        (LINK, seen({"next": True}), "as bool"),
        (CURSOR, seen({"next": [1]}), "as list"),
        (msgspec.structs.replace(NUMBER, total_pages="n"), seen({}), "n is NoneType"),
    ],
)
def test_an_answer_that_says_it_badly_is_an_error(how, page, says):
    with pytest.raises(SourceError, match=says):
        following(how, how.first(), page)


@pytest.mark.parametrize(
    "settings",
    [
        {"kind": "page"},
        {"kind": "next_link"},
        {"kind": "cursor", "param": "c"},
        {"kind": "cursor", "param": "c", "next": "a", "last_record": "b", "has_more": "m"},
        {"kind": "cursor", "param": "c", "last_record": "id"},
        {"kind": "page", "param": "p", "start": "a"},
        {"kind": "page", "param": "p", "overlap": 1},
        {"kind": "offset", "param": "p", "overlap": 5, "size": 5, "size_param": "n"},
        {"kind": "offset", "param": "p", "size": 5},
        {"kind": "offset", "param": "p", "size": 0, "size_param": "n"},
        {"kind": "pages"},
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings):
    with pytest.raises((ValueError, msgspec.ValidationError), match=r"pagination|kind"):
        msgspec.convert(settings, Pagination)


def test_guards_name_what_repeats():
    guards = Guards(100)
    guards.asking({"value": 1})
    guards.came([{"a": 1}], more=True)
    guards.asking({"value": 2})
    with pytest.raises(SourceError, match=r"a repeated page: page 2 has the records of page 1"):
        guards.came([{"a": 1}], more=True)
    with pytest.raises(SourceError, match=r"a repeated cursor.*page 3 is asked for as page 1 was"):
        guards.asking({"value": 1})
    guards.asking({"url": "a"})
    guards.asking({"url": "b"})
    with pytest.raises(SourceError, match=r"a repeated next URL"):
        guards.asking({"url": "a"})


def test_guards_count_pages_and_empty_pages():
    guards = Guards(3)
    for page in range(3):
        guards.asking({"value": page})
    with pytest.raises(SourceError, match=r"goes on after 3 pages.*raise max_pages"):
        guards.asking({"value": 3})
    guards = Guards(100)
    for more in (True, True):
        guards.came([], more=more)
    guards.came([1], more=True)
    guards.came([], more=True)
    guards.came([], more=True)
    guards.came([], more=False)
    with pytest.raises(SourceError, match=r"4 empty pages in a row"):
        guards.came([], more=True)


def test_guards_go_on_after_a_break_and_stay_small():
    guards = Guards(10**6)
    for page in range(1000):
        guards.asking({"value": page})
        guards.came([{"n": page}], more=True)
    kept = json.loads(json.dumps(guards.kept()))
    assert len(json.dumps(kept)) < 5000
    again = Guards(10**6, kept)
    again.asking({"value": 1000})
    with pytest.raises(SourceError, match="page 1001 has the records of page 1000"):
        again.came([{"n": 999}], more=True)


def test_records_nested_too_deeply_to_be_written_are_told_apart_all_the_same():
    guards = Guards(10)
    deep: list = []
    for _ in range(500):
        deep = [deep]
    guards.came([deep], more=True)
    with pytest.raises(SourceError, match="repeated page"):
        guards.came([deep], more=True)


@pytest.mark.parametrize(
    ("check", "value", "holds"),
    [
        (Check("a"), {"a": 1}, True),
        (Check("a"), {"a": None}, False),
        (Check("a"), {}, False),
        (Check("a"), {"a": ""}, False),
        (Check("a.b", "ok"), {"a": {"b": "ok"}}, True),
        (Check("a", 1), {"a": True}, False),
        (Check("a", True), {"a": 1}, False),
        (Check("a", False), {"a": False}, True),
        (Check("a", 0), {"a": 0.0}, True),
    ],
)
def test_a_check_holds(check, value, holds):
    assert check.holds(value) is holds


@pytest.mark.parametrize(
    ("written_as", "value", "lag", "written"),
    [
        ("iso", "2026-01-31T12:00:00+02:00", 600, "2026-01-31T09:50:00Z"),
        ("iso", "2026-01-31T12:00:00.123456Z", 0, "2026-01-31T12:00:00.123456Z"),
        ("iso", 1769860800, 0, "2026-01-31T12:00:00Z"),
        ("iso", "1769860800000", 0, "2026-01-31T12:00:00Z"),
        ("date", "2026-01-31T12:00:00Z", 86400, "2026-01-30"),
        ("seconds", "2026-01-31T12:00:00.9Z", 0, "1769860800"),
        ("milliseconds", "2026-01-31T12:00:00.9999Z", 0, "1769860800999"),
        ("number", "41", None, "41"),
        ("number", 41, 2, "39"),
        ("iso", "2026-01-31", None, "2026-01-30T23:50:00Z"),
        ("iso", "0001-01-01", 600, "0001-01-01T00:00:00Z"),
    ],
)
def test_a_cursor_is_written_as_the_parameter_wants_it(written_as, value, lag, written):
    since = Since("s", "c", format=written_as, lag=lag)
    reach = since.parse(value)
    assert since.parse(since.text(reach)) == reach
    assert since.written(since.lagged(reach)) == written


@pytest.mark.parametrize("value", [None, True, "soon", [], {}, "", 1e300, "NaN"])
def test_what_is_no_cursor_is_none(value):
    assert Since("s", "c").parse(value) is None
    assert Since("s", "c", format="number").parse(value) is None
