"""The `web` source day by day: what is asked for again and how, what is a revision, what is gone, what is kept of a URL."""

import base64
import gzip
import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.web.crawls import Crawl, crawl_of
from tests.web.site import Reply, Site, page, plain

import gristmill
from gristmill.core.errors import SourceError
from gristmill.core.find import find
from gristmill.core.source import PlanContext, ReadContext
from gristmill.net import urltable
from gristmill.sources.web import Web
from gristmill.testing import laws

THURSDAY = "Thu, 26 Nov 2026 08:00:00 GMT"


@pytest.fixture
def site():
    with Site() as made:
        yield made


def urlset(*urls, lastmod=""):
    inner = "".join(f"<url><loc>{url}</loc>{lastmod and f'<lastmod>{lastmod}</lastmod>'}</url>" for url in urls)
    return Reply(200, f"<urlset>{inner}</urlset>".encode())


# --- a record ----------------------------------------------------------------------------------------------------


def test_a_page_becomes_a_record_with_all_that_is_known_of_it(site, tmp_path):
    head = (
        '<meta name="robots" content="noai"><meta name="tdm-reservation" content="1">'
        '<link rel="license" href="https://creativecommons.org/licenses/by/4.0/"><link rel=canonical href="/canon">'
    )
    said = {
        "X_Robots_Tag": "noindex",
        "tdm_policy": "https://site.example/policy",
        "Last_Modified": "Mon, 02 Nov 2026 10:00:00 GMT",
    }
    site.pages["/a"] = page("alpha", title="Ice", head=head, **said)
    (row,) = crawl_of(site, tmp_path, "/a#part").run().rows
    assert (row["key"], row["origin"], row["url"]) == (site.url("/a"), site.url("/a#0"), site.url("/a"))
    assert "alpha" in row["text"]
    assert (row["lang"], row["license"]) == ("en", "https://creativecommons.org/licenses/by/4.0/")
    assert str(row["time"]) == "2026-11-02 10:00:00+00:00"
    assert str(row["fetched_at"]) == "2026-11-25 08:00:00+00:00"
    meta = json.loads(row["meta"])
    assert meta["extractor"].startswith("resiliparse")
    kept = {"robots": "noai", "x_robots_tag": "noindex", "tdm_reservation": "1", "tdm_policy": said["tdm_policy"]}
    assert kept.items() <= meta.items()
    assert {"title": "Ice", "status": 200, "charset": "utf-8", "canonical": "/canon"}.items() <= meta.items()


def test_the_final_url_is_kept_and_the_id_is_the_one_asked_for(site, tmp_path):
    site.pages |= {"/old": Reply(301, b"", {"Location": "/new"}), "/new": page("moved")}
    run = crawl_of(site, tmp_path, "/old").run()
    (row,) = run.rows
    assert run.warnings == {"web.moved": 1}
    assert (row["key"], row["url"]) == (site.url("/old"), site.url("/new"))


def pdf_of(text):
    """Give the smallest PDF that shows a line."""
    stream = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET"
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        f"<</Length {len(stream)}>>stream\n{stream}\nendstream",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    body, places = "%PDF-1.4\n", []
    for number, inner in enumerate(objects, 1):
        places.append(len(body))
        body += f"{number} 0 obj{inner}endobj\n"
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    body += f"xref\n0 6\n0000000000 65535 f \n{table}trailer<</Size 6/Root 1 0 R>>\nstartxref\n{len(body)}\n%%EOF"
    return body.encode()


PDF = pdf_of("The ferry leaves at noon")


