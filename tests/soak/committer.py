"""What one process does in the commits room: commit files of its own to a dataset that others commit to, read it, collect garbage.

    python -m tests.soak.committer LOG

Not here: who starts and stops them (`commits`). Invariant: a committer tells of a file only when the run that published it has
returned, in `acks/<me>`; what stands there may never be missing afterwards.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
from deltalake import DeltaTable
from tests.soak.results import say

import gristmill.sources.files  # noqa: F401
from gristmill import Dataset, LockedError, Pipeline, cli
from gristmill.testing import crash

ROWS = 3  # records of a file
CONFIG = """\
version: 1
dataset: ./corpus
sources:
SOURCES
gate: {min_quality_score: 0.1}
"""


def write_config(folder: Path, processes: int) -> None:
    """Write a config with a source for each process."""
    sources = "\n".join(
        f'  - {{name: p{me}, files: {{path: "data/p{me}/*.jsonl", id: id}}}}' for me in range(processes)
    )
    for me in range(processes):
        (folder / "data" / f"p{me}").mkdir(parents=True)
    (folder / "acks").mkdir()
    (folder / "gristmill.yml").write_text(CONFIG.replace("SOURCES", sources), "utf-8")


def commit(folder: Path, me: int, n: int) -> int:
    """Commit n files, one a run; goes on where it was killed."""
    acks = folder / "acks" / f"p{me}"
    begun = len(acks.read_text("utf-8").splitlines()) if acks.exists() else 0
    for i in range(begun, n):
        path = folder / "data" / f"p{me}" / f"{i:05d}.jsonl"
        lines = [
            json.dumps({"id": f"{i:05d}-{row}", "text": f"Process {me} wrote line {row} of file {i}."})
            for row in range(ROWS)
        ]
        if (
            not path.exists()
        ):  # written anew it would be another file with the same records: a snapshot of nothing but that
            scratch = path.with_suffix(".tmp")
            scratch.write_text("\n".join(lines) + "\n", "utf-8")
            scratch.replace(path)
        report = Pipeline.from_file(folder / "gristmill.yml").run(workers=1, wait_s=3600, source=f"p{me}")
        # Another one may have gone on with the run in which this one was killed: then there is nothing new.
        told = (report.status, report.counts.published)
        if told not in {("published", ROWS), ("nothing_new", 0)}:
            say(f"p{me} file {i}: {told} {report.errors}")
            return 1
        with acks.open("a", encoding="utf-8") as file:
            file.write(f"{report.snapshot} {report.status}\n")
    return 0


def read(folder: Path, how: str) -> int:
    """Read the dataset over and over until `stop` is there; say what was wrong with what was seen."""
    looks, seen, problems = 0, Counter[str](), list[str]()
    while not (folder / "stop").exists() and not problems:
        told = {path.name: len(path.read_text("utf-8").splitlines()) for path in (folder / "acks").glob("p*")}
        ids = ids_of(folder / "corpus", how)
        problems += problems_of(ids, told, seen)
        looks += 1
        time.sleep(0.2)
    (folder / f"read-{how}.json").write_text(json.dumps({"looks": looks, "problems": problems}), "utf-8")
    return 1 if problems else 0


def ids_of(root: Path, how: str) -> list[str]:
    """Give the ids of the newest snapshot, by gristmill's own reader or as a stranger reads a Delta table."""
    if not (root / "table" / "_delta_log").is_dir() or not DeltaTable.is_deltatable(str(root / "table")):
        return []
    if how == "own":
        dataset = Dataset(root)
        return dataset.read(columns=["id"])["id"].to_pylist() if dataset.seqs() else []
    return [
        each
        for path in DeltaTable(root / "table").file_uris()
        for each in pq.read_table(path, columns=["id"])["id"].to_pylist()
    ]


def problems_of(ids: list[str], told: dict[str, int], seen: Counter[str]) -> list[str]:
    """Say what is wrong with a snapshot: each file whole and once, of each process the first ones, and never fewer than before.

    told: files by process that were published when the look began. seen: files by process in earlier looks; is brought up to date.
    """
    problems = [f"{each} stands {n} times" for each, n in Counter(ids).items() if n > 1]
    files: dict[str, Counter[int]] = {}
    for each in ids:
        process, _, key = each.partition("/")
        files.setdefault(process, Counter())[int(key.partition("-")[0])] += 1
    for process in {*told, *files, *seen}:
        rows = files.get(process, Counter())
        if sorted(rows) != [*range(len(rows))] or any(n != ROWS for n in rows.values()):
            problems.append(f"{process}: half of what it committed: {dict(rows)}")
        if len(rows) < max(told.get(process, 0), seen[process]):
            problems.append(
                f"{process}: {len(rows)} files, and there were {told.get(process, 0)} told, {seen[process]} seen"
            )
        seen[process] = max(seen[process], len(rows))
    return problems


def collect(folder: Path) -> int:
    """Collect garbage over and over until `stop` is there."""
    done = 0
    while not (folder / "stop").exists():
        code = cli.perform(["gc", "-q", "--keep-last", "20", "--wait", "5", "-c", str(folder / "gristmill.yml")])
        if code not in {0, 5}:
            return code
        done += code == 0
        (folder / "collected").write_text(str(done), "utf-8")
        time.sleep(1.0)
    return 0


def work(folder: str, role: str, *args: str) -> int:
    """Do one part."""
    try:
        if role == "commit":
            return commit(Path(folder), int(args[0]), int(args[1]))
        return read(Path(folder), args[0]) if role == "read" else collect(Path(folder))
    except LockedError as error:
        say(f"{os.getpid()}: {error}")
        return error.exit_code


if __name__ == "__main__":
    crash.serve(work, sys.argv[1])
