"""URLs, robots.txt, sitemaps and feeds, as bytes: what each gives, and what hostile ones cost."""

import gzip
import time

import pytest

from gristmill.net import feeds, robots, sitemaps
from gristmill.net.urls import normal

HERE = "http://site.example/"


# --- URLs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("HTTP://Site.Example", "http://site.example/"),
        ("http://site.example:80/a#part", "http://site.example/a"),
        ("https://site.example:443/", "https://site.example/"),
        ("https://site.example:80/", "https://site.example:80/"),
        ("http://site.example/?b=2&a=1&b=1", "http://site.example/?b=2&a=1&b=1"),
        ("http://site.example/a/../b/./c/..", "http://site.example/b/"),
        ("http://site.example/?q=/../x", "http://site.example/?q=/../x"),
        ("http://site.example//a//b", "http://site.example//a//b"),
        ("http://site.example/a%2Fb+c%20d", "http://site.example/a%2Fb+c%20d"),
        ("http://site.example/ä b", "http://site.example/%C3%A4%20b"),
        ("http://site.example/100%", "http://site.example/100%25"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://site.example./", "http://site.example/"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
        (" http://site.example/a\nb\t", "http://site.example/ab"),
    ],
)
def test_a_url_has_one_spelling(url, same):
    assert normal(url) == same
    assert normal(same) == same


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/a",
        "site.example/a",
        "ftp://site.example/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "http:///a",
        "http://",
        "http://user:secret@site.example/",
        "http://a b/",
        "http://site.example:99999/",
        "http://[::1/",
        "http://\x00/",
        "http://site.example/" + "a" * 9000,
    ],
)
def test_what_is_no_page_is_refused_and_not_quoted(url):
    with pytest.raises(ValueError) as caught:
        normal(url)
    assert "secret" not in str(caught.value)


def test_a_reference_is_joined_to_where_it_was_found():
    assert normal("../b?x#y", "http://site.example/a/c/d") == "http://site.example/a/b?x"
    assert normal("//other.example", "https://site.example/") == "https://other.example/"


# --- robots.txt --------------------------------------------------------------------------------------------------

AGENT = "gristmill/0.1 (+mailto:me@example.org)"


def rules(text, status=200):
    return robots.parse(status, text.encode() if isinstance(text, str) else text, AGENT)


def test_the_most_telling_group_and_the_longest_rule_decide():
    told = rules("User-agent: *\nDisallow: /\n\nUser-agent: Gristmill\nDisallow: /private\nAllow: /private/open\n")
    assert told.allows(HERE)
    assert told.allows(HERE + "private/open/a")
    assert not told.allows(HERE + "private/a")
    assert not rules("User-agent: *\nDisallow: /*.pdf$").allows(HERE + "a.pdf")
    assert rules("User-agent: *\nDisallow: /*.pdf$").allows(HERE + "a.pdf?x")


def test_lines_that_are_no_rules_do_not_end_a_group():
    told = rules("User-agent: other\nSitemap: http://x/\nnonsense\nNoindex: /\n\nUser-agent: gristmill\nDisallow: /a\n")
    assert not told.allows(HERE + "a")


@pytest.mark.parametrize("status", [404, 401, 403, 410, 300])
def test_a_host_without_robots_allows_all(status):
    assert rules("User-agent: *\nDisallow: /", status).allows(HERE)


@pytest.mark.parametrize("status", [0, 429, 500, 503])
def test_a_host_that_cannot_tell_is_deferred(status):
    assert rules("", status).deferred == "robots.unreachable"
    assert not rules("", status).allows(HERE)


def test_crawl_delay_and_request_rate_count_within_reason():
    assert rules("User-agent: *\nCrawl-delay: 2.5\n").delay_s == 2.5
    assert rules("User-agent: *\nRequest-rate: 1/10\nCrawl-delay: 2\n").delay_s == 10
    assert rules("User-agent: *\nCrawl-delay: 100000000\n").delay_s == robots.MAX_DELAY_S
    for odd in ("-1", "nan", "inf", "soon", ""):
        assert rules(f"User-agent: *\nCrawl-delay: {odd}\n").delay_s == 0
    assert rules("User-agent: other\nCrawl-delay: 9\n").delay_s == 0