def test_text_and_pdf_are_read_too_and_charsets_are_heeded(site, tmp_path):
    latin = {"Content-Type": "text/plain; charset=iso-8859-1"}
    site.pages["/t"] = Reply(200, "Straße\r\nüber".encode("latin-1"), latin)
    site.pages["/u"] = Reply(200, "Привет".encode("utf-16"), {"Content-Type": "text/plain"})
    site.pages["/p"] = Reply(200, PDF, {"Content-Type": "application/pdf"})
    run = crawl_of(site, tmp_path, "/t", "/u", "/p").run()
    assert run.texts[site.url("/t")].split() == ["Straße", "über"]
    assert run.texts[site.url("/u")] == "Привет"
    assert run.texts[site.url("/p")] == "The ferry leaves at noon"
    assert run.warnings == {}


def test_what_calls_itself_text_and_is_not_is_bad(site, tmp_path):
    plainly = {"Content-Type": "text/plain"}
    site.pages["/c"] = Reply(200, b"a text \x01\x02\x03\x04\x05\x06\x0e\x0f with controls", plainly)
    site.pages["/n"] = Reply(200, b"a text with " * 20 + b"a \0 in it", plainly)
    run = crawl_of(site, tmp_path, "/c", "/n").run()
    assert run.codes == dict.fromkeys((site.url("/c"), site.url("/n")), "type.mismatch")
    assert run.texts == {}


def test_the_raw_page_is_kept_on_request_and_gives_the_same_bytes_back(site, tmp_path):
    site.pages |= {"/a": page("café"), "/p": Reply(200, PDF, {"Content-Type": "application/pdf"})}
    run = crawl_of(site, tmp_path, "/a", "/p", keep_raw=True).run()
    first, second = (json.loads(row["meta"]) for row in run.rows)
    assert base64.b64decode(first["raw"]) == site.pages["/a"].body
    assert base64.b64decode(second["raw"]) == PDF
    assert "raw" not in json.loads(crawl_of(site, tmp_path, "/a").run().rows[0]["meta"])


# --- again -------------------------------------------------------------------------------------------------------


def test_a_second_run_asks_only_conditionally_and_finds_nothing_new(site, tmp_path):
    site.pages = {f"/{n}": plain(f"page {n}", etag=f'"{n}"') for n in range(30)}
    site.pages |= {f"/m{n}": plain(f"dated {n}", Last_Modified="Mon, 02 Nov 2026 10:00:00 GMT") for n in range(5)}
    crawl = crawl_of(site, tmp_path, *site.pages)
    first = crawl.run()
    assert set(first.outcomes.values()) == {"ok"}
    site.log.clear()
    second = crawl.run()
    assert set(second.outcomes.values()) == {"unchanged"}
    assert all(request.conditional for request in site.log if request.path != "/robots.txt")
    assert second.state.units.equals(first.state.units)
    assert crawl.run().state.units.equals(first.state.units)


def test_the_same_bytes_or_the_same_text_are_no_revision(site, tmp_path):
    site.pages["/a"] = page("alpha")
    crawl = crawl_of(site, tmp_path, "/a")
    crawl.run()
    assert crawl.run().outcomes == {site.url("/a"): "unchanged"}
    site.pages["/a"] = page("alpha", head="<script>var ad = 123456;</script><!-- served in 3 ms -->")
    run = crawl.run()
    assert (run.outcomes, run.rows) == ({site.url("/a"): "unchanged"}, [])
    site.pages["/a"] = page("beta")
    assert "beta" in crawl.run().texts[site.url("/a")]


def test_new_text_is_a_revision_of_the_same_id_and_the_plan_says_it_is_read_again(site, tmp_path):
    site.pages["/a"] = plain("alpha", etag='"1"')
    crawl = crawl_of(site, tmp_path, "/a")
    first = crawl.run()
    assert first.plan.replaced == []
    site.pages["/a"] = plain("beta", etag='"2"')
    second = crawl.run()
    assert second.plan.replaced == [site.url("/a")]
    assert second.rows[0]["key"] == first.rows[0]["key"]
    assert crawl.run().outcomes == {site.url("/a"): "unchanged"}
    assert [request.headers.get("if-none-match") for request in site.log if request.path == "/a"] == [
        None,
        '"1"',
        '"2"',
    ]


