"""Many runs in one process, as a scheduler that imports gristmill makes them: neither memory nor files nor threads pile up.

    python -m tests.soak.days [RUNS]

Each day a file comes and one of a month ago goes, the page is written, the snapshot is read; each 25th day garbage is collected. The last line is for
the soak (`tests.soak.commands`). Not here: runs that are hurt. Invariant: nothing of the first days is measured, as the caches of libraries fill then.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from tests.soak.commands import told
from tests.soak.results import say

from gristmill import Dataset, cli
from gristmill.testing import corpora, laws

CONFIG = """version: 1
dataset: ./corpus
sources:
  - {name: daily, files: {path: "in/*.jsonl", id: id}}
steps: [clean.text, {filter.length: {min_chars: 20}}, dedup.exact]
exports:
  - {name: lines, jsonl: {path: ./out}}
retention: {keep_last: 5, grace: 0s}
run: {workers: WORKERS}
"""
KEPT, DOCUMENTS, COLLECTED = 30, 20, 25
# A megabyte an hour at a run a minute (reference/reliability-and-ux.md A.4).
MOST_BYTES_A_RUN = (1 << 20) / 60


class Day(NamedTuple):
    """What the process holds after a day. rss: bytes."""

    rss: int
    files: int
    threads: int


def live(folder: Path, runs: int, workers: int) -> tuple[list[Day], list[str]]:
    """Make so many runs in this process; give what it held after each, and what went wrong."""
    (folder / "in").mkdir(parents=True)
    config = folder / "gristmill.yml"
    config.write_text(CONFIG.replace("WORKERS", str(workers)), "utf-8")
    days, problems = [], []
    documents = corpora.documents(DOCUMENTS, sentences=3)
    for n in range(runs):
        lines = (
            msgspec.json.encode({"id": f"{n}-{i}", "text": f"{n} {each['text']}"}) for i, each in enumerate(documents)
        )
        (folder / "in" / f"{n:05d}.jsonl").write_bytes(b"\n".join(lines) + b"\n")
        (folder / "in" / f"{n - KEPT:05d}.jsonl").unlink(missing_ok=True)
        done = [("run", "-q")] + [("gc",)] * (n % COLLECTED == COLLECTED - 1)
        for verb in done:
            with (
                Path(os.devnull).open("w") as nowhere,
                contextlib.redirect_stdout(nowhere),
                contextlib.redirect_stderr(nowhere),
            ):
                if code := cli.perform([*verb, "-c", str(config)]):
                    problems.append(f"run {n}: {verb[0]} ended with {code}")
        rows, wanted = Dataset(folder / "corpus").read(columns=["id"]).num_rows, DOCUMENTS * min(n + 1, KEPT)
        if rows != wanted:
            problems.append(f"run {n}: {rows} records, not {wanted}")
        gc.collect()
        days.append(Day(_rss(), len([*Path("/proc/self/fd").iterdir()]), threading.active_count()))
    problems += laws.check(folder / "corpus", [folder / "out"])
    return days, problems


def grown(days: list[Day]) -> tuple[float, list[str]]:
    """Give by how many bytes memory grows a run, and what piles up: after the first two fifths of the days."""
    late = days[len(days) * 2 // 5 :]
    slope = float(np.polyfit(range(len(late)), [day.rss for day in late], 1)[0])
    half = len(late) // 2
    problems = [
        f"{what} pile up: at most {most[0]}, then {most[1]}"
        for what, most in {
            "open files": [max(day.files for day in part) for part in (late[:half], late[half:])],
            "threads": [max(day.threads for day in part) for part in (late[:half], late[half:])],
        }.items()
        if most[1] > most[0]
    ]
    if slope > MOST_BYTES_A_RUN:
        problems.append(f"memory grows by {slope / 1024:.0f} kB a run")
    return slope, problems


def _rss() -> int:
    """Give what is in use: what glibc keeps of freed memory swings by tens of megabytes, and is level after a thousand runs only."""
    with contextlib.suppress(OSError, AttributeError):  # no glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    return int(Path("/proc/self/statm").read_text("utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(runs: int) -> int:
    """Live through half of the days with one worker, the others with two; 1 if anything was wrong."""
    problems: list[str] = []
    notes, places = [], {}
    for workers in (1, 2):
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="gristmill-days-") as folder:
            days, wrong = live(Path(folder), runs // 2, workers)
        slope, piles = grown(days)
        problems += [f"{workers} workers: {problem}" for problem in (*wrong, *piles)]
        places[f"{workers} worker{'s' * (workers > 1)}"] = len(days)
        notes.append(
            f"{workers} worker{'s' * (workers > 1)}: memory {days[len(days) * 2 // 5].rss >> 20} MB after two fifths, {days[-1].rss >> 20} MB at the end, "
            f"{slope / 1024:+.1f} kB a run; {days[-1].files} open files, {days[-1].threads} threads; {(time.monotonic() - began) / len(days):.2f} s a day."
        )
    say(told(sum(places.values()), problems, runs=sum(places.values()), places=places, note=" ".join(notes)))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000))
