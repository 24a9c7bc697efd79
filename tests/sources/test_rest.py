"""The `rest` source on APIs that work: every style of pagination, increments, deletions, parents, and what a config may say."""

import json
import re
import threading
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

import msgspec
import pytest
from backports import zstd
from tests.examples import some
from tests.faults.api import STYLES, Api
from tests.faults.reading import HERE, rest, run, texts
from tests.faults.server import Fault, FaultServer, Reply, Request

from gristmill.core.errors import ConfigError, SourceError
from gristmill.core.source import PlanContext, ReadContext, State, Window
from gristmill.dataset import Dataset
from gristmill.pipeline import Pipeline

STYLES_OF_LISTS = sorted(set(STYLES) - {"plain"})


def records(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"id": n, "text": f"Text {n}", "updated": f"2026-01-01T00:{n:02}:00Z"} | more for n in range(count)]


def answering(*pages: Any) -> FaultServer:
    """Serve JSON values at /0, /1, …; the last one for ever. A reply is passed on as it is."""

    def app(request: Request) -> Reply:
        at = request.path.strip("/")
        page = pages[min(int(at or 0), len(pages) - 1)]
        return page if isinstance(page, Reply) else Reply(json.dumps(page).encode(), label=at)

    return FaultServer(app)


NEXT = {"records": "items", "pagination": {"kind": "next_link", "next": "next"}}


# --- pagination --------------------------------------------------------------------------------------------------


DECADES = ["1930s", "1940s", "1970s"]


@pytest.mark.slice
@pytest.mark.parametrize(
    ("style", "decade"),
    some(
        [
            *((style, DECADES[at % 3]) for at, style in enumerate(sorted(STYLES))),
            ("next", "1930s"),
            ("offset", "1970s"),
        ],
        4,
    ),
)
def test_real_records_come_as_they_are_in_the_file_in_every_style(style, decade, shared):
    films = json.loads(zstd.decompress((shared / "api" / f"movies-{decade}.json.zst").read_bytes()))
    for at, film in enumerate(films):
        film["id"] = at
    size = {"size": 100} if style in {"page", "offset"} else {}
    settings = json.loads(json.dumps(STYLES[style]))
    settings.get("pagination", {}).update(size)
    with FaultServer(Api(films, size=100)) as server:
        got = run(rest(f"{server.url}/{style}", text="{title} ({year}). {extract}", url="thumbnail", **settings))
    assert got.rejects == []
    assert len(got.rows) == len(films)
    for row, film in zip(got.rows, films, strict=True):
        assert row["key"] == str(film["id"])
        assert row["text"] == f"{film['title']} ({film['year']}). {film.get('extract') or ''}"
        assert row["url"] == film.get("thumbnail")
        left = {name: value for name, value in film.items() if name not in {"id", "title", "year", "extract"}}
        if film.get("thumbnail") is not None or "thumbnail" not in film:
            left.pop("thumbnail", None)
        meta = json.loads(row["meta"]) if row["meta"] else {}
        assert {name: value for name, value in meta.items() if value is not None} == {
            name: value for name, value in left.items() if value is not None
        }


@pytest.mark.parametrize("style", STYLES_OF_LISTS)
@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8])
def test_a_listing_of_any_length_is_read_whole(style, count):
    with FaultServer(Api(records(count))) as server:
        got = run(rest(f"{server.url}/{style}", **STYLES[style]))
        assert list(texts(got)) == [str(n) for n in range(count)]
        assert got.bytes_in > 0
        assert all(request.method == ("POST" if style == "graph" else "GET") for request in server.requests)


def place(server: FaultServer, path: str) -> str:
    return f"{server.url.removeprefix('http://')}/{path}"


def test_origins_count_the_records_of_the_listing_and_name_the_endpoint_without_its_query():
    with FaultServer(Api(records(6))) as server:
        got = run(rest(f"{server.url}/next?page=1", id=None, **STYLES["next"]))
    assert [row["origin"] for row in got.rows] == [f"{place(server, 'next')}#{n}" for n in range(6)]


@pytest.mark.parametrize(
    ("endpoint", "unit", "lane"),
    [
        ("https://api.test/v1/a?b=c", "api.test/v1/a", "api.test"),
        ("https://api.test:443/v1", "api.test/v1", "api.test"),
        ("http://api.test:80/v1", "api.test/v1", "api.test"),
        ("https://api.test:80/v1", "api.test:80/v1", "api.test"),
        ("http://api.test:8080/{a}", "api.test:8080/{a}", "api.test"),
        ("http://[::1]:8080/v1", "[::1]:8080/v1", "[::1]"),
        ("http://[::1]/", "[::1]/", "[::1]"),
    ],
)
def test_a_unit_names_the_port_unless_it_is_the_usual_one_and_a_lane_is_the_host(endpoint, unit, lane):
    parents = {"endpoint": "http://api.test/"} if "{" in endpoint else None
    (split,) = rest(endpoint, parents=parents, allow_hosts=["::1"]).plan(None, PlanContext(HERE)).splits
    assert (split.units, split.lane) == ([unit], lane)


