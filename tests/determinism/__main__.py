"""Run the whole matrix: hash seed x time zone x locale x workers x Python, and a few cells on Ray where that is installed.

    python -m tests.determinism [--pythons PYTHON ...] [--quick]

A Python is an interpreter that has the locked libraries; by default the one that runs this and those on the PATH that have them. Prints a line
a cell, and the files that differ from the first cell; the last line is for the soak (`tests.soak.commands`). Ends with 1 if any differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.determinism import matrix
from tests.soak import commands


def main() -> int:
    """Run all cells and say what they gave."""
    asked = argparse.ArgumentParser(
        prog="python -m tests.determinism", description="one digest under all circumstances"
    )
    asked.add_argument("--pythons", nargs="*", default=None, metavar="PYTHON")
    asked.add_argument("--quick", action="store_true", help="the slice that the suite runs")
    given = asked.parse_args()
    pythons = given.pythons or matrix.present()
    cells = list(matrix.slice_of(pythons)) if given.quick else list(matrix.whole(pythons))
    began, differing, first = time.monotonic(), [], None
    with tempfile.TemporaryDirectory(prefix="gristmill-determinism-") as folder:
        for cell in cells:
            found = matrix.run(cell, Path(folder))
            first = first or found
            other = matrix.difference(first["files"], found["files"])
            differing += [f"{cell.told()}: {', '.join(other[:5])} and {len(other)} in all differ"] if other else []
            say(f"{found['digest'][:16]}  {cell.told()}" + "".join(f"\n    differs: {name}" for name in other))
    say(
        f"{len(cells)} cells, {len(cells) - len(differing)} with the digest of the first, {time.monotonic() - began:.0f} s"
    )
    versions = ", ".join(sorted({matrix.version(python) for python in pythons}))
    places = dict(Counter(f"{cell.engine}, {cell.workers} workers" for cell in cells))
    say(commands.told(len(cells), differing, runs=2 * len(cells), places=places, note=f"{versions}."))
    return 1 if differing else 0


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
