"""Answers of an API that are odd in one place: that record is lost and no other, or it is said why the listing cannot go on."""

import json

import pytest
from tests.faults.reading import rest, run
from tests.faults.server import FaultServer, Reply
from tests.sources.test_web_bad_inputs import certificate

from gristmill.core.errors import SourceError, Transient
from gristmill.core.mend import fault_of, mend

NEXT = {"records": "items", "pagination": {"kind": "next_link", "next": "next"}, "attempts": 2}


def answering(*pages):
    """Serve bodies, or JSON values, at /0, /1, …; replies are passed on as they are."""

    def app(request):
        page = pages[min(int(request.path.strip("/") or 0), len(pages) - 1)]
        if isinstance(page, Reply):
            return page
        return Reply(page if isinstance(page, bytes) else json.dumps(page).encode())

    return FaultServer(app)


def read(*pages, **more):
    with answering(*pages) as server:
        got = run(rest(f"{server.url}/0", **NEXT | more))
        return got, len(server.requests)


# --- one bad record ------------------------------------------------------------------------------------------------

SPOILED = {
    "half a surrogate pair": (rb'"text": "cut off \ud83d"', "text.surrogate"),
    "half a pair in a key": (rb'"text": "t", "\udc00": 1', "text.surrogate"),
    "half a pair deep within": (rb'"text": "t", "a": [{"b": ["\ud800"]}]', "text.surrogate"),
    "bytes that are not UTF-8": (b'"text": "caf\xe9"', "text.encoding"),
    "surrogates as bytes": (b'"text": "\xed\xa0\x80"', "text.encoding"),
    "NaN": (b'"text": "t", "score": NaN', "json.nan"),
    "minus Infinity": (b'"text": "t", "scores": [1, -Infinity]', "json.nan"),
    "a float too large": (b'"text": "t", "n": 1e999', "json.nan"),
    "an integer of 500 digits": (b'"text": "t", "n": ' + b"9" * 500, "json.nan"),
    "an integer of 5000 digits": (b'"text": "t", "n": -' + b"9" * 5000, "json.nan"),
    "too deep to be kept": (b'"text": "t", "a": ' + b"[" * 300 + b"]" * 300, "json.depth"),
    "NUL in the id": (rb'"text": "t", "id": "a\u0000"', "id.invalid"),
    "an id of 30 digits": (b'"text": "t", "id": 123456789012345678901234567890', "id.invalid"),
}


@pytest.mark.parametrize(("fields", "code"), SPOILED.values(), ids=SPOILED)
def test_a_record_that_cannot_be_one_costs_no_other_and_is_not_asked_for_again(fields, code):
    first = (
        b'{"items": [{"id": 1, "text": "a \xe2\x82\xac"}, {"id": 2, %s}, {"id": 3, "text": "c"}], "next": "/1"}'
        % fields
    )
    got, requests = read(first, {"items": [{"id": 4, "text": "d"}]})
    assert [(row["key"], row["text"]) for row in got.rows] == [("1", "a €"), ("3", "c"), ("4", "d")]
    assert [(found, origin.rpartition("#")[2]) for found, origin in got.rejects] == [(code, "1")]
    assert requests == 2


def test_a_spoiled_last_record_hides_no_page_behind_it():
    """The next cursor is a field of the record that is refused."""
    pagination = {"kind": "cursor", "param": "after", "last_record": "id", "has_more": "more"}
    pages = {
        "": b'{"items": [{"id": 1, "text": "a"}, {"id": 2, "text": "\\ud800"}], "more": true}',
        "2": b'{"items": [{"id": 3, "text": "c"}], "more": false}',
    }
    with FaultServer(lambda request: Reply(pages[request.query.get("after", "")])) as server:
        got = run(rest(server.url, records="items", pagination=pagination))
    assert [row["key"] for row in got.rows] == ["1", "3"]
    assert [code for code, _ in got.rejects] == ["text.surrogate"]


def test_a_spoiled_record_moves_no_cursor():
    pages = [
        b'{"items": [{"id": 1, "text": "a", "at": "2026-01-01"}, {"id": 2, "text": "\\ud800", "at": "2026-01-09"}]}'
    ]
    got, _ = read(*pages, since={"param": "from", "cursor": "at"})
    assert got.state.doc["since"] == "2026-01-01T00:00:00Z"
    assert [code for code, _ in got.rejects] == ["text.surrogate"]


