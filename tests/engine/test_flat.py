"""Run after run in one process: nothing stays open, and memory stays where it was. How it is over thousands of runs: `python -m tests.soak`."""

import gc
import threading
from collections import Counter
from pathlib import Path

import psutil
from tests.properties.lab import Lab, folder, jsonl

from gristmill.testing import laws

CONFIG = {
    "sources": [{"name": "a", "files": {"path": "in/*", "id": "id"}}],
    "steps": ["clean.text", {"filter.length": {"min_chars": 5}}, "dedup.exact"],
    "exports": [
        {"name": "lines", "jsonl": {"path": "./out"}},
        {"name": "rows", "sql": {"dsn": "sqlite:///rows.db", "table": "docs"}},
    ],
}
RUNS, SETTLED, GROWTH_BYTES = 20, 3, 32 << 20
IN_WORKERS = {1, RUNS - 1}


def held():
    """Give what this process has open, its threads and its children, and the memory it takes.

    Threads that libraries keep for a few seconds in case there is more to do are not Python's, and are left to them.
    """
    gc.collect()
    process = psutil.Process()
    found = Counter(str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink())
    found.update(f"thread {thread.name}" for thread in threading.enumerate())
    found.update(f"process {child.pid}" for child in process.children())
    return found, process.memory_info().rss


def test_run_after_run_nothing_stays_open_and_memory_stays_flat():
    with folder() as place:
        lab = Lab(place, CONFIG)
        for day in range(RUNS):
            sacks = [{"id": f"{day}-{i}", "text": f"Day {day} brings sack {i}."} for i in range(3)]
            lab.put(f"in/{day}.jsonl", jsonl([*sacks, sacks[0] | {"id": f"{day}-twin"}]) + b"{no\n")
            report = lab.run_in_processes(1) if day in IN_WORKERS else lab.run()
            assert report.status == "published"
            if day == SETTLED - 1:
                before, bytes_before = held()
        after, bytes_after = held()
        assert after - before == Counter(), "what other tests left may go meanwhile"
        assert bytes_after - bytes_before < GROWTH_BYTES
        assert (lab.open().manifest().seq, len(lab.rows())) == (RUNS, 3 * RUNS)
        laws.assert_laws(lab.dataset, [place / "out"])
