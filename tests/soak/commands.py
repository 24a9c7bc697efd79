"""Rooms that are commands of their own: each runs in the frozen source, and its last line says in JSON what came of it (`told`).

Not here: what the commands do. Invariant: a command that ends without such a line, or with another code than 0 or 1, counts as a violation, and what
it said is kept beside the source. Where the time that is left is too short for the whole count, as much is done as should fit; what cannot be made
smaller is left out, with a note.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.soak import scenes
from tests.soak.results import STOPPED, Room


class Command(NamedTuple):
    """module: with its arguments; COUNT among them where it can be made smaller, SEED where it can be done in parts, and side by side.

    count: the whole; seconds: about what that takes on two cores.
    """

    module: str
    count: int
    seconds: float


COMMANDS = {
    "malformed": Command("tests.malformed COUNT 10000", 2500, 600),
    "guards": Command("tests.guards", 1, 300),
    "limits": Command("tests.malformed.limits 1024", 19, 300),
    "determinism": Command("tests.determinism", 72, 400),
    "machine": Command("tests.properties.machine COUNT SEED", 100_000, 9_000),
    "days": Command("tests.soak.days COUNT", 2000, 1500),
    "mutants": Command("tests.mutants", 1, 7200),
    "covered": Command("tests.soak.covered", 1, 3000),
    "adoption": Command("tests.engine.adoption 1 2", 4, 150),
    "stores": Command("tests.store.kills COUNT 7", 215, 1500),
    "store-zombies": Command("tests.store.zombies", 24, 300),
}
APART = 1_000_000  # from the seeds of one process to those of the next; a walk of some steps has one seed


def told(
    trials: int,
    violations: Sequence[str],
    *,
    runs: int = 0,
    killed: int = 0,
    looks: int = 0,
    places: dict[str, int] | None = None,
    note: str = "",
) -> str:
    """Give the last line of a command."""
    return json.dumps(
        {
            "trials": trials,
            "violations": [*violations],
            "runs": runs,
            "killed": killed,
            "looks": looks,
            "places": places or {},
            "note": note,
        }
    )


class Commands:
    """The rooms. jobs: how many processes share a count that can be parted. left_s: how long there is."""

    def __init__(self, folder: Path, source: Path, jobs: int, left_s: Callable[[], float]) -> None:
        self.folder, self.source, self.jobs, self.left_s = folder, source, jobs, left_s

    def run(self, room: Room) -> None:
        """Run the command of a room, or what is left of it; what it says goes on as it comes into a file."""
        command = COMMANDS[room.name]
        if "SEED" not in command.module:  # one that was stopped begins anew
            room.forget()
        missing = command.count - room.trials
        if missing <= 0:
            return
        part = min(1.0, self.left_s() / (command.seconds * missing / command.count))
        count = int(missing * part) if "COUNT" in command.module else missing * (part == 1.0)
        if count:
            self._do(room, command, count)
        if count < missing and room.trials < command.count:
            told = f"all of it takes about {command.seconds / 60:.0f} minutes."
            room.note = " ".join(filter(None, [room.note, f"{STOPPED} {room.trials:,} of {command.count:,}: {told}"]))

    def _do(self, room: Room, command: Command, count: int) -> None:
        jobs = self.jobs if "SEED" in command.module else 1
        lines = [
            command.module.replace("COUNT", str(-(-count // jobs))).replace("SEED", str(1 + room.trials + i * APART))
            for i in range(jobs)
        ]
        room.command = " and ".join(filter(None, [room.command, *(f"`python -m {line}`" for line in lines)])).strip("`")
        began = time.monotonic()
        with ThreadPoolExecutor(jobs) as pool:
            ended = [*pool.map(self._ended, [room.name] * jobs, range(jobs), lines)]
        room.seconds += time.monotonic() - began
        for said, code in ended:
            self._take(room, said, code)

    def _ended(self, name: str, i: int, line: str) -> tuple[list[str], int]:
        log = self.folder / f"{name}-{i}.log"
        with log.open("wb") as out:
            code = subprocess.run(
                [sys.executable, "-m", *line.split()],
                env={**os.environ, **scenes.environment(self.source)},
                cwd=scenes.ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        return log.read_text("utf-8", "backslashreplace").splitlines(), code

    @staticmethod
    def _take(room: Room, lines: list[str], code: int) -> None:
        """Take over what a command told."""
        try:
            found = json.loads(lines[-1])
            room.trials, room.runs, room.deaths = (
                room.trials + found["trials"],
                room.runs + found["runs"],
                room.deaths + found["killed"],
            )
            room.looks += found["looks"]
            room.by_place.update(found["places"])
            room.note = " ".join(part for part in (found["note"], room.note) if part)
            problems = [*found["violations"]]
        except (IndexError, KeyError, TypeError, ValueError):
            room.trials, problems = room.trials + 1, [f"it did not say what came of it: {(lines or [''])[-1][:300]}"]
        if code not in {0, 1} or bool(code) != bool(problems):
            problems.append(f"it ended with {code}")
        for problem in problems:
            room.violate(f"{room.command}: {problem} (all it said: {room.name}-*.log)")
