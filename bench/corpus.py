"""The corpus of the benchmarks: JSON lines of real documents, about a tenth of them exact repeats, the same bytes each time.

The documents come from ../shared/data/corpus where there is one, else from the prose of the quickstart. They are gone
over as often as the size asks; from the second time on a document is recombined from its own paragraphs and one of
another document, so that only the repeats we make (and those found in nature) are repeats.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from backports import zstd

from bench.machine import MB, ROOT, WORK

SHARED = ROOT.parent / "shared" / "data" / "corpus"
PROSE = ROOT / "examples" / "quickstart" / "prose"
FILES = 10
REPEATED = 0.1
RECIPE = 2  # raise when the same arguments would give other bytes

Record = dict[str, Any]


def build(megabytes: int, packing: str = "", work: Path = WORK) -> Path:
    """Give the folder with a corpus of `megabytes` MB in ten files, making it when it is not there.

    Args:
        megabytes: size of the JSON lines, before compression.
        packing: "" for plain files, "gz" or "zst" for compressed ones.
        work: where corpora are kept.
    """
    folder = work / f"corpus-{megabytes}{'-' + packing if packing else ''}"
    done = folder / "MADE.json"
    if done.is_file() and json.loads(done.read_text())["recipe"] == RECIPE:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    digest, docs = hashlib.sha256(), 0
    records = stream()
    for n in range(FILES):
        left = megabytes * MB // FILES
        with _create(folder / f"part-{n:02d}.jsonl", packing) as file:
            while left > 0:
                line = json.dumps(next(records), ensure_ascii=False).encode() + b"\n"
                digest.update(line)
                file.write(line)
                left -= len(line)
                docs += 1
    origin = "shared" if SHARED.is_dir() else "prose"
    made = {
        "recipe": RECIPE,
        "origin": origin,
        "docs": docs,
        "sha256": digest.hexdigest(),
        "bytes": _raw_bytes(folder, packing),
    }
    done.write_text(json.dumps(made))
    return folder


def files(folder: Path) -> list[Path]:
    """Give the corpus files of a folder in order."""
    return sorted(folder.glob("part-*"))


def size_mb(folder: Path) -> float:
    """Give the size of the JSON lines in a corpus folder, before compression."""
    return float(json.loads((folder / "MADE.json").read_text())["bytes"] / MB)


def _create(path: Path, packing: str) -> BinaryIO:
    if packing == "gz":
        return cast("BinaryIO", gzip.GzipFile(f"{path}.gz", "wb", 6, mtime=0))
    if packing == "zst":
        return cast("BinaryIO", zstd.open(f"{path}.zst", "wb"))
    return path.open("wb")


def _raw_bytes(folder: Path, packing: str) -> int:
    if not packing:
        return sum(path.stat().st_size for path in files(folder))
    opener = gzip.open if packing == "gz" else zstd.open
    total = 0
    for path in files(folder):
        with opener(path, "rb") as file:
            while piece := file.read(1 << 20):
                total += len(piece)
    return total


def write(path: Path, records: Iterator[Record], size: int) -> None:
    """Write about `size` bytes of a stream of records as a plain file of JSON lines."""
    with path.open("wb") as file:
        while size > 0:
            line = json.dumps(next(records), ensure_ascii=False).encode() + b"\n"
            file.write(line)
            size -= len(line)


def stream() -> Iterator[Record]:
    """Give records without end, the same ones each time."""
    chance = random.Random(20240229)
    originals = _originals()
    recent: list[Record] = []
    n = 0
    for turn in range(10_000):
        for i, document in enumerate(originals):
            record = document if turn == 0 else _recombined(document, originals[(i * 7 + turn) % len(originals)], turn)
            yield {"id": f"{n:08d}", **record}
            n += 1
            recent = [*recent[-499:], record]
            if chance.random() < REPEATED / (1 - REPEATED):
                yield {"id": f"{n:08d}", **chance.choice(recent)}
                n += 1


def _recombined(document: Record, other: Record, turn: int) -> Record:
    paragraphs = document["text"].split("\n\n")
    start = turn % len(paragraphs)
    foreign = other["text"].split("\n\n")
    text = "\n\n".join([*paragraphs[start:], foreign[turn % len(foreign)], *paragraphs[:start]])
    return {**document, "text": f"{text}\n\n{turn}"}


def _originals() -> list[Record]:
    if SHARED.is_dir():
        found = []
        for path in sorted(SHARED.glob("part-*.jsonl.zst")):
            with zstd.open(path, "rb") as file:
                found += [json.loads(line) for line in file]
        return [{"text": r["text"], "url": r.get("url"), "lang": r["lang"], "path": r["path"]} for r in found]
    lines = [(path.stem, line) for path in sorted(PROSE.glob("*.txt")) for line in path.read_text("utf-8").splitlines()]
    chance = random.Random(7)
    made = []
    for n in range(20_000):
        lang, first = lines[n % len(lines)]
        own = [line for at, line in lines if at == lang]
        paragraphs = [first, *(chance.choice(own) for _ in range(chance.randrange(2, 30))), f"{n} {lang}"]
        made.append(
            {"text": "\n\n".join(paragraphs), "url": f"https://{lang}.example.org/{n}", "lang": lang, "path": str(n)}
        )
    return made