def test_a_server_that_says_304_to_a_page_it_never_gave_is_no_answer(site, tmp_path):
    site.pages["/a"] = Reply(304)
    assert crawl_of(site, tmp_path, "/a").run().codes == {site.url("/a"): "http.304"}


@pytest.mark.parametrize("status", [404, 410])
def test_a_page_not_found_is_withdrawn_on_the_second_day_only(site, tmp_path, status):
    site.pages["/a"] = plain("alpha", etag='"1"')
    crawl = crawl_of(site, tmp_path, "/a")
    crawl.run()
    site.pages["/a"] = Reply(status, b"", {"ETag": '"x"'})
    for _ in range(3):  # the same day, as often as you like
        run = crawl.run()
        assert (run.outcomes[site.url("/a")], run.codes) == ("bad", {site.url("/a"): f"http.{status}"})
    (row,) = run.state.units.to_pylist()
    assert (row["misses"], row["last_miss_day"], len(row["ords"])) == (1, "2026-11-25", 1)
    site.date = THURSDAY
    run = crawl.run()
    assert (run.outcomes, run.codes) == ({site.url("/a"): "gone"}, {})
    assert run.state.units.to_pylist()[0]["ords"] == []
    again = crawl.run()
    assert (again.outcomes, again.warnings["web.gone"]) == ({site.url("/a"): "gone"}, 1)
    assert again.state.units.equals(run.state.units)


def test_a_page_that_comes_back_is_kept_or_read_anew(site, tmp_path):
    site.pages["/a"] = alpha = plain("alpha", etag='"1"')
    crawl = crawl_of(site, tmp_path, "/a")
    first = crawl.run()
    site.pages["/a"] = Reply(404)
    crawl.run()
    site.pages["/a"] = alpha
    back = crawl.run()
    assert back.outcomes == {site.url("/a"): "unchanged"}
    assert back.state.units.equals(first.state.units)
    site.pages["/a"] = Reply(404)
    crawl.run()
    site.date = THURSDAY
    assert crawl.run().outcomes == {site.url("/a"): "gone"}
    site.pages["/a"] = alpha
    assert "alpha" in crawl.run().texts[site.url("/a")]


def test_the_planned_time_stands_in_for_a_server_without_a_clock(site, tmp_path):
    site.date = None
    crawl = crawl_of(site, tmp_path, "/a")
    assert set(crawl.run(clock="2026-11-25T23:59:00Z").outcomes.values()) == {"bad"}
    assert set(crawl.run(clock="2026-11-25T23:59:59Z").outcomes.values()) == {"bad"}
    assert set(crawl.run(clock="2026-11-26T00:00:01Z").outcomes.values()) == {"gone"}


def test_a_failure_leaves_the_record_and_what_is_known_of_it_alone(site, tmp_path):
    site.pages["/a"] = alpha = plain("alpha", etag='"1"')
    crawl = crawl_of(site, tmp_path, "/a")
    first = crawl.run()
    site.pages["/a"] = Reply(500)
    failed = crawl.run()
    assert (failed.outcomes, failed.codes) == ({site.url("/a"): "bad"}, {site.url("/a"): "http.500"})
    assert failed.state.units.equals(first.state.units)
    site.pages["/a"] = alpha
    assert crawl.run().outcomes == {site.url("/a"): "unchanged"}


