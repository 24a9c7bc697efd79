"""Phases: the passes and barriers of a run in their order, and the jobs of each.

    read, reread, identity, [merge-0], stage-1, [merge-1, stage-2, ...], withdraw

Not here: doing jobs (`engine.task`), driving them (`engine.drive`). Invariants: the jobs of a phase follow from the
frozen plan and the results of earlier phases alone; between two phases lies a barrier, inside one the order is free.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import msgspec
import numpy as np

from gristmill.core.source import UnitRead
from gristmill.engine import merge, observed, plan, refresh, replay, staged
from gristmill.engine.plan import Plan
from gristmill.engine.work import Job, TaskResult, Work
from gristmill.store import index, journal

Results = dict[str, list[TaskResult]]


class Phases:
    """The phases of one planned run."""

    def __init__(self, work: Work, planned: Plan) -> None:
        self.work = work
        self.plan = planned
        makers: dict[str, Callable[[Results], list[Job]]] = {
            "read": self._read,
            "reread": self._reread,
            "identity": self._identity,
            "withdraw": self._withdraw,
        }
        for stage in range(work.stages):
            makers |= {f"merge-{stage}": partial(self._merge, stage), f"stage-{stage}": partial(self._stage, stage)}
        self.makers = {name: makers[name] for name in names(work)}

    def jobs(self, phase: str, results: Results) -> list[Job]:
        """Give the jobs of a phase, given the results of the phases before it, whose files are all to be seen here.

        Raises:
            Transient: they are not.
        """
        sees = staged.expected((result for done in results.values() for result in done), _folder(phase))
        staged.wait_for(self.work, sees)
        return [msgspec.structs.replace(job, sees=sees) if sees else job for job in self.makers[phase](results)]

    def journalled(self, phase: str, results: Results) -> list[TaskResult] | None:
        """Give the results of a phase that is done, None if a job of it is not."""
        found = [journal.find(self.work.layout, self.work.seq, job.id, TaskResult) for job in self.jobs(phase, results)]
        return None if None in found else [result for result in found if result is not None]

    def _read(self, _: Results) -> list[Job]:
        return self.plan.tasks

    def _reread(self, results: Results) -> list[Job]:
        """Do the tasks again that hold a part of a unit which another task found bad: a bad unit counts whole, and once.

        So does a source: where one of its tasks failed and the source may be left out, the others are done again as nothing.
        """
        void = left_out(self.plan, results)
        bad: dict[tuple[str, str], UnitRead] = {}
        again = []
        for result in results["read"]:
            for read in result.units:
                if read.status == "bad" and read.counted:
                    bad.setdefault((result.source, read.unit), read)
        for job, result in zip(self.plan.tasks, results["read"], strict=True):
            if job.source in void:
                if not result.void:
                    journal.forget(self.work.layout, self.work.seq, job.id)
                    again.append(msgspec.structs.replace(job, void=void[job.source]))
                continue
            mine = [(read, bad.get((job.source, read.unit), read)) for read in result.units]
            spoiled = [first for read, first in mine if read is not first and (read.status == "ok" or read.counted)]
            if spoiled:
                journal.forget(self.work.layout, self.work.seq, job.id)
                again.append(msgspec.structs.replace(job, skip=spoiled))
        return again

    def take(self, phase: str, done: list[TaskResult], results: Results) -> None:
        """Add the results of a phase to those before."""
        if phase == "reread":
            instead = {result.task: result for result in done}
            results["read"] = [instead.get(result.task, result) for result in results["read"]]
        else:
            results[phase] = done

    def _identity(self, results: Results) -> list[Job]:
        retired = plan.retired(self.work, self.plan, units_of(results), set(left_out(self.plan, results)))
        merge.save_retired(self.work, retired)
        seen = observed.rows_seen(self.work, 0, ".ids.arrow")
        if len(retired.ranges) or self.work.setup.mode != "forward":
            seen = dict.fromkeys(range(1 << observed.ID_BUCKET_BITS), 0) | seen
        packs = merge.packed(self.work, index.IDS, seen)
        return [Job(f"ids-{observed.of_buckets(buckets)}", "identity", buckets=buckets) for buckets in packs]

    def tombstones(self) -> list[str]:
        """Write the ords this run withdraws, if any; give the files.

        A row whose record is decided about afresh needs none: no index that stays names it.
        """
        withdrawn, reasons = merge.load_withdrawn(self.work)
        withdrawn = withdrawn[reasons != replay.REFRESHED] if self.work.afresh else withdrawn
        return [index.write_tombstones(self.work.layout, self.work.seq, withdrawn)] if len(withdrawn) else []

    def _merge(self, stage: int, _: Results) -> list[Job]:
        if stage == 0:
            self.tombstones()
            if self.work.afresh:
                refresh.observe_standing(self.work)
        bound = self.work.barrier(stage)
        if bound is None:
            return []
        packs = merge.packed(self.work, merge.index_name(bound), observed.rows_seen(self.work, stage, ".keys.arrow"))
        return [Job(f"m{stage}-{observed.of_buckets(each)}", "merge", stage=stage, buckets=each) for each in packs]

    def _stage(self, stage: int, _: Results) -> list[Job]:
        return [
            msgspec.structs.replace(job, id=f"s{stage}-{job.number:06d}", kind="stage", stage=stage)
            for job in self.plan.tasks
        ]

    def _withdraw(self, _: Results) -> list[Job]:
        shards = self.work.parent.shards
        first = np.array([shard.first_ord for shard in shards], np.int64)
        end = np.array([shard.last_ord + 1 for shard in shards], np.int64)
        hit = merge.withdraws_within(self.work, first, end)
        return [Job(f"w-{i:06d}", "withdraw", shard=shards[i]) for i in np.flatnonzero(hit).tolist()]


def _folder(phase: str) -> int:
    """Give the number of the folder below staging that the tasks of a phase look at."""
    kind, _, number = phase.partition("-")
    return int(number) - (kind == "stage") if number else 0


def names(work: Work) -> list[str]:
    """Give the names of a run's phases in their order; the steps of the config alone decide them."""
    found = ["read", "reread", "identity"]
    for stage in range(work.stages - 1):
        found += [f"merge-{stage}"] * (work.barrier(stage) is not None)
        found.append(f"stage-{stage + 1}")
    return [*found, "withdraw"]


def left_out(planned: Plan, results: Results) -> dict[str, str]:
    """Give the sources that failed and are left out of the run, and why."""
    absent = {name: doing.skipped for name, doing in planned.sources.items() if doing.skipped}
    return absent | {result.source: result.void for result in results["read"] if result.void}


def units_of(results: Results) -> dict[str, list[UnitRead]]:
    """Give what became of each source's units."""
    units: dict[str, list[UnitRead]] = {}
    for result in results["read"]:
        units.setdefault(result.source, []).extend(result.units)
    return units
