"""Sitemaps, feeds and robots.txt as they are found in the wild: read as they are meant, or refused with a code."""

import gzip

import pytest

from gristmill.net import feeds, robots, sitemaps

AT = "https://site.example/dir/list"
A, B = "https://site.example/a", "https://site.example/b"


def urlset(inner, before="<?xml version='1.0' encoding='UTF-8'?>"):
    return f"{before}<urlset xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'>{inner}</urlset>".encode()


def urls(listed):
    return [url for url, _ in listed.urls]


@pytest.mark.parametrize("before", [b"\n", b" \r\n\t", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_space_before_the_declaration_hides_no_sitemap(before):
    listed = sitemaps.parse(before + urlset(f"<url><loc>{A}</loc></url>"), AT)
    assert (urls(listed), listed.code) == ([A], "")


SITEMAPS = {
    "relative": (urlset("<url><loc>/a</loc></url><url><loc>b</loc></url>"), [A, "https://site.example/dir/b"], 0, ""),
    "CDATA": (urlset(f"<url><loc><![CDATA[ {A} ]]></loc></url>"), [A], 0, ""),
    "a comment inside": (urlset("<url><loc>https://site.example/<!-- x -->a</loc></url>"), [A], 0, ""),
    "elements inside": (urlset(f"<url><loc><b>{A}</b></loc></url><url><loc>{B}</loc></url>"), [B], 1, ""),
    "pictures beside": (
        urlset(f"<url><i:image xmlns:i='urn:i'><i:loc>{B}</i:loc></i:image><loc>{A}</loc></url>"),
        [A],
        0,
        "",
    ),
    "an entity of its own": (
        urlset(f"<url><loc>&e;</loc></url><url><loc>{B}</loc></url>", f"<!DOCTYPE x [<!ENTITY e '{A}'>]>"),
        [B],
        1,
        "",
    ),
    "a bare ampersand": (
        urlset(f"<url><loc>{A}</loc></url><url><loc>{B}?x&y=1</loc></url>"),
        [A],
        0,
        "sitemap.syntax",
    ),
    "no URLs at all": (urlset("<url><loc>javascript:x</loc></url><url/>"), [], 2, ""),
    "UTF-16": (urlset(f"<url><loc>{A}</loc></url>", "").decode().encode("utf-16"), [A], 0, ""),
    "Latin-1": (urlset(f"<url><loc>{A}</loc></url>", "<?xml version='1.0' encoding='iso-8859-1'?>"), [A], 0, ""),
    "a feed": (
        f"<rss version='2.0'><channel><item><link>{A}</link></item></channel></rss>".encode(),
        [],
        0,
        "sitemap.syntax",
    ),
    "a page": (b"<!doctype html><html><body>not here</body></html>", [], 0, "sitemap.syntax"),
    "JSON": (b'["https://site.example/a"]', [], 0, "sitemap.syntax"),
    "a hundred thousand levels": (b"<urlset>" + b"<url>" * 100_000, [], 0, "sitemap.syntax"),
    "gzip cut": (gzip.compress(urlset(f"<url><loc>{A}</loc></url>"))[:-9], [], 0, "sitemap.gzip"),
    "gzip bomb": (gzip.compress(b"<urlset>" + b" " * 1_000_000) * 60, [], 0, "size.cap"),
    "nothing": (b"", [], 0, "sitemap.empty"),
}


@pytest.mark.parametrize(("body", "found", "invalid", "code"), SITEMAPS.values(), ids=SITEMAPS)
def test_sitemaps_of_every_kind(body, found, invalid, code):
    listed = sitemaps.parse(body, AT)
    assert (urls(listed), listed.invalid, listed.code) == (found, invalid, code)


ATOM = "<feed xmlns='http://www.w3.org/2005/Atom'{}>{}</feed>"
FEEDS = {
    "relative": (
        "<rss version='2.0'><channel><item><link>a</link></item></channel></rss>",
        ["https://site.example/dir/a"],
    ),
    "with a base of its own": (
        ATOM.format(" xml:base='https://site.example/'", "<entry><link href='a'/></entry>"),
        [A],
    ),
    "several links": (
        ATOM.format(
            "",
            "<entry><link rel='self' href='/s'/><link rel='enclosure' href='/e'/><link rel='alternate' href='/a'/></entry>",
        ),
        [A],
    ),
    "a permanent id": (f"<rss version='2.0'><channel><item><guid>{A}</guid></item></channel></rss>", [A]),
    "an id that is no link": (
        f"<rss version='2.0'><channel><item><guid isPermaLink='false'>{A}</guid></item><item><link>{B}</link></item></channel></rss>",
        [B],
    ),
    "a script": (
        "<rss version='2.0'><channel><item><link>javascript:x</link></item><item><link>/a</link></item></channel></rss>",
        [A],
    ),
    "a charset that is a lie": (
        "<?xml version='1.0' encoding='windows-1251'?><rss version='2.0'><channel><item><title>Привет</title><link>/a</link></item></channel></rss>",
        [A],
    ),
}


@pytest.mark.parametrize(("body", "found"), FEEDS.values(), ids=FEEDS)
def test_feeds_of_every_kind(body, found):
    assert urls(feeds.parse(body.encode(), AT)) == found


AGENT = "gristmill/1.0 (+data@example.org)"
RULES = "User-agent: *\nDisallow: /a\n"


@pytest.mark.parametrize(
    ("body", "allowed"),
    [
        (RULES.encode("utf-16"), False),
        (RULES.encode("utf-16-be"), True),  # without a mark nobody can tell
        (RULES.replace("\n", "\r").encode(), False),
        (b"\0" * 1000 + b"\n" + RULES.encode(), False),
        (RULES.encode() + b"Disallow: /\xe9\n", False),
        (RULES.encode() + b"# comment\n" * 200_000, False),
        (b"# comment\n" * 200_000 + RULES.encode(), True),  # beyond what RFC 9309 asks to be read
        (b"User-agent: *\nDisallow: /" + b"a" * 1_000_000, True),  # a rule that is cut is none
        (b"<html>" + RULES.encode(), True),  # the first line is lost, so the rule is of no group
        (b"", True),
    ],
)
def test_robots_of_every_kind(body, allowed):
    assert robots.parse(200, body, AGENT).allows(A) is allowed


@pytest.mark.parametrize("delay", ["nan", "-5", "inf", "1e400", "x", ""])
def test_a_delay_that_makes_no_sense_is_none_or_the_most_we_wait(delay):
    assert robots.parse(200, f"User-agent: *\nCrawl-delay: {delay}\nDisallow: /b".encode(), AGENT).delay_s in {
        0.0,
        300.0,
    }
    assert robots.parse(200, b"User-agent: *\nRequest-rate: 1/0\nDisallow: /b", AGENT).delay_s == 0
    assert robots.parse(200, b"User-agent: *\nRequest-rate: 0/5\nDisallow: /b", AGENT).delay_s >= 0
