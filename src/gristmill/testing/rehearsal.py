"""Whole pipelines over a world: days of changes and runs, some of them killed; the dataset must hold what the world holds.

What `conformance` checks with a small engine is checked here with the real one, from the files a run leaves: the published
rows against the world, and every promise by the independent checker (`laws`). Not here: how a run is started (a `Run` is
passed in, as to the crash driver; `command` is one). Invariants: nothing of the engine is imported; a run that is killed is
run again with the same config, and nothing else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from gristmill.core.errors import GateRefused, SourceError
from gristmill.testing import laws
from gristmill.testing.crash import FINISHED, KILLED, Run
from gristmill.testing.world import World, must, same

DATASET = "set"
# Where a run of a source is killed: its pages are being landed, its split is read, its state is written, around the commit.
KILLS = (
    "landing.written=kill",
    "task.staged=kill",
    "state.written=kill",
    "commit.before_delta=kill",
    "commit.after_delta=kill",
)


def rehearse(world: World, folder: Path, run: Run, kills: tuple[str, ...] = KILLS) -> int:
    """Run a pipeline over a world day by day, kill it where `kills` says, a day each; give how many runs were killed.

    Args:
        world: is started in `folder`, and stopped in the end.
        folder: where the config, the dataset and the world are.
        run: runs the pipeline of a folder's gristmill.yml.
        kills: failpoints (`core.failpoints`), one a day; one that a source does not pass kills nothing.

    Raises:
        AssertionError: the dataset does not hold what the world holds, or a promise is broken.
    """
    folder.mkdir(parents=True, exist_ok=True)
    world.start(folder)
    try:
        config = {"version": 1, "dataset": f"./{DATASET}", "sources": [{"name": "world"} | world.config()]}
        config |= {"gate": {"min_quality_score": 0, "max_gone_ratio": 0.5}, "require": {"min_chars": 1}}
        (folder / "gristmill.yml").write_text(json.dumps(config))
        killed = 0
        for i in range(12):
            world.insert(f"a{i}", f"text {i} of the first day")
        _run_until_seen(world, folder, run, "the first run")
        for day, kill in enumerate(kills):
            _a_day(world, day)
            code = run(folder, {"GRISTMILL_FAILPOINT": kill})
            must(code in {FINISHED, KILLED}, f"a run to be killed at {kill} ended with {code}")
            killed += code == KILLED
            _run_until_seen(world, folder, run, f"the run of day {day}, after a kill at {kill}")
        _run_until_seen(world, folder, run, "a last run in which nothing is new")
        if world.can.delete != "no":
            _lose_most(world, folder, run)
        return killed
    finally:
        world.stop()


def _a_day(world: World, day: int) -> None:
    world.insert(f"b{day}", f"new on day {day}")
    if world.can.update:
        world.update(f"a{day}", f"changed on day {day}")
    if world.can.late:
        world.late(f"c{day}", f"late on day {day}")
    if world.can.delete != "no":
        world.delete(f"a{day + 6}")


def _run_until_seen(world: World, folder: Path, run: Run, when: str) -> None:
    """Run as often as it takes until a deletion shows; then what is published is what the world holds."""
    for _ in range(world.can.runs):
        code = run(folder, {})
        must(code == FINISHED, f"{when} ended with exit code {code}")
    same(published(folder), world.rows(), when)


def _lose_most(world: World, folder: Path, run: Run) -> None:
    """Take most records away: the gate or the source holds the run back, and what was published stays."""
    for i in range(12, 40):
        world.insert(f"a{i}", f"text {i} of the last day")
    _run_until_seen(world, folder, run, "a run before most is lost")
    before = published(folder)
    for i in range(12, 40):
        world.delete(f"a{i}")
    codes = [run(folder, {}) for _ in range(world.can.runs)]
    held = {GateRefused.exit_code, SourceError.exit_code}
    must(
        codes[-1] in held, f"runs that lose most records end with {codes}; the gate or the source should hold them back"
    )
    same(published(folder), before, "after a run that was held back")


def published(folder: Path) -> dict[str, str]:
    """Give id -> text of the newest snapshot, ids without the source's name; every promise is checked on the way.

    Raises:
        AssertionError: a promise is broken.
    """
    laws.assert_laws(folder / DATASET)
    rows = laws.head_rows(folder / DATASET).to_pylist()
    return {row["id"].removeprefix("world/"): row["text"] for row in rows}


def command(folder: Path, env: Mapping[str, str]) -> int:
    """Run the pipeline of a folder with the `gristmill` command, in a process of its own; what it prints goes to run.log."""
    with (folder / "run.log").open("ab") as log:
        done = subprocess.run(  # noqa: S603  our own command
            [sys.executable, "-m", "gristmill", "run", "-c", str(folder / "gristmill.yml"), "--workers", "1"],
            env={**os.environ, **env},
            stdout=log,
            stderr=log,
            check=False,
            timeout=300,
        )
    return done.returncode
