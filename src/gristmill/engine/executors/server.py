"""The fork server: the process that worker processes are forked from, with the kernels loaded once.

Not here: the workers (`processes.py`). Invariant: starting it returns at once and imports nothing heavy here, so that it loads beside what the
caller does next (reading the config, planning); it ends with the process that started it.
"""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing import forkserver

PRELOAD = ["gristmill.engine.executors.preload"]


def start() -> None:
    """Start the server if it is not running yet; does nothing on one core, where workers would gain nothing."""
    if len(os.sched_getaffinity(0)) < 2:
        return
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOAD)
    forkserver.ensure_running()