def test_recheck_asks_for_what_is_due_or_failed_or_hinted_at(site, tmp_path):
    site.pages |= {
        "/a": plain("alpha"),
        "/b": Reply(500),
        "/c": plain("gamma"),
        "/map": urlset(site.url("/c"), lastmod="1"),
    }
    crawl = crawl_of(site, tmp_path, "/a", "/b", sitemaps=[site.url("/map")], recheck="12h")
    crawl.run(clock="2026-11-25T08:00:00Z")
    site.asked()
    crawl.run(clock="2026-11-25T19:59:00Z")
    assert set(site.asked()) == {"/map", "/b"}
    site.pages["/map"] = urlset(site.url("/c"), lastmod="2")
    crawl.run(clock="2026-11-25T19:59:30Z")
    assert set(site.asked()) == {"/map", "/b", "/c"}
    crawl.run(clock="2026-11-25T20:00:00Z")
    assert set(site.asked()) == {"/map", "/a", "/b"}
    assert crawl.run(recheck=None, clock="2026-11-25T20:00:01Z").plan.splits


# --- what exists -------------------------------------------------------------------------------------------------


def test_only_the_list_decides_that_a_url_is_gone(site, tmp_path):
    site.pages |= {"/a": plain("a"), "/b": plain("b")}
    crawl = crawl_of(site, tmp_path, "/a", "/b")
    crawl.run()
    run = crawl.run(urls=[site.url("/a")])
    assert run.plan.gone == [site.url("/b")]
    assert run.state.units.column("unit").to_pylist() == [site.url("/a")]


def test_a_url_that_leaves_a_sitemap_or_feed_stays_known(site, tmp_path):
    feed = '<rss version="2.0"><channel><item><link>{}</link></item></channel></rss>'
    site.pages |= {"/a": plain("a"), "/b": plain("b"), "/c": plain("c")}
    site.pages |= {"/map": urlset(site.url("/a"), site.url("/b")), "/feed": Reply(200, feed.format("/c").encode())}
    crawl = Crawl(tmp_path, sitemaps=[site.url("/map")], feeds=[site.url("/feed")])
    assert len(crawl.run().texts) == 3
    site.pages |= {"/map": urlset(site.url("/a")), "/feed": Reply(200, feed.format("/a").encode())}
    run = crawl.run()
    assert run.plan.gone == []
    assert len(run.outcomes) == 3
    del site.pages["/map"]
    site.pages["/feed"] = Reply(500)
    with pytest.raises(SourceError, match=r"none of the 2 sitemaps and feeds"):
        crawl.run()


def test_leaving_out_a_whole_sitemap_or_excluding_urls_makes_them_go(site, tmp_path):
    site.pages |= {f"/{n}": plain(n) for n in "abc"}
    site.pages |= {"/m1": urlset(site.url("/a"), site.url("/b")), "/m2": urlset(site.url("/b"), site.url("/c"))}
    both = [site.url("/m1"), site.url("/m2")]
    crawl = Crawl(tmp_path, sitemaps=both)
    crawl.run()
    assert crawl.run(sitemaps=both[1:]).plan.gone == [site.url("/a")]
    assert crawl.run(sitemaps=both[1:], exclude=["/c$"]).plan.gone == [site.url("/c")]


def test_a_list_that_fails_costs_no_url_and_stops_no_other(site, tmp_path):
    site.pages |= {"/a": plain("a"), "/b": plain("b"), "/m1": urlset(site.url("/a")), "/m2": urlset(site.url("/b"))}
    crawl = Crawl(tmp_path, sitemaps=[site.url("/m1?token=s3cret"), site.url("/m2")])
    site.pages["/m1?token=s3cret"] = site.pages["/m1"]
    assert len(crawl.run().texts) == 2
    site.pages["/m1?token=s3cret"] = Reply(200, b"<html>")
    run = crawl.run()
    assert [(unit, code) for unit, code, _ in run.plan.failed] == [(site.url("/m1"), "sitemap.syntax")]
    assert (run.plan.gone, len(run.outcomes)) == ([], 2)
    assert "s3cret" not in repr(run.plan) + repr(run.state)


