"""Run the soak: every failpoint at every passing, a hundred and more random kills, and so on; write docs/reliability.*.

    python -m tests.soak [--minutes M] [--only ROOM] [--seed N] [--jobs N] [--dry]

Without `--minutes` every room runs to its full count. A trial's name holds the seed or the failpoint that replays it.
"""

import argparse
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
from pathlib import Path
from queue import SimpleQueue

from tests.soak import attacks, results, scenes
from tests.soak.results import Room, say

from gristmill.core import failpoints
from gristmill.testing import crash

SMALL, BIG = {"n": 60, "split": 4000, "docs": 15}, {"n": 6000, "split": 250_000, "docs": 1000}
# Of the two failpoints that stand in every durable write each n-th passing is enough, by workers: most have names too.
DISK_EVERY = {1: 3, 2: 12}

# What a thread does with a warm process of its own: (server, scratch folder) -> a trial and its place in the table.
Task = Callable[[crash.Warm, Path], tuple[crash.Trial, str]]


class Soak:
    """One soak: its folder, its scenes, its threads."""

    def __init__(self, folder: Path, seed: int, jobs: int, deadline: float) -> None:
        self.folder, self.seed, self.jobs, self.deadline = folder, seed, jobs, deadline
        self.source = folder / "src"
        self.commit = _freeze(folder)
        with scenes.warm(folder / "peace", self.source) as server:
            self.small = scenes.history(folder, "small", scenes.runner(server, 1), **SMALL)
            self.big = scenes.history(folder, "big", scenes.runner(server, 2), **BIG)
            started = time.perf_counter()
            self.counts = {
                (scene.name, workers): crash.count_failpoints(scene, folder / "peace", scenes.runner(server, workers))
                for scene in self.small
                for workers in (1, 2)
            }
            started = time.perf_counter()
            crash.count_failpoints(self.big[0], folder / "peace", scenes.runner(server, 2))
            self.usual_s = time.perf_counter() - started

    def work(self, room: Room, tasks: list[Task]) -> None:
        """Do tasks in as many threads as there are jobs; stop at the deadline."""
        queue: SimpleQueue[Task] = SimpleQueue()
        for task in tasks:
            queue.put(task)

        def thread(number: int) -> None:
            scratch = self.folder / f"{room.name}-{number}"
            with scenes.warm(scratch, self.source) as server:
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
            room.note = f"Stopped at its time after {room.trials} of {len(tasks)}."

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

        def task(server: crash.Warm, scratch: Path) -> tuple[crash.Trial, str]:
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
        polls = attacks.Polls()
        tasks: list[Task] = [
            lambda server, scratch, i=i: (
                attacks.random_kill(server, self.big[i % 2], scratch, self.seed + i, self.usual_s, polls),
                self.big[i % 2].name,
            )
            for i in range(120)
        ]
        self.work(room, tasks)
        room.looks += polls.looks
        room.violations += [f"while a run was at work: {problem}" for problem in polls.problems]

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
        """Run the property tests with more examples (`GRISTMILL_SOAK`)."""
        folder = scenes.ROOT / "tests" / "properties"
        if not folder.is_dir():
            room.note = "There are none."
            return
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", str(folder)],
            env={**os.environ, "GRISTMILL_SOAK": os.environ.get("GRISTMILL_SOAK", "10")},
            cwd=scenes.ROOT,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        room.seconds = time.perf_counter() - started
        passed = re.search(r"(\d+) passed", done.stdout)
        room.trials = int(passed[1]) if passed else 0
        if done.returncode:
            room.violations.append(f"property tests failed: {done.stdout.strip().splitlines()[-1]}")
            say(done.stdout[-4000:])


ROOMS = ("groups", "double", "workers", "signals", "locks", "sweep", "properties")


def main() -> int:
    """Run the rooms asked for; 1 if any promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, help="stop after about so long")
    parser.add_argument("--only", action="append", choices=ROOMS, help="only this room (may be given more than once)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="trials at the same time")
    parser.add_argument("--dry", action="store_true", help="leave docs/reliability.* alone")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="gristmill-soak-"))
    rooms: list[Room] = []
    deadline = time.monotonic() + args.minutes * 60 if args.minutes else float("inf")
    soak = Soak(folder, args.seed, args.jobs, deadline)
    found = re.search(r'"code": "(\w+)"', (folder / "small-1-done/corpus/runs/1/manifest.json").read_text("utf-8"))
    command = "python -m tests.soak" + "".join(f" --only {name}" for name in args.only or ())
    command += f" --minutes {args.minutes:g}" if args.minutes else ""
    for name in _asked(args.only):
        say(f"{name}: {results.MEANING[name]}")
        room = Room(name)
        getattr(soak, name)(room)
        rooms.append(room)
        code = found[1][:12] if found else ""
        room.made_with = {"command": command, "seed": args.seed, "code": code, "commit": soak.commit}
        figures = results.collect(rooms)
        if not args.dry:
            results.write(figures)
    say("\n".join(results.table(figures)))
    if any(room.violations for room in rooms):
        say(f"violations; what they left is kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def _freeze(folder: Path) -> str:
    """Copy the committed source, which nobody edits meanwhile; give its commit. Without git: what lies there."""
    git = ["git", "-C", str(scenes.ROOT)]
    packed = subprocess.run([*git, "archive", "HEAD", "src"], capture_output=True, check=False)
    if packed.returncode:
        shutil.copytree(scenes.ROOT / "src", folder / "src")
        return "not known"
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    return (
        subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, check=True).stdout.decode().strip()
    )


def _asked(only: list[str] | None) -> Iterator[str]:
    return (name for name in ROOMS if not only or name in only)


if __name__ == "__main__":
    sys.exit(main())
