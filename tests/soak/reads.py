"""Reads that fail: one read of a file below the pipeline's folder is answered with EIO.

Not here: the shim (`tests/crash/shim.c`), the other blows (`operations`). Invariants: a run that could not read one of its own files ends
with 1, names it, and publishes nothing half (a look ahead at an export that fails is made again in earnest); one that could not read a source's file publishes the others and reads that one
next time, and all that was to be read is there then: no failed read is taken for the end of a file.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path

from tests.crash import shim
from tests.crash.shim import AtOperation, Operation
from tests.soak import command, five, operations
from tests.soak.attacks import Polls, dataset_view
from tests.soak.five import Ends
from tests.soak.results import Trial

from gristmill.testing import crash, laws

MODE = "eio-read"
TEXTS = ("id", "text")
RESOURCE = {"feed.py", "__pycache__", "posts.json"}  # of dlt: the code of the user, and what it reads


def counted(tree: Path, run: crash.Run) -> list[Operation]:
    """Run in peace in a folder and give the reads."""
    code = run(tree, shim.armed(tree, 0, MODE, 1 << 62))
    if code != crash.FINISHED:
        raise RuntimeError(f"a run in peace ended with {code}")
    found = [each for each in shim.operations(tree, 0) if each.kind == "read"]
    shim.forget(tree)
    return found


def points(found: list[Operation], tree: Path, n: int) -> list[int]:
    """Choose n reads, of each kind of file as evenly as can be."""
    kinds: dict[str, list[int]] = {}
    for each in found:
        kinds.setdefault("/".join(Path(each.path).relative_to(tree).parts[:2]), []).append(each.number)
    chosen: set[int] = set()
    for i, numbers in enumerate(sorted(kinds.values(), key=len)):
        some = -(-(n - len(chosen)) // (len(kinds) - i))
        chosen |= {numbers[j * len(numbers) // some] for j in range(some)}
    return sorted(chosen)


def trial(server: crash.Warm, ends: Ends, scratch: Path, at: int) -> tuple[Trial, Operation | None]:
    """Let one read of a run fail; give the trial, and which it was."""
    began = time.perf_counter()
    blow = AtOperation(MODE, at, five.runner(server, ends.argv))
    told: list[str] = []

    def attack(tree: Path, i: int) -> int:
        command.said(tree).unlink(missing_ok=True)
        code = blow(tree, i)
        told.extend(_outcome_problems(ends, blow, tree))
        if code != crash.FINISHED or (blow.hit is not None and _of_source(blow.hit, tree)):
            return code
        return five.runner(server, ends.argv)(tree, {})  # what it could do without, the next run clears up

    tree = scratch / f"read-{ends.scene.name}-{at}"
    shutil.rmtree(tree, ignore_errors=True)
    shutil.copytree(ends.scene.start, tree)
    polls = Polls()
    with polls.watching(ends.scene, tree):
        code = attack(tree, 0)
    made = Trial(ends.scene.name, f"{MODE} at read {at}", [code], told)
    of_source = blow.hit is not None and _of_source(blow.hit, tree) and code == crash.FINISHED
    # A user's own code that cannot read is found out when the source is asked: the run has its number by then.
    other_number = of_source or (blow.hit is not None and Path(blow.hit.path).relative_to(tree).parts[0] in RESOURCE)
    if not of_source:
        made.problems += [f"after it: {problem}" for problem in _seen(ends, tree)]
    if of_source:
        polls = (
            Polls()
        )  # it published another snapshot than an undisturbed run does: what was seen can be held against nothing
    with contextlib.nullcontext() if other_number else polls.watching(ends.scene, tree):
        made.codes.append(five.runner(server, ends.argv)(tree, {}))
    made = polls.told(made)
    if made.codes[-1] != crash.FINISHED:
        made.problems.append(f"the run in peace ended with {made.codes[-1]}")
    if other_number:
        made.problems += _same_texts(ends, tree)
    else:
        made.problems += crash.end_problems(ends.scene, tree) + _seen(ends, tree)
    if not made.problems:
        shutil.rmtree(tree)
        shim.forget(tree)
        command.said(tree).unlink(missing_ok=True)
    made.seconds = time.perf_counter() - began
    return made, blow.hit


def _of_source(hit: Operation, tree: Path) -> bool:
    return Path(hit.path).is_relative_to(tree / "data")


def _seen(ends: Ends, tree: Path) -> list[str]:
    looks = crash.reader_problems(ends.scene, tree) + dataset_view(ends.scene, tree)
    return looks + five.table_problems(ends, tree)


def _same_texts(ends: Ends, tree: Path) -> list[str]:
    """Say if what the next run published is not what an undisturbed one did: by text, for ids stay and numbers do not."""
    done = ends.scene.start.parent / f"{ends.scene.name}-done"
    problems = laws.check(tree / "corpus", [tree / export for export in five.LINES])
    found, wanted = (laws.head_rows(each / "corpus", TEXTS).column("text").to_pylist() for each in (tree, done))
    return problems if sorted(found) == sorted(wanted) else [*problems, "other texts than a run that could read all"]


def _outcome_problems(ends: Ends, blow: AtOperation, tree: Path) -> list[str]:
    """Say what is wrong with how the run ended."""
    if blow.hit is None:
        return [] if blow.code == crash.FINISHED else [f"it was not hurt and ended with {blow.code}"]
    where, told = Path(blow.hit.path).relative_to(tree), command.said(tree).read_text("utf-8")
    problems = [f"{where}: it said {word!r}" for word in ("Traceback", "unexpected") if word in told]
    if _of_source(blow.hit, tree) and blow.code == crash.FINISHED:
        return problems if "file.unreadable" in told else [*problems, f"{where}: it did not set the file aside"]
    if blow.code == crash.FINISHED:
        return problems
    if blow.code != (2 if where.name == "gristmill.yml" else operations.FAILED):
        problems.append(f"{where}: it ended with {blow.code}")
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    named = [
        line for line in errors if operations.names(line, blow.hit.path) or str(where).removeprefix("corpus/") in line
    ]
    table = where.as_posix().startswith(five.TABLE) and any("export rows" in line for line in errors)
    return problems if named or table else [*problems, f"{where}: no error names the place: {errors}"]
