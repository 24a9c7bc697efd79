"""Every kind of source and every kind of export in one small pipeline, for blows at single file operations.

Files, a table in SQLite, a REST API, a web site, web archives, and a resource of dlt where that is installed (its import is in the warm process, so a
run pays nothing for it); JSON lines, Parquet and a table in SQLite come out. The API and the site are on the loopback address, and `Town.day` says
what they answer; their clock stands still, so that equal runs give equal bytes. Not here: what is done to the runs (`operations`). Invariant: between the two days each source has records that are new,
revised, the same, and (but for the archives) withdrawn.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any, NamedTuple

from tests.conformance.loopback import Answer, Asked, Server
from tests.conformance.worlds_warc import WarcFiles
from tests.crash import shim
from tests.crash.shim import Operation
from tests.soak import command, scenes

from gristmill.testing import crash, laws

PATIENCE_S = 600.0
LINES = ["out/lines", "out/parquet"]
TABLE = "out/rows.db"
_WORDS = "mill stone grain flour water wheel sluice sack sieve bran hopper shaft"

CONFIG = """\
version: 1
dataset: ./corpus
sources:
  - name: pages
    files: {path: "data/pages/*.jsonl", text: text, id: id}
  - name: articles
    sql: {dsn: "sqlite:///ARTICLES", table: articles, key: id, text: body, cursor: version, deleted: gone}
  - name: api
    rest:
      endpoint: URL/entries
      records: items
      pagination: {kind: cursor, param: cursor, next: next}
      id: id
      text: body
      since: {param: from, cursor: version, format: number, lag: 1}
      deleted: gone
      attempts: 1
      allow_hosts: [127.0.0.1]
  - name: site
    web:
      sitemaps: [URL/sitemap.xml]
      contact: mailto:soak@example.org
      delay_s: 0
      attempts: 1
      allow_hosts: [127.0.0.1]
      clock: "2026-11-25T08:00:00Z"
  - name: crawl
    warc: {path: "data/crawl/*.warc.wet.gz", id: url}
DLTsteps:
  - clean.text
  - filter.length: {min_chars: 12}
  - dedup.exact
require: {min_chars: 11}
gate: {min_quality_score: 0.1}
exports:
  - name: lines
    jsonl: {path: ./out/lines, docs_per_chunk: 8}
  - name: parquet
    parquet: {path: ./out/parquet, docs_per_chunk: 20, mode: full}
  - name: rows
    sql: {dsn: "sqlite:///out/rows.db", table: docs, wait: 3s}  # a zombie may hold the file's one lock
"""
DLT = """\
  - name: posts
    dlt: {resource: "./feed.py:posts", key: id, text: body, deleted: gone}
"""
FEED = """\
import json
from pathlib import Path

import dlt

@dlt.resource
def posts(since=dlt.sources.incremental("version", initial_value=0, row_order="asc")):
    rows = json.loads(Path(__file__).with_name("posts.json").read_bytes())
    rows = [row for row in rows if row["version"] >= since.last_value]
    for start in range(0, len(rows), 5):
        yield rows[start : start + 5]
