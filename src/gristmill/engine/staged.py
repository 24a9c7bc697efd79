"""What must be there of the staged files before a phase begins, on each machine that works on it.

A phase lists what the tasks before it left. On a file system that several machines share, a machine may be shown an older listing for a
while, and what it does not see it would silently take for nothing. Not here: the files themselves (`engine.sides`). Invariant: no task begins
on a machine that sees fewer files than the results of the earlier phases name; it waits, and then it fails in passing.
"""

from __future__ import annotations

import fnmatch
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping

from gristmill.core.errors import Transient
from gristmill.engine.work import TaskResult, Work

PATIENCE_S = 30.0
LOOK_S = 0.2


def expected(results: Iterable[TaskResult], folder: int) -> dict[str, int]:
    """Give how many files of each kind in one folder of the staging area the results name: `0/*.ids.arrow` -> 12."""
    names = {name for result in results for name in result.staged if name.startswith(f"{folder}/")}
    return dict(Counter(re.sub(r"/(\w+-)?[0-9a-f]+(-[0-9a-f]+)?\.", r"/\1*.", name, count=1) for name in names))


def wait_for(work: Work, wanted: Mapping[str, int]) -> None:
    """Return once so many files are seen here.

    Raises:
        Transient: they do not show in time.
    """
    deadline = time.monotonic() + PATIENCE_S
    while lacking := _lacking(work, wanted):
        if time.monotonic() >= deadline:
            raise Transient(
                f"run {work.seq}: of the staged files this machine sees only {'; '.join(lacking)}, in {work.staging}; the dataset must lie on "
                "storage where a machine sees at once what another wrote. If they were removed, do the stages before again"
            )
        time.sleep(LOOK_S)


def _lacking(work: Work, wanted: Mapping[str, int]) -> list[str]:
    listed: dict[str, list[str]] = {}
    found = []
    for pattern, count in sorted(wanted.items()):
        folder, _, name = pattern.partition("/")
        if folder not in listed:
            path = work.staged(folder)
            listed[folder] = [each.name for each in path.iterdir()] if path.is_dir() else []
        seen = len(fnmatch.filter(listed[folder], name))
        if seen < count:
            found.append(f"{seen} of {count} {pattern}")
    return found
