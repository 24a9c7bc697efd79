"""`rollback` and `gc`, killed at every failpoint they pass; `tests.soak` deals blows at their file operations, and those of other verbs.

    python -m tests.crash.verbs               every passing of every failpoint of each verb; prints the figures

Each verb is one scene: the small pipeline after its second day, the verb in peace, and the bytes that last after it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.soak import scenes
from tests.soak.results import say

from gristmill.testing import crash

VERBS = {
    "rollback": ["rollback", "1", "--why", "killed"],
    "gc": ["gc", "--keep-last", "1"],
}
PRELOAD = ("engine.garbage", "engine.rollback")
OLD = 1_600_000_000
# What a verb can die at that has no name of its own in it, and how often of so many passings is enough.
EVERY = {"disk.written": 3, "disk.named": 3}


@contextlib.contextmanager
def warm(folder: Path, source: Path) -> Iterator[crash.Warm]:
    """Start the warm process on a frozen copy of `src`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "preload").write_text("\n".join(f"gristmill.{name}" for name in PRELOAD))
    env = {"PYTHONPATH": os.pathsep.join([str(source), str(scenes.ROOT)]), "PYTHONDONTWRITEBYTECODE": "1"}
    env |= {"PRELOAD": str(folder / "preload"), "SAID": str(folder / "said")}
    with crash.Warm([sys.executable, "-m", "tests.soak.command"], folder, env) as server:
        yield server


def runner(server: crash.Warm, verb: str) -> crash.Run:
    """Give what calls a verb in a folder."""
    return lambda tree, env: server.run([str(tree), *VERBS[verb]], env)


def scene(folder: Path, verb: str, after_two_days: Path, server: crash.Warm) -> crash.Scene:
    """Make the scene of a verb."""
    start = folder / f"{verb}-start"
    shutil.copytree(after_two_days, start)
    if verb == "gc":
        for name in (
            "table/0123456789abcdef-01234567.parquet",
            "staging/9/file",
            "runs/2/.report.json.7-a.tmp",
            "state/web/9.parquet",
        ):
            path = start / "corpus" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"left by a dead writer")
            os.utime(path, (OLD, OLD))
    return scenes.scene(folder, verb, start, runner(server, verb))


def whole(scene: crash.Scene, tree: Path) -> list[str]:
    """Say which snapshots lack a file and are not marked as collected."""
    told = []
    for path in sorted((tree / scene.dataset / "runs").glob("*/manifest.json")):
        manifest = json.loads(path.read_bytes())
        names = [each["path"] for each in [*manifest["shards"], *manifest["index"], *manifest["states"].values()]]
        lost = [name for name in [*names, *manifest["tombstones"]] if not (tree / scene.dataset / name).exists()]
        committed = manifest["seq"] <= (scene.after.seq or 0)
        if lost and committed and not path.with_name("collected.json").exists():
            told.append(f"snapshot {manifest['seq']} is not marked and lacks {len(lost)} files")
    return told


def killed(scene: crash.Scene, scratch: Path, point: str, server: crash.Warm) -> crash.Trial:
    """Kill the verb at `name=kill@n`, look, call it again, compare."""
    run = runner(server, scene.name)
    return crash.attacked(scene, scratch, f"{scene.name} {point}", [crash.AtFailpoint(point, run)], run, also=whole)


class Figures(NamedTuple):
    """What came of a sweep."""

    points: int
    kills: int
    problems: list[str]


def sweep(verb: str, made: crash.Scene, scratch: Path, server: crash.Warm) -> Figures:
    """Kill a verb at every passing of every failpoint (of those in `EVERY`, each n-th)."""
    counts = crash.count_failpoints(made, scratch, runner(server, verb))
    points = [f"{name}=kill@{n}" for name, most in counts.items() for n in range(1, most + 1, EVERY.get(name, 1))]
    trials = [killed(made, scratch, point, server) for point in points]
    problems = [f"{trial.attack}: {problem}" for trial in trials for problem in trial.problems]
    return Figures(len(points), sum(trial.deaths for trial in trials), problems)


def main() -> int:
    """Sweep all verbs."""
    began, told = time.monotonic(), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="gristmill-verbs-") as name:
        folder = Path(name)
        shutil.copytree(scenes.ROOT / "src", folder / "src")
        with scenes.warm(folder / "warm", folder / "src") as server:
            days = scenes.history(folder / "days", "small", scenes.runner(server, 1), n=60, split=4000, docs=15)
        with warm(folder / "warm-verbs", folder / "src") as server:
            for verb in VERBS:
                (folder / verb).mkdir()
                made = scene(folder / verb, verb, days[1].start.with_name("small-2-done"), server)
                found = sweep(verb, made, folder / verb / "scratch", server)
                say(f"{verb}: {found.points} points, {found.kills} kills, {len(found.problems)} violations")
                for problem in found.problems[:20]:
                    say(problem)
                told.update(kills=found.kills, violations=len(found.problems))
    say(f"{told['kills']} kills, {told['violations']} violations, {time.monotonic() - began:.0f} s")
    return 1 if told["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