def test_a_url_that_never_could_be_read_is_not_forgotten_when_its_sitemap_does_not_change(site, tmp_path):
    site.pages["/map"] = lambda request: (
        Reply(304) if request.conditional else urlset(site.url("/a"))._replace(headers={"ETag": '"m"'})
    )
    site.pages["/a"] = Reply(500)
    crawl = Crawl(tmp_path, sitemaps=[site.url("/map")])
    assert crawl.run().codes == {site.url("/a"): "http.500"}
    site.pages["/a"] = plain("alpha")
    site.log.clear()
    assert len(crawl.run().texts) == 1
    assert [request.conditional for request in site.log if request.path == "/map"] == [True]


def test_urls_come_from_a_file_with_comments_and_bad_lines_are_told(site, tmp_path):
    (tmp_path / "urls.txt").write_text(f"\ufeff# mine\n{site.url('/a')}\n\nnot a url\n{site.url('/a#again')}\n")
    site.pages["/a"] = plain("a")
    crawl = Crawl(tmp_path, urls="urls.txt")
    run = crawl.run()
    assert len(run.texts) == 1
    assert [(unit, code) for unit, code, _ in run.plan.failed] == [("urls:4", "url.invalid")]
    with pytest.raises(SourceError, match=r'no file "none.txt"'):
        crawl.run(urls="none.txt")
    (tmp_path / "urls.txt").write_text("")
    with pytest.raises(SourceError, match=r"1 URLs were known.*allow_empty"):
        crawl.run()
    assert crawl.run(allow_empty=True).plan.gone == [site.url("/a")]


# --- sitemaps and traps ------------------------------------------------------------------------------------------


def test_indexes_are_followed_three_deep_and_each_file_once(site, tmp_path):
    def index(*paths):
        return Reply(
            200,
            f"<sitemapindex>{''.join(f'<sitemap><loc>{site.url(p)}</loc></sitemap>' for p in paths)}</sitemapindex>".encode(),
        )

    site.pages |= {
        "/i0": index("/i1", "/i0", "/m.gz"),
        "/i1": index("/i2"),
        "/i2": index("/i3", "/i0"),
        "/i3": index("/i4"),
    }
    site.pages |= {"/m.gz": Reply(200, gzip.compress(urlset(site.url("/a")).body)), "/a": plain("a")}
    run = Crawl(tmp_path, sitemaps=[site.url("/i0")]).run()
    assert len(run.texts) == 1
    assert [code for _, code, _ in run.plan.failed] == ["sitemap.depth"]
    asked = [path for path in site.asked() if path.startswith("/i")]
    assert sorted(asked) == ["/i0", "/i1", "/i2", "/i3"]


def test_a_sitemap_speaks_for_its_own_site_only(site, tmp_path):
    site.pages |= {"/map": urlset(site.url("/a"), "http://other.example/x", "http://10.0.0.1/admin"), "/a": plain("a")}
    run = Crawl(tmp_path, sitemaps=[site.url("/map")]).run()
    assert list(run.outcomes) == [site.url("/a")]
    assert run.warnings["sitemap.foreign_url"] == 2


def test_include_and_exclude_choose_among_what_lists_name(site, tmp_path):
    site.pages |= {path: plain(path) for path in ("/news/1", "/news/2?print", "/shop/1")}
    site.pages["/map"] = urlset(*(site.url(path) for path in ("/news/1", "/news/2?print", "/shop/1")))
    crawl = Crawl(tmp_path, sitemaps=[site.url("/map")], include=["/news/"], exclude=[r"\?print$"])
    assert list(crawl.run().texts) == [site.url("/news/1")]


def test_a_calendar_without_end_is_cut_off_at_the_hosts_budget_and_counted(site, tmp_path):
    trap = [site.url(f"/calendar?month={n}&PHPSESSID={n:032x}") for n in range(500)]
    site.pages |= {url.removeprefix(site.origin): plain(f"month {n}") for n, url in enumerate(trap)}
    site.pages |= {"/map": urlset(*(url.replace("&", "&amp;") for url in trap)), "/mine": plain("mine")}
    crawl = crawl_of(site, tmp_path, "/mine", sitemaps=[site.url("/map")], max_urls_per_host=20)
    run = crawl.run()
    assert len(run.texts) == 20
    assert site.url("/mine") in run.texts
    assert run.warnings["web.host_budget"] == 481
    second = crawl.run()
    assert list(second.outcomes) == list(run.outcomes)
    assert set(second.outcomes.values()) == {"unchanged"}