@pytest.mark.parametrize(
    "text", [b"\xff\xfe\x00", b"\0" * 1000, b"<html>not found</html>", b"\xef\xbb\xbfUser-agent: *\nDisallow:"]
)
def test_what_is_no_robots_file_forbids_nothing(text):
    assert rules(text).allows(HERE + "a")


def test_a_byte_order_mark_does_not_hide_the_first_group():
    assert not rules(b"\xef\xbb\xbfUser-agent: *\nDisallow: /").allows(HERE)


def test_only_the_first_half_megabyte_counts_and_no_half_line_of_it():
    filler = "# " + "x" * 1000 + "\n"
    text = filler * (robots.MAX_BYTES // len(filler) + 1) + "User-agent: *\nDisallow: /\n"
    assert rules(text).allows(HERE)
    assert not rules("User-agent: *\nDisallow: /\n" + filler * 1000).allows(HERE)
    start = "User-agent: *\nDisallow: /secret\nAllow: /secret/x"
    assert not rules(start + "y" * robots.MAX_BYTES).allows(HERE + "secret/x")


@pytest.mark.parametrize(
    "text",
    [
        "User-agent: *\n" + "".join(f"User-agent: a{n}\n" for n in range(18_000)) + "Disallow: /x\n" * 18_000,
        "User-agent: *\n" + "".join(f"User-agent: a{n}\n#\n" for n in range(18_000)) + "Disallow: /x\n" * 10_000,
        "User-agent: *\nDisallow: /" + "*a" * 100_000,
        "User-agent: *\n" + "".join(f"Disallow: /*{n}*{n}\n" for n in range(19_000)),
    ],
    ids=["agents x rules", "agents between comments", "one wild rule", "many wild rules"],
)
def test_a_hostile_file_costs_bounded_time(text):
    start = time.process_time()
    told = rules(text)
    told.allows(HERE + "a" * 2000)
    assert time.process_time() - start < 30


def test_more_rules_than_can_be_held_against_each_url_defer_the_host():
    told = rules("User-agent: *\n" + "Disallow: /a\n" * 30_000)
    assert told.deferred == "robots.too_many_rules"
    others = rules("User-agent: other\n" + "Disallow: /a\n" * 30_000 + "\nUser-agent: *\nDisallow: /b\n")
    assert not others.deferred


# --- sitemaps ----------------------------------------------------------------------------------------------------

NS = (
    ' xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:image="http://www.google.com/schemas/sitemap-image/1.1"'
)


def urlset(*locs, more=""):
    inner = "".join(f"<url><loc>{loc}</loc>{more}</url>" for loc in locs)
    return f'<?xml version="1.0" encoding="UTF-8"?><urlset{NS}>{inner}</urlset>'.encode()


def test_a_sitemap_gives_its_pages_and_when_they_changed():
    more = "<lastmod>2026-11-01</lastmod><image:image><image:loc>http://site.example/i.png</image:loc></image:image>"
    listed = sitemaps.parse(urlset(" http://site.example/a#x\n", "/b", "http://site.example/a", more=more), HERE)
    assert listed.urls == [("http://site.example/a", "2026-11-01"), ("http://site.example/b", "2026-11-01")]
    assert (listed.code, listed.invalid) == ("", 0)


def test_an_index_gives_its_sitemaps():
    index = f"<sitemapindex{NS}><sitemap><loc>http://site.example/1.xml.gz</loc></sitemap></sitemapindex>"
    assert sitemaps.parse(index.encode(), HERE).children == ["http://site.example/1.xml.gz"]


def test_text_lists_and_gzip_are_told_by_their_bytes():
    text = "\ufeffhttp://site.example/a\r\nhttp://site.example/b\n\n".encode()
    assert [url for url, _ in sitemaps.parse(text, HERE).urls] == ["http://site.example/a", "http://site.example/b"]
    packed = gzip.compress(urlset("http://site.example/a"), mtime=0)
    assert sitemaps.parse(packed, HERE).urls == [("http://site.example/a", None)]
    utf16 = urlset("http://site.example/a").decode().replace("UTF-8", "UTF-16").encode("utf-16")
    assert sitemaps.parse(utf16, HERE).urls == [("http://site.example/a", None)]


def test_entries_that_are_no_urls_are_counted():
    listed = sitemaps.parse(urlset("mailto:a@b.example", "", "http://site.example/a", "javascript:x"), HERE)
    assert (len(listed.urls), listed.invalid) == (1, 3)


def test_what_stands_before_the_damage_is_read():
    listed = sitemaps.parse(urlset("http://site.example/a", "http://site.example/b")[:-30], HERE)
    assert (len(listed.urls), listed.code) == (1, "sitemap.syntax")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "sitemap.empty"),
        (b"\xef\xbb\xbf  \n", "sitemap.empty"),
        (b"<!doctype html><html><body>404</body></html>", "sitemap.syntax"),
        (b"<rss/>", "sitemap.syntax"),
        (b"{}", "sitemap.syntax"),
        (b"http://site.example/\xff", "text.encoding"),
        (gzip.compress(urlset("http://site.example/a"))[:-9], "sitemap.gzip"),
        (gzip.compress(b"<urlset>" + b" " * (1 << 20)) * 51, "size.cap"),
    ],
)
def test_what_is_no_sitemap_has_a_code(body, code):
    assert sitemaps.parse(body, HERE).code == code


