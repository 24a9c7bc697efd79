"""Politeness against a real server: gaps, connections, rests, robots before pages, and answers in the order asked."""

import itertools
import random
import time

import pytest
from tests.web.site import Reply, Site, page

from gristmill.net.addresses import Guard
from gristmill.net.fetch import Limits
from gristmill.net.polite import FAILURES, Ask, Manners, answers
from gristmill.net.retry import Patience

GUARD = Guard(("127.0.0.0/8", "::1", "localhost"))
PATIENCE = Patience(attempts=2, wait_initial_s=0.01, wait_jitter_s=0.01, retry_after_max_s=5)


def visit(urls, manners=None, patience=PATIENCE, limits=None, rested=()):
    manners = manners or Manners("gristmill/1 (+me@example.org)", delay_s=0)
    asks = [Ask(url) for url in urls]
    batches = answers(asks, manners, GUARD, limits or Limits(timeout_s=5), patience, rested=rested)
    return [answer for batch in batches for answer in batch]


def gaps(site):
    times = [request.at for request in site.log]
    return [late - early for early, late in itertools.pairwise(times)]


def test_answers_come_in_order_whatever_comes_back_first():
    pages = {f"/{n}": Reply(200, str(n).encode(), delay_s=random.Random(n).random() / 50) for n in range(100)}
    with Site(pages) as site:
        found = visit([site.url(f"/{n}") for n in range(100)], Manners("g/1", delay_s=0, max_connections=2))
    assert [answer.response.body for answer in found] == [str(n).encode() for n in range(100)]


@pytest.mark.parametrize("connections", [1, 2])
def test_a_host_is_never_asked_sooner_than_its_gap_nor_over_more_connections(connections):
    with Site({f"/{n}": Reply(200, b"x", delay_s=0.03) for n in range(10)}) as site:
        visit([site.url(f"/{n}") for n in range(10)], Manners("g/1", delay_s=0.02, max_connections=connections))
        assert (
            site.log[-1].at - site.log[0].at > 10 * 0.02 * 0.7
        )  # the server's clock, which is busy too: when the head came in
        assert connections > 1 or sorted(gaps(site))[1] > 0.01  # one that was seen late is nearer to the next
        assert site.in_flight == connections


def test_a_longer_crawl_delay_counts_from_the_first_page_on():
    with Site({"/robots.txt": Reply(200, b"User-agent: *\nCrawl-delay: 0.15"), "/a": page(), "/b": page()}) as site:
        visit([site.url("/a"), site.url("/b")], Manners("g/1", delay_s=0.01, max_connections=2))
        assert min(gaps(site)) > 0.08  # by the clock of the server, which is busy too


def test_retries_and_redirects_keep_the_gap_too():
    with Site({"/a": Reply(500), "/b": Reply(302, b"", {"Location": "/c"}), "/c": page()}) as site:
        visit([site.url("/a"), site.url("/b")], Manners("g/1", delay_s=0.1))
        assert [request.path for request in site.log].count("/a") == 2
        assert min(gaps(site)) > 0.05


def test_many_hosts_are_asked_at_once_but_no_more_than_allowed():
    pages = {f"/{n}": Reply(200, b"x", delay_s=0.1) for n in range(4)}
    with Site(pages) as one, Site(pages, host="127.0.0.2") as two, Site(pages, host="127.0.0.3") as three:
        urls = [site.url(f"/{n}") for n in range(4) for site in (one, two, three)]
        found = visit(urls, Manners("g/1", delay_s=0, max_hosts=1))
        assert [answer.response.status for answer in found] == [200] * 12
        log = sorted(request.at for site in (one, two, three) for request in site.log if request.path != "/robots.txt")
        assert min(late - early for early, late in itertools.pairwise(log)) > 0.05
        for site in (one, two, three):
            site.log.clear()
        start = visit(urls, Manners("g/1", delay_s=0, max_hosts=3)) and one.log[0].at
        assert max(request.at for site in (one, two, three) for request in site.log) - start < 12 * 0.1


def test_a_slow_host_does_not_hold_up_the_others():
    fast_pages = {f"/{n}": Reply(200, b"x") for n in range(20)}
    with Site({"/0": Reply(200, b"slow", delay_s=2)}) as slow, Site(fast_pages, host="127.0.0.2") as fast:
        visit([slow.url("/0")] + [fast.url(f"/{n}") for n in range(20)])
        assert fast.log[-1].at < slow.log[-1].at + 2


def test_a_host_that_asks_for_rest_gets_it_for_all_its_pages():
    answers_ = iter([Reply(429, b"", {"Retry-After": "1"})])
    with Site({"/a": lambda _: next(answers_, Reply(200, b"a")), "/b": Reply(200, b"b")}) as site:
        found = visit([site.url("/a"), site.url("/b")], Manners("g/1", delay_s=0, max_connections=1))
        assert [answer.response.body for answer in found] == [b"a", b"b"]
        after = next(n for n, request in enumerate(site.log) if request.path == "/a") + 1
        assert site.log[after].at - site.log[after - 1].at > 0.5


def test_a_host_that_asks_for_too_long_a_rest_is_left_until_the_next_run():
    with Site({"/a": Reply(503, b"", {"Retry-After": "100000000"}), "/b": page(), "/c": page()}) as site:
        found = visit([site.url("/a"), site.url("/b"), site.url("/c")])
        assert [answer.code or answer.skipped for answer in found] == ["http.503", "host.deferred", "host.deferred"]
        assert [request.path for request in site.log] == ["/robots.txt", "/a"]


