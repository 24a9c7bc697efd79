"""SIGINT and SIGTERM as exceptions, raised again where the first one was lost.

Python may run a signal's handler in a finaliser or in the callback of a weak reference (importing a module has such ones), where
what is raised goes nowhere but to `sys.unraisablehook`; then the signal would be forgotten and its sender wait for ever.

Not here: what a run leaves when it is stopped (`engine.watch`), a task that takes too long (`core.alarm`). Invariant: after a
signal the main thread sees `Stopped` or `KeyboardInterrupt`, wherever it was when the signal came.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from gristmill.core.errors import Stopped

AGAIN_S = 0.05  # so that the main thread has left the finaliser

Hook = Callable[[Any], object]


def stop(number: int, frame: FrameType | None) -> None:
    """Raise `Stopped`: a signal's handler."""
    raise Stopped(number)


def again(otherwise: Hook) -> Hook:
    """Give an `unraisablehook` that sends a signal again whose exception could not be raised; all else is for `otherwise`."""

    def hook(told: Any) -> None:
        error = told.exc_value
        if not isinstance(error, Stopped | KeyboardInterrupt):
            otherwise(told)
            return
        number = error.exit_code - 128 if isinstance(error, Stopped) else int(signal.SIGINT)
        timer = threading.Timer(AGAIN_S, os.kill, (os.getpid(), number))
        timer.daemon = True
        timer.start()

    return hook


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into `Stopped` while a run goes on (in the main thread only)."""
    try:
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals are its business
        yield
        return
    hook, sys.unraisablehook = sys.unraisablehook, again(sys.unraisablehook)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_by_sigterm() -> None:
    """Make SIGTERM end this process like Ctrl-C does, with its own code; for as long as it lives."""
    signal.signal(signal.SIGTERM, stop)
    sys.unraisablehook = again(sys.unraisablehook)
