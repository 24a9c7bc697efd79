"""Failpoints: named places beside every lasting write where a test can make the process die, or be stopped.

`GRISTMILL_FAILPOINT` holds `name=action` or `name=action@n` (the n-th time, counted from 1); the actions are `ACTIONS`.
`GRISTMILL_FAILPOINT_HITS` names a folder in which every passing of a failpoint is counted: one byte in the file of its
name. Where it is set, `@n` counts over all processes that share the folder, so that of a run with its workers exactly
one dies, once; else each process counts for itself.

Not here: the driver that uses them (`gristmill.testing.crash`). Off unless set; the environment is read at import.
Invariant: every name passed to `failpoint` stands in `NAMES`, and a test kills at each of them.
"""

from __future__ import annotations

import os
import signal

NAMES = (
    "table.created",
    "claim.created",
    "listing.written",
    "plan.written",
    "task.staged",
    "task.shard_written",
    "task.shard_renamed",
    "task.sides_written",
    "task.journalled",
    "merge.index_written",
    "tombstones.written",
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
    # every durable write passes these two: its content is whole under a scratch name; it has its lasting name
    "disk.written",
    "disk.named",
)
ACTIONS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "term": signal.SIGTERM, "int": signal.SIGINT}

_armed = _hits = ""
_action = signal.SIGKILL
_turn = _passed = 0


def arm() -> None:
    """Read the environment again: for a process that was forked from one in which nothing was set.

    Raises:
        ValueError: there is no such failpoint or action.
    """
    global _armed, _action, _turn, _passed, _hits  # noqa: PLW0603  off costs one comparison a passing this way
    _armed, _, action = os.environ.get("GRISTMILL_FAILPOINT", "").partition("=")
    word, _, nth = action.partition("@")
    if _armed and (_armed not in NAMES or word not in ACTIONS):
        raise ValueError(f"GRISTMILL_FAILPOINT: {_armed}={action}: no such failpoint or action; see core/failpoints.py")
    _action = ACTIONS.get(word, signal.SIGKILL)
    _turn, _passed = int(nth or 1), 0
    _hits = os.environ.get("GRISTMILL_FAILPOINT_HITS", "")


def failpoint(name: str) -> None:
    """Die here, or whatever is asked for, if `name` is armed and its turn has come."""
    global _passed  # noqa: PLW0603
    if _hits:
        handle = os.open(f"{_hits}/{name}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        os.write(handle, b".")
        turn = os.lseek(handle, 0, os.SEEK_CUR)  # the end of what this very write appended
        os.close(handle)
        if name == _armed and turn == _turn:
            os.kill(os.getpid(), _action)
    elif name == _armed:
        _passed += 1
        if _passed == _turn:
            os.kill(os.getpid(), _action)


arm()
