"""Where the tasks of a run go: in this process, to worker processes, or to a Ray cluster; and how a signal stops it.

Not here: the executors (`engine.executors`), what they do (`engine.task`). Invariant: the kernels load where tasks run, and not
where a dataset is only looked at; which executor does the work changes no byte of it.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import msgspec

from gristmill.core.errors import Stopped
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


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into `Stopped` while a run goes on (in the main thread only)."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    try:
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals are its business
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
