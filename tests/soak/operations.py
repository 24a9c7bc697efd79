"""Blows at single file operations: what a run does when one of them kills it, tears a write, or fails.

Not here: the blows (`tests/crash/shim`), the pipeline (`five`). Invariant: a trial's name holds the mode and the number of the
operation, which replay it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.crash import shim
from tests.crash.shim import AtOperation, Operation
from tests.soak import command, five
from tests.soak.attacks import attacked, dataset_view
from tests.soak.five import Ends
from tests.soak.results import Trial

from gristmill.testing import crash

FAILED = 1


def runner(server: crash.Warm, argv: Sequence[str]) -> crash.Run:
    """Give the `Run` of a command line; what is said afterwards was said by this run."""

    def run(tree: Path, env: Mapping[str, str]) -> int:
        command.said(tree).unlink(missing_ok=True)
        return server.run([str(tree), *argv], env)

    return run


def trial(
    server: crash.Warm, ends: Ends, scratch: Path, blows: Sequence[tuple[str, int]]
) -> tuple[Trial, list[Operation]]:
    """Deal blows (mode, operation) at a run and its reruns; give the trial, and what was hit."""
    run = runner(server, ends.argv)
    # A refresh that is asked for again is another refresh: what follows it is a run.
    follows = runner(server, five.RUN) if "--full-refresh" in ends.argv else run
    dealt = [AtOperation(mode, at, run) for mode, at in blows]
    again: list[int] = []
    peace: list[int] = []

    def in_peace(tree: Path, env: Mapping[str, str]) -> int:
        peace.append(run(tree, env))
        return peace[-1]

    def blow(one: AtOperation) -> crash.Attack:
        def attack(tree: Path, i: int) -> int:
            code = one(tree, i)
            if code == crash.FINISHED:  # what it could do without, the next run clears up
                again.append(follows(tree, {}))
            return code

        return attack

    label = ", then ".join(f"{mode} at operation {at}" for mode, at in blows) + f" of {' '.join(ends.argv)}"
    open_blows = list(dealt)

    def also(scene: crash.Scene, tree: Path) -> list[str]:
        problems = dataset_view(scene, tree) + five.table_problems(ends, tree)
        problems += five.pin_problems(ends, tree, at_end=bool(again or peace))
        if open_blows and open_blows[0].code is not None:
            problems += outcome_problems(open_blows.pop(0), tree)
        return problems

    made = attacked(ends.scene, scratch, label, [blow(one) for one in dealt], in_peace, also=also)
    made.problems += [f"after a run that ended well the next one ended with {code}" for code in again if code]
    if not made.problems:
        for tree in {path.with_name(path.name.partition(".shim-")[0]) for path in scratch.glob("*.shim-*")}:
            shim.forget(tree)
            command.said(tree).unlink(missing_ok=True)
    return made, [blow.hit for blow in dealt if blow.hit is not None]


def outcome_problems(blow: AtOperation, tree: Path) -> list[str]:
    """Say what is wrong with how a hurt run ended: with the code, or with what it said."""
    if blow.hit is None:
        return [] if blow.code == crash.FINISHED else [f"it was not hurt and ended with {blow.code}"]
    where = f"{blow.mode} at {blow.hit.kind} {Path(blow.hit.path).relative_to(tree)}"
    if blow.mode in {"kill", "torn"}:
        return [] if blow.code == crash.KILLED else [f"{where}: it ended with {blow.code}, and was to die"]
    if blow.code == crash.FINISHED:
        return []  # it could do without: the end must be whole all the same, which is looked at
    if blow.code != FAILED:
        return [f"{where}: it ended with {blow.code}, expected 1"]
    told = command.said(tree).read_text("utf-8")
    problems = [f"{where}: it said {word!r}" for word in ("Traceback", "unexpected") if word in told]
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    hurt = [each.path for each in shim.operations(tree, blow.turn) if each.hurt]  # on a full disk more than one
    if not any(names(line, path) for line in errors for path in hurt):
        problems.append(f"{where}: no error names the place: {errors}")
    return problems


def names(line: str, path: str) -> bool:
    """Say whether a message names a path, the file it was to become, or the folder it lies in."""
    file = Path(path)
    whole = file.name.lstrip(".").split(".")[0]
    return str(file) in line or str(file.parent) in line or (len(whole) > 3 and whole in line)


def points(found: Sequence[Operation], mode: str, n: int) -> list[int]:
    """Choose n operations that a mode can hurt, evenly, half of them no writes, of which there are most; all if there are fewer."""
    writes = [each.number for each in found if "write" in each.kind or each.kind == "sendfile"]
    others = sorted({each.number for each in found} - set(writes)) if mode != "torn" else []
    some = min(len(others), n // 2)
    return sorted([*_evenly(others, some), *_evenly(writes, n - some)])


def _evenly(numbers: Sequence[int], n: int) -> list[int]:
    return [*numbers] if len(numbers) <= n else [numbers[i * len(numbers) // n] for i in range(n)]
