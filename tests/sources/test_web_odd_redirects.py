"""Where redirects of pages and of robots.txt lead, in every spelling: followed, or refused with a code, and it ends."""

import json

import pytest
from tests.web.crawls import crawl_of
from tests.web.site import Reply, Site, page, plain

FINE = plain("a page of plain words")

PLACES = {
    "?x": "",
    "/b": "",
    "/b\n": "",
    "/ü b": "",
    "HTTP://127.0.0.1:{port}/b": "",
    "//127.0.0.1:{port}/b": "",
    "": "http.302",
    "/a": "net.redirects",
    "#part": "net.redirects",
    "/none": "http.404",
    "//127.0.0.1:1/": "net.connect",
    "http://10.0.0.1/": "net.blocked",
    "http://[::ffff:10.0.0.1]/": "net.blocked",
    "http://[::1": "url.invalid",
    "http://u:p@127.0.0.1/": "url.invalid",
    "http://127.0.0.1:0/": "url.invalid",
    "http://127.0.0.1:99999/": "url.invalid",
    "mailto:a@b.example": "net.scheme",
    "data:text/html,x": "net.scheme",
    "file:///etc/passwd": "net.scheme",
    "\0": "http.header",
}


def led(place, site):
    return {"Location": place.replace("{port}", str(site.port)).encode().decode("latin-1")}


@pytest.mark.parametrize(("place", "code"), PLACES.items())
def test_a_page_that_leads_elsewhere(place, code, tmp_path):
    with Site() as site:
        site.pages = {"/a": Reply(302, b"", led(place, site))}
        site.pages |= dict.fromkeys(("/b", "/a?x", "/%C3%BC%20b"), FINE)
        run = crawl_of(site, tmp_path, "/a", "/b", attempts=1).run()
        assert run.codes == ({site.url("/a"): code} if code else {})
        assert run.outcomes == {site.url("/a"): "bad" if code else "ok", site.url("/b"): "ok"}
        assert len(site.log) < 12


@pytest.mark.parametrize(
    ("place", "code"), [("http://10.0.0.1/robots.txt", "net.blocked"), ("file:///x", "net.scheme")]
)
def test_robots_that_lead_where_nobody_should_go_let_no_page_be_asked_for(place, code, tmp_path):
    with Site() as site:
        site.pages = {"/robots.txt": Reply(302, b"", led(place, site)), "/a": FINE}
        run = crawl_of(site, tmp_path, "/a", attempts=1).run()
        assert run.codes == {site.url("/a"): code}
        assert site.asked() == []


@pytest.mark.parametrize("size", [1 << 20, 20 << 20])
def test_a_robots_file_of_any_size_is_heeded_or_defers_the_host(size, tmp_path):
    with Site() as site:
        body = b"User-agent: *\nDisallow: /a\n" + b"#" * size
        site.pages = {"/robots.txt": Reply(200, body), "/a": FINE}
        run = crawl_of(site, tmp_path, "/a", attempts=1).run()
        assert run.outcomes == {site.url("/a"): "bad"}
        assert run.warnings == {"robots.disallowed" if size < 8 << 20 else "robots.unreachable": 1}
        assert site.asked() == []


def test_a_chain_of_five_is_followed_and_one_of_six_is_not(tmp_path):
    with Site() as site:
        site.pages = {f"/{n}": Reply(302, b"", {"Location": f"/{n + 1}"}) for n in range(6)} | {"/6": FINE}
        run = crawl_of(site, tmp_path, "/0", "/1").run()
        assert run.outcomes == {site.url("/0"): "bad", site.url("/1"): "ok"}
        assert run.codes == {site.url("/0"): "net.redirects"}


def test_h9_pages_that_call_each_other_canonical_are_each_read_once(tmp_path):
    with Site() as site:
        site.pages = {
            "/a": page("alpha", head='<link rel="canonical" href="/b">'),
            "/b": page("beta", head='<link rel="canonical" href="/a">'),
        }
        run = crawl_of(site, tmp_path, "/a", "/b").run()
        assert sorted(site.asked()) == ["/a", "/b"]
    assert [json.loads(row["meta"])["canonical"] for row in run.rows] == ["/b", "/a"]