@pytest.mark.parametrize("value", ["-5", "nan", "soon", "Mon, 99 Foo 2026 00:00:00 GMT"])
def test_a_rest_that_makes_no_sense_is_none(value):
    with Site({"/a": Reply(503, b"", {"Retry-After": value}), "/b": page()}) as site:
        found = visit([site.url("/a"), site.url("/b")])
        assert [answer.code for answer in found] == ["http.503", ""]


def test_a_host_that_never_answers_is_left_after_some_failures():
    cut = Reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    with Site({f"/{n}": cut for n in range(40)} | {"/robots.txt": Reply(404)}) as site:
        found = visit([site.url(f"/{n}") for n in range(40)])
        assert len(site.asked()) == FAILURES
        codes = [answer.code or answer.skipped for answer in found]
        assert set(codes) == {"net.cut", "host.deferred"}
        assert codes[-1] == "host.deferred"


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_host_whose_robots_fails_is_deferred_and_no_page_is_asked_for(status):
    with Site({"/robots.txt": Reply(status), "/a": page(), "/b": page()}) as site:
        found = visit([site.url("/a"), site.url("/b")])
        assert {answer.skipped for answer in found} == {"robots.unreachable"}
        assert site.asked() == []


def test_robots_is_asked_for_once_and_may_be_redirected():
    pages = {"/robots.txt": Reply(301, b"", {"Location": "/r"}), "/r": Reply(200, b"User-agent: *\nDisallow: /b")}
    with Site(pages | {"/a": page(), "/b": page()}) as site:
        found = visit([site.url("/a"), site.url("/b"), site.url("/a")])
        assert [answer.skipped for answer in found] == ["", "robots.disallowed", ""]
        assert [request.path for request in site.log].count("/robots.txt") == 1
        assert "/b" not in site.asked()


def test_robots_that_redirects_for_ever_counts_as_none():
    with Site({"/robots.txt": Reply(302, b"", {"Location": "/robots.txt"}), "/a": page()}) as site:
        assert visit([site.url("/a")])[0].response.status == 200


def test_a_redirect_is_checked_against_the_robots_of_where_it_leads():
    forbidding = {"/robots.txt": Reply(200, b"User-agent: *\nDisallow: /secret"), "/open": page(), "/secret": page()}
    with Site(forbidding, host="127.0.0.2") as other, Site() as site:
        site.pages |= {"/a": Reply(302, b"", {"Location": other.url("/secret")})}
        site.pages |= {"/b": Reply(302, b"", {"Location": other.url("/open")})}
        found = visit([site.url("/a"), site.url("/b")])
        assert [answer.skipped for answer in found] == ["robots.disallowed", ""]
        assert found[1].url == other.url("/open")
        assert other.asked() == ["/open"]


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("/loop", "net.redirects"),
        ("file:///etc/passwd", "net.scheme"),
        ("ftp://site.example/", "net.scheme"),
        ("http://user:secret@site.example/", "url.invalid"),
        ("http://[/", "url.invalid"),
        ("http://10.0.0.1/", "net.blocked"),
        ("http://169.254.169.254/latest/meta-data", "net.blocked"),
        ("http://[::ffff:10.0.0.1]/", "net.blocked"),
    ],
)
def test_redirects_to_where_nobody_should_go_are_refused_with_a_code(location, code):
    with Site({"/loop": Reply(302, b"", {"Location": location})}) as site:
        found = visit([site.url("/loop")])
        assert found[0].code == code
        assert "secret" not in found[0].detail
        assert len(site.asked()) <= 6


def test_permanent_moves_are_told_from_passing_ones():
    pages = {"/a": Reply(301, b"", {"Location": "/b"}), "/b": page(), "/c": Reply(302, b"", {"Location": "/b"})}
    with Site(pages) as site:
        assert [answer.moved for answer in visit([site.url("/a"), site.url("/c"), site.url("/b")])] == [
            True,
            False,
            False,
        ]


def test_a_host_asked_just_before_is_given_one_gap_first():
    with Site({"/a": page()}) as site:
        start = time.monotonic()
        visit([site.url("/a")], Manners("g/1", delay_s=0.2), rested=["127.0.0.1"])
        assert site.log[0].at - start > 0.19


def test_bodies_that_wait_for_their_turn_go_to_disk_beyond_a_limit(monkeypatch):
    monkeypatch.setattr("gristmill.net.polite.HELD_BYTES", 1000)
    pages = {f"/{n}": Reply(200, bytes([n]) * 900) for n in range(30)} | {"/slow": Reply(200, b"first", delay_s=0.3)}
    with Site(pages) as site:
        urls = [site.url("/slow"), *(site.url(f"/{n}") for n in range(30))]
        found = visit(urls, Manners("g/1", delay_s=0, max_connections=2))
        assert [answer.response.body for answer in found[1:]] == [bytes([n]) * 900 for n in range(30)]


def test_an_iterator_that_is_left_early_leaves_nothing_open():
    with Site({f"/{n}": Reply(200, b"x", delay_s=0.01) for n in range(50)}) as site:
        asks = [Ask(site.url(f"/{n}")) for n in range(50)]
        batches = answers(asks, Manners("g/1", delay_s=0), GUARD, Limits(), PATIENCE)
        assert next(batches)
        batches.close()
