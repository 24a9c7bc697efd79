"""The inline executor: tasks run one after the other in this very process.

Not here: worker processes (`processes.py`). Invariants: the same results as any other executor; a step that takes too long is
left by an exception, which code that does not come back to Python never sees (there a worker of `processes.py` is ended).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gristmill.core import alarm
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
                with alarm.raising():
                    result = run_task(self.work, job)
                yield Outcome(job, result=result)
            except Exception as error:
                yield Outcome(job, error=error)

    def close(self) -> None:
        """Nothing to end."""
