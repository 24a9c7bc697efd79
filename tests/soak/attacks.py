"""What is done to runs besides failpoints: groups killed at any moment, workers shot, holders stopped, signals.

Each gives a `crash.Trial`; all that is random comes from a seed that stands in the trial's name.
"""

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import psutil
from tests.soak import scenes
from tests.soak.results import Trial

from gristmill import Dataset
from gristmill.testing import crash, laws

PATIENCE_S = 60.0
LOOK_S = 0.25  # how often a reader looks while a run is at work
Rest = TypeVar("Rest", int, Mapping[str, str])  # what a `Run` or an `Attack` is told beside the folder


def dataset_view(scene: crash.Scene, tree: Path) -> list[str]:
    """Look with gristmill's own reader too: it must see what pyarrow sees in the files of the newest snapshot."""
    root = tree / scene.dataset
    seq = laws.head_seq(root) if root.is_dir() else None
    if seq is None:
        return []
    dataset = Dataset(root)
    rows = dataset.read()
    same = rows.equals(laws.head_rows(root, rows.schema.names).cast(rows.schema))
    return [] if same and dataset.seqs()[-1] == seq else [f"Dataset.read gives other rows than snapshot {seq} holds"]


class Polls:
    """Looks at datasets as a reader does while runs are at work on them; counts how often, and says what was wrong."""

    def __init__(self) -> None:
        self.looks = 0
        self.problems: list[str] = []

    @contextmanager
    def watching(self, scene: crash.Scene, tree: Path) -> Iterator[None]:
        """Look now and then, first at a moment of chance, for as long as the body takes."""
        stop = threading.Event()

        def look() -> None:
            wait_s = LOOK_S * random.random()
            while not stop.wait(wait_s):
                self.looks += 1
                self.problems += crash.reader_problems(scene, tree)
                wait_s = LOOK_S

        with ThreadPoolExecutor(1) as pool:
            looking = pool.submit(look)
            try:
                yield
            finally:
                stop.set()
                looking.result()

    def over(self, scene: crash.Scene, does: Callable[[Path, Rest], int]) -> Callable[[Path, Rest], int]:
        """Give what does the same, a run or an attack, while a reader looks."""

        def watched(tree: Path, rest: Rest) -> int:
            with self.watching(scene, tree):
                return does(tree, rest)

        return watched

    def told(self, made: crash.Trial) -> Trial:
        """Give a trial with what the reader saw."""
        seen = [f"while a run was at work: {problem}" for problem in self.problems]
        return Trial(made.scene, made.attack, made.codes, made.problems + seen, made.seconds, self.looks)


def attacked(
    scene: crash.Scene,
    scratch: Path,
    label: str,
    blows: Sequence[crash.Attack],
    run: crash.Run,
    *,
    also: crash.Check | None = dataset_view,
) -> Trial:
    """Make a trial at which a reader looks all the while."""
    polls = Polls()
    dealt = [polls.over(scene, blow) for blow in blows]
    made = crash.attacked(scene, scratch, label, dealt, polls.over(scene, run), also=also)
    return polls.told(made)


def random_kill(server: crash.Warm, scene: crash.Scene, scratch: Path, seed: int, usual_s: float) -> Trial:
    """SIGKILL the whole group of a run, at times its parent alone, at a random moment; at times the rerun too."""
    chance = random.Random(seed)
    pids: list[int] = []

    def blow(tree: Path, i: int) -> int:
        alone = chance.random() < 0.25
        moment = time.monotonic() + chance.uniform(0.0, usual_s * (1.05 if i == 0 else 0.8))
        pid = server.start([str(tree), "2"], {})
        pids.append(pid)
        while time.monotonic() < moment:
            if (code := server.poll(pid)) is not None:
                crash.kill_group(pid)
                return code
            time.sleep(0.01)
        (os.kill if alone else os.killpg)(pid, signal.SIGKILL)
        return server.wait(pid)

    blows = [blow] * (1 + (chance.random() < 0.35))
    trial = attacked(scene, scratch, f"random kill, seed {seed}", blows, scenes.runner(server, 2))
    for pid in pids:
        crash.kill_group(pid)
    return trial


