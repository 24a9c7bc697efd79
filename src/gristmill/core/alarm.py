"""A time limit for a call, by the process's alarm (SIGALRM).

Where `raising` is on, a call that takes too long is left by `LateError`, as soon as it comes back to Python; in a process that does
nothing else the alarm ends it, as is its default. Not here: what becomes of the call (`engine.flow`), or of the process (`engine.drive`).
Invariant: the alarm is off outside of a call, since it would end a process that has something to lose.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class LateError(BaseException):
    """A call took too long. No Exception, as the functions of users catch those."""


@contextmanager
def raising() -> Iterator[None]:
    """Have the alarm raise; elsewhere than in the main thread, where signals arrive, it is not used."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _late)
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)


def raises() -> bool:
    """Tell if `raising` is on."""
    return signal.getsignal(signal.SIGALRM) is _late


@contextmanager
def limit(seconds: float) -> Iterator[None]:
    """Set the alarm for a call, and take it back; 0 sets none.

    Raises:
        LateError: it took longer, where `raising` is on.
    """
    if not seconds:
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _late(number: int, frame: FrameType | None) -> None:
    raise LateError
