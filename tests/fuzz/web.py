"""What a site says: sitemaps, feeds, robots.txt, bodies in any encoding."""

import gzip

from gristmill.net import decode, feeds, robots, sitemaps

SEEDS = [
    b"\0<?xml version='1.0'?><urlset xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'><url><loc>http://h/a</loc><lastmod>2024</lastmod></url></urlset>",
    b"\x01<rss><channel><item><link>http://h/b</link><pubDate>Mon, 01 Jan 2024 00:00:00 GMT</pubDate></item></channel></rss>",
    b"\x02User-agent: *\nDisallow: /x*y$\nCrawl-delay: 1e9\nAllow: /\nSitemap: http://h/s\n",
    b"\x03" + gzip.compress(b"hello", mtime=0),
    b"\0<!DOCTYPE a [<!ENTITY b 'x'><!ENTITY c '&b;&b;'>]><urlset><url><loc>&c;</loc></url></urlset>",
]
ENCODINGS = ["gzip", "deflate", "br", "zstd", "gzip, br", "x-gzip"]


def one(data: bytes) -> None:
    """Take it for what its first byte says."""
    kind, body = (data[0] % 4 if data else 0), data[1:]
    if kind == 0:
        sitemaps.parse(body, "http://h/sitemap.xml")
    elif kind == 1:
        feeds.parse(body, "http://h/feed", "application/rss+xml")
    elif kind == 2:
        robots.parse(200, body, "gristmill/0").allows("http://h/a?b")
    else:
        try:
            decoder = decode.Decoder(ENCODINGS[len(body) % len(ENCODINGS)], 1 << 20, 200)
            decoder.feed(body)
            assert len(decoder.finish()) <= 1 << 20
        except (decode.Oversize, decode.BadEncoding):
            pass
