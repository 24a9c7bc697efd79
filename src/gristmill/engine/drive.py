"""Driving jobs through an executor: retries, dead workers, and finding the record that kills them.

Not here: where jobs run (`executors/`), what they do (`engine.task`). Invariants: retry is decided by the error's
type; a job that kills its worker is tried again, then run record by record to find the culprit, or unit by unit if it dies
while it reads, which is quarantined as `crash.worker` (as `timeout.step` if a step took too long on it); a source that fails is left out only where its config says so; nothing is skipped.
"""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Iterable, Iterator
from typing import Protocol

import msgspec

from gristmill.core.errors import SourceError, StepError, Stopped, Transient
from gristmill.core.stopping import check
from gristmill.engine.work import Job, Outcome, TaskResult, Work
from gristmill.observe.events import Events, StageBegins, TaskDone, TaskFailed

BACKOFF_S = (0.5, 2.0, 5.0)
MAX_POISON = 20  # records and units of one task that may kill a worker before the run stops
TOO_LATE = f"exit code {-signal.SIGALRM}"  # of a worker that a step's alarm ended (`engine.flow`)


class Executor(Protocol):
    """What runs jobs. slots: how many at a time."""

    slots: int

    def map(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Run all jobs; give their outcomes as they come."""
        ...

    def close(self) -> None:
        """End the executor."""
        ...


class Driver:
    """Runs the jobs of one run."""

    def __init__(self, work: Work, executor: Executor, events: Events) -> None:
        self.work = work
        self.executor = executor
        self.events = events
        self.log = work.layout.log(work.seq)
        self.retried = 0
        self.peak_rss_mb = 0.0
        self.cpu_s = 0.0  # of tasks in other processes than this

    def run(self, stage: str, jobs: list[Job]) -> list[TaskResult]:
        """Run all jobs of a stage; give the results in the order of the jobs.

        Raises:
            GristmillError: a job failed for good; all its tries are in the run's log.
        """
        if not jobs:
            return []
        sizes = {job.id: job.split.bytes if job.split is not None else 0 for job in jobs}
        names, stored = [job.id for job in jobs], sum(sizes.values())
        self.events.stage(StageBegins(name=stage, tasks=names, bytes=stored, slots=self.executor.slots))
        place = {job.id: i for i, job in enumerate(jobs)}
        results: list[TaskResult | None] = [None] * len(jobs)
        tries: dict[str, int] = {}
        waiting = jobs
        while waiting:
            again: list[Job] = []
            check()
            for outcome in self.executor.map(waiting):
                check()
                job = outcome.job
                if outcome.result is not None:
                    results[place[job.id]] = outcome.result
                    self.peak_rss_mb = max(self.peak_rss_mb, outcome.result.peak_rss_mb)
                    self.cpu_s += outcome.result.cpu_s if outcome.result.process != os.getpid() else 0.0
                    self.events.task(_done(stage, outcome.result, job, sizes[job.id]))
                    continue
                tries[job.id] = tries.get(job.id, 0) + 1
                self.retried += 1
                again.append(self._again(stage, outcome, tries[job.id]))
            waiting = again
        return [result for result in results if result is not None]

    def _again(self, stage: str, outcome: Outcome, tried: int) -> Job:
        """Give the job to try next, or raise."""
        job, retries = outcome.job, self.work.config.run.retries
        if outcome.error is not None:
            why, places = type(outcome.error).__name__, places_of(outcome.error)
            self.events.again(TaskFailed(stage=stage, task=job.id, tried=tried, why=why, places=places))
            if not isinstance(outcome.error, Transient) or tried > retries:
                return self._left_out(job, outcome.error)
            time.sleep(BACKOFF_S[min(tried, len(BACKOFF_S)) - 1])
            return job
        self.events.again(TaskFailed(stage=stage, task=job.id, tried=tried, why=outcome.died, died=True))
        is_late = outcome.died == TOO_LATE
        why = f"a step took over {self.work.config.run.step_timeout_s} s" if is_late else outcome.died
        self.events.note(f"a worker died in task {job.id} ({why}); trying again")
        if job.marker:
            return self._poisoned(job, outcome.died)
        if tried < max(2, retries) and not is_late:
            return job
        if job.kind not in ("read", "stage"):
            raise StepError(f"task {job.id} killed its worker {tried} times ({outcome.died}); see {self.log}")
        self.work.staged(f"{job.id}.marker").unlink(missing_ok=True)
        return msgspec.structs.replace(job, marker=True)

    def _left_out(self, job: Job, error: Exception) -> Job:
        """Give the job as one that reads nothing if its source may be left out of the run, else raise."""
        may = (
            job.kind == "read" and self.work.source(job.source).on_error == "skip" and self.work.setup.mode == "forward"
        )
        if not may or not isinstance(error, SourceError | OSError):
            if job.kind == "read" and isinstance(error, SourceError) and not str(error).startswith("source "):
                error.args = (f"source {job.source}: {error}",)
            raise error
        why = self.work.config.redact(str(error))
        self.events.note(f"source {job.source} failed and is left out of this run: {why}")
        return msgspec.structs.replace(job, void=why)

    def _poisoned(self, job: Job, died: str) -> Job:
        """Give the job without the record or unit that its marker names, if that was named before or took too long."""
        marker = self.work.staged(f"{job.id}.marker")
        if not marker.exists() or len(job.poison) + len(job.deadly) >= MAX_POISON:
            raise StepError(
                f"task {job.id} of source {job.source} keeps killing its worker ({died}) and no record explains it; "
                f"see {self.log}; give the machine more memory, or take the input it reads out of the source"
            )
        named, step = msgspec.json.decode(marker.read_bytes(), type=tuple[int | str, str])
        marker.unlink()
        if (
            job.suspect != (named, step) and died != TOO_LATE
        ):  # it may have been near when something else struck: once more
            return msgspec.structs.replace(job, suspect=(named, step))
        if isinstance(named, str):
            self.events.note(f"task {job.id}: reading {named} kills its worker; it is quarantined")
            return msgspec.structs.replace(job, deadly=[*job.deadly, named])
        code = "timeout.step" if died == TOO_LATE else "crash.worker"
        self.events.note(f"task {job.id}: record {named} ends its worker in {step} ({code}); it is quarantined")
        return msgspec.structs.replace(job, poison=job.poison | {named: (step, code)})


def _done(stage: str, result: TaskResult, job: Job, stored: int) -> TaskDone:
    rows_in = result.steps[0].rows_in if result.steps else result.counts.read
    rows_out = result.steps[-1].rows_out if result.steps else result.counts.read
    return TaskDone(
        stage=stage, task=job.id, source=job.source, bytes=stored, rows_in=rows_in, rows_out=rows_out,
        seconds=result.seconds, cpu_s=result.cpu_s, peak_rss_mb=result.peak_rss_mb,
    )  # fmt: skip


def places_of(error: BaseException) -> str:
    """Give the code places of an error and its causes; never a value, which could be document text."""
    lines = []
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, Stopped):
        lines += [f"{type(seen).__name__}:", *traceback.format_tb(seen.__traceback__), *getattr(seen, "__notes__", [])]
        seen = seen.__cause__
    return "".join(line if line.endswith("\n") else line + "\n" for line in lines).rstrip()