# --- robots as policy --------------------------------------------------------------------------------------------


def test_a_page_that_robots_forbids_is_skipped_counted_and_its_record_stands_or_goes_as_told(site, tmp_path):
    site.pages |= {"/a": plain("a"), "/b": plain("b")}
    crawl = crawl_of(site, tmp_path, "/a", "/b")
    first = crawl.run()
    site.pages["/robots.txt"] = Reply(200, b"User-agent: *\nDisallow: /b")
    site.asked()
    run = crawl.run()
    assert site.asked() == ["/a"]
    assert (run.outcomes[site.url("/b")], run.codes, run.warnings["robots.disallowed"]) == ("bad", {}, 1)
    assert run.state.units.equals(first.state.units)
    assert crawl.run(on_disallow="withdraw").outcomes[site.url("/b")] == "gone"
    assert crawl.run(on_disallow="withdraw").outcomes[site.url("/b")] == "bad"
    del site.pages["/robots.txt"]
    assert "b" in crawl.run().texts[site.url("/b")]


def test_robots_are_ignored_for_allow_listed_hosts_only(site, tmp_path):
    with Site({"/robots.txt": Reply(200, b"User-agent: *\nDisallow: /"), "/a": plain("a")}, host="127.0.0.2") as other:
        site.pages = dict(other.pages)
        urls = [site.url("/a"), other.url("/a")]
        run = Crawl(tmp_path, urls=urls, robots="ignore", allow_hosts=["127.0.0.1"]).run()
        assert list(run.texts) == [site.url("/a")]
        assert run.codes == {other.url("/a"): "net.blocked"}
        assert not [request for request in site.log if request.path == "/robots.txt"]


def test_robots_of_a_host_that_is_allowed_by_its_name_are_ignored_too(site, tmp_path):
    site.pages |= {"/robots.txt": Reply(200, b"User-agent: *\nDisallow: /"), "/a": plain("a")}
    url = site.url("/a").replace("127.0.0.1", "localhost")
    assert url != site.url("/a")
    run = Crawl(tmp_path, urls=[url], robots="ignore", allow_hosts=["localhost"]).run()
    assert list(run.texts) == [url]
    assert not [request for request in site.log if request.path == "/robots.txt"]


# --- splits and determinism --------------------------------------------------------------------------------------


def rows_for(counts):
    empty = dict.fromkeys(urltable.LISTING.names)
    urls = [f"http://h{host:03d}.example/{n:06d}" for host, many in enumerate(counts) for n in range(many)]
    return [empty | {"unit": url} for url in sorted(urls)]


def test_a_host_lies_in_one_split_or_in_a_lane_of_its_own():
    splits = urltable.splits_of(rows_for([300, 2500, 300, 300, 300, 50]), {}, "2026-11-25T00:00:00+00:00")
    assert [(len(split.units), split.lane) for split in splits] == [
        (1000, "h001.example"),
        (1000, "h001.example"),
        (500, "h001.example"),
        (900, ""),
        (350, ""),
    ]
    assert all(split.lane_cap == 1 for split in splits)
    assert [url[7:11] for url in splits[3].units[:4]] == ["h000", "h002", "h003", "h000"]
    assert len({split.id for split in splits}) == 5
    later = urltable.splits_of(rows_for([300, 2500, 300, 300, 300, 50]), {}, "2027-01-01T00:00:00+00:00")
    assert [split.id for split in later] == [split.id for split in splits]


