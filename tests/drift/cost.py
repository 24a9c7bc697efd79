"""What counting distributions costs: CPU time of it over the CPU time of the whole run, on one core: `python -m tests.drift.cost [--data FOLDER]`.

Every function that a run calls for drift alone is timed on its thread (nested ones once), from the first measure to the verdict; the run's own CPU
time is that of all threads, from reading the config to the report. The corpus is read as it lies there, compressed.
"""

import argparse
import json
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from tests.properties.lab import Lab, folder

from gristmill.engine import distributions, drift
from gristmill.engine.sides import StagedWriter

PIPELINES = {
    "plain": [],
    "usual": ["clean.text", {"filter.length": {"min_chars": 200, "min_words": 20}}, "dedup.exact"],
}


class Stopwatch:
    """Adds up the time of this thread spent in the functions it wraps."""

    def __init__(self):
        self.seconds, self.depth = 0.0, 0

    def around(self, function, asked=lambda *_: True):
        def timed(*given, **named):
            if self.depth or not asked(*given):
                return function(*given, **named)
            self.depth += 1
            began = time.thread_time()
            try:
                return function(*given, **named)
            finally:
                self.seconds += time.thread_time() - began
                self.depth -= 1

        return timed


@contextmanager
def watched(watch):
    """Time all that is done for drift alone."""
    with mock.patch.multiple(
        distributions,
        **{name: watch.around(getattr(distributions, name)) for name in ("measured_rows", "measured_schema", "gather", "write")},
    ), mock.patch.multiple(
        distributions.Counting, **{name: watch.around(getattr(distributions.Counting, name)) for name in ("__init__", "take", "publish", "save")}
    ), mock.patch.multiple(
        drift, **{name: watch.around(getattr(drift, name)) for name in ("judge", "verdicts", "warnings", "history", "own_entry", "check")}
    ), mock.patch.multiple(
        StagedWriter,
        **{name: watch.around(getattr(StagedWriter, name), lambda writer, *_: writer.path.name.endswith(".measured.arrow")) for name in ("write", "__exit__")},
    ):  # fmt: skip
        yield


def measure(data, steps):
    """Give the CPU seconds of drift, of the whole run, and megabytes of text per second of CPU."""
    with folder() as place:
        source = {"name": "corpus", "files": {"path": str(data / "corpus" / "*.zst"), "id": "id", "lang": "lang"}}
        lab = Lab(place, {"sources": [source], "steps": steps, "exports": [{"name": "x", "jsonl": {"path": "./out"}}]})
        watch = Stopwatch()
        began = time.process_time()
        with watched(watch):
            report = lab.run()
        return watch.seconds, time.process_time() - began, report


def main():
    """Measure each pipeline a few times and tell the medians."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[3] / "shared" / "data")
    asked.add_argument("--times", type=int, default=5)
    given = asked.parse_args()
    for name, steps in PIPELINES.items():
        measure(given.data, steps)  # warm
        found = sorted((measure(given.data, steps) for _ in range(given.times)), key=lambda one: one[0] / one[1])
        mine, whole, report = found[len(found) // 2]
        told = {
            "pipeline": name,
            "drift_cpu_s": round(mine, 4),
            "run_cpu_s": round(whole, 3),
            "percent": round(100 * mine / whole, 2),
        }
        told |= {
            "percent_all": [round(100 * a / b, 2) for a, b, _ in found],
            "records": report.counts.read,
            "bytes_read": report.bytes_read,
        }
        sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