@pytest.mark.parametrize("batch_bytes", [1, 200, 1 << 20])
def test_the_size_of_pages_changes_nothing_but_their_number(batch_bytes):
    with FaultServer(Api(records(30))) as server:
        source = rest(f"{server.url}/next", **STYLES["next"])
        got = run(source, batch_bytes=batch_bytes)
        assert list(texts(got)) == [str(n) for n in range(30)]
        assert got.bytes_in == run(source).bytes_in


def test_reading_ahead_stops_with_the_reader():
    """One page is asked for beyond the one in hand, and no thread and no connection is left."""
    with FaultServer(Api(records(200))) as server:
        source = rest(f"{server.url}/next", **STYLES["next"])
        before = threading.active_count()
        (split,) = source.plan(None, PlanContext(HERE)).splits
        reading = source.read(split, ReadContext(HERE, batch_bytes=1))
        list(islice(reading, 5))
        reading.close()
        assert threading.active_count() == before
        assert len(server.requests) <= 5


# --- loops -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pages", "more", "says"),
    [
        ([{"items": [{"text": "a"}], "next": "/0"}], {}, "a repeated page"),
        (
            [{"items": [1], "next": "/1"}, {"items": [2], "next": "/2"}, {"items": [3], "next": "/1"}],
            {},
            "a repeated next URL",
        ),
        (
            [{"items": [1], "next": "/1"}, {"items": [2], "next": "/2"}, {"items": [1], "next": "/3"}],
            {},
            "page 3 has the records of page 1",
        ),
        (
            [{"items": [1], "next": "/1"}, *({"items": [], "next": f"/{n}"} for n in range(2, 9))],
            {},
            "3 empty pages in a row",
        ),
        ([{"items": [n], "next": f"/{n + 1}"} for n in range(9)], {"max_pages": 5}, "goes on after 5 pages"),
    ],
)
def test_a_listing_without_end_is_an_error_that_names_what_repeats(pages, more, says):
    with answering(*pages) as server, pytest.raises(SourceError, match=says):
        run(rest(f"{server.url}/0", **NEXT, **more))
    assert len(server.requests) < 20


def test_a_server_that_ignores_the_page_number_is_found_out():
    with answering({"items": [{"text": "a"}]}) as server:
        source = rest(server.url, records="items", pagination={"kind": "page", "param": "p"})
        with pytest.raises(SourceError, match="a repeated page"):
            run(source)


# --- shifting listings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["page", "offset", "next"])
def test_records_that_arrive_while_paging_double_nothing(style):
    def arrive(api: Api, page: int) -> None:
        if page == 2 and len(api.records) == 20:
            api.records.insert(0, {"id": 99, "text": "new"})

    with FaultServer(Api(records(20), before=arrive)) as server:
        got = run(rest(f"{server.url}/{style}", **STYLES[style]))
    assert set(texts(got)) >= {str(n) for n in range(20)}
    assert len(got.kept) in {20, 21}


@pytest.mark.parametrize("style", ["page", "offset"])
def test_records_that_go_away_while_paging_hide_none_of_the_others_if_the_total_is_told(style):
    def leave(api: Api, page: int) -> None:
        if page == 3 and len(api.records) == 20:
            del api.records[2:4]

    pagination = STYLES[style]["pagination"] | {"total_records": "meta.total"}
    with FaultServer(Api(records(20), before=leave)) as server:
        got = run(rest(f"{server.url}/{style}", records="data.items", pagination=pagination))
    assert set(texts(got)) >= {str(n) for n in range(20)} - {"2", "3"}


def test_a_listing_that_never_stops_shrinking_is_told():
    def leave(api: Api, page: int) -> None:
        if page == 2:
            del api.records[0]

    pagination = STYLES["offset"]["pagination"] | {"total_records": "meta.total"}
    with FaultServer(Api(records(20), before=leave)) as server:
        got = run(rest(f"{server.url}/offset", records="data.items", pagination=pagination))
    assert got.warnings == {"listing.shrank": 1}


def test_an_overlap_of_offsets_reads_past_records_that_went_away():
    def leave(api: Api, page: int) -> None:
        if page == 2 and len(api.records) == 20:
            del api.records[0]

    pagination = STYLES["offset"]["pagination"] | {"overlap": 1}
    with FaultServer(Api(records(20), before=leave)) as server:
        got = run(rest(f"{server.url}/offset", records="data.items", pagination=pagination))
    assert set(texts(got)) >= {str(n) for n in range(1, 20)}


# --- increments --------------------------------------------------------------------------------------------------

SINCE = {"param": "updated_since", "cursor": "updated", "lag": 120, "until_param": "updated_until"}


def asked(server: FaultServer) -> list[dict[str, str]]:
    found = [request.query for request in server.requests]
    server.requests.clear()
    return found


def test_a_run_asks_from_the_newest_record_of_the_last_one_less_a_lag():
    api = Api(records(10))
    with FaultServer(api) as server:
        source = rest(f"{server.url}/next", since=SINCE, **STYLES["next"])
        first = run(source)
        assert len(first.rows) == 10
        assert first.state.doc == {"v": 1, "since": "2026-01-01T00:09:00Z"}
        assert "updated_since" not in asked(server)[0]
        second = run(source, first.state)
        assert asked(server) == [{"updated_since": "2026-01-01T00:07:00Z"}]
        assert list(texts(second)) == ["7", "8", "9"]
        assert second.state.doc == first.state.doc
        api.records += [{"id": 50, "text": "late", "updated": "2026-01-01T00:08:30Z"}]
        api.records += [{"id": 7, "text": "changed", "updated": "2026-01-01T00:30:00Z"}]
        third = run(source, second.state)
        assert texts(third)["50"] == "late"
        assert texts(third)["7"] == "changed"
        assert third.state.doc["since"] == "2026-01-01T00:30:00Z"