def test_completion_order_does_not_show_in_the_pages(tmp_path):
    def delayed(seed):
        chance = random.Random(seed)
        pages = {f"/{n}": plain(f"page {n}")._replace(delay_s=chance.random() / 50) for n in range(40)}
        return pages | {f"/bad{n}": Reply(500 if n % 2 else 404, delay_s=chance.random() / 50) for n in range(6)}

    results = []
    with Site() as one, Site(host="127.0.0.2") as two:
        for seed in range(3):
            one.pages, two.pages = delayed(seed), delayed(seed + 100)
            crawl = Crawl(
                tmp_path,
                urls=[s.url(path) for s in (one, two) for path in one.pages],
                max_connections=2,
                clock="2026-11-25T08:00:00Z",
            )
            results.append(crawl.run())
    assert all(run.pages == results[0].pages for run in results)
    assert all(run.state.units.equals(results[0].state.units) for run in results)


def test_reading_goes_on_from_any_page(site, tmp_path):
    site.pages = {f"/{n}": plain(f"page {n}") if n % 3 else Reply(500) for n in range(12)}
    source = crawl_of(site, tmp_path, *site.pages).source(clock="2026-11-25T08:00:00Z")
    (split,) = source.plan(None, PlanContext(tmp_path)).splits
    whole = list(source.read(split, ReadContext(tmp_path)))
    for at in (0, 5, 10):
        rest = list(source.read(split, ReadContext(tmp_path, resume=whole[at].resume)))
        assert rest == whole[at + 1 :]
    skipped = frozenset(split.units[::2])
    assert list(source.read(split, ReadContext(tmp_path, skip=skipped))) == whole[1::2]


def test_reading_that_is_left_in_the_middle_leaves_nothing_running(site, tmp_path):
    site.pages = {f"/{n}": plain(f"page {n}")._replace(delay_s=0.01) for n in range(30)}
    source = crawl_of(site, tmp_path, *site.pages).source()
    (split,) = source.plan(None, PlanContext(tmp_path)).splits
    pages = source.read(split, ReadContext(tmp_path))
    assert next(pages).outcome == "ok"
    pages.close()


# --- config and check --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({}, "urls: give URLs, or sitemaps, or feeds"),
        ({"urls": ["http://a.example/"], "contact": "me"}, "contact: give a mail address or URL"),
        ({"urls": ["http://a.example/"], "user_agent": "my bot\r\nX: y"}, "user_agent: write a name"),
        ({"urls": ["http://a.example/"], "robots": "ignore"}, "allow_hosts only"),
        ({"sitemaps": ["a.example/map"]}, r"sitemaps\[0\]: it has no scheme"),
        ({"feeds": ["ftp://a.example/"]}, r"feeds\[0\]: the scheme is not http"),
        ({"sitemaps": ["http://a.example/"], "include": ["("]}, "include: .* no regular expression"),
        ({"urls": ["http://a.example/"], "allow_hosts": ["http://x/"]}, "allow_hosts"),
        ({"urls": ["http://a.example/"], "clock": "now"}, "clock: .* is no time"),
        ({"urls": ["http://a.example/"], "clock": "2026-11-25T08:00:00"}, "clock: .* no time zone"),
    ],
)
def test_a_config_that_could_not_work_is_refused(parameters, said):
    with pytest.raises(ValueError, match=said):
        Web(**({"contact": "me@example.org"} | parameters))


