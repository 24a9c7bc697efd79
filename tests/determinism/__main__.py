"""Run the whole matrix: hash seed x time zone x locale x workers x Python.

    python -m tests.determinism [--pythons PYTHON ...] [--quick]

A Python is an interpreter that has the locked libraries; by default the one that runs this. Prints a line a cell, and the files that
differ from the first cell; ends with 1 if any does.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.determinism import matrix


def main() -> int:
    """Run all cells and say what they gave."""
    asked = argparse.ArgumentParser(
        prog="python -m tests.determinism", description="one digest under all circumstances"
    )
    asked.add_argument("--pythons", nargs="*", default=[sys.executable], metavar="PYTHON")
    asked.add_argument("--quick", action="store_true", help="the slice that the suite runs")
    given = asked.parse_args()
    cells = list(matrix.slice_of(given.pythons)) if given.quick else list(matrix.whole(given.pythons))
    began, differing, first = time.monotonic(), 0, None
    with tempfile.TemporaryDirectory(prefix="gristmill-determinism-") as folder:
        for cell in cells:
            found = matrix.run(cell, Path(folder))
            first = first or found
            other = matrix.difference(first["files"], found["files"])
            differing += bool(other)
            say(f"{found['digest'][:16]}  {cell.told()}" + "".join(f"\n    differs: {name}" for name in other))
    say(f"{len(cells)} cells, {len(cells) - differing} with the digest of the first, {time.monotonic() - began:.0f} s")
    return 1 if differing else 0


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
