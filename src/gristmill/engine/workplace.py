"""Where the tasks of a run go: in this process, to worker processes, or to a Ray cluster.

Not here: the executors (`engine.executors`), what they do (`engine.task`). Invariant: the kernels load where tasks run, and not
where a dataset is only looked at; which executor does the work changes no byte of it.
"""

from __future__ import annotations

import msgspec

from gristmill.core.machine import worker_count
from gristmill.engine.drive import Executor
from gristmill.engine.work import Work


def make_executor(work: Work, workers: int, small: bool) -> Executor:
    """Give the executor for a run: in this process when the work is small or cannot cross a process border."""
    count = workers or worker_count()
    on_ray = work.config.run.engine == "ray"
    inline = small or work.config.file is None or (count == 1 and not on_ray)
    if inline:  # the kernels load here, not where a dataset is only looked at
        from gristmill.engine.executors.inline import Inline

        return Inline(work)
    setup = msgspec.structs.replace(work.setup, config=None)
    if on_ray:
        from gristmill.engine.executors.ray import RayTasks

        return RayTasks(setup, work.config.run, workers or None)
    from gristmill.engine.executors.processes import Processes

    return Processes(setup, count)
