"""Failpoints: named places in the commit path where a test can make the process die.

Not here: the driver that uses them (`gristmill.testing.crash`). Off unless `GRISTMILL_FAILPOINT` is set to
`name=kill` or `name=kill@n` (the n-th time); the environment is read once, at import. Invariant: every name passed to `failpoint` stands
in `NAMES`, and a test kills at each of them.
"""

from __future__ import annotations

import os
import signal

NAMES = (
    "claim.created",
    "plan.written",
    "task.staged",
    "task.shard_written",
    "task.shard_renamed",
    "task.sides_written",
    "task.journalled",
    "merge.index_written",
    "state.written",
    "manifest.written",
    "commit.before_delta",
    "commit.after_delta",
    "commit.synced",
    "export.chunk_written",
    "export.before_manifest",
    "export.manifest_written",
    "report.written",
    "staging.removed",
)

_armed, _, _nth = os.environ.get("GRISTMILL_FAILPOINT", "").partition("=kill")
_left = [int(_nth.lstrip("@") or 1)]


def failpoint(name: str) -> None:
    """Die here by SIGKILL if `name` is armed and its turn has come."""
    if name == _armed:
        _left[0] -= 1
        if _left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