def test_ties_at_the_cursor_are_asked_for_again():
    api = Api([{"id": n, "text": "t", "updated": "2026-01-01T00:00:00Z"} for n in range(3)])
    with FaultServer(api) as server:
        source = rest(f"{server.url}/next", since=SINCE | {"lag": 0}, **STYLES["next"])
        first = run(source)
        api.records.append({"id": 3, "text": "t", "updated": "2026-01-01T00:00:00Z"})
        assert "3" in texts(run(source, first.state))


def test_the_first_run_begins_where_the_config_says():
    with FaultServer(Api(records(10))) as server:
        source = rest(f"{server.url}/next", since=SINCE | {"initial": "2026-01-01T00:05:00Z"}, **STYLES["next"])
        assert list(texts(run(source))) == ["5", "6", "7", "8", "9"]


def test_a_backfill_asks_for_both_ends_and_leaves_the_cursor_alone():
    with FaultServer(Api(records(10))) as server:
        source = rest(f"{server.url}/next", since=SINCE, **STYLES["next"])
        state = run(source).state
        asked(server)
        part = run(source, state, window=Window("2026-01-01T00:02:00Z", "2026-01-01T00:04:00Z"))
        assert asked(server) == [{"updated_since": "2026-01-01T00:02:00Z", "updated_until": "2026-01-01T00:04:00Z"}]
        assert list(texts(part)) == ["2", "3"]
        assert part.state.doc == state.doc
        assert run(source, None, window=Window("2026-01-01T00:02:00Z", "2026-01-01T00:04:00Z")).state.doc == {}
        moved = run(source, None, window=Window("2026-01-01T00:02:00Z"))
        assert moved.state.doc["since"] == "2026-01-01T00:09:00Z"
        unbounded = rest(f"{server.url}/next", since={"param": "p", "cursor": "updated"}, **STYLES["next"])
        with pytest.raises(ConfigError, match="until_param"):
            run(unbounded, window=Window("2026-01-01", "2026-01-02"))
        with pytest.raises(ConfigError, match="'yesterday' is no time"):
            run(source, window=Window("yesterday"))
        with pytest.raises(ConfigError, match="it ends before it begins"):
            run(source, window=Window("2026-01-01T05:00:00+05:00", "2026-01-01"))


def test_cursors_are_compared_as_moments_and_what_is_none_is_counted():
    items = [
        {"id": 1, "text": "a", "updated": "2026-01-01T12:00:00+05:00"},
        {"id": 2, "text": "b", "updated": "2026-01-01T08:00:00Z"},
        {"id": 3, "text": "c", "updated": None},
        {"id": 4, "text": "d"},
        {"id": 5, "text": "e", "updated": "whenever"},
        {"id": 6, "text": "f", "updated": 1767250000},
    ]
    with FaultServer(Api(items)) as server:
        got = run(rest(f"{server.url}/next", since=SINCE, **STYLES["next"]))
    assert len(got.rows) == 6
    assert got.warnings == {"cursor.missing": 2, "cursor.unparsed": 1}
    assert got.state.doc["since"] == "2026-01-01T08:00:00Z"


def test_a_record_of_a_wrong_year_does_not_hide_what_comes_after_it():
    """The first answer's Date is the server's clock; later pages' dates do not count, as they change what was read before."""
    api = Api([*records(10), {"id": 77, "text": "mistyped", "updated": "9999-01-01T00:00:00Z"}])
    clock = ["Thu, 01 Jan 2026 00:08:00 GMT", "Thu, 01 Jan 2026 00:20:00 GMT"]

    def app(request: Request) -> Reply:
        reply = api(request)
        return reply._replace(headers={"Date": clock[reply.label != "0"]})

    with FaultServer(app) as server:
        source = rest(f"{server.url}/next", since=SINCE, **STYLES["next"])
        got = run(source, batch_bytes=1)
        assert len(got.rows) == 11
        assert (
            got.state.doc["since"] == "2026-01-01T00:08:00Z"
        )  # 00:09 changed while it was read: it is asked for again
        assert got.warnings == {"cursor.future": 1}
        (split,) = source.plan(None, PlanContext(HERE)).splits
        kept = [page.resume["reach"] for page in source.read(split, ReadContext(HERE, batch_bytes=1)) if page.resume]
        assert {each["ceiling"] for each in kept} == {1767226080000000}


def test_the_cursor_of_a_counter_is_a_number():
    api = Api([{"id": n, "text": "t", "seq": n, "updated": ""} for n in range(12)])
    with FaultServer(api) as server:
        source = rest(
            f"{server.url}/next", since={"param": "after_seq", "cursor": "seq", "format": "number"}, **STYLES["next"]
        )
        state = run(source).state
        assert state.doc == {"v": 1, "since": "11"}
        asked(server)
        run(source, state)
        assert asked(server)[0] == {"after_seq": "11"}