def test_a_spoiled_parent_has_no_children_and_costs_no_other():
    def app(request):
        if request.path == "/topics":
            return Reply(b'{"items": [{"slug": "a"}, {"slug": "\\ud800"}, {"slug": "c"}]}')
        return Reply(json.dumps({"items": [{"id": request.path, "text": "t"}]}).encode())

    with FaultServer(app) as server:
        parents = {"endpoint": f"{server.url}/topics", "records": "items"}
        got = run(rest(f"{server.url}/topics/{{slug}}/posts", records="items", parents=parents))
    assert [row["key"] for row in got.rows] == ["/topics/a/posts", "/topics/c/posts"]
    assert [code for code, _ in got.rejects] == ["field.missing"]


def test_what_is_clear_all_the_same_is_taken_and_counted():
    """Control characters written as they are; keys that stand twice; integers beyond 64 bits."""
    got, _ = read(b'{"items": [{"id": 1, "text": "a\tb\nc", "n": 18446744073709551616}]}')
    assert (got.rows[0]["text"], got.warnings) == ("a\tb\nc", {"json.control": 1})
    got, _ = read(b'{"items": [{"id": 1, "text": "a", "text": "b", "n": 18446744073709551616}]}')
    assert (got.rows[0]["text"], got.warnings) == ("b", {"json.duplicate_key": 1, "json.int_range": 1})


# --- what is no JSON stays an error ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'{"items": [{"id": 1, "text": "\\ud800"}, {"id": 2, "te',
        b'{"items": []}{"items": []}',
        b'callback({"items": []})',
        b')]}\',\n{"items": []}',
        b'{"items": [],}',
        b"{'items': []}",
        b'{"id": 1}\n{"id": 2}\n',
        b'{"items": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=["cut", "two values", "JSONP", "guarded", "comma", "single quotes", "lines", "deep"],
)
def test_an_answer_that_is_no_json_but_for_one_value_is_refused(body):
    with pytest.raises(SourceError, match=r"api\.not_json"):
        read(body)


# --- lies about what comes next --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("following", "says"),
    [
        ("javascript:void(0)", "net.scheme"),
        ("file:///etc/passwd", "net.scheme"),
        ("http://10.0.0.1/x", "net.blocked"),
        ("http://[::ffff:169.254.169.254]/x", "net.blocked"),
        ("http://u:p@127.0.0.1/1", "url.invalid"),
        ("http://127.0.0.1:99999/1", "no URL|url.invalid"),
        ("/1?" + "a" * 9000, "url.invalid"),
        ("#", "a repeated page"),
        ("/0#other", "a repeated page"),
        ({"href": "/1"}, "given as dict"),
        (["/1"], "given as list"),
        (1, "given as int"),
        (True, "given as bool"),
    ],
)
def test_a_next_link_that_leads_nowhere_is_an_error_that_says_so(following, says):
    with pytest.raises(SourceError, match=says):
        read({"items": [{"id": 1, "text": "a"}], "next": following}, {"items": [{"id": 2, "text": "b"}]})


@pytest.mark.parametrize(
    "following", ["/1", "1", "?page=2", "/1?q=a b", "/1?q=ü", "/1\n", " /1", "//127.0.0.1:{port}/1"]
)
def test_a_next_link_of_any_spelling_is_followed(following):
    pages = [{"items": [{"id": 1, "text": "a"}]}, {"items": [{"id": 2, "text": "b"}]}]

    def app(request):
        second = request.path == "/1" or request.query.get("page") == "2"
        following_page = None if second else following.replace("{port}", str(server.port))
        return Reply(json.dumps(pages[second] | {"next": following_page}).encode())

    with FaultServer(app) as server:
        assert [row["key"] for row in run(rest(f"{server.url}/0", **NEXT)).rows] == ["1", "2"]


@pytest.mark.parametrize("cursor", [r'"\ud800"', r'"a\ud800b"'])
def test_a_cursor_that_no_url_can_hold_is_an_error(cursor):
    body = b'{"items": [{"id": 1, "text": "a"}], "next": %s}' % cursor.encode()
    with pytest.raises(SourceError, match="no URL can hold"):
        read(body, pagination={"kind": "cursor", "param": "after", "next": "next"})


def test_a_cursor_of_any_characters_is_sent_as_it_is():
    cursor = "a\r\nX-Evil: 1&b=c#d%00\u20ac/?"

    def app(request):
        last = request.query.get("after") == cursor
        assert "x-evil" not in request.headers
        return Reply(json.dumps({"items": [{"id": int(last), "text": "t"}], "next": None if last else cursor}).encode())

    with FaultServer(app) as server:
        got = run(rest(server.url, records="items", pagination={"kind": "cursor", "param": "after", "next": "next"}))
    assert [row["key"] for row in got.rows] == ["0", "1"]


