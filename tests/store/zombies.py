"""Stop a run past its lease at each failpoint, let another machine take it over and publish, wake it: it must be refused, and no byte differ.

python -m tests.store.zombies
"""

import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.net.stores import seaweed
from tests.soak import scenes
from tests.soak.results import say
from tests.store.remotes import NAMES, Bucket, Trials, history

DONE = ("report.written", "staging.removed")  # nothing is left to write then: whoever wakes ends well


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="gm-zombies-"))
    began = time.monotonic()
    (folder / "weed").mkdir()
    source = folder / "frozen" / "src"
    shutil.copytree(scenes.ROOT / "src", source)
    wrong = 0
    with seaweed(folder / "weed") as store, scenes.warm(folder / "warm", source) as server:
        done = Trials(Bucket(store), history(folder / "local", server, n=40), server, folder / "trials", "zombies")
        for point in NAMES:
            if not done.counts.get(point):
                say(f"{point}: not passed")
                continue
            codes, problems = done.zombie(point)
            wrong += len(problems) + (codes != [0, 0 if point in DONE else 1])
            say(f"{point}: exit codes {codes}, {len(problems)} violations {problems[:3]}")
    say(f"{len(NAMES)} failpoints, {wrong} violations, {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
