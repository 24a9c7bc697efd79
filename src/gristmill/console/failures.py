"""Failures in words: what the system refused, and what nobody expected.

Not here: how a failure ends a verb (`session`). Invariant: a message that may hold document text is not shown.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import traceback
from contextlib import suppress
from pathlib import Path


def of_system(error: OSError) -> str:
    """Say what the system refused, where, and what to do."""
    where = f" {str(error.filename)!r}" if error.filename is not None else ""
    where += f" -> {str(error.filename2)!r}" if error.filename2 is not None else ""
    what = error.strerror or type(error).__name__
    if error.errno == errno.ENOSPC and error.filename is not None:
        with suppress(OSError):  # the place may be gone by now
            where += f" ({shutil.disk_usage(Path(os.fsdecode(error.filename)).parent).free:,} bytes are free there)"
    advice = {
        errno.ENOSPC: "make space and run again; nothing was published that is not whole",
        errno.EDQUOT: "make space and run again; nothing was published that is not whole",
        errno.EACCES: "allow it, or name another place",
        errno.EPERM: "allow it, or name another place",
        errno.EROFS: "name a place that can be written to",
        errno.EMFILE: "raise the limit of open files (ulimit -n) and run again",
    }
    return f"the system said {what!r}{where}; {advice.get(error.errno or 0, 'mend it and run again')}"


def of_memory() -> str:
    """Say that memory did not do, with the most that a process had."""
    peaks = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return (
        f"there was not enough memory (a process had {max(peaks) // 1024:,} MiB at most); give it more, or set fewer workers or a smaller "
        "run.batch_bytes, and run again"
    )


def unexpected(error: BaseException) -> str:
    """Say that it was not expected, and where in the code it came up."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return (
        f"an unexpected {type(error).__name__}{place}; its message is not shown, as it may hold document text. "
        "Run again; if it stays, --debug shows the traceback and the log says where it happened"
    )
