"""What executors share that run jobs in other processes: whose turn it is, and errors that can cross.

Not here: how a job gets there (`processes.py`, `ray.py`). Invariants: of a lane no more jobs run at a time than its cap allows; an error
that crosses keeps its type as far as it is one of ours, and holds no value but what ours say on purpose.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Collection

from gristmill.core.errors import GristmillError, StepError
from gristmill.engine.work import Job


def next_job(waiting: deque[Job], busy: Collection[Job]) -> Job | None:
    """Take the first job whose lane has room beside those that are `busy`; None if all must wait."""
    for at, job in enumerate(waiting):
        split = job.split
        lane = split.lane if split is not None and job.kind == "read" else ""
        taken = sum(1 for other in busy if other.split is not None and other.split.lane == lane) if lane else 0
        if not lane or split is None or taken < split.lane_cap:
            del waiting[at]
            return job
    return None


def portable(error: Exception) -> Exception:
    """Give an error that can cross the process border, with its code places (no values) as a note."""
    clone = (
        error
        if isinstance(error, GristmillError | OSError)
        else StepError(f"a task failed with {type(error).__name__}")
    )
    clone.add_note("".join(traceback.format_tb(error.__traceback__)))
    return clone