"""


def prose(*about: object) -> str:
    """Give a text that is like no other which is about something else."""
    digest = hashlib.sha256(repr(about).encode()).digest()
    words = _WORDS.split()
    return f"{' '.join(map(str, about))}: " + " ".join(words[byte % len(words)] for byte in digest[:20]) + "."


class Ends(NamedTuple):
    """A scene, and what `crash` does not look at, at both ends.

    tables: digests of the table's rows by the snapshot in its ledger, 0 for no table; pins: what `gc --pin` keeps. operations: what the
    command line did in peace, where the shim was below it.
    """

    scene: crash.Scene
    tables: dict[int, str]
    argv: list[str]
    pins: list[bytes]
    operations: list[Operation]


class Town:
    """The API, the site and the table, which all folders read. Used as a context."""

    def __init__(self, folder: Path) -> None:
        self.articles = folder / "articles.db"  # a plan holds a digest of its address: it is the same for all
        self.server = Server(self.answer)
        self.begin(1)

    def begin(self, day: int) -> None:
        """Let it be day 1 or 2 for all who ask."""
        self.day = day
        self.articles.unlink(missing_ok=True)
        with closing(sqlite3.connect(self.articles)) as connection, connection:
            connection.execute("CREATE TABLE articles (id TEXT PRIMARY KEY, body TEXT, version INTEGER, gone BOOLEAN)")
            connection.executemany("INSERT INTO articles VALUES (:id, :body, :version, :gone)", entries(day, "sql"))

    def __enter__(self) -> Town:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()

    def answer(self, asked: Asked) -> Answer:
        """Answer as on the day it is."""
        date = {"Date": format_datetime(datetime(2026, 11, self.day, 12, tzinfo=UTC), usegmt=True)}
        if asked.path == "/entries":
            return Answer(200, self._entries(asked.query), date | {"Content-Type": "application/json"})
        pages = self.pages()
        if asked.path == "/sitemap.xml":
            urls = "".join(f"<url><loc>{self.server.url}/p/{name}</loc></url>" for name in pages)
            xml = f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{urls}</urlset>'
            return Answer(200, xml.encode(), date | {"Content-Type": "application/xml"})
        text = pages.get(asked.path.removeprefix("/p/"))
        if text is None:
            return Answer(404, b"not here", date | {"Content-Type": "text/plain"})
        return Answer(200, text.encode(), date | {"Content-Type": "text/plain; charset=utf-8"})

    def _entries(self, query: Mapping[str, str]) -> bytes:
        since, start = int(query.get("from", 0)), int(query.get("cursor", 0))
        rows = [row for row in entries(self.day, "api") if row["version"] >= since]
        after = start + 5 if start + 5 < len(rows) else None
        return json.dumps({"items": rows[start : start + 5], "next": after}).encode()

    def pages(self) -> dict[str, str]:
        """Give the site's pages by name."""
        found = {f"page-{i}": prose("page", i) for i in range(5)}
        return found if self.day == 1 else found | {"page-1": prose("page", 1, "revised"), "page-7": prose("page", 7)}


def entries(day: int, kind: str) -> list[dict[str, Any]]:
    """Give the rows of the API or of the table, by version; on day 2 one is revised, one is gone and three are new."""
    rows = [{"id": f"{kind}-{i}", "body": prose(kind, i), "version": 10 + i, "gone": False} for i in range(9)]
    if day == 2:
        rows[3] = rows[3] | {"body": prose(kind, 3, "revised"), "version": 30}
        rows[4] = rows[4] | {"gone": True, "version": 31}
        rows += [{"id": f"{kind}-{i}", "body": prose(kind, i), "version": 32 + i, "gone": False} for i in range(9, 12)]
    return sorted(rows, key=lambda row: row["version"])


def write(tree: Path, town: Town, day: int) -> None:
    """Write what lies in a folder on a day: the config, the files, the archives."""
    pages, crawl = tree / "data" / "pages", tree / "data" / "crawl"
    pages.mkdir(parents=True, exist_ok=True)
    crawl.mkdir(exist_ok=True)
    has_dlt = importlib.util.find_spec("dlt") is not None
    config = CONFIG.replace("DLT", DLT if has_dlt else "").replace("URL", town.server.url)
    (tree / "gristmill.yml").write_text(config.replace("ARTICLES", str(town.articles)), "utf-8")
    if has_dlt:
        (tree / "feed.py").write_text(FEED, "utf-8")
        (tree / "posts.json").write_text(json.dumps(entries(day, "dlt")), "utf-8")
    first = {f"a{i}": prose("a", i) for i in range(8)} | {"twin": prose("page", 0)}
    if day == 2:
        first = {f"a{i}": prose("a", i, *(["revised"] if i == 2 else [])) for i in range(1, 10)}
        (pages / "c.jsonl").write_bytes(_jsonl({f"c{i}": prose("c", i) for i in range(4)} | {"twin": prose("a", 5)}))
    (pages / "a.jsonl").write_bytes(_jsonl(first) + b"{not json}\n")
    if day == 1:
        (pages / "b.jsonl").write_bytes(_jsonl({f"b{i}": prose("b", i) for i in range(5)}))
    for at in range(day):
        shelf = WarcFiles()
        shelf.bad, shelf.files = [], [{f"{at}/{i}": prose("crawl", at, i) for i in range(5)}]
        (crawl / f"{at}.warc.wet.gz").write_bytes(shelf.content(0))


def _jsonl(records: Mapping[str, str]) -> bytes:
    return "".join(json.dumps({"id": key, "text": text}) + "\n" for key, text in records.items()).encode()


