"""Stop a run past its lease at each failpoint, let another machine take it over and publish, wake it: it must be refused, and no byte differ.

python -m tests.store.zombies

The last line is for the soak (`tests.soak.commands`).
"""

import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.net.stores import seaweed
from tests.soak import commands, scenes
from tests.soak.results import say
from tests.store.remotes import NAMES, SRC, Bucket, Trials, history

DONE = ("report.written", "staging.removed")  # nothing is left to write then: whoever wakes ends well


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="gm-zombies-"))
    began = time.monotonic()
    (folder / "weed").mkdir()
    source = folder / "frozen" / "src"
    shutil.copytree(SRC, source)
    wrong: list[str] = []
    passed, runs, ends = 0, 0, Counter[str]()
    with seaweed(folder / "weed") as store, scenes.warm(folder / "warm", source) as server:
        done = Trials(Bucket(store), history(folder / "local", server, n=40), server, folder / "trials", "zombies")
        for point in NAMES:
            if not done.counts.get(point):
                say(f"{point}: not passed")
                continue
            codes, problems = done.zombie(point)
            passed, runs = passed + 1, runs + len(codes) + 1
            ends["woken with nothing left to do" if point in DONE else "refused"] += 1
            wrong += [f"{point}: {problem}" for problem in problems]
            if codes != (expected := [0, 0 if point in DONE else 1]):
                wrong.append(f"{point}: exit codes {codes}, expected {expected}")
            say(f"{point}: exit codes {codes}, {len(problems)} violations {problems[:3]}")
    say(f"{len(NAMES)} failpoints, {len(wrong)} violations, {time.monotonic() - began:.0f} s")
    note = f"{len(NAMES) - passed} of {len(NAMES)} failpoints are not passed here."
    say(commands.told(passed, wrong, runs=runs, looks=done.looks, places=dict(ends), note=note))
    if not wrong:
        shutil.rmtree(folder)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
