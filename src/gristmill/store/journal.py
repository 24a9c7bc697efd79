"""The journal: finished tasks of a run, so that a run that died is gone on with.

Not here: what is in a task's result (`engine.task`). Invariants: the first create-if-absent of `tasks/<id>.json` wins;
what a loser wrote beside it is never named and never read.

Entries are not synced (two fsyncs a task saved). A process that dies takes nothing of them with it. After a power loss
an entry is one of three: gone, and the task is done again, with the same bytes; whole, and what it names under `table/`
and `runs/` was synced before it was written, while staged files are looked for and are not there any more
(`engine.run` removes what another boot staged); or short or with zeros in it, which no entry is, and taken for gone.

Of a dataset on an object store the journal that counts lies in the working folder, beside the staged files its entries name: another machine
that takes the run over does its tasks again, with the same bytes. The store has a copy, for `explain`.
"""

from __future__ import annotations

import contextlib
from typing import TypeVar

import msgspec

from gristmill.core.errors import naming
from gristmill.store import disk
from gristmill.store.layout import Layout

T = TypeVar("T")


def record(layout: Layout, seq: int, task: str, result: T, kind: type[T]) -> T:
    """Journal a task's result; give the winner's, which is another's if somebody was first."""
    path = layout.task(seq, task)
    if disk.create_file(path, msgspec.json.encode(result) + b"\n", durable=False):
        layout.files.share(path)
        return result
    with naming(path):
        return msgspec.json.decode(path.read_bytes(), type=kind)


def find(layout: Layout, seq: int, task: str, kind: type[T]) -> T | None:
    """Give the journalled result of a task, None if it is not finished."""
    try:
        with naming(layout.task(seq, task)):
            content = layout.task(seq, task).read_bytes()
    except FileNotFoundError:
        return None
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if b"\0" not in content:
            return msgspec.json.decode(content, type=kind)
    forget(layout, seq, task)  # it was written just before a power loss
    return None


def forget(layout: Layout, seq: int, task: str) -> None:
    """Take a task out of the journal: its staged files are gone, it must be done again."""
    layout.task(seq, task).unlink(missing_ok=True)
