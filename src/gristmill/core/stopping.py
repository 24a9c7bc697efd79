"""SIGINT and SIGTERM as exceptions, raised again where the first one was lost.

Python may run a signal's handler in a finaliser or in the callback of a weak reference (importing a module has such ones), where
what is raised goes nowhere but to `sys.unraisablehook`; and compiled code, a bare `except` or an `import` that is tried may take what is
raised for its own failure, and go on, or raise something else. Then the signal would be forgotten and its sender wait for ever.

Not here: what a run leaves when it is stopped (`engine.watch`), a task that takes too long (`core.alarm`). Invariant: after a
signal the main thread sees `Stopped` or `KeyboardInterrupt`, wherever it was when the signal came: at once, by the hook for what cannot be
raised, or at the next `check`, of which there is one before whatever waits for long or publishes; and an error that comes out after a signal
counts as that signal (`behind`).
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


class _Handler:
    """Raises `Stopped` for a signal, and keeps its number: what is raised may be lost, this is not."""

    def __init__(self) -> None:
        self.came: int | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.came = number
        raise Stopped(number)


def _handler() -> _Handler | None:
    """Give what handles SIGTERM in this process if it is ours; threads besides the main one have nothing to do with signals."""
    handler = signal.getsignal(signal.SIGTERM)
    return handler if isinstance(handler, _Handler) and threading.current_thread() is threading.main_thread() else None


def check() -> None:
    """Go on if no signal asked to stop.

    Raises:
        Stopped: one did, and what it raised was lost.
    """
    handler = _handler()
    if handler is not None and handler.came is not None:
        raise Stopped(handler.came)


def behind(error: BaseException) -> BaseException:
    """Give the `Stopped` that an error stands for if a signal came before it, else the error itself."""
    handler = _handler()
    if handler is None or handler.came is None or isinstance(error, Stopped | KeyboardInterrupt):
        return error
    return Stopped(handler.came)


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
    """Turn SIGINT and SIGTERM, and what they lead to, into `Stopped` while a run goes on (in the main thread only)."""
    handler = _handler() or _Handler()  # what came before this and was lost still counts
    try:
        before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: signals are its business
        yield
        return
    hook, sys.unraisablehook = sys.unraisablehook, again(sys.unraisablehook)
    try:
        yield
    except BaseException as error:
        told = behind(error)
        if told is not error:
            raise told from error
        raise
    finally:
        sys.unraisablehook = hook
        for number, previous in before.items():
            signal.signal(number, previous)


def stop_by_sigterm() -> None:
    """Make SIGTERM end this process like Ctrl-C does, with its own code; for as long as it lives."""
    signal.signal(signal.SIGTERM, _Handler())
    sys.unraisablehook = again(sys.unraisablehook)
