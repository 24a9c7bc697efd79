"""One cell of the matrix: two days of a pipeline in a fresh process, and a digest of every byte that lasts.

python -m tests.determinism.cell FOLDER WORKERS [ENGINE]

Sources of every kind that needs no server; cleaning, a filter, a custom step, dedup within a language and over all; two exports. A set
and a `str.hash` stand in the custom step on purpose: what a user writes may use them, as long as its result does not depend on them.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import random
import sqlite3
import sys
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tests.properties.lab import Lab, jsonl

from gristmill.engine import run as engine_run

WORDS = [
    "mill",
    "grain",
    "sack",
    "wheel",
    "stone",
    "flour",
    "Straße",
    "İstanbul",
    "ΣΊΣΥΦΟΣ",
    "ﬁne",
    "naïve",
    "été",
    "Ångström",
    "ǅ",
    "水車",
    "дом",
    "שלום",
    "נחל",
    "مطحنة",
    "ẞ",
    "İ",
    "ı",
    "K",
    "Å",
    "é",
    "ä",
    "가",
    "Å",
    "\xad",
    "\u200d",
    "\ufeff",
    "İ",
    "ſ",
    "①",
    "１２",
    "𝒳",
    "😀",
    "👨\u200d👩\u200d👧",
]
CONFIG = {
    "sources": [
        {"name": "lines", "files": {"path": "in/lines/*", "id": "id", "lang": "lang", "split_bytes": 4000}},
        {"name": "table", "files": {"path": "in/table/*.csv", "text": "body", "id": "key"}},
        {"name": "columns", "files": {"path": "in/columns/*.parquet", "id": "id"}},
        {"name": "notes", "files": {"path": "in/notes/*.txt"}},
        {"name": "pages", "files": {"path": "in/pages/*.html"}},
        {
            "name": "base",
            "sql": {"dsn": "sqlite:///in/base.db", "table": "t", "key": "id", "cursor": "at", "text": "body"},
        },
    ],
    "steps": [
        "clean.text",
        "clean.punctuation",
        {"custom": {"call": "./mine.py:mine", "mode": "record"}},
        {"filter.length": {"min_chars": 8}},
        {"name": "within", "dedup.exact": {"scope": "language"}},
        "clean.lowercase",
        "dedup.exact",
    ],
    "require": {"min_chars": 9},
    "gate": {"min_quality_score": 0, "drift": None},
    "run": {"batch_bytes": 3000, "merge_rows": 50},
    "exports": [
        {"name": "zst", "jsonl": {"path": "./out-zst", "compression": "zstd", "docs_per_chunk": 40}},
        {"name": "gz", "jsonl": {"path": "./out-gz", "compression": "gzip", "docs_per_chunk": 70, "mode": "full"}},
        {"name": "columns", "parquet": {"path": "./out-parquet", "docs_per_chunk": 90}},
    ],
}
MINE = """\
def mine(record):
    words = set(record["text"].split())
    record["text"] += f" {len(words)}"
    return record if hash(record["text"]) is not None and len(words) != 3 else None
"""


def make(folder: Path, n: int = 120) -> None:
    """Make the first day of the sources, always the same, the time that files carry too."""
    rng = random.Random(7)

    def text() -> str:
        return " ".join(rng.choice(WORDS) for _ in range(rng.choice([1, 3, 8, 20])))

    lines = [{"id": str(i), "text": text(), "lang": rng.choice(["de", "en", None]), "n": i % 3} for i in range(n)]
    put(folder / "in/lines/a.jsonl", jsonl(lines[: n // 2]))
    put(folder / "in/lines/b.jsonl.gz", gzip.compress(jsonl(lines[n // 2 :]) + b'{"text": "never closed\n', mtime=0))
    page = io.StringIO()
    csv.writer(page).writerows([["key", "body", "more"], *([f"k{i}", text(), "x, y"] for i in range(n // 3))])
    put(folder / "in/table/t.csv", page.getvalue().encode())
    rows = {"id": [f"p{i}" for i in range(n // 3)], "text": [text() for _ in range(n // 3)]}
    (folder / "in/columns").mkdir(parents=True)
    pq.write_table(pa.table(rows), folder / "in/columns/c.parquet")
    for i in range(4):
        put(folder / f"in/notes/{i}.txt", text().encode())
        body = "".join(f"<p>{text()} {text()}</p>" for _ in range(5))
        put(
            folder / f"in/pages/{i}.html",
            f"<html><head><title>{i}</title></head><body><main>{body}</main></body></html>".encode(),
        )
    with sqlite3.connect(folder / "in/base.db") as base:
        base.execute("create table t (id integer primary key, body text, at text)")
        for i in range(n // 3):
            base.execute("insert into t values (?, ?, ?)", (i, text(), f"2024-03-31T0{i % 10}:30:00"))
    base.close()
    put(folder / "mine.py", MINE.encode())
    stamp(folder, 1_700_000_000)


def grow(folder: Path) -> None:
    """Make the second day: a file grows, another changes, one goes; rows come and change."""
    path = folder / "in/lines/a.jsonl"
    path.write_bytes(path.read_bytes() + jsonl([{"id": f"n{i}", "text": f"new {i % 7} {WORDS[i]}"} for i in range(20)]))
    (folder / "in/notes/1.txt").write_text("another text altogether, and longer than before", "utf-8")
    (folder / "in/notes/2.txt").unlink()
    with sqlite3.connect(folder / "in/base.db") as base:
        base.execute("update t set body = 'a later text of a row', at = '2024-10-27T02:30:00' where id < 3")
        base.execute("insert into t values (900, 'a row that is new', '2024-10-27T03:00:00')")
    base.close()
    stamp(folder / "in", 1_700_086_400)


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def stamp(folder: Path, when_s: int) -> None:
    for path in sorted(folder.rglob("*")):
        os.utime(path, (when_s, when_s))


def run(folder: Path, workers: int, engine: str = "local") -> dict[str, str]:
    """Make both days in `folder`, which holds the first; give the digest of each lasting file."""
    for day in (1, 2):
        if day == 2:
            grow(folder)
        if engine == "local":
            run_day(folder, workers, engine)
            continue
        process = get_context("spawn").Process(target=run_day, args=(folder, workers, engine))
        process.start()  # of each cluster a new one: Ray keeps the token of its first for as long as a process lives
        process.join()
        assert process.exitcode == 0, f"day {day} on {engine} ended with {process.exitcode}"
    lab = Lab(folder, CONFIG)
    assert lab.broken() == []
    return lab.bytes()


def run_day(folder: Path, workers: int, engine: str) -> None:
    """Make the run that is due."""
    if engine == "local":
        lab = Lab(folder, CONFIG)
        report = lab.run_in_processes(workers) if workers > 1 else lab.run()
    else:
        engine_run.INLINE_BYTES = 0  # every task goes to the executor, however small
        lab = Lab(folder, CONFIG | {"run": {**CONFIG["run"], "engine": engine}})
        report = lab.run(workers=workers)
    assert report.status == "published", report.status


def digest(found: dict[str, str]) -> str:
    """Give one digest of all files."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


if __name__ == "__main__":
    told = run(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:4])
    sys.stdout.write(json.dumps({"digest": digest(told), "files": told}) + "\n")