def shot_worker(server: crash.Warm, scene: crash.Scene, scratch: Path, seed: int) -> Trial:
    """SIGKILL one worker in the middle of a task: the run must end well by itself."""
    chance = random.Random(seed)
    point = f"{chance.choice(['task.staged', 'task.shard_written', 'task.journalled', 'merge.index_written'])}=stop@"
    point += str(chance.randint(1, 5))
    label = f"worker shot at {point}, seed {seed}"

    def blow(tree: Path, i: int) -> int:
        pid = server.start([str(tree), "2"], crash.armed(tree, i, point))
        stopped = until_stopped(server, pid)
        assert stopped not in (None, pid), "no worker stopped at its failpoint"
        os.kill(stopped, signal.SIGKILL)
        code = server.wait(pid)
        crash.kill_group(pid)
        return code

    trial = attacked(scene, scratch, label, [blow], scenes.runner(server, 1))
    if trial.codes != [0]:
        trial.problems.append(f"the run did not end well by itself: {trial.codes}")
    return trial


def until_stopped(server: crash.Warm, pid: int) -> int | None:
    """Wait until a process of a run has stopped itself; give it, None if the run ends instead."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if server.poll(pid) is not None:
            raise RuntimeError("the run ended before its failpoint")
        try:
            parent = psutil.Process(pid)
            for process in [parent, *parent.children(recursive=True)]:
                if process.status() == psutil.STATUS_STOPPED:
                    return process.pid
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.005)
    return None


def stopped_holder(server: crash.Warm, scene: crash.Scene, scratch: Path, point: str) -> Trial:
    """Stop a run (SIGSTOP) at a failpoint: a second run must find the dataset locked; continued, the first ends well."""
    codes: list[int] = []

    def blow(tree: Path, i: int) -> int:
        pid = server.start([str(tree), "1"], crash.armed(tree, i, point))
        assert until_stopped(server, pid) == pid
        codes.append(server.run([str(tree), "1"], {}))
        second = server.start([str(tree), "1", "60"], {})  # waits for the lock
        time.sleep(0.3)
        codes.append(-1 if server.poll(second) is None else 0)
        os.kill(pid, signal.SIGCONT)
        code = server.wait(pid)
        codes.append(server.wait(second))
        return code

    trial = attacked(scene, scratch, f"holder stopped at {point}", [blow], scenes.runner(server, 1))
    if codes != [5, -1, 0] or trial.codes != [0]:
        trial.problems.append(f"second run, waiting run, its end: {codes}, expected [5, -1, 0]; first: {trial.codes}")
    return trial


def signalled(
    server: crash.Warm, scene: crash.Scene, scratch: Path, point: str, number: signal.Signals, workers: int
) -> Trial:
    """Send SIGTERM or SIGINT when the run comes to a failpoint: it must say so in its exit code and be gone on with."""

    def blow(tree: Path, i: int) -> int:
        pid = server.start([str(tree), str(workers)], crash.armed(tree, i, point.replace("=", "=stop@")))
        stopped = until_stopped(server, pid)
        os.kill(pid, number)
        if stopped is not None:
            with suppress(ProcessLookupError):  # a run that is left kills the workers that it leaves
                os.kill(stopped, signal.SIGCONT)
        started = time.monotonic()
        code = server.wait(pid)
        if time.monotonic() - started > 10:
            raise RuntimeError("a signalled run took over 10 s to end")
        crash.kill_group(pid)
        return code

    label = f"{number.name} at {point}, {workers} workers"
    trial = attacked(scene, scratch, label, [blow], scenes.runner(server, 1))
    if trial.codes != [128 + number, 0]:
        trial.problems.append(f"exit codes {trial.codes}, expected {[128 + int(number), 0]}")
    return trial
