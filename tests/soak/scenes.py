"""The scenes of the crash tests: pipelines with a history, small enough to be killed a thousand times.

Day 1 publishes snapshot 1. Before day 2 files are added, revised, left alone, emptied and removed, so that run 2 has
published, unchanged, superseded and withdrawn records, duplicates within it and of day 1, and quarantined lines.
"""

import gzip
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gristmill.testing import corpora, crash, laws

ROOT = Path(__file__).resolve().parents[2]
EXPORTS = ["out/lines", "out/parquet"]

CONFIG = """\
version: 1
dataset: ./corpus
sources:
  - name: web
    files: {path: "data/web/*", text: text, id: id, lang: lang, split_bytes: SPLIT}
  - name: notes
    files: {path: "data/notes/*.txt"}
  - name: live
    ./live.py: {path: data/live.jsonl}
steps:
  - clean.text
  - filter.length: {min_chars: 12}
CUSTOM  - dedup.exact
require: {min_chars: 11}
gate: {min_quality_score: 0.1}
run: {batch_bytes: 100000}
exports:
  - name: lines
    jsonl: {path: ./out/lines, compression: zstd, docs_per_chunk: DOCS}
  - name: parquet
    parquet: {path: ./out/parquet, docs_per_chunk: DOCS, mode: full}
"""
# the steps a custom function may stand in for
CUSTOM = '  - custom: {call: "./mine.py:mine", mode: record}\n'


@contextmanager
def warm(folder: Path, source: Path | None = None) -> Iterator[crash.Warm]:
    """Start the warm process; `source`: a frozen copy of `src` to run instead of the checkout's."""
    with crash.Warm([sys.executable, "-m", "tests.soak.child"], folder, environment(source)) as server:
        yield server


def environment(source: Path | None = None) -> dict[str, str]:
    """Give the variables under which the code in `source` runs, and the tests beside it."""
    paths = [str(source)] if source is not None else []
    return {"PYTHONPATH": os.pathsep.join([*paths, str(ROOT)]), "PYTHONDONTWRITEBYTECODE": "1"}


def runner(server: crash.Warm, workers: int) -> crash.Run:
    """Give the `Run` that starts the pipeline in a folder with so many workers."""
    return lambda tree, env: server.run([str(tree), str(workers)], env)


def write_config(tree: Path, *, split: int, docs: int, custom: str | None = None) -> None:
    """Write a scene's config; `custom`: the source of a function `mine(record)` that becomes a step."""
    text = CONFIG.replace("SPLIT", str(split)).replace("DOCS", str(docs))
    (tree / "gristmill.yml").write_text(text.replace("CUSTOM", CUSTOM if custom is not None else ""), "utf-8")
    shutil.copy(Path(__file__).with_name("live.py"), tree / "live.py")
    if custom is not None:
        (tree / "mine.py").write_text(custom, "utf-8")