def test_a_read_that_fails_moves_no_cursor():
    with FaultServer(Api(records(10)), [Fault("status", "2", 9, 404)]) as server:
        source = rest(f"{server.url}/next", since=SINCE, **STYLES["next"])
        with pytest.raises(SourceError):
            run(source)
        server.spoil()
        assert run(source).state.doc["since"] == "2026-01-01T00:09:00Z"


def test_a_state_of_a_newer_version_is_refused():
    with pytest.raises(SourceError, match="version 2"):
        rest("https://a.test/").plan(State({"v": 2}), PlanContext(HERE))


# --- everything at once ------------------------------------------------------------------------------------------


def test_without_since_a_run_tells_that_its_listing_is_all_there_is():
    with FaultServer(Api(records(3))) as server:
        source = rest(f"{server.url}/next", **STYLES["next"])
        first = source.plan(None, PlanContext(HERE))
        assert first.listing.to_pylist() == [{"unit": place(server, "next")}]
        assert (first.replaced, first.splits[0].fresh, first.splits[0].lane) == ([], True, "127.0.0.1")
        state = run(source).state
        again = source.plan(state, PlanContext(HERE))
        assert (again.replaced, again.gone, again.splits[0].fresh) == ([place(server, "next")], [], False)


def test_a_listing_that_becomes_empty_withdraws_nothing_unless_it_may():
    api = Api(records(3))
    with FaultServer(api) as server:
        source = rest(f"{server.url}/next", **STYLES["next"])
        state = run(source).state
        api.records = []
        with pytest.raises(SourceError, match="allow_empty"):
            run(source, state)
        assert run(rest(f"{server.url}/next", allow_empty=True, **STYLES["next"]), state).rows == []
        assert run(source).rows == []  # the first time it is fine


def test_a_listing_of_the_latest_only_withdraws_nothing():
    with FaultServer(Api(records(3))) as server:
        source = rest(f"{server.url}/next", full=False, **STYLES["next"])
        plan = source.plan(run(source).state, PlanContext(HERE))
        assert (plan.listing.num_rows, plan.replaced) == (0, [])


# --- records -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deleted", ["gone", {"path": "state.is", "equals": "deleted"}])
def test_tombstones_become_deletions(deleted):
    items = [
        {"id": 1, "text": "a"},
        {"id": 1, "gone": True, "state": {"is": "deleted"}},
        {"id": "2", "text": "b", "gone": None, "state": {"is": "live"}},
        {"id": 3, "gone": "2026-01-01", "state": {"is": "deleted"}},
        {"id": 3, "text": "back again"},
        {"gone": 1, "state": {"is": "deleted"}},
    ]
    with FaultServer(Api(items)) as server:
        got = run(rest(f"{server.url}/next", deleted=deleted, **STYLES["next"]))
    assert texts(got) == {"2": "b", "3": "back again"}
    assert got.deleted == ["1", "3"]
    assert got.rejects == [("id.missing", f"{place(server, 'next')}#5")]


def test_a_tombstone_that_says_neither_is_no_deletion_and_no_record():
    words = [False, "no", 0, None, "true", 1, "2026-01-01T00:00:00Z", "archived", {"by": "x"}, []]
    items = [{"id": n, "text": "a", "gone": word} for n, word in enumerate(words)]
    with FaultServer(Api(items)) as server:
        source = rest(f"{server.url}/next", deleted="gone", **STYLES["next"])
        got = run(source)
        (split,) = source.plan(None, PlanContext(HERE)).splits
        there = [key for page in source.read(split, ReadContext(HERE)) for key in page.present]
    assert (list(texts(got)), got.deleted) == (["0", "1", "2", "3"], ["4", "5", "6"])
    assert got.rejects == [("deleted.unknown", f"{place(server, 'next')}#{n}") for n in (7, 8, 9)]
    assert there == ["7", "8", "9"], "what was published of them stands"


def test_a_field_whose_type_flips_is_text_and_counted():
    items = [{"id": 1, "text": "a"}, {"id": "2", "text": 17}, {"id": 3, "text": 1.5}, {"id": 4, "text": True}]
    items += [{"id": 5, "text": None}, {"id": 6, "text": {"x": 1}}, {"id": 7.5, "text": "b"}]
    with FaultServer(Api(items)) as server:
        got = run(rest(f"{server.url}/next", **STYLES["next"]))
        dotted = [{"id": 1, "body": {"text": 5}}]
        server.app.records = dotted
        assert texts(run(rest(f"{server.url}/next", text="body.text", **STYLES["next"]))) == {"1": "5"}
    assert texts(got) == {"1": "a", "2": "17", "3": "1.5", "4": "true"}
    assert got.warnings == {"field.type": 3}
    assert [code for code, _ in got.rejects] == ["field.missing", "field.type", "id.invalid"]


def test_what_is_no_object_is_a_reject():
    with answering(["a", 1, None, ["x"], {"id": 1, "text": "b"}]) as server:
        got = run(rest(server.url))
    assert texts(got) == {"1": "b"}
    assert [code for code, _ in got.rejects] == ["json.not_object"] * 4


