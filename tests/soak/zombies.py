"""Zombies: processes that are stopped in the middle of a stage or of a whole run, and wake when others have taken over.

A stage worker (`gristmill stage work`) holds no lock: while it is stopped the run is finished without it, and perhaps the next one. A
run holds the lock for as long as it lives, stopped or not; it loses it only where somebody removes the lock's file. Not here: a holder
that keeps its lock (`attacks.stopped_holder`). Invariant: what a zombie does when it wakes changes no lasting byte.
"""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import orjson
from tests.crash import shim
from tests.soak import attacks, command, five
from tests.soak.five import Ends
from tests.soak.results import Trial

from gristmill.testing import crash

REFUSED = {1, 2, 4}  # how a zombie may end that finds itself too late: it failed, or there is no such run to work on


def planned(server: crash.Warm, tree: Path) -> tuple[int, list[str]]:
    """Plan the run that is due, as a scheduler does; give its number and stages."""
    command.said(tree).unlink(missing_ok=True)
    code = server.run([str(tree), "stage", "plan"], {})
    told = command.said(tree).read_text("utf-8")
    assert code == 0, told
    found = orjson.loads(next(line for line in told.splitlines() if line.startswith("{")))
    return found["seq"], found["stages"]


def stage_worker(server: crash.Warm, ends: Ends, scratch: Path, seed: int) -> tuple[Trial, str]:
    """Stop a stage worker at an operation; the run is finished by another process; then it wakes. Gives the trial, and how that ended."""
    chance = random.Random(seed)
    hit: list[shim.Operation] = []
    codes: list[int] = []

    def blow(tree: Path, i: int) -> int:
        seq, stages = planned(server, tree)
        at = chance.randrange(len(stages))
        for name in stages[:at]:
            assert server.run([str(tree), "stage", "work", str(seq), name], {}) == 0
        work = ["stage", "work", str(seq), stages[at]]
        pid = server.start([str(tree), *work], shim.armed(tree, i, "stop", chance.randint(1, 300)))
        if not until_stopped(server, pid):
            hit.append(shim.Operation(0, "none", "it was done before it was to stop", False))
            return server.run([str(tree), "stage", "commit", str(seq), "--workers", "1"], {})
        hit.extend(each for each in shim.operations(tree, i) if each.hurt)
        code = server.run([str(tree), "stage", "commit", str(seq), "--workers", "1"], {})
        os.kill(pid, signal.SIGCONT)
        codes.append(server.wait(pid))
        assert server.run([str(tree), *five.RUN], {}) == 0  # nothing new; it clears up what the zombie left
        return code

    trial = attacks.attacked(
        ends.scene, scratch, f"stage worker stopped, seed {seed}", [blow], five.runner(server, five.RUN), also=None
    )
    return finished(trial, scratch, hit, codes), ended("stage work", codes)


def lost_lock(server: crash.Warm, ends: Ends, scratch: Path, seed: int, top: int) -> tuple[Trial, str]:
    """Stop a run at an operation and remove the lock's file; another run takes over and ends; then the first one wakes. Gives the trial, and how that ended."""
    chance = random.Random(seed)
    hit: list[shim.Operation] = []
    codes: list[int] = []

    def blow(tree: Path, i: int) -> int:
        pid = server.start([str(tree), *ends.argv], shim.armed(tree, i, "stop", chance.randint(1, top)))
        assert until_stopped(server, pid), "it ended before it was stopped"
        hit.extend(each for each in shim.operations(tree, i) if each.hurt)
        (tree / "corpus" / "lock").unlink(missing_ok=True)
        code = server.run([str(tree), *ends.argv], {})
        os.kill(pid, signal.SIGCONT)
        codes.append(server.wait(pid))
        assert server.run([str(tree), *five.RUN], {}) == 0  # nothing new; it clears up what the zombie left
        return code

    trial = attacks.attacked(
        ends.scene, scratch, f"lock lost, seed {seed}", [blow], five.runner(server, five.RUN), also=None
    )
    return finished(trial, scratch, hit, codes), ended("lock lost", codes)


def until_stopped(server: crash.Warm, pid: int) -> bool:
    """Wait until a process is stopped, or has ended; give whether it is stopped."""
    deadline = time.monotonic() + attacks.PATIENCE_S
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
        except FileNotFoundError:
            return False
        if state == "T":
            return True
        if state == "Z":
            return server.wait(pid) < 0
        time.sleep(0.004)
    raise TimeoutError(f"process {pid} neither stopped nor ended")


def ended(kind: str, codes: list[int]) -> str:
    """Say how a zombie ended, for the count: it was refused, or there was nothing that it still had to write."""
    told = [f"{kind}, {'refused' if code in REFUSED else 'nothing left to do'}" for code in codes]
    return told[0] if told else f"{kind}, not stopped in time"


def finished(trial: Trial, scratch: Path, hit: list[shim.Operation], codes: list[int]) -> Trial:
    """Judge how the zombies ended, and clear up."""
    where = "; ".join(f"{each.kind} {Path(each.path).name}" for each in hit)
    trial.problems += [
        f"stopped at {where}: the zombie ended with {code}" for code in codes if code not in {0, *REFUSED}
    ]
    if trial.problems:
        trial.problems.insert(0, f"stopped at {where}; the zombie ended with {codes}")
    else:
        for tree in {path.with_name(path.name.partition(".shim-")[0]) for path in scratch.glob("*.shim-*")}:
            shim.forget(tree)
            command.said(tree).unlink(missing_ok=True)
    return trial