def day_1(tree: Path, n: int, *, sentences: int = 3) -> None:
    """Write the files of day 1: about `n` records."""
    web, notes = tree / "data" / "web", tree / "data" / "notes"
    notes.mkdir(parents=True)
    corpora.write(web / "a.jsonl", corpora.documents(n // 2, seed=1, sentences=sentences, duplicates=0.1))
    corpora.write(web / "b.jsonl.gz", _renamed("b", corpora.documents(n // 4, seed=2, sentences=sentences)))
    corpora.write(web / "c.jsonl", _renamed("c", corpora.documents(n // 4, seed=3, sentences=sentences)))
    _append(
        web / "c.jsonl", b'{"id": "bad", "text": \n{"id": "utf8", "text": "\xff\xfe"}\n{"id": "short", "text": "x"}\n'
    )
    _feed(
        tree, [{"id": each["id"], "text": f"Told live: {each['text']}"} for each in corpora.documents(n // 6, seed=8)]
    )
    for i in range(3):
        (notes / f"{i}.txt").write_text(f"Note {i}. " + corpora.documents(1, seed=9 + i)[0]["text"], "utf-8")


def day_2(tree: Path, n: int, *, sentences: int = 3) -> None:
    """Change the files as a day does: see the head of this file."""
    web, notes = tree / "data" / "web", tree / "data" / "notes"
    records = corpora.documents(n // 2, seed=1, sentences=sentences, duplicates=0.1)
    for record in records[::5]:
        record["text"] += " Revised."
    inserted = [{"id": "top", "text": "A line inserted at the top of the file.", "lang": "en"}]
    corpora.write(web / "a.jsonl", [*inserted, *records[: -max(1, n // 20)]])  # some are gone from the end
    (web / "c.jsonl").unlink()
    again = corpora.documents(n // 4, seed=2, sentences=sentences)[: n // 8]  # duplicates of b under other ids
    fresh = corpora.documents(n // 4, seed=5, sentences=sentences, duplicates=0.3)
    twice = [{**inserted[0], "text": "The line at the top again, in a later file: this one counts."}]
    corpora.write(
        web / "d.jsonl", [*twice, *_renamed("again", again), *_renamed("d", fresh), *_renamed("d", fresh[:2])]
    )
    _append(web / "d.jsonl", b"[1, 2]\n{not json}\n")
    whole = gzip.compress(corpora.jsonl(_renamed("e", corpora.documents(9, seed=6))), mtime=0)
    (web / "e.jsonl.gz").write_bytes(whole[:-9])  # truncated
    known = [json.loads(line)["id"] for line in (tree / "data" / "live.jsonl").read_text("utf-8").splitlines()]
    told = [{"id": known[0], "text": "Told live anew, for the second time."}, {"id": known[1], "gone": True}]
    told += [{"id": known[0], "gone": True}, {"id": known[1], "text": "It came back."}, {"id": known[2], "gone": True}]
    _feed(tree, [*told, *({"id": f"late-{i}", "text": f"A late word, number {i}, told live."} for i in range(9))])
    (notes / "0.txt").unlink()
    (notes / "1.txt").write_text("Note 1, written anew: the mill is closed on Mondays.", "utf-8")


def _feed(tree: Path, lines: list[dict[str, Any]]) -> None:
    with (tree / "data" / "live.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def _renamed(prefix: str, records: list[corpora.Record]) -> list[corpora.Record]:
    return [{**record, "id": f"{prefix}-{record['id']}"} for record in records]


def _append(path: Path, content: bytes) -> None:
    path.write_bytes(path.read_bytes() + content)


def history(
    folder: Path, name: str, run: crash.Run, n: int, *, split: int, docs: int, custom: str | None = None
) -> list[crash.Scene]:
    """Make the two scenes of a pipeline of about `n` records by running it in peace."""
    tree = folder / f"{name}-1-start"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    write_config(tree, split=split, docs=docs, custom=custom)
    sentences = 3 if n < 1000 else 8
    day_1(tree, n, sentences=sentences)
    first = scene(folder, f"{name}-1", tree, run)
    second_start = folder / f"{name}-2-start"
    shutil.rmtree(second_start, ignore_errors=True)
    shutil.copytree(folder / f"{name}-1-done", second_start)
    day_2(second_start, n, sentences=sentences)
    return [first, scene(folder, f"{name}-2", second_start, run)]


def scene(folder: Path, name: str, start: Path, run: crash.Run) -> crash.Scene:
    """Run what `start` holds in peace, check the laws, and give the scene between both ends."""
    done = folder / f"{name}-done"
    shutil.rmtree(done, ignore_errors=True)
    shutil.copytree(start, done)
    before = crash.look(start, "corpus", EXPORTS)
    code = run(done, {})
    assert code == 0, f"{name}: a run in peace ended with {code}"
    laws.assert_laws(done / "corpus", [done / export for export in EXPORTS])
    return crash.Scene(name, start, "corpus", EXPORTS, before, crash.look(done, "corpus", EXPORTS))
