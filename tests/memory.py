"""How much memory a piece of a test takes, native libraries' memory too.

Not here: limits (`tests.malformed.limits`). `tracemalloc` is not used where Arrow's threads are at work: they take the interpreter for moments,
and CPython 3.11 crashes when it is stopped at such a moment (CPython issue 128679).
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Grown:
    """By how many bytes the process grew at most; known when the block has ended."""

    bytes: int = 0


@contextmanager
def grown() -> Iterator[Grown]:
    """Measure a block. Memory that was there and free does not count."""
    found = Grown()
    if CLEAR.exists():
        CLEAR.write_text("5")  # the mark of the most there was is set back (proc(5))
    before = _most()
    yield found
    found.bytes = _most() - before


def _most() -> int:
    if STATUS.exists():
        return int(STATUS.read_text("utf-8").split("VmHWM:")[1].split()[0]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
