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
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.soak import scenes
from tests.soak.results import STOPPED, Room


class Command(NamedTuple):
    """module: with its arguments, COUNT among them where it can be made smaller; count: the whole; seconds: about what that takes on two cores."""

    module: str
    count: int
    seconds: float


COMMANDS = {
    "malformed": Command("tests.malformed COUNT 10000", 2500, 600),
    "limits": Command("tests.malformed.limits 1024", 13, 300),
    "determinism": Command("tests.determinism", 72, 400),
    "machine": Command("tests.properties.machine COUNT 1", 100_000, 10_000),
    "adoption": Command("tests.engine.adoption 1 2", 4, 150),
    "stores": Command("tests.store.kills COUNT 7", 215, 1500),
    "store-zombies": Command("tests.store.zombies", 24, 300),
}


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
    """The rooms. left_s: how long there is."""

    def __init__(self, folder: Path, source: Path, left_s: Callable[[], float]) -> None:
        self.folder, self.source, self.left_s = folder, source, left_s

    def run(self, room: Room) -> None:
        """Run the command of a room; what it says goes on as it comes into a file."""
        command, left_s = COMMANDS[room.name], self.left_s()
        part = min(1.0, left_s / command.seconds)
        count = int(command.count * part) if "COUNT" in command.module else command.count * (part == 1.0)
        room.trials = room.runs = room.deaths = room.looks = 0  # one that was stopped begins anew: it is one command
        room.seconds, room.by_place = 0.0, Counter()
        if count < command.count:
            room.note = (
                f"{STOPPED} {count:,} of {command.count:,}: all of it takes about {command.seconds / 60:.0f} minutes."
            )
        if not count:
            return
        argv = command.module.replace("COUNT", str(count))
        room.command = f"python -m {argv}"
        log, began = self.folder / f"{room.name}.log", time.monotonic()
        with log.open("wb") as out:
            code = subprocess.run(
                [sys.executable, "-m", *argv.split()],
                env={**os.environ, **scenes.environment(self.source)},
                cwd=scenes.ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        room.seconds = time.monotonic() - began
        self._take(room, log.read_text("utf-8", "backslashreplace").splitlines(), code)

    @staticmethod
    def _take(room: Room, lines: list[str], code: int) -> None:
        """Take over what a command told."""
        try:
            found = json.loads(lines[-1])
            room.trials, room.runs, room.deaths = found["trials"], found["runs"], found["killed"]
            room.looks, room.by_place = found["looks"], Counter(found["places"])
            room.note = " ".join(part for part in (found["note"], room.note) if part)
            problems = [*found["violations"]]
        except (IndexError, KeyError, TypeError, ValueError):
            room.trials, problems = room.trials + 1, [f"it did not say what came of it: {(lines or [''])[-1][:300]}"]
        if code not in {0, 1} or bool(code) != bool(problems):
            problems.append(f"it ended with {code}")
        for problem in problems:
            room.violate(f"{room.command}: {problem} (all it said: {room.name}.log)")
