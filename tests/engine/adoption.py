"""How long the adoption of much Parquet takes, and that the next increment is deduplicated against it.

    python -m tests.engine.adoption [GB] [WORKERS]

The data is made here: texts of 300 words at random, in Parquet files of 20,000 with Snappy. Each step is a process of its own. The last line is for
the soak (`tests.soak.commands`).
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tests.soak import commands
from tests.soak.results import say

from gristmill.testing import corpora

CONFIG = """version: 1
dataset: ./corpus
sources:
  - name: daily
    files: {path: "daily/*.jsonl", id: id, allow_empty: true}
steps:
  - clean.text
  - filter.length: {min_chars: 20}
  - dedup.exact
"""
SAME = 1000


def make(folder: Path, wanted: int) -> tuple[int, int, list[str]]:
    """Write files of `wanted` bytes together; give the bytes, the records, and some of the texts."""
    said = {word for each in corpora.documents(400, sentences=8) for word in each["text"].split()}
    words = np.array(sorted(word for word in said if word.isascii()))  # clean.text leaves them as they are
    chance = np.random.default_rng(7)
    phrases = np.array([" ".join(words[chance.integers(0, len(words), 10)]) for _ in range(100_000)], object)
    folder.mkdir(parents=True)
    size, records, some, part = 0, 0, [], 0
    while size < wanted:
        texts = [" ".join(phrases[chance.integers(0, len(phrases), 30)]) for _ in range(20_000)]
        ids = [f"{part}-{n}" for n in range(len(texts))]
        path = folder / f"part-{part:05d}.parquet"
        pq.write_table(pa.table({"id": ids, "text": texts}), path, compression="snappy", row_group_size=5000)
        size, records, part = size + path.stat().st_size, records + len(texts), part + 1
        some += texts[:: max(1, len(texts) // 100)]
    return size, records, some


def gristmill(folder: Path, *argv: str) -> tuple[dict, float]:
    """Do a verb in a process of its own; give its report and the seconds it took."""
    began = time.monotonic()
    command = [sys.executable, "-m", "gristmill", *argv, "--json", "-q", "-c", str(folder / "gristmill.yml")]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout.splitlines()[-1]), time.monotonic() - began


def main(gb: float, workers: str) -> int:
    """Measure; 1 if a sentence does not hold."""
    with tempfile.TemporaryDirectory(prefix="gristmill-adoption-") as made:
        folder = Path(made)
        (folder / "gristmill.yml").write_text(CONFIG, "utf-8")
        size, records, some = make(folder / "clean", int(gb * 1e9))
        say(f"{size / 1e9:.2f} GB of Parquet, {records} records")
        adopted, seconds = gristmill(folder, "adopt", str(folder / "clean"), "--map", "id=id", "--workers", workers)
        text = adopted["bytes_read"]
        measured = (
            f"adopt: {seconds:.1f} s, {size / 1e6 / seconds:.0f} MB/s of Parquet, {text / 1e6 / seconds:.0f} MB/s as read, "
            f"{adopted['cpu_seconds']:.0f} s of processors, {workers} workers, peak memory of a process {adopted['peak_rss_mb']:.0f} MB"
        )
        say(measured)
        same = random.Random(7).choices(some, k=SAME)
        lines = [{"id": f"same-{n}", "text": f"{text}  \n\n"} for n, text in enumerate(same)]
        lines += [{"id": f"new-{n}", "text": f"New text number {n} of this day."} for n in range(SAME)]
        (folder / "daily").mkdir()
        (folder / "daily" / "1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        ran, seconds = gristmill(folder, "run", "--workers", workers)
        counts = ran["counts"]
        say(
            f"next run: {seconds:.1f} s, read {counts['read']}, published {counts['published']}, duplicates {counts['duplicates']}"
        )
        damage = subprocess.run(
            [sys.executable, "-m", "gristmill", "verify", "-c", str(folder / "gristmill.yml")], check=False
        ).returncode
        holds = {
            "all records are published": adopted["counts"]["published"] == records,
            "all new texts of the next run are published": counts["published"] == SAME,
            "all known texts of the next run are duplicates": counts["duplicates"] == {"dedup.exact": SAME},
            "`verify` finds no damage": damage == 0,
        }
        broken = [f"not true: {what}" for what, is_true in holds.items() if not is_true]
        say(
            f"peak of all processes: {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:.0f} MB; {len(broken)} violations"
        )
        say(
            commands.told(
                len(holds), broken, runs=2, note=f"{size / 1e9:.2f} GB of Parquet, {records:,} records; {measured}."
            )
        )
        return 1 if broken else 0


if __name__ == "__main__":
    given = sys.argv[1:]
    sys.exit(main(float(given[0]) if given else 1.0, given[1] if len(given) > 1 else "2"))