def test_an_answer_that_is_one_record_is_read():
    with answering({"id": 1, "text": "b"}) as server:
        assert texts(run(rest(server.url))) == {"1": "b"}


def test_a_list_that_is_null_is_empty():
    with answering({"items": None}) as server:
        assert run(rest(server.url, records="items")).rows == []


def test_the_main_text_is_taken_out_of_html():
    page = (
        "<html><body><nav>Menu</nav><article><h1>A title</h1><p>"
        + "A sentence about a mill. " * 20
        + "</p></article></body></html>"
    )
    with FaultServer(Api([{"id": 1, "text": page}, {"id": 2, "text": ""}])) as server:
        got = run(rest(f"{server.url}/next", format="html", **STYLES["next"]))
    assert texts(got)["1"].count("A sentence about a mill.") == 20
    assert "<p>" not in texts(got)["1"]
    assert len(got.rows) + len(got.rejects) == 2


# --- parents -----------------------------------------------------------------------------------------------------


class Forum:
    """Topics at /topics, page by page; the posts of each at /topics/<slug>/posts, also in pages."""

    def __init__(self, topics: dict[str, int]) -> None:
        self.topics = topics

    def __call__(self, request: Request) -> Reply:
        parts = [unquote(part) for part in request.target.partition("?")[0].strip("/").split("/")]
        page = int(request.query.get("page", 0))
        if len(parts) == 1:
            names = list(self.topics)[page * 3 : page * 3 + 3]
            answer: Any = {"items": [{"slug": name, "title": name.title(), "id": at} for at, name in enumerate(names)]}
            label, total = f"topics{page}", len(self.topics)
        else:
            count = self.topics[parts[1]]
            answer = {"items": [{"id": n, "text": f"{parts[1]} {n}"} for n in range(count)][page * 3 : page * 3 + 3]}
            label, total = f"{parts[1]}{page}", count
        answer["next"] = f"?page={page + 1}" if page * 3 + 3 < total else None
        return Reply(json.dumps(answer).encode(), label=label)


TOPICS = {"bread": 4, "cheese": 0, "a b/c?d": 1, "wine": 7, "olives": 3, "tea": 1, "łódź": 2}
FAMILY = {**NEXT, "id": "{_parent.slug}/{id}", "parents": {**NEXT, "fields": ["title"]}}
POSTS = {f"{name}/{n}": f"{name} {n}" for name, count in TOPICS.items() for n in range(count)}


def family(server: FaultServer, **more: Any) -> Any:
    parents = FAMILY["parents"] | {"endpoint": f"{server.url}/topics"}
    return rest(server.url + "/topics/{slug}/posts", **FAMILY | {"parents": parents} | more)


@pytest.mark.parametrize("connections", [1, 2, 8])
def test_children_of_all_parents_are_read_in_their_order(connections):
    with FaultServer(Forum(TOPICS)) as server:
        got = run(family(server, max_connections=connections))
    assert [row["text"] for row in got.rows] == list(POSTS.values())
    assert texts(got) == POSTS
    assert json.loads(got.rows[0]["meta"]) == {"_parent": {"title": "Bread"}}  # slug is mapped, as a part of the id
    assert got.rows[0]["origin"] == place(server, "topics/{slug}/posts#0")


@pytest.mark.parametrize("label", ["topics0", "topics1", "bread0", "bread1", "wine2", "łódź0"])
def test_a_read_of_children_that_breaks_off_goes_on_where_it_was(label):
    absurd = Fault("status", label, 1, (503, {"Retry-After": "999999"}))
    with FaultServer(Forum(TOPICS), [absurd]) as server:
        got = run(family(server), attempts=2, batch_bytes=1)
        assert got.attempts == 2
    assert [row["text"] for row in got.rows] == list(POSTS.values())


def test_going_on_with_children_works_from_every_resume_point():
    with FaultServer(Forum(TOPICS)) as server:
        source = family(server)
        (split,) = source.plan(None, PlanContext(HERE)).splits
        pages = list(source.read(split, ReadContext(HERE, batch_bytes=1)))
        for at, page in enumerate(pages):
            if page.resume is not None:
                done = [row for one in pages[: at + 1] for row in one.rows.to_pylist()]
                later = source.read(split, ReadContext(HERE, batch_bytes=1, resume=page.resume))
                done += [row for one in later for row in one.rows.to_pylist()]
                assert [row["text"] for row in done] == list(POSTS.values())
                assert len({row["origin"] for row in done}) == len(done)


def test_parents_that_changed_in_between_are_read_again():
    with FaultServer(Forum(TOPICS)) as server:
        source = family(server)
        (split,) = source.plan(None, PlanContext(HERE)).splits
        pages = list(islice(source.read(split, ReadContext(HERE, batch_bytes=1)), 2))
        server.app.topics = {"new": 2, **TOPICS}
        later = source.read(split, ReadContext(HERE, batch_bytes=1, resume=pages[-1].resume))
        kept = {row["key"] for page in [*pages, *later] for row in page.rows.to_pylist()}
    assert kept == set(POSTS) | {"new/0", "new/1"}


