"""The standard streams of this process as they are given to it: closed, full, or with a reader who has gone.

Not here: what is said on them (`session`). Invariants: a standard stream that was closed leads nowhere, and no file that is opened later gets
its number; writing never raises, and after what cannot be written the stream leads nowhere.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable


def make_ready() -> None:
    """Open what was closed, and have characters that a stream cannot show escaped."""
    for number, (name, mode) in enumerate({"stdin": "r", "stdout": "w", "stderr": "w"}.items()):
        try:
            os.fstat(number)
        except OSError:  # the lowest number that is free is this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def put(lines: Iterable[str]) -> OSError | None:
    """Write lines to standard output; give why they are lost. A reader that has had enough is no failure."""
    try:
        for line in lines:
            sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except OSError as error:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return None if isinstance(error, BrokenPipeError) else error
    return None