@contextmanager
def warm(folder: Path, source: Path, town: Town, shim: Path | None) -> Iterator[crash.Warm]:
    """Start the warm process of command lines, which has loaded all that a run of this pipeline loads."""
    modules = folder / "modules"
    env = scenes.environment(source)
    if not modules.exists():
        with crash.Warm([sys.executable, "-m", "tests.soak.command"], folder / "cold", env) as cold:
            cold.patience_s = PATIENCE_S
            tree = folder / "cold" / "tree"
            town.begin(1)
            write(tree, town, 1)
            code = cold.run([str(tree), "run", "--workers", "1"], {"MODULES": str(modules)})
            assert code == 0, command.said(tree).read_text("utf-8")
            shutil.rmtree(tree)
    env |= {"PRELOAD": str(modules)} | ({"LD_PRELOAD": str(shim)} if shim is not None else {})
    with crash.Warm([sys.executable, "-m", "tests.soak.command"], folder, env) as server:
        server.patience_s = PATIENCE_S
        yield server


def runner(server: crash.Warm, argv: Sequence[str]) -> crash.Run:
    """Give the `Run` that does a command line in a folder."""
    return lambda tree, env: server.run([str(tree), *argv], env)


RUN = ["run", "--workers", "1"]


def history(folder: Path, town: Town, server: crash.Warm, days: int = 2) -> list[Ends]:
    """Make both days, or the first alone, by running them in peace; it is the last of them in the town afterwards."""
    start = folder / "five-1-start"
    write(start, town, 1)
    town.begin(1)
    first = ends(folder, "five-1", start, server, RUN)
    if days == 1:
        return [first]
    second = folder / "five-2-start"
    shutil.copytree(folder / "five-1-done", second)
    write(second, town, 2)
    town.begin(2)
    return [first, ends(folder, "five-2", second, server, RUN)]


def ends(
    folder: Path, name: str, start: Path, server: crash.Warm, argv: list[str], exports: Sequence[str] = LINES
) -> Ends:
    """Do a command line in peace on a copy of `start`, and give the scene between both ends."""
    done = folder / f"{name}-done"
    shutil.copytree(start, done)
    before, was = crash.look(start, "corpus", exports), table(start)
    code = server.run([str(done), *argv], shim.armed(done, 0))
    operations = shim.operations(done, 0)
    shim.forget(done)
    assert code == 0, f"{name}: {argv} in peace ended with {code}: {command.said(done).read_text('utf-8')}"
    laws.assert_laws(done / "corpus", [done / export for export in exports])
    scene = crash.Scene(name, start, "corpus", [*exports], before, crash.look(done, "corpus", exports))
    return Ends(scene, dict([was, table(done)]), argv, [pins(start), pins(done)], operations)


def pins(tree: Path) -> bytes:
    """Give the file of pins; nothing if there is none."""
    path = tree / "corpus" / "pins.json"
    return path.read_bytes() if path.exists() else b""


def pin_problems(all_ends: Ends, tree: Path, *, at_end: bool) -> list[str]:
    """Say if the pins are neither the old ones nor the new ones; at the end, if they are not the new ones."""
    return [] if pins(tree) in all_ends.pins[at_end:] else ["other pins than before and after"]


def table(tree: Path) -> tuple[int, str]:
    """Give the snapshot that the table's ledger names and a digest of its rows, seen as a stranger sees them.

    It looks at a copy: a reader of SQLite puts right what a writer left, which is the next load's work here.
    """
    path = tree / TABLE
    if not path.exists():
        return 0, ""
    copies = tree.with_name(f"{tree.name}.table")
    copies.mkdir()
    try:
        for each in path.parent.glob(f"{path.name}*"):
            shutil.copy(each, copies)
        with closing(sqlite3.connect(copies / path.name)) as connection:
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if "gristmill_ledger" not in names or "docs" not in names:
                return 0, ""
            rows = connection.execute("SELECT * FROM docs ORDER BY id").fetchall()
            ledger = connection.execute("SELECT snapshot FROM gristmill_ledger").fetchall()
    finally:
        shutil.rmtree(copies)
    if not ledger:
        return 0, "" if not rows else "rows without a ledger"
    return int(ledger[0][0]), hashlib.sha256(repr(rows).encode()).hexdigest()


def table_problems(all_ends: Ends, tree: Path) -> list[str]:
    """Say if the table holds anything but one of both ends whole, by its own ledger."""
    seq, digest = table(tree)
    if all_ends.tables.get(seq) == digest:
        return []
    return [f"the table holds other rows than snapshot {seq}, which its ledger names, or there is no such end"]