def test_over_fifty_thousand_urls_are_cut_and_told():
    many = sitemaps.parse(urlset(*(f"/{n}" for n in range(50_003))), HERE)
    assert (len(many.urls), many.code) == (50_000, "size.cap")
    lines = sitemaps.parse("".join(f"http://site.example/{n}\n" for n in range(50_003)).encode(), HERE)
    assert (len(lines.urls), lines.code) == (50_000, "size.cap")


def test_entities_are_never_expanded(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("http://site.example/secret")
    outer = f'<!DOCTYPE u [<!ENTITY e SYSTEM "{secret.as_uri()}">]><urlset><url><loc>&e;</loc></url></urlset>'
    assert sitemaps.parse(outer.encode(), HERE).urls == []
    levels = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 9))
    bomb = f'<!DOCTYPE u [<!ENTITY a0 "aaaaaaaaaa">{levels}]><urlset><url><loc>http://x/&a8;</loc></url></urlset>'
    start = time.process_time()
    assert sitemaps.parse(bomb.encode(), HERE).urls == []
    assert time.process_time() - start < 20


# --- feeds -------------------------------------------------------------------------------------------------------

RSS = """<?xml version="1.0" encoding="{charset}"?><rss version="2.0"><channel><title>é</title>
<item><title>One</title><link>/one</link><pubDate>Mon, 02 Nov 2026 10:00:00 +0100</pubDate></item>
<item><guid isPermaLink="true">http://site.example/two#x</guid></item><item><title>without a link</title></item>
</channel></rss>"""


def test_a_feed_gives_the_links_of_its_entries():
    listed = feeds.parse(RSS.format(charset="utf-8").encode(), HERE + "feed")
    assert listed.urls == [("http://site.example/one", "2026-11-02T09:00:00Z"), ("http://site.example/two", None)]
    assert listed.invalid == 1
    atom = (
        '<feed xmlns="http://www.w3.org/2005/Atom"><entry><link rel="self" href="/x"/><link href="/a"/></entry></feed>'
    )
    assert feeds.parse(atom.encode(), HERE).urls == [("http://site.example/a", None)]
    assert feeds.parse(RSS.format(charset="iso-8859-1").encode("latin-1"), HERE).urls[0][0] == "http://site.example/one"


@pytest.mark.parametrize("body", [b"", b"{}", b"<html><body>no</body></html>", b"\x89PNG\0\0", b"plain text"])
def test_what_is_no_feed_has_a_code(body):
    assert feeds.parse(body, HERE).code == "feed.syntax"


def test_a_feed_that_names_a_file_opens_none(tmp_path):
    path = tmp_path / "feed.xml"
    path.write_text(RSS.format(charset="utf-8"))
    assert feeds.parse(str(path).encode(), HERE).code == "feed.syntax"


def test_a_feed_with_entities_of_its_own_is_refused():
    feed = b'<!DOCTYPE r [<!ENTITY a "b">]><rss version="2.0"><channel><item><link>/a</link></item></channel></rss>'
    assert feeds.parse(feed, HERE).code == "feed.syntax"


def test_a_damaged_feed_gives_what_can_be_read():
    assert len(feeds.parse(RSS.format(charset="utf-8").encode()[:-60], HERE).urls) == 2
