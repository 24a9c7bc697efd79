"""Run the soak: every failpoint at every passing, a hundred and more random kills, and so on; write docs/reliability.*.

    python -m tests.soak [--minutes M] [--each M] [--only ROOM] [--resume] [--commit C] [--seed N] [--jobs N] [--dry]

Without `--minutes` and `--each` every room runs to its full count. `--resume` goes on where a soak of this very code was stopped. A trial's name
holds the seed, the failpoint or the operation that replays it.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue

from tests.soak import attacks, commands, databases, results, scenes
from tests.soak.blows import Blows
from tests.soak.results import STOPPED, Room, say

from gristmill.core import failpoints
from gristmill.testing import crash

SMALL, BIG = {"n": 60, "split": 4000, "docs": 15}, {"n": 6000, "split": 250_000, "docs": 1000}
# Of the two failpoints that stand in every durable write each n-th passing is enough, by workers: most have names too.
DISK_EVERY = {1: 3, 2: 12}

# What a thread does with a warm process of its own: (server, scratch folder) -> a trial and its place in the table.
Task = Callable[[crash.Warm, Path], tuple[results.Trial, str]]
Start = Callable[[Path], AbstractContextManager[crash.Warm]]


class Soak:
    """One soak: its folder, its scenes, its threads."""

    def __init__(self, folder: Path, seed: int, jobs: int, deadline: float, commit: str) -> None:
        self.folder, self.seed, self.jobs, self.deadline = folder, seed, jobs, deadline
        self.source = folder / "src"
        self.commit = _freeze(folder, commit)
        self.blows = Blows(folder, self.source, seed, self.work, lambda: self.deadline - time.monotonic())
        self.databases = databases.Databases(seed, folder)
        self.commands = commands.Commands(folder, self.source, jobs, lambda: self.deadline - time.monotonic())

    @cached_property
    def small(self) -> list[crash.Scene]:
        """Both days of the small pipeline."""
        with scenes.warm(self.folder / "peace", self.source) as server:
            return scenes.history(self.folder, "small", scenes.runner(server, 1), **SMALL)

    @cached_property
    def big(self) -> list[crash.Scene]:
        """Both days of the big one."""
        with scenes.warm(self.folder / "peace", self.source) as server:
            return scenes.history(self.folder, "big", scenes.runner(server, 2), **BIG)

    @cached_property
    def counts(self) -> dict[tuple[str, int], dict[str, int]]:
        """How often the small runs pass each failpoint, by scene and workers."""
        with scenes.warm(self.folder / "peace", self.source) as server:
            return {
                (scene.name, workers): crash.count_failpoints(
                    scene, self.folder / "peace", scenes.runner(server, workers)
                )
                for scene in self.small
                for workers in (1, 2)
            }

    @cached_property
    def usual_s(self) -> float:
        """How long the big run of day 1 takes."""
        with scenes.warm(self.folder / "peace", self.source) as server:
            started = time.perf_counter()
            crash.count_failpoints(self.big[0], self.folder / "peace", scenes.runner(server, 2))
            return time.perf_counter() - started

    @property
    def code(self) -> str:
        """The digest of the source, as manifests hold it."""
        told = subprocess.run(
            [sys.executable, "-c", "from gristmill.core.build import code_fingerprint; print(code_fingerprint())"],
            env={**os.environ, **scenes.environment(self.source)},
            capture_output=True,
            check=True,
            encoding="utf-8",
        )
        return told.stdout.strip()[:12]

    def room(self, name: str) -> Callable[[Room], None]:
        """Give what runs a room."""
        if name in commands.COMMANDS:
            return self.commands.run
        place = next(each for each in (self, self.blows, self.databases) if name in vars(type(each)))
        return getattr(place, name)

    def work(self, room: Room, tasks: list[Task], start: Start | None = None) -> None:
        """Do tasks in as many threads as there are jobs, each with a warm process of its own; stop at the deadline.

        A room that was taken up has done its first tasks.
        """
        start = start or (lambda scratch: scenes.warm(scratch, self.source))
        queue: SimpleQueue[Task] = SimpleQueue()
        for task in tasks[room.trials :]:
            queue.put(task)

        def thread(number: int) -> None:
            scratch = self.folder / f"{room.name}-{number}"
            with start(scratch) as server:
                while not queue.empty() and time.monotonic() < self.deadline:
                    try:
                        room.add(*queue.get()(server, scratch))
                    except Exception as error:
                        room.fail(error)
                    if room.trials % 50 == 0:
                        say(f"  {room.name}: {room.trials} of {len(tasks)}")

        with ThreadPoolExecutor(self.jobs) as pool:
            for future in [pool.submit(thread, number) for number in range(self.jobs)]:
                future.result()
        if room.trials < len(tasks):
            room.note += f" {STOPPED} {room.trials} of {len(tasks)}."

    # --- the rooms -----------------------------------------------------------------------------------------------

    def sweep(self, room: Room) -> None:
        """Every failpoint, every passing, both executors, both days."""
        tasks: list[Task] = []
        for scene in self.small:
            for workers in (1, 2):
                for name, n in self.counts[scene.name, workers].items():
                    step = DISK_EVERY[workers] if name.startswith("disk.") else 1
                    tasks += [self._at(scene, workers, name, [f"{name}=kill@{i}"]) for i in range(1, n + 1, step)]
        random.Random(self.seed).shuffle(tasks)
        self.work(room, tasks)

    def double(self, room: Room) -> None:
        """Sampled pairs: the run dies at one failpoint, the rerun at another that it has yet to pass."""
        chance = random.Random(self.seed)
        tasks = []
        for _ in range(150):
            scene = chance.choice(self.small)
            counts = self.counts[scene.name, 1]
            known = [name for name in failpoints.NAMES if name in counts]  # nearly in the order they are passed
            first = chance.randrange(len(known))
            then = chance.randrange(first, len(known))
            points = [f"{known[first]}=kill@{chance.randint(1, counts[known[first]])}", f"{known[then]}=kill@1"]
            tasks.append(self._at(scene, 1, "", points))
        self.work(room, tasks)

    def _at(self, scene: crash.Scene, workers: int, place: str, points: list[str]) -> Task:
        label = f"{', then '.join(points)}, {workers} worker{'s' * (workers > 1)}"

        def task(server: crash.Warm, scratch: Path) -> tuple[results.Trial, str]:
            run = scenes.runner(server, workers)
            blows = [crash.AtFailpoint(point, run) for point in points]
            trial = attacks.attacked(scene, scratch, label, blows, scenes.runner(server, 1))
            if blows[0].reached != [True] or (workers == 1 and trial.codes[0] != crash.KILLED):
                trial.problems.append(f"the run did not die at its failpoint: {trial.codes}")
            if len(points) > 1:
                return trial, "killed twice" if trial.deaths == len(points) else "killed once"
            return trial, place

        return task

    def groups(self, room: Room) -> None:
        """At random moments."""
        tasks: list[Task] = [
            lambda server, scratch, i=i: (
                attacks.random_kill(server, self.big[i % 2], scratch, self.seed + i, self.usual_s),
                self.big[i % 2].name,
            )
            for i in range(120)
        ]
        self.work(room, tasks)

    def workers(self, room: Room) -> None:
        """One worker dies."""
        tasks: list[Task] = [
            lambda server, scratch, i=i: (attacks.shot_worker(server, self.small[i % 2], scratch, self.seed + i), "")
            for i in range(40)
        ]
        self.work(room, tasks)

    def signals(self, room: Room) -> None:
        """SIGTERM and SIGINT at every failpoint, its first and its middle passing."""
        scene = self.small[1]
        tasks: list[Task] = []
        for workers in (1, 2):
            for name, n in self.counts[scene.name, workers].items():
                if name in {"report.written", "staging.removed"}:
                    continue  # the run is over: the signal may find nobody to listen
                for number, i in ((signal.SIGTERM, 1), (signal.SIGINT, (n + 1) // 2)):
                    tasks.append(
                        lambda server, scratch, point=f"{name}={i}", number=number, workers=workers, name=name: (
                            attacks.signalled(server, scene, scratch, point, number, workers),
                            name,
                        )
                    )
        self.work(room, tasks)

    def locks(self, room: Room) -> None:
        """Stopped holders."""
        points = [f"{name}=stop" for name in self.counts[self.small[1].name, 1]]
        tasks: list[Task] = [
            lambda server, scratch, point=point: (
                attacks.stopped_holder(server, self.small[1], scratch, point),
                point.partition("=")[0],
            )
            for point in points
        ]
        self.work(room, tasks)

    def properties(self, room: Room) -> None:
        """Run the property tests with more examples (`GRISTMILL_SOAK`), wherever they stand, and all cases of those that have a slice."""
        more = {"GRISTMILL_SOAK": os.environ.get("GRISTMILL_SOAK", "10")}
        started = time.perf_counter()
        for chosen in (["tests/properties"], ["-m", "hypothesis or slice", "--ignore=tests/properties", "tests"]):
            done = subprocess.run(
                [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *chosen],
                env={**os.environ, **scenes.environment(self.source), **more},
                cwd=scenes.ROOT,
                capture_output=True,
                encoding="utf-8",
                check=False,
            )
            passed = re.search(r"(\d+) passed", done.stdout)
            room.trials += int(passed[1]) if passed else 0
            if done.returncode:
                room.violations.append(f"property tests failed: {done.stdout.strip().splitlines()[-1]}")
                say(done.stdout[-4000:])
        room.seconds = time.perf_counter() - started


ROOMS = (
    *("power", "reads"),
    *("operations", "verbs", "pairs", "zombies", "disks", "memory", "commits"),
    *("groups", "double", "workers", "signals", "locks", "sweep", "loads", "restarts", "properties"),
    *commands.COMMANDS,
)


def main() -> int:
    """Run the rooms asked for; 1 if any promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, help="stop after about so long")
    parser.add_argument("--each", type=float, metavar="M", help="stop each room after about so many minutes")
    parser.add_argument("--only", action="append", choices=ROOMS, help="only this room (may be given more than once)")
    parser.add_argument("--resume", action="store_true", help="go on where a soak of this very code was stopped")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="trials at the same time")
    parser.add_argument("--commit", default="HEAD", help="of which commit the source is put to the test")
    parser.add_argument("--dry", action="store_true", help="leave docs/reliability.* alone")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gristmill-soak-"))
    rooms: list[Room] = []
    deadline = time.monotonic() + args.minutes * 60 if args.minutes else float("inf")
    soak = Soak(folder, args.seed, args.jobs, deadline, args.commit)
    code = soak.code
    command = "python -m tests.soak" + "".join(f" --only {name}" for name in args.only or ())
    command += f" --minutes {args.minutes:g}" if args.minutes else ""
    command += f" --each {args.each:g}" if args.each else ""
    kept = _kept(code, args.seed) if args.resume else {}
    for name in _asked(args.only, kept):
        say(f"{name}: {results.MEANING[name]}")
        room = Room(name)
        if name in kept:
            room.take_up(kept[name])
        soak.deadline = min(deadline, time.monotonic() + args.each * 60) if args.each else deadline
        soak.room(name)(room)
        rooms.append(room)
        room.made_with = {"command": command, "seed": args.seed, "code": code, "commit": soak.commit}
        figures = results.collect(rooms)
        if not args.dry:
            results.write(figures)
    soak.blows.close()
    if not rooms:
        say("every room has its full count")
        return 0
    say("\n".join(results.table(figures)))
    if any(room.violations for room in rooms):
        say(f"violations; what they left is kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def _freeze(folder: Path, commit: str) -> str:
    """Copy the source of a commit, which nobody edits meanwhile; give its name. Without git: what lies there."""
    git = ["git", "-C", str(scenes.ROOT)]
    packed = subprocess.run([*git, "archive", commit, "src"], capture_output=True, check=False)
    if packed.returncode:
        shutil.copytree(scenes.ROOT / "src", folder / "src")
        return "not known"
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    return (
        subprocess.run([*git, "rev-parse", "--short", commit], capture_output=True, check=True).stdout.decode().strip()
    )


def _kept(code: str, seed: int) -> dict[str, dict[str, object]]:
    """Give the rooms' figures that were taken with this code and this seed, and show no violation."""
    rooms = json.loads(results.JSON.read_text("utf-8"))["rooms"] if results.JSON.exists() else {}
    return {
        name: room
        for name, room in rooms.items()
        if (room["code"], room["seed"]) == (code, seed) and not room["violations"]
    }


def _asked(only: list[str] | None, kept: dict[str, dict[str, object]]) -> Iterator[str]:
    """Give the rooms to run: those asked for that are not done."""
    done = {name for name, room in kept.items() if STOPPED not in room["note"]}
    return (name for name in ROOMS if (not only or name in only) and name not in done)


if __name__ == "__main__":
    sys.exit(main())
