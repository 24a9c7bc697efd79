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
    "landing.written",
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
    "load.rows_written",
    "load.before_commit",
    "load.committed",
    "report.written",
    "staging.removed",
    "gc.marked",
    "gc.removed",
    # every durable write passes these two: its content is whole under a scratch name; it has its lasting name
    "disk.written",
    "disk.named",
)
ACTIONS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "term": signal.SIGTERM, "int": signal.SIGINT}


class _Armed:
    """What the environment asked for: `action` at passing number `turn` of `name`; `hits`: the counting folder."""

    def __init__(self) -> None:
        self.name, _, action = os.environ.get("GRISTMILL_FAILPOINT", "").partition("=")
        word, _, nth = action.partition("@")
        if self.name and (self.name not in NAMES or word not in ACTIONS):
            raise ValueError(f"GRISTMILL_FAILPOINT: {self.name}={action}: unknown failpoint or action; see {__name__}")
        self.action = ACTIONS.get(word, signal.SIGKILL)
        self.turn = int(nth or 1)
        self.passed = 0
        self.hits = os.environ.get("GRISTMILL_FAILPOINT_HITS", "")

    def pass_by(self, name: str) -> None:
        if self.hits:
            handle = os.open(f"{self.hits}/{name}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
            os.write(handle, b".")
            passed = os.lseek(handle, 0, os.SEEK_CUR)  # the end of what this very write appended
            os.close(handle)
        elif name == self.name:
            self.passed += 1
            passed = self.passed
        else:
            return
        if name == self.name and passed == self.turn:
            os.kill(os.getpid(), self.action)


_state = [_Armed()]


def arm() -> None:
    """Read the environment again: for a process that was forked from one in which nothing was set.

    Raises:
        ValueError: there is no such failpoint or action.
    """
    _state[0] = _Armed()


def failpoint(name: str) -> None:
    """Die here, or whatever is asked for, if `name` is armed and its turn has come."""
    state = _state[0]
    if state.name or state.hits:
        state.pass_by(name)
