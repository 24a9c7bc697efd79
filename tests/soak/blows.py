"""Rooms of the soak that hurt single file operations, and those that stop, starve and crowd runs.

Not here: the rooms of failpoints and signals (`__main__`). Invariant: each day has a town of its own, where it is that day as long as there
are trials, since a town answers all runs alike.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property, partial
from pathlib import Path

from tests.crash import shim
from tests.soak import commits, five, operations, power, reads, scarcity, verbs, zombies
from tests.soak.five import Ends, Town
from tests.soak.results import Room, Trial, say

from gristmill.testing import crash

Task = Callable[[crash.Warm, Path], tuple[Trial, str]]
Start = Callable[[Path], AbstractContextManager[crash.Warm]]
Work = Callable[[Room, list[Task], Start], None]

POINTS = 300  # of each mode, over both days
DAY_1 = 100  # of them
VERB_POINTS = 25
PAIRS = 500
ZOMBIES = 60
DISKS = 40
READS = 100  # of each day
LIMITS_MB = (2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 160, 192, 256, 320, 400, 512)
COMMITTERS, COMMITS = 8, 2000
# Of power loss, for each command line; reruns only of those that may be called twice.
MOMENTS, RERUNS, TWICE = 240, 60, 40


class Blows:
    """The kinds of sources with the shim below them. Used as a context; what it needs is made when it is asked for."""

    def __init__(self, folder: Path, source: Path, seed: int, work: Work, left_s: Callable[[], float]) -> None:
        self.folder, self.source, self.seed, self.work, self.left_s = folder / "five", source, seed, work, left_s
        self.folder.mkdir()
        self.towns: list[Town] = []
        self.library = shim.build(self.folder)
        self._histories: list[Ends] = []

    def close(self) -> None:
        """Stop the towns."""
        for town in self.towns:
            town.server.stop()

    def start(self, scratch: Path) -> AbstractContextManager[crash.Warm]:
        """Start a warm process with the shim."""
        modules = self.folder / "modules"
        if modules.exists():
            scratch.mkdir(parents=True, exist_ok=True)
            shutil.copy(modules, scratch / "modules")
        return five.warm(scratch, self.source, self.towns[0], self.library)

    @property
    def histories(self) -> list[Ends]:
        """The run of day 1 and that of day 2."""
        if not self._histories:
            for name in ("first", "second"):
                (self.folder / name).mkdir()
                self.towns.append(Town(self.folder / name))
            with self.start(self.folder / "peace") as server:
                shutil.copy(self.folder / "peace" / "modules", self.folder / "modules")
                self._histories = [
                    five.history(self.folder / "first", self.towns[0], server, days=1)[0],
                    five.history(self.folder / "second", self.towns[1], server)[1],
                ]
        return self._histories

    @cached_property
    def verb_scenes(self) -> list[Ends]:
        """The other verbs that write, each at the end of the second day."""
        _ = self.histories
        with self.start(self.folder / "verbs") as server:
            return verbs.scenes_of(self.folder / "second", server, [*verbs.VERBS])

    def _at(self, ends: Ends, blows: list[tuple[str, int]], place: str) -> Task:
        def task(server: crash.Warm, scratch: Path) -> tuple[Trial, str]:
            trial, hit = operations.trial(server, ends, scratch, blows)
            if len(blows) > 1:
                return trial, "both dealt" if len(hit) == len(blows) else "one dealt"
            return trial, place if hit else "not reached"

        return task

    def operations(self, room: Room) -> None:
        """Single operations of both days' runs, in each mode."""
        if self.library is None:
            room.note = shim.NO_COMPILER
            return
        tasks: list[Task] = []
        for ends, n in zip(self.histories, (DAY_1, POINTS - DAY_1), strict=True):
            found = ends.operations
            tasks += [
                self._at(ends, [(mode, at)], mode) for mode in shim.MODES for at in operations.points(found, mode, n)
            ]
            say(f"  {ends.scene.name}: {len(found)} operations")
            room.note += f"{ends.scene.name}: {len(found):,} operations. "
        self._work(room, tasks)

    def _work(self, room: Room, tasks: list[Task]) -> None:
        """Do the tasks in an order of chance: where time ends, what was done is an even sample."""
        random.Random(self.seed).shuffle(tasks)
        self.work(room, tasks, self.start)

    def verbs(self, room: Room) -> None:
        """Single operations of the other verbs that write."""
        if self.library is None:
            room.note = shim.NO_COMPILER
            return
        tasks: list[Task] = []
        for ends in self.verb_scenes:
            found = ends.operations
            for mode in shim.MODES:
                tasks += [
                    self._at(ends, [(mode, at)], ends.scene.name) for at in operations.points(found, mode, VERB_POINTS)
                ]
        self._work(room, tasks)

    def pairs(self, room: Room) -> None:
        """A run is hurt, and then its rerun; of the second blow's place it is only known that it lies in what is left to do."""
        if self.library is None:
            room.note = shim.NO_COMPILER
            return
        chance = random.Random(self.seed)
        tasks: list[Task] = []
        for ends in self.histories:
            found = ends.operations
            for _ in range(PAIRS * 6 // 10):  # a few reruns are done before the second blow
                first = chance.choice(operations.points(found, "kill", 400))
                left = max(30, len(found) - first)
                modes = [chance.choice(shim.MODES) for _ in range(2)]
                tasks.append(self._at(ends, [(modes[0], first), (modes[1], chance.randint(1, left))], ""))
        self._work(room, tasks)

    def zombies(self, room: Room) -> None:
        """Stopped stage workers and runs that lost their lock."""
        if self.library is None:
            room.note = shim.NO_COMPILER
            return
        tasks: list[Task] = []
        for ends in self.histories:
            top = len(ends.operations)
            for i in range(ZOMBIES // 2):
                tasks.append(
                    lambda server, scratch, i=i, ends=ends: zombies.stage_worker(server, ends, scratch, self.seed + i)
                )
                tasks.append(
                    lambda server, scratch, i=i, ends=ends, top=top: zombies.lost_lock(
                        server, ends, scratch, self.seed + i, top
                    )
                )
        self._work(room, tasks)

    def disks(self, room: Room) -> None:
        """Small disks."""
        with tempfile.TemporaryDirectory() as folder, scarcity.mounted(Path(folder), 100) as allowed:
            if not allowed:
                room.note = "Nothing may be mounted here (a container needs SYS_ADMIN)."
                return
        self._work(room, [partial(self._disk, ends, 30 * i) for ends in self.histories for i in range(DISKS // 2)])

    @staticmethod
    def _disk(ends: Ends, kib: int, server: crash.Warm, scratch: Path) -> tuple[Trial, str]:
        trial = scarcity.full_disk(server, ends, scratch, kib)
        assert trial is not None
        return trial, "was full" if trial.codes[0] else "had room enough"

    def memory(self, room: Room) -> None:
        """Little memory."""
        ends = self.histories[1]
        tasks: list[Task] = [
            lambda server, scratch, mb=mb: scarcity.little_memory(server, ends, scratch, mb) for mb in LIMITS_MB
        ]
        self.work(room, tasks, self.start)

    def reads(self, room: Room) -> None:
        """Reads that fail."""
        if self.library is None:
            room.note = shim.NO_COMPILER
            return
        tasks: list[Task] = []
        for ends in self.histories:
            tree = self.folder / "reads"
            shutil.copytree(ends.scene.start, tree)
            with self.start(self.folder / "counting") as server:
                found = reads.counted(tree, five.runner(server, ends.argv))
            shutil.rmtree(tree)
            tasks += [partial(self._read, ends, at) for at in reads.points(found, tree, READS)]
            room.note += f"{ends.scene.name}: {len(found):,} reads. "
        self._work(room, tasks)

    @staticmethod
    def _read(ends: Ends, at: int, server: crash.Warm, scratch: Path) -> tuple[Trial, str]:
        trial, hit = reads.trial(server, ends, scratch, at)
        return trial, "failed" if hit else "not reached"

    def power(self, room: Room) -> None:
        """What the disk may hold when a run, or another verb, loses power; and when one that was killed was called again before."""
        if self.library is None:
            room.note = shim.NO_COMPILER
            return
        tasks: list[Task] = []
        states: dict[str, set[bytes]] = {}
        chance = random.Random(self.seed)
        scenes = [*self.histories, *self.verb_scenes]
        with self.start(self.folder / "power") as server:
            for ends in scenes:
                made = power.recorded(server, ends, self.folder / "power")
                moments = power.points(made.record, MOMENTS, chance)
                parts = [moments[at : at + 40] for at in range(0, len(moments), 40)]
                tasks += [partial(self._looked_at, made, part, states) for part in parts]
                if ends in self.histories or ends.argv[0] in {"export", "gc"}:
                    tasks += [
                        partial(self._called_again, made, chance.choice(moments[:-1]), self.seed + i)
                        for i in range(RERUNS)
                    ]
                syncs = [each for each in ends.operations if each.kind == "fsync" and ends in self.histories]
                tasks += [
                    partial(self._killed_before, ends, each.number, states)
                    for each in chance.sample(syncs, min(TWICE, len(syncs)))
                ]
        self._work(room, tasks)
        room.note = f"{sum(map(len, states.values())):,} different states of the disk. {room.note}".strip()

    def _looked_at(
        self, made: power.Recorded, moments: list[int], states: dict[str, set[bytes]], _: crash.Warm, scratch: Path
    ) -> tuple[Trial, str]:
        trial, seen = power.looked(made, scratch, moments, self.seed)
        states.setdefault(trial.scene, set()).update(seen.states)
        return trial, "looked at"

    @staticmethod
    def _called_again(
        made: power.Recorded, moment: int, seed: int, server: crash.Warm, scratch: Path
    ) -> tuple[Trial, str]:
        chance = random.Random(seed)
        remains = chance.choice([*made.record.all_remains(moment, chance)])
        return power.rerun(server, made, scratch, remains), "called again"

    def _killed_before(
        self, ends: Ends, at: int, states: dict[str, set[bytes]], server: crash.Warm, scratch: Path
    ) -> tuple[Trial, str]:
        made = power.recorded(server, ends, scratch, kill_at=at)
        trial, _ = self._looked_at(made, [len(made.record)], states, server, scratch)
        trial.attack = f"killed at operation {at} and called again; then {trial.attack}"
        return trial, "killed, called again, looked at"

    def commits(self, room: Room) -> None:
        """Many committers at once."""
        with commits.warm(self.folder / "committers", self.source) as server:
            made = commits.commits(
                server, self.folder / "crowd", COMMITTERS, COMMITS // COMMITTERS, self.seed, self.left_s()
            )
        room.trials, room.runs, room.deaths = 1, made.commits, made.kills
        room.looks, room.seconds, room.violations = made.looks, made.seconds, made.problems
        room.by_place.update(lost=made.lost, doubled=made.doubled, stops=made.stops, collections=made.collected)
        room.note = (
            f"{made.commits:,} commits by {made.processes} processes, {made.lost} records lost, {made.doubled} doubled; {made.stops:,} stops, "
            f"{made.kills} kills, garbage collected {made.collected} times."
        )
        if made.commits < COMMITS:
            room.note += f" Stopped at its time after {made.commits:,} of {COMMITS:,}."
