"""Power loss: every reader, and every next run, on what the disk may hold when a run loses power.

A run in peace is recorded; what may be left of it at a moment (`remains`) is laid into a folder and looked at, and from some of it the
run is called again, as after a restart of the machine. Not here: what may be left (`remains`), the pipeline (`five`).
Invariant: readers are the ones that look in all other rooms; a trial's name holds the operation and what was dropped.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.crash import shim
from tests.soak import five
from tests.soak.attacks import Polls, dataset_view
from tests.soak.five import Ends
from tests.soak.remains import Record, Remains, digest, inodes_of
from tests.soak.results import Trial

from gristmill.testing import crash

# What readers look at: the table, what is said of its snapshots, the exports.
_READ, _HEADS = ("corpus/table/", "out/"), ("manifest.json", "report.json", "collected.json")


class Recorded(NamedTuple):
    """A command line that was recorded, perhaps after one that was killed."""

    ends: Ends
    record: Record


def recorded(server: crash.Warm, ends: Ends, scratch: Path, kill_at: int = 0) -> Recorded:
    """Do a command line on a copy of its scene and record it; `kill_at`: it is killed at this operation first, and called again.

    Raises:
        RuntimeError: it did not end well, or the record is not of all that it did.
    """
    tree = scratch / f"recorded-{ends.scene.name}-{kill_at}"
    shutil.copytree(ends.scene.start, tree)
    inodes, log = inodes_of(tree), tree.with_name(f"{tree.name}.record")
    run = five.runner(server, ends.argv)
    if kill_at:
        run(tree, shim.armed(tree, 0, "kill", kill_at) | {"SHIM_RECORD": str(log)})
    code = run(tree, shim.armed(tree, 0) | {"SHIM_RECORD": str(log)})
    record = Record(tree, ends.scene.start, inodes, log)
    unseen = record.check(tree)
    if code != crash.FINISHED or unseen:
        raise RuntimeError(f"{tree.name}: it ended with {code}; {unseen}")
    shutil.rmtree(tree)
    shim.forget(tree)
    log.unlink()
    return Recorded(ends, record)


class Disk:
    """A folder that holds what a disk may hold; only what differs from what it held before is written."""

    def __init__(self, folder: Path, start: Path) -> None:
        self.folder = folder
        shutil.copytree(start, folder)
        self._held = {path: (start / path).read_bytes() for path in inodes_of(start).values()}

    def lay(self, remains: Remains) -> None:
        """Let the folder hold these remains."""
        for path in self._held.keys() - remains.files.keys():
            (self.folder / path).unlink()
        for path in sorted(remains.folders):
            (self.folder / path).mkdir(exist_ok=True)
        for path, content in remains.files.items():
            if self._held.get(path) != content:
                (self.folder / path).write_bytes(content)
        for path, folders, files in os.walk(self.folder, topdown=False):
            if (
                not folders
                and not files
                and Path(path).relative_to(self.folder).as_posix() not in remains.folders | {"."}
            ):
                Path(path).rmdir()
        self._held = remains.files


def view(remains: Remains) -> bytes:
    """Give what remains have in common that look the same to every reader."""
    return digest({p: c for p, c in remains.files.items() if p.startswith(_READ) or p.endswith(_HEADS)})


def problems(made: Recorded, tree: Path, *, done: bool) -> list[str]:
    """Give what a reader sees that is neither end whole; `done`: the run had ended well, so that it must be the new one."""
    ends = made.ends
    if done:
        after = [*ends.tables][-1]
        ends = ends._replace(scene=_only(ends.scene), tables={after: ends.tables[after]})
    try:
        found = (
            crash.reader_problems(ends.scene, tree) + dataset_view(ends.scene, tree) + five.table_problems(ends, tree)
        )
        if done:
            lasting = crash.lasting(tree, ends.scene.dataset, ends.scene.exports)
            # what was removed may come back: it is garbage that the next collection takes
            wanted = {path: had for path, had in ends.scene.after.lasting.items() if had != "missing"}
            found += [f"{path} is not what it was" for path in sorted(wanted) if lasting.get(path) != wanted[path]]
    except Exception as error:
        found = [f"a reader cannot read it: {type(error).__name__}: {str(error)[:200]}"]
    return found


def _only(scene: crash.Scene) -> crash.Scene:
    return crash.Scene(scene.name, scene.start, scene.dataset, scene.exports, scene.after, scene.after)


class Seen(NamedTuple):
    """The remains that were told apart, how many a reader had to look at, and what was wrong with which."""

    states: set[bytes]
    looks: int
    problems: list[str]


def points(record: Record, n: int, chance: random.Random) -> list[int]:
    """Choose n moments, half of them behind operations on what readers read, and the end."""
    touched = [op for op, kind in enumerate(record.kinds, 1) if " corpus/table/_" in kind or " out" in kind]
    others = sorted({*range(1, len(record))} - {*touched})
    some = chance.sample(touched, min(n // 2, len(touched)))
    return sorted({*some, *chance.sample(others, min(n - len(some), len(others))), len(record)})


def look(made: Recorded, scratch: Path, moments: Sequence[int], seed: int) -> Seen:
    """Look at all that may be there when power is lost at some operations, each different thing once."""
    disk = Disk(scratch / f"disk-{made.ends.scene.name}", made.ends.scene.start)
    states: set[bytes] = set()
    views: set[tuple[bytes, bool]] = set()
    told: list[str] = []
    for n in moments:
        for remains in made.record.all_remains(n, random.Random(f"{seed} {n}")):
            done = n == len(made.record)
            states.add(remains.key())
            seen = (remains.key() if done else view(remains), done)
            if seen not in views:
                views.add(seen)
                disk.lay(remains)
                told += [f"{label(made, remains)}: {problem}" for problem in problems(made, disk.folder, done=done)]
    shutil.rmtree(disk.folder)
    return Seen(states, len(views), told)


def looked(made: Recorded, scratch: Path, moments: Sequence[int], seed: int) -> tuple[Trial, Seen]:
    """Do that as a trial."""
    began = time.perf_counter()
    seen = look(made, scratch, moments, seed)
    what = f"{' '.join(made.ends.argv)}: power lost, operations {moments[0]} to {moments[-1]}"
    return Trial(made.ends.scene.name, what, [], seen.problems, time.perf_counter() - began, seen.looks), seen


def label(made: Recorded, remains: Remains) -> str:
    """Give a name for remains."""
    before = made.record.kinds[remains.at - 1] if remains.at else "all"
    return f"{' '.join(made.ends.argv)}: power lost behind operation {remains.at} ({before}): {remains.how}"


def rerun(server: crash.Warm, made: Recorded, scratch: Path, remains: Remains) -> Trial:
    """Call the command line again on remains, on a machine that was started again; judge the end as in all other rooms."""
    ends = made.ends

    def power_loss(tree: Path, _: int) -> int:
        shutil.rmtree(tree)
        Disk(tree, ends.scene.start).lay(remains)
        _restart(tree)
        return crash.KILLED

    run = five.runner(server, ends.argv)

    def also(scene: crash.Scene, tree: Path) -> list[str]:
        return dataset_view(scene, tree) + five.table_problems(ends, tree)

    polls = Polls()  # not while the disk is laid: then there is no machine to look from
    again = polls.over(ends.scene, run)
    trial = polls.told(crash.attacked(ends.scene, scratch, label(made, remains), [power_loss], again, also=also))
    if not trial.problems:
        for each in scratch.glob("*.said"):
            each.unlink()
    return trial


def _restart(tree: Path) -> None:
    """Let what claims say of the machine's start be of the start before this one."""
    for path in tree.glob("corpus/runs/*/claim.json"):
        claim = json.loads(path.read_bytes())
        path.write_text(json.dumps(claim | {"boot": "the one before the power loss"}), "utf-8")