def test_check_says_what_a_user_can_act_on(site, tmp_path):
    site.pages["/robots.txt"] = Reply(200, b"User-agent: gristmill\nDisallow: /private")
    with Site({"/robots.txt": Reply(503)}, host="127.0.0.2") as other:
        urls = [site.url("/private/a"), other.url("/a"), "http://10.1.2.3/", "nonsense"]
        problems = Crawl(tmp_path, urls=urls).source().check(tmp_path)
        assert site.asked() == other.asked() == []
    text = "\n".join(problems)
    for part in ("urls:4", "robots.disallowed", "robots.unreachable", "net.blocked"):
        assert part in text
    assert crawl_of(site, tmp_path, "/public").source().check(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, 'urls: there is no file "urls.txt" in .*; a URL itself goes into a list'),
        (b"http://a.example/\xff", 'urls: "urls.txt" cannot be read as UTF-8 text \\(UnicodeDecodeError\\)'),
        (b"# nothing yet\n\n", "urls: no URL in it; add some, or set allow_empty: true if that is expected"),
    ],
)
def test_a_file_of_urls_that_cannot_be_read_or_has_none_is_told(tmp_path, content, told):
    if content is not None:
        (tmp_path / "urls.txt").write_bytes(content)
    (problem,) = Crawl(tmp_path, urls="urls.txt").source().check(tmp_path)
    assert re.fullmatch(told, problem)
    assert (
        content is None
        or b"\xff" in content
        or not Crawl(tmp_path, urls="urls.txt", allow_empty=True).source().check(tmp_path)
    )


def test_robots_are_ignored_for_an_address_that_lies_in_an_allow_listed_network(site, tmp_path):
    site.pages |= {"/robots.txt": Reply(200, b"User-agent: *\nDisallow: /"), "/a": plain("a")}
    run = Crawl(tmp_path, urls=[site.url("/a")], robots="ignore", allow_hosts=["127.0.0.0/8"]).run()
    assert list(run.texts) == [site.url("/a")]
    assert not [request for request in site.log if request.path == "/robots.txt"]


def test_the_source_is_found_by_its_name_and_needs_no_library_to_be_configured():
    assert find("sources", "web", Path()) is Web
    heavy = ["aiohttp", "lxml", "feedparser", "protego", "trafilatura", "stamina", "yarl"]
    code = f"import sys, gristmill.sources.web; sys.exit(len(set({heavy}) & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- in the engine -----------------------------------------------------------------------------------------------


def test_days_of_changes_in_the_engine_balance_and_end_where_a_fresh_run_does(site, tmp_path):
    site.pages = {f"/{n}": plain(f"page {n}", etag=f'"{n}"') for n in range(20)} | {"/bad": Reply(500)}
    config = "\n".join(
        [
            "version: 1",
            "dataset: ./corpus",
            "sources:",
            "  - name: site",
            "    web: {urls: urls.txt, contact: me@example.org, allow_hosts: [127.0.0.1], delay_s: 0, retry_wait_s: 0.01}",
            "gate: {min_kept_ratio: 0, max_quarantined_ratio: 1, min_quality_score: 0}",
        ]
    )

    def run(folder):
        folder.mkdir(exist_ok=True)
        (folder / "gristmill.yml").write_text(config)
        (folder / "urls.txt").write_text("\n".join(site.url(path) for path in [*map("/{}".format, range(20)), "/bad"]))
        report = gristmill.Pipeline.from_file(folder / "gristmill.yml").run()
        laws.assert_laws(folder / "corpus", [])
        return report.counts

    first = run(tmp_path / "daily")
    assert (first.published, first.quarantined) == (20, {"http.500": 1})
    site.pages |= {"/1": plain("rewritten", etag='"1b"'), "/2": Reply(404), "/bad": plain("better")}
    second = run(tmp_path / "daily")
    assert (second.published, second.withdrawn, second.quarantined) == (2, 1, {"http.404": 1})
    site.date = THURSDAY
    assert run(tmp_path / "daily").withdrawn == 1
    run(tmp_path / "fresh")
    grown, whole = (
        laws.head_rows(tmp_path / name / "corpus", ["id", "text"]).to_pylist() for name in ("daily", "fresh")
    )
    assert {(row["id"], row["text"]) for row in grown} == {(row["id"], row["text"]) for row in whole}
    assert len(grown) == 20