def test_a_parent_that_cannot_stand_in_a_url_is_a_reject():
    def app(request: Request) -> Reply:
        if request.path == "/topics":
            slugs = [{"slug": slug} for slug in ("ok", None, "", "..", True, 1.5, ["x"], 7)] + [{}, "text"]
            return Reply(json.dumps({"items": slugs}).encode())
        return Reply(json.dumps({"items": [{"id": 1, "text": request.path}]}).encode())

    with FaultServer(app) as server:
        got = run(family(server))
        assert [row["text"] for row in got.rows] == ["/topics/ok/posts", "/topics/7/posts"]
        assert [code for code, _ in got.rejects] == ["field.missing"] * 8
        assert all("/../" not in request.target for request in server.requests)


@pytest.mark.parametrize("label", ["bread0", "wine1", "tea0"])
@pytest.mark.parametrize("status", [404, 410])
def test_a_child_that_went_away_fails_the_source_or_is_passed_over(label, status):
    with FaultServer(Forum(TOPICS), [Fault("status", label, 9, status)]) as server:
        with pytest.raises(SourceError, match=f"http.{status}"):
            run(family(server))
        parents = FAMILY["parents"] | {"endpoint": f"{server.url}/topics", "missing": "skip"}
        got = run(family(server, parents=parents))
    begun = {"bread0": 0, "wine1": 3, "tea0": 0}[label]
    name = label[:-1]
    assert texts(got) == {
        k: v for k, v in POSTS.items() if not k.startswith(f"{name}/") or int(k.split("/")[1]) < begun
    }
    assert got.warnings == {"parent.missing": 1}


def test_parents_and_since_go_together():
    def app(request: Request) -> Reply:
        if request.path == "/topics":
            return Reply(json.dumps({"items": [{"slug": "a"}, {"slug": "b"}]}).encode())
        return Reply(
            json.dumps({"items": [{"id": 1, "text": "t", "at": f"2026-01-0{len(request.path) % 2 + 1}"}]}).encode()
        )

    with FaultServer(app) as server:
        source = family(server, since={"param": "from", "cursor": "at", "format": "date", "lag": 86400})
        state = run(source).state
        server.requests.clear()
        run(source, state)
        assert [request.query for request in server.requests if request.path != "/topics"] == [
            {"from": "2026-01-01"}
        ] * 2


# --- requests and secrets ----------------------------------------------------------------------------------------

CANARY = "canary-secret-4711"
AUTHS: dict[str, Any] = {
    "bearer": {"bearer": CANARY},
    "header key": {"key": {"secret": CANARY, "header": "X-API-Key"}},
    "query key": {"key": {"secret": CANARY, "query": "api_key"}},
    "basic": {"basic": {"user": "me", "password": CANARY}},
}


def knows(request: Request) -> bool:
    import base64

    basic = base64.b64encode(f"me:{CANARY}".encode()).decode()
    return CANARY in str(request.headers) + request.target or basic in request.headers.get("authorization", "")


@pytest.mark.parametrize("auth", AUTHS)
@pytest.mark.parametrize("style", STYLES_OF_LISTS)
def test_credentials_go_with_every_page_and_into_nothing_that_is_kept(style, auth):
    with FaultServer(Api(records(12))) as server:
        source = rest(
            f"{server.url}/{style}",
            auth=AUTHS[auth],
            headers={"X-Own": CANARY},
            params={"own": CANARY},
            **STYLES[style],
        )
        plan = source.plan(None, PlanContext(HERE))
        pages = list(source.read(plan.splits[0], ReadContext(HERE, batch_bytes=1)))
        assert all(knows(request) for request in server.requests)
        assert len(server.requests) == 3 + (style in {"page", "offset"})
        kept = json.dumps(
            [msgspec.to_builtins(plan.splits[0]), [page.resume for page in pages], [page.note for page in pages]]
        )
        assert CANARY not in kept
        assert CANARY not in str([row for page in pages for row in page.rows.to_pylist()])


def test_a_next_link_that_repeats_the_key_does_not_carry_it_into_a_resume_point():
    def app(request: Request) -> Reply:
        page = int(request.query.get("page", 0))
        following = f"/?{urlencode(request.query | {'page': page + 1})}" if page < 3 else None
        return Reply(json.dumps({"items": [{"id": page, "text": "t"}], "next": following}).encode())

    with FaultServer(app) as server:
        source = rest(server.url, auth=AUTHS["query key"], params={"token": CANARY, "lang": "en"}, **NEXT)
        (split,) = source.plan(None, PlanContext(HERE)).splits
        pages = list(source.read(split, ReadContext(HERE, batch_bytes=1)))
        assert CANARY not in json.dumps([page.resume for page in pages])
        assert all(request.query["api_key"] == request.query["token"] == CANARY for request in server.requests)
        assert all(request.query["lang"] == "en" for request in server.requests)


@pytest.mark.parametrize("auth", AUTHS)
def test_a_next_link_to_another_host_gets_no_credentials(auth):
    with (
        answering({"items": [{"id": 2, "text": "b"}]}) as other,
        answering({"items": [], "next": f"{other.url}/0"}) as server,
    ):
        run(rest(f"{server.url}/0", auth=AUTHS[auth], headers={"X-Own": CANARY}, params={"own": CANARY}, **NEXT))
        assert knows(server.requests[0])
        assert not any(knows(request) for request in other.requests)
        assert len(other.requests) == 1


