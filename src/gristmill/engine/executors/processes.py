"""The process executor: worker processes on this machine, each doing one job at a time.

Workers come from a fork server that has loaded the kernels once, so a worker starts in milliseconds and shares that
memory. Not here: retries (`engine.drive`). Invariants: a worker that dies (killed, out of memory, aborted by a
library) is seen at once, its job is reported as died, and a fresh worker takes its place; what was in flight when a
map was left before its end is ended, and answers no other; when the parent dies the workers end by themselves, and
what they still write has names nobody reads.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import Any

from gristmill.core.stopping import check
from gristmill.engine.executors import server
from gristmill.engine.executors.border import next_job, portable
from gristmill.engine.task import run_task
from gristmill.engine.work import Job, Outcome, Setup, Work

POLL_S = 2.0  # how often a wait looks up for signals
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Processes:
    """Runs jobs in `workers` processes; outcomes come in the order they are done."""

    def __init__(self, setup: Setup, workers: int) -> None:
        self.setup = setup
        self.slots = workers
        self._context = multiprocessing.get_context("forkserver")
        server.start()
        self._workers = [self._start() for _ in range(workers)]
        self._busy: dict[int, Job] = {}

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self.setup, dict(os.environ)), daemon=True)
        with _hidden_main():
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def map(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Run all jobs; give each outcome as soon as it is there."""
        for i in self._busy:  # of a map that was left: its answer is none to what is asked now
            self._workers[i].process.kill()
            self._replace(i)
        waiting = deque(jobs)
        busy = self._busy = {}
        while waiting or busy:
            for i, worker in enumerate(self._workers):
                if i not in busy and (job := next_job(waiting, busy.values())) is not None:
                    busy[i] = job
                    with contextlib.suppress(OSError):  # a dead worker is seen below, by its sentinel
                        worker.pipe.send(busy[i])
            ends: list[Any] = [end for i in busy for end in (self._workers[i].pipe, self._workers[i].process.sentinel)]
            ready = set(wait(ends, POLL_S))
            check()
            for i in [i for i in busy if self._workers[i].pipe in ready or self._workers[i].process.sentinel in ready]:
                yield self._collect(i, busy.pop(i))

    def _collect(self, i: int, job: Job) -> Outcome:
        worker = self._workers[i]
        with contextlib.suppress(EOFError, OSError):
            if worker.pipe.poll():
                result, error = worker.pipe.recv()
                return Outcome(job, result=result, error=error)
        self._replace(i)
        return Outcome(job, died=f"exit code {worker.process.exitcode}")

    def _replace(self, i: int) -> None:
        """Put a fresh worker in the place of one that has ended."""
        self._workers[i].process.join()
        self._workers[i].pipe.close()
        self._workers[i] = self._start()

    def close(self) -> None:
        """End all workers, whatever they do."""
        for worker in self._workers:
            worker.pipe.close()
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.process.close()


@contextlib.contextmanager
def _hidden_main() -> Iterator[None]:
    """Keep workers from importing the user's script: without a `__main__` guard it would start the run again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


class _Worker:
    def __init__(self, process: Any, pipe: Connection[Any, Any]) -> None:
        self.process = process
        self.pipe = pipe


def _serve(pipe: Connection[Any, Any], setup: Setup, environment: dict[str, str]) -> None:
    """Do jobs until the pipe closes. Signals are the parent's business.

    environment: what the config's references mean now; the fork server has that of its own start.
    """
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # a step that takes too long ends this worker
    _die_with_parent()
    work: Work | None = None
    threading.current_thread().name = f"gristmill-worker-{os.getpid()}"
    while True:
        try:
            job = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            work = work or Work(setup, expendable=True)
            answer: tuple[Any, BaseException | None] = (run_task(work, job), None)
        except Exception as error:
            answer = (None, portable(error))
        try:
            pipe.send(answer)
        except OSError:
            return


def _die_with_parent() -> None:
    """Have the kernel kill this worker when the fork server ends, which it does when the run's process does: a dead run asks no server for more."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
