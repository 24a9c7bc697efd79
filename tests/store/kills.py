"""Kill runs whose dataset and exports lie on a SeaweedFS; what is there in the end must equal a run on a local disk never killed.

    python -m tests.store.kills 200 1

kills at least 200 runs with seed 1, at failpoints and at random moments, goes on with them here or on another machine, and prints the figures, in
the last line for the soak (`tests.soak.commands`).
"""

import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.net.stores import seaweed
from tests.soak import commands, scenes
from tests.soak.results import say
from tests.store.remotes import SRC, Bucket, Trials, history

from gristmill.testing import crash


def main(kills: int, seed: int) -> int:
    folder = Path(tempfile.mkdtemp(prefix="gm-kills-"))
    rng = random.Random(seed)
    began = time.monotonic()
    (folder / "weed").mkdir()
    source = folder / "frozen" / "src"
    shutil.copytree(SRC, source)
    deaths = trials = elsewhere = 0
    wrong: list[str] = []
    codes: Counter[int] = Counter()
    with seaweed(folder / "weed") as store, scenes.warm(folder / "warm", source) as server:
        done = Trials(Bucket(store), history(folder / "local", server), server, folder / "trials", "kills")
        for problem in done.problems:
            say(f"in peace: {problem}")
            wrong.append(f"in peace: {problem}")
        while deaths < kills and len(wrong) < 10:
            trials += 1
            told, ended, problems = done.trial(trials, rng)
            deaths += ended.count(crash.KILLED)
            elsewhere += "elsewhere" in told or "machine 1" in told or "machine 2" in told
            codes.update(ended)
            for problem in problems:
                wrong.append(f"trial {trials} ({told}; {ended}): {problem}")
                say(wrong[-1])
            if trials % 10 == 0:
                say(f"{trials} trials, {deaths} kills, {len(wrong)} violations, {time.monotonic() - began:.0f} s")
    say(
        f"seed {seed}: {deaths} kills in {trials} trials, {elsewhere} of them gone on with on another machine, exit codes {dict(codes)}, {len(wrong)} violations, {time.monotonic() - began:.0f} s"
    )
    note = f"Exit codes {dict(codes)}."
    places = {"gone on with on another machine": elsewhere, "here": trials - elsewhere}
    say(commands.told(trials, wrong, runs=codes.total(), killed=deaths, looks=done.looks, places=places, note=note))
    if not wrong:
        shutil.rmtree(folder)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