@pytest.mark.parametrize("auth", AUTHS)
@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", value=401),
        Fault("status", value=404),
        Fault("html", times=9),
        Fault("reset_at_once", times=9),
        Fault("instead", value={"error": {"message": CANARY, "code": 7}}, times=9),
        Fault("redirect", value="http://10.0.0.1/?" + CANARY),
        Fault("redirect", value="gopher://h/" + "?" + CANARY),
    ],
)
def test_no_error_tells_a_secret(auth, fault):
    with FaultServer(Api(records(1)), [fault]) as server:
        source = rest(
            f"{server.url}/plain?q={CANARY}",
            auth=AUTHS[auth],
            attempts=2,
            error="error",
            params={"own": CANARY},
            **STYLES["plain"],
        )
        with pytest.raises(SourceError) as caught:
            run(source)
        said: BaseException | None = caught.value
        while said is not None:
            assert CANARY not in str(said)
            said = said.__cause__
        server.spoil(fault)
        assert CANARY not in str(source.check(HERE))


def test_an_expired_token_is_renewed_within_a_listing_and_nothing_is_lost():
    api, issued, used = Api(records(22)), [0], [0]

    def app(request: Request) -> Reply:
        if request.path == "/token":
            issued[0], used[0] = issued[0] + 1, 0
            return Reply(json.dumps({"access_token": f"t{issued[0]}", "expires_in": 3600}).encode())
        used[0] += 1
        good = request.headers.get("authorization") == f"Bearer t{issued[0]}" and used[0] <= 2
        return api(request) if good else Reply(b"{}", 401)

    with FaultServer(app) as server:
        auth = {"oauth2": {"token_url": f"{server.url}/token", "client_id": "me", "client_secret": CANARY}}
        got = run(rest(f"{server.url}/next", auth=auth, **STYLES["next"]))
    assert list(texts(got)) == [str(n) for n in range(22)]
    assert issued == [3]


def test_the_rate_holds():
    import time

    with FaultServer(Api(records(22))) as server:
        began = time.monotonic()
        run(rest(f"{server.url}/next", rate=20, **STYLES["next"]))
        assert time.monotonic() - began >= 5 / 20


def test_it_runs_where_an_event_loop_is_running_already():
    import asyncio

    async def cell() -> int:
        with FaultServer(Api(records(9))) as server:
            return len(run(rest(f"{server.url}/next", **STYLES["next"])).rows)

    assert asyncio.run(cell()) == 9


# --- check and config --------------------------------------------------------------------------------------------


