"""Many processes commit to one dataset at once, while others read it and collect garbage and a nemesis stops and kills them.

Not here: what a process does (`committer`). Invariant: a trial ends with every file published once, in as many snapshots as files.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.soak import committer, scenes

from gristmill import Dataset, cli
from gristmill.testing import crash, laws


class Result(NamedTuple):
    """What came of it. lost, doubled: records; stops, kills: dealt by the nemesis; collected: times garbage was collected."""

    processes: int
    commits: int
    lost: int
    doubled: int
    looks: int
    stops: int
    kills: int
    collected: int
    seconds: float
    problems: list[str]


@contextmanager
def warm(folder: Path, source: Path | None) -> Iterator[crash.Warm]:
    """Start the process whose children commit."""
    with crash.Warm([sys.executable, "-m", "tests.soak.committer"], folder, scenes.environment(source)) as server:
        yield server


def collects() -> bool:
    """Say whether there is a garbage collector in this version."""
    return "gc" in cli.command().commands


def commits(server: crash.Warm, folder: Path, processes: int, each: int, seed: int, limit_s: float = 1e9) -> Result:
    """Let so many processes commit so many files each; give what came of it. limit_s: after so long no more are begun."""
    folder.mkdir(parents=True)
    committer.write_config(folder, processes)
    chance, began = random.Random(seed), time.monotonic()
    todo = {server.start([str(folder), "commit", str(me), str(each)], {}): me for me in range(processes)}
    others = [server.start([str(folder), "read", how], {}) for how in ("own", "strange")]
    others += [server.start([str(folder), "collect"], {})] if collects() else []
    stops = kills = 0
    problems: list[str] = []
    stopped: dict[int, float] = {}
    late = False
    while todo and not problems:
        time.sleep(0.05)
        for pid in [pid for pid in todo if pid not in stopped]:
            code = server.poll(pid)
            if code is None:
                continue
            me = todo.pop(pid)
            if code == crash.KILLED and not late:
                todo[server.start([str(folder), "commit", str(me), str(each)], {})] = me
            elif code not in {0, crash.KILLED}:
                problems.append(f"committer {me} ended with {code}")
        for pid in [pid for pid, until in stopped.items() if time.monotonic() > until]:
            del stopped[pid]
            os.kill(pid, signal.SIGCONT)
        late = late or time.monotonic() - began > limit_s
        if late:
            for pid in todo:
                os.kill(pid, signal.SIGKILL)  # the last of its nemeses: what was told must be there all the same
            stopped = {}
        elif chance.random() < 0.04 and len(stopped) < 3 and todo:
            pid = chance.choice([pid for pid in todo if pid not in stopped] or [0])
            if pid and chance.random() < 0.15:
                os.kill(pid, signal.SIGKILL)
                kills += 1
            elif pid:
                os.kill(pid, signal.SIGSTOP)
                stopped[pid] = time.monotonic() + chance.uniform(0.02, 0.5)
                stops += 1
    (folder / "stop").touch()
    for pid in [*todo, *others]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
        code = server.wait(pid, 600)
        problems += [f"a reader or collector ended with {code}"] if pid in others and code else []
    if late:  # whoever died left a run: it is gone on with, as by the next one who comes
        problems += gone_on(server, folder, processes)
    return judged(folder, processes, stops, kills, time.monotonic() - began, problems)


def gone_on(server: crash.Warm, folder: Path, processes: int) -> list[str]:
    """Let every process commit what it had begun."""
    problems = []
    for me in range(processes):
        written = len(list((folder / "data" / f"p{me}").glob("*.jsonl")))
        code = server.wait(server.start([str(folder), "commit", str(me), str(written)], {}), 600)
        problems += [f"committer {me} could not go on: {code}"] if code else []
    return problems


def judged(folder: Path, processes: int, stops: int, kills: int, seconds: float, problems: list[str]) -> Result:
    """Hold the dataset against the files that were committed."""
    root = folder / "corpus"
    found = committer.ids_of(root, "strange")
    files = [path for me in range(processes) for path in sorted((folder / "data" / f"p{me}").glob("*.jsonl"))]
    wanted = [f"{path.parent.name}/{path.stem}-{row}" for path in files for row in range(committer.ROWS)]
    lost, doubled = len(set(wanted) - set(found)), len(found) - len(set(found)) + len(set(found) - set(wanted))
    problems = [*problems, *laws.check(root)[:20]]
    if sorted(committer.ids_of(root, "own")) != sorted(found):
        problems.append("gristmill reads other ids than a stranger")
    runs = [line for line in Dataset(root).log() if line.get("published")]
    if len(runs) != len(files):
        problems.append(f"{len(files)} files were committed in {len(runs)} snapshots")
    looks = 0
    for how in ("own", "strange"):
        told = json.loads((folder / f"read-{how}.json").read_text("utf-8"))
        looks += told["looks"]
        problems += told["problems"]
    collected = int((folder / "collected").read_text()) if (folder / "collected").exists() else 0
    return Result(processes, len(files), lost, doubled, looks, stops, kills, collected, seconds, problems)
