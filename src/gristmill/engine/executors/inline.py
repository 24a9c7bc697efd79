"""The inline executor: tasks run one after the other in this very process.

Not here: worker processes (`processes.py`). Invariant: the same results as any other executor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gristmill.engine.task import run_task
from gristmill.engine.work import Job, Outcome, Work


class Inline:
    """Runs jobs in this process, in order."""

    slots = 1

    def __init__(self, work: Work) -> None:
        self.work = work

    def map(self, jobs: Iterable[Job]) -> Iterator[Outcome]:
        """Run each job when its outcome is asked for."""
        for job in jobs:
            try:
                yield Outcome(job, result=run_task(self.work, job))
            except Exception as error:
                yield Outcome(job, error=error)

    def close(self) -> None:
        """Nothing to end."""