def test_check_asks_once_and_says_what_is_wrong():
    with FaultServer(Api(records(9))) as server:
        good = rest(f"{server.url}/next", **STYLES["next"])
        assert good.check(HERE) == []
        assert len(server.requests) == 1
        wrong = rest(f"{server.url}/next", text="body", **STYLES["next"])
        assert wrong.check(HERE) == ['text: the first record has no "body"; it has: id, text, updated']
        since = rest(f"{server.url}/next", since={"param": "s", "cursor": "changed"}, **STYLES["next"])
        assert since.check(HERE)[0].startswith('since.cursor: the first record has no "changed"')
        server.spoil(Fault("status", value=403))
        assert "auth.refused: HTTP 403; check the credentials" in good.check(HERE)[0]
        refused = rest(f"{server.url}/next", allow_hosts=[], **STYLES["next"])
        assert "net.blocked" in refused.check(HERE)[0]
        assert "allow_hosts" in refused.check(HERE)[0]
        assert "api.records" in rest(f"{server.url}/next", records="rows").check(HERE)[0]
        server.app.records = []
        assert good.check(HERE) == []
    assert "net.connect" in good.check(HERE)[0]
    with FaultServer(Forum(TOPICS)) as server:
        assert family(server).check(HERE) == []
        assert len(server.requests) == 2
        assert "text: the first record" in family(server, text="body").check(HERE)[0]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"endpoint": "api.test/v1"}, "endpoint: must be a URL"),
        ({"endpoint": "ftp://api.test/v1"}, "endpoint: must be a URL"),
        ({"endpoint": "https://me:word@api.test/"}, "endpoint: has a user or password"),
        ({"endpoint": "https://{host}/"}, "the host cannot be a"),
        ({"endpoint": "https://api.test/#x"}, "fragment"),
        ({"endpoint": "https://api.test:99999/"}, "port"),
        ({"body": {"a": 1}}, "body: goes with method: POST"),
        ({"pagination": {"kind": "page", "param": "p", "send_in": "body"}}, "send_in: body goes with method: POST"),
        ({"headers": {"Authorization": "Bearer x"}}, "give it by auth"),
        ({"since": {"param": "s", "cursor": "c"}, "id": None}, "id: since needs it"),
        ({"since": {"param": "s", "cursor": "c"}, "full": True}, "full: cannot be true with since"),
        ({"since": {"param": "s", "cursor": "c", "initial": "soon"}}, "is no time"),
        ({"since": {"param": "s", "cursor": "c", "lag": -1}}, "lag is not negative"),
        ({"deleted": "gone", "id": None}, "id: deleted needs it"),
        ({"format": "html", "text": "{a} {b}"}, "must be one field"),
        ({"text": "{a"}, "stray brace"),
        ({"parents": {"endpoint": "https://api.test/x"}}, "neither endpoint nor params"),
        ({"allow_hosts": ["http://x"]}, "allow_hosts"),
        ({"auth": {}}, "auth: give one of"),
        ({"auth": {"bearer": "a", "basic": {"user": "b", "password": "c"}}}, "auth: give one of"),
        ({"pagination": {"kind": "cursor"}}, "pagination: kind cursor needs param"),
        ({"rate": -1}, "rate"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_config_that_no_run_could_work_with_is_refused(change, says):
    with pytest.raises((ValueError, msgspec.ValidationError, ConfigError), match=says):
        rest(**{"endpoint": "https://api.test/v1", **change})


def test_the_config_is_loaded_without_the_libraries_for_http():
    import subprocess
    import sys

    child = """
import sys
from gristmill.core.find import find
from pathlib import Path
find("sources", "rest", Path())(endpoint="https://a.test/")
print([name for name in ("aiohttp", "stamina", "yarl", "asyncio", "resiliparse") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_every_key_is_described():
    from gristmill.sources.rest import Rest

    for field in msgspec.structs.fields(Rest):
        assert field.name in (Rest.__doc__ or "")


DOCS = Path(__file__).resolve().parents[2]


def yaml_blocks() -> list[str]:
    page = (DOCS / "docs" / "sources" / "rest.md").read_text("utf-8")
    return re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("block", yaml_blocks())
def test_the_configs_of_the_how_to_load(block, tmp_path, monkeypatch):
    monkeypatch.setenv("ARTICLES_TOKEN", CANARY)
    (tmp_path / "gristmill.yml").write_text(block)
    assert Pipeline.from_file(tmp_path / "gristmill.yml")


def test_the_example_reads_what_changed_as_a_pipeline_does(tmp_path, monkeypatch):
    """Three days of an API: articles arrive, change and go; on the second day a page fails."""
    monkeypatch.setenv("ARTICLES_TOKEN", CANARY)
    day = "2026-01-0{}T00:00:00Z".format
    said = "A mill by the river grinds {} sacks of corn, and the miller is content with number {}."

    def article(n: int, at: int, word: str = "") -> dict[str, Any]:
        return {"id": n, "title": f"No. {n}{word}", "body": said.format(n * 7, n), "updated": day(at)}

    days = [
        [article(n, 1) for n in range(10)],
        [article(n, 2) for n in range(10, 15)] + [article(3, 2, ", revised")],
        [{"id": 4, "deleted": True, "updated": day(3)}, article(20, 3)],
    ]
    api = Api([])

    def since(request: Request) -> Reply:
        assert request.headers["authorization"] == f"Bearer {CANARY}"
        begin = request.query.get("updated_since", "")
        listing = Api([each for each in api.records if each["updated"] >= begin])
        return listing(request._replace(target=re.sub(r"updated_since=[^&]*&?", "", request.target)))

    with FaultServer(
        lambda request: since(request._replace(target=request.target.replace("/v1/articles", "/cursor")))
    ) as server:
        config = (DOCS / "examples" / "sources" / "rest" / "gristmill.yml").read_text("utf-8")
        config = config.replace("https://api.example.org", server.url).replace(
            "rate: 50", "allow_hosts: [127.0.0.1]\n      wait_s: 0.01"
        )
        (tmp_path / "gristmill.yml").write_text(config)
        for at, arrivals in enumerate(days):
            changed = {each["id"] for each in arrivals}
            api.records = [each for each in api.records if each["id"] not in changed] + arrivals
            server.spoil(Fault("cut_body", times=at))
            report = Pipeline.from_file(tmp_path / "gristmill.yml").run()
            assert report.status == "published"
        rows = Dataset(tmp_path / "corpus").read(columns=["id", "text"]).to_pylist()
        assert Pipeline.from_file(tmp_path / "gristmill.yml").run().status == "nothing_new"
    live = [each for each in api.records if "deleted" not in each]
    assert {row["id"]: row["text"] for row in rows} == {
        f"articles/{each['id']}": f"{each['title']}\n\n{each['body']}" for each in live
    }
    for file in tmp_path.rglob("*"):
        assert file.is_dir() or CANARY.encode() not in file.read_bytes(), file


def test_a_unit_that_is_to_be_skipped_is_not_asked_for():
    with FaultServer(Api(records(3))) as server:
        source = rest(f"{server.url}/next", **STYLES["next"])
        (split,) = source.plan(None, PlanContext(HERE)).splits
        assert list(source.read(split, ReadContext(HERE, skip=frozenset(split.units)))) == []
        assert server.requests == []


def test_a_record_over_a_cap_costs_itself_and_what_was_there_of_it_stands():
    """Its size is that of its JSON; the depth counts its own braces."""
    found = [*records(2), {"id": 7, "text": "t" * 500}, {"id": 8, "text": "t", "deep": [[[1]]]}, {"id": 9, "text": "t"}]
    with answering(found) as server:
        got = run(rest(server.url, max_record_bytes=400, max_depth=3))
        assert [row["key"] for row in got.rows] == ["0", "1", "9"]
        assert [code for code, *_ in got.rejects] == ["size.cap", "json.depth"]
        assert len(run(rest(server.url)).rows) == 5