@pytest.mark.parametrize(
    ("total", "says"), [(10**9, "3 empty pages in a row"), (None, "NoneType in the answer"), ({}, "dict in the answer")]
)
def test_a_total_that_is_too_large_or_none_at_all_is_an_error(total, says):
    def app(request):
        page = int(request.query["p"])
        items = [{"id": page, "text": "t"}] if page < 4 else []
        return Reply(json.dumps({"items": items, "total": total}).encode())

    pagination = {"kind": "page", "param": "p", "total_records": "total"}
    with FaultServer(app) as server, pytest.raises(SourceError, match=says):
        run(rest(server.url, records="items", pagination=pagination))


@pytest.mark.parametrize("kind", ["page", "offset"])
@pytest.mark.parametrize("total", [-1, 0, 3, 5])
def test_a_total_that_is_less_than_what_comes_is_not_believed(kind, total):
    """As the count of a cache, or one that leaves some records out."""

    def app(request):
        at = int(request.query["p"]) * (2 if kind == "page" else 1)
        items = [{"id": n, "text": "t"} for n in range(at, min(at + 2, 9))]
        return Reply(json.dumps({"items": items, "total": total}).encode())

    pagination = {"kind": kind, "param": "p", "total_records": "total", "start": 0}
    with FaultServer(app) as server:
        got = run(rest(server.url, records="items", pagination=pagination))
    assert [row["key"] for row in got.rows] == [str(n) for n in range(9)]


@pytest.mark.parametrize(("total", "warned"), [(1000, True), (2000, True), (1001, False), (900, False)])
def test_a_listing_that_ends_at_a_round_total_may_go_on_and_says_so(total, warned):
    """Elasticsearch counts to 10,000 and gives no more."""

    def app(request):
        at = int(request.query["from"])
        items = [{"id": n, "text": "t"} for n in range(at, min(at + 500, total))]
        return Reply(json.dumps({"items": items, "hits": {"total": total}}).encode())

    pagination = {"kind": "offset", "param": "from", "total_records": "hits.total"}
    with FaultServer(app) as server:
        got = run(rest(server.url, records="items", pagination=pagination))
    assert len(got.rows) == total
    assert got.warnings == ({"listing.round_total": 1} if warned else {})


def test_a_part_of_an_answer_is_none():
    with pytest.raises(SourceError, match=r"http\.206"):
        read(Reply(b'{"items": [{"id": 1, "text": "a"}]}', 206, {"Content-Range": "bytes 0-33/99"}))


@pytest.mark.parametrize(
    "wait", ["Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 31 Dec 99999 23:59:59 GMT", "1e400", "nan", "-1", ""]
)
def test_a_rest_of_any_length_ends_the_read_and_not_the_process(wait):
    with answering(Reply(b"", 429, {"Retry-After": wait})) as server, pytest.raises(SourceError, match=r"http\.429"):
        run(rest(f"{server.url}/0", **NEXT))


def test_records_that_are_none_stand_where_they_stood():
    got, _ = read({"items": [{"id": 1, "text": "a"}, None, 5, "x", [{"id": 2}], {"id": 3, "text": "c"}]})
    assert [row["origin"].rpartition("#")[2] for row in got.rows] == ["0", "5"]
    assert [(code, origin.rpartition("#")[2]) for code, origin in got.rejects] == [
        ("json.not_object", str(at)) for at in (1, 2, 3, 4)
    ]


# --- hosts -----------------------------------------------------------------------------------------------------------


def test_h10_a_certificate_that_is_not_valid_stops_the_source_at_once(tmp_path):
    with FaultServer(lambda request: Reply(b"{}"), tls=certificate(tmp_path)) as server:
        with pytest.raises(SourceError, match=r"net\.tls") as told:
            run(rest(f"{server.url}/0", auth={"bearer": "canary"}, **NEXT))
        assert (type(told.value).__mro__.count(Transient), server.requests) == (0, [])


def test_h2_a_host_without_a_name_may_have_one_later():
    with pytest.raises(Transient, match=r"net\.dns"):
        run(rest("http://no-such-host.invalid/0", **NEXT))


# --- mending itself --------------------------------------------------------------------------------------------------


def test_what_is_mended_says_what_it_was():
    assert mend(b'{"a": "\xe2\x82\xac"}') == ({"a": "€"}, True, False)
    assert mend(b'["\xff"]') == (["\udcff"], False, False)
    assert mend(b'["a\tb"]') == (["a\tb"], True, True)
    assert mend(b"[18446744073709551615, 18446744073709551616]").value == [2**64 - 1, float(2**64)]
    assert (
        fault_of({"a": ["\ud83d\ude00 is a pair", 1.5, None, True]}, is_utf8=True) is not None
    )  # in Python: two halves
    assert fault_of(mend(rb'["\ud83d\ude00"]').value, is_utf8=True) is None
    for cut in (b"", b'["', b"[1", b"[1]x", b"[" * 5000):
        with pytest.raises(ValueError, match=r".*"):
            mend(cut)
