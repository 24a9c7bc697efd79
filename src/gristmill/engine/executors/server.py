"""The fork server: the process that worker processes are forked from, with the kernels loaded once.

Not here: the workers (`processes.py`). Invariant: starting it returns at once and imports nothing heavy here, so that it loads beside what the
caller does next (reading the config, planning); it ends with the process that started it.
"""

from __future__ import annotations

import multiprocessing
import shutil
from multiprocessing import forkserver, util

from gristmill.core.machine import worker_count

PRELOAD = ["gristmill.engine.executors.preload"]


def start() -> None:
    """Start the server if it is not running yet; does nothing where there is room for one worker, which would gain nothing."""
    if worker_count() < 2:
        return
    multiprocessing.get_context("forkserver").set_forkserver_preload(PRELOAD)
    forkserver.ensure_running()


def clear() -> None:
    """Remove the folder with the server's socket, for a process that leaves without Python's own exit, which would do it."""
    shutil.rmtree(util.get_temp_dir(), ignore_errors=True)
