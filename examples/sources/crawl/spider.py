"""A Scrapy spider that follows the links of one site politely and writes what it finds as WARC, for gristmill's `warc` source.

    pip install scrapy warcio
    scrapy runspider spider.py -a start=https://example.org/ -a contact=you@example.org

Files appear in ./crawl as <site>-<time>-<number>.warc.gz, each only when it is whole: gristmill may run beside it. Scrapy keeps the frontier, robots.txt and
the pace; nothing of it is imported by gristmill. Change the settings below to taste, not away from politeness.
"""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from urllib.parse import urlsplit

import scrapy
from scrapy.linkextractors import LinkExtractor
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

FILE_BYTES = 256 << 20
NOT_AS_SENT = {"content-encoding", "transfer-encoding", "content-length"}  # the body is kept decoded


class WarcPipeline:
    """Writes each response as a record; a file is named .open until it is whole and on disk."""

    def __init__(self, crawler: scrapy.crawler.Crawler) -> None:
        self.crawler = crawler
        self.number = 0
        self.file: io.BufferedWriter | None = None

    @classmethod
    def from_crawler(cls, crawler):
        return cls(crawler)

    def process_item(self, item):
        response = item["response"]
        if self.file is None:
            self.start()
        headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, values in response.headers.items()
            for value in values
            if name.decode("latin-1").lower() not in NOT_AS_SENT
        ]
        headers.append(("Content-Length", str(len(response.body))))
        status = StatusAndHeaders(f"{response.status} OK", headers, protocol="HTTP/1.1")
        record = self.writer.create_warc_record(
            response.url, "response", payload=io.BytesIO(response.body), http_headers=status
        )
        self.writer.write_record(record)
        if self.file.tell() >= FILE_BYTES:
            self.finish()
        return item

    def start(self):
        spider = self.crawler.spider
        spider.folder.mkdir(parents=True, exist_ok=True)
        self.path = spider.folder / f"{spider.site}-{spider.began}-{self.number:05d}.warc.gz"
        self.file = self.path.with_suffix(".open").open("xb")
        self.writer = WARCWriter(self.file, gzip=True)
        self.number += 1
        info = {"software": f"Scrapy/{scrapy.__version__}", "robots": "obey", "http-header-user-agent": spider.agent}
        self.writer.write_record(self.writer.create_warcinfo_record(self.path.name, info))

    def finish(self):
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        self.path.with_suffix(".open").rename(self.path)
        self.file = None

    def close_spider(self):
        if self.file is not None:
            self.finish()


class SiteSpider(scrapy.Spider):
    """Follows links on the host of `start`, breadth first. folder: for the WARC files. pages: at most so many."""

    name = "site"
    custom_settings = {  # noqa: RUF012  Scrapy reads it so
        "ROBOTSTXT_OBEY": True,  # off by default in Scrapy
        "DOWNLOAD_VERIFY_CERTIFICATES": True,  # off by default too
        "DOWNLOAD_DELAY": 1.0,
        "DOWNLOAD_DELAY_JITTER": 0,
        "CONCURRENT_REQUESTS_PER_DOMAIN": 1,
        "DOWNLOAD_MAXSIZE": 10 << 20,  # 1 GiB by default
        "DOWNLOAD_TIMEOUT": 60,
        "DEPTH_LIMIT": 20,  # a calendar has no end
        "URLLENGTH_LIMIT": 1000,
        "COOKIES_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "SCHEDULER_DISK_QUEUE": "scrapy.squeues.PickleFifoDiskQueue",  # breadth first, with DEPTH_PRIORITY
        "SCHEDULER_MEMORY_QUEUE": "scrapy.squeues.FifoMemoryQueue",
        "DEPTH_PRIORITY": 1,
        "ITEM_PIPELINES": {WarcPipeline: 100},
        "LOG_LEVEL": "INFO",
    }

    def __init__(self, start: str, contact: str, folder: str = "crawl", pages: str = "100000") -> None:
        super().__init__()
        self.begin, self.site = start, urlsplit(start).netloc.replace(":", "_")
        self.allowed_domains = [urlsplit(start).hostname]
        self.folder, self.left = Path(folder), int(pages)
        self.began = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self.agent = f"gristmill-crawl/1 (+{contact})"
        self.links = LinkExtractor()  # what leads off the site is filtered by allowed_domains

    def request(self, url):
        return scrapy.Request(url, headers={"User-Agent": self.agent})

    async def start(self):
        yield self.request(self.begin)

    def parse(self, response):
        if self.left <= 0:
            raise scrapy.exceptions.CloseSpider("page limit")
        self.left -= 1
        yield {"response": response}
        if isinstance(response, scrapy.http.TextResponse):
            for link in self.links.extract_links(response):
                yield self.request(link.url)
