"""Too little of something: a disk that fills up, and a limit on memory.

The disk is a small tmpfs, which takes a right to mount (in a container: `--cap-add SYS_ADMIN`). Not here: a disk that is full at a single
operation (`operations`). Invariant: with what was missing given back, a run ends in the very bytes of one that lacked nothing.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.soak import attacks, five
from tests.soak.five import Ends
from tests.soak.results import Trial

from gristmill.testing import crash, laws

PLENTY_KIB = 256 << 10
HUNG_S = 20.0
LEAVING_S = 10.0  # how long what was killed may take to let a folder go
TEXTS = ("id", "text")
# What a library of C++ or Rust does that is given no memory, and the loader; and what Linux does to a thread whose stack may not grow.
ABORTED = {-int(signal.SIGABRT), 127, -int(signal.SIGSEGV)}


@contextmanager
def mounted(folder: Path, kib: int) -> Iterator[bool]:
    """Mount a tmpfs of so many KiB at `folder`; give whether that is allowed here."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = shutil.which("mount")
    command = [mount or "", "-t", "tmpfs", "-o", f"size={kib}k", "gristmill-soak", str(folder)]
    allowed = mount is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield allowed
    finally:
        if allowed:
            until = time.monotonic() + LEAVING_S
            while subprocess.run(["umount", str(folder)], check=time.monotonic() > until).returncode:
                time.sleep(0.2)


def resize(folder: Path, kib: int) -> None:
    """Give a mounted tmpfs another size."""
    subprocess.run(["mount", "-o", f"remount,size={kib}k", str(folder)], check=True)


def size_kib(folder: Path) -> int:
    """Give the room that a folder takes on a tmpfs: whole pages."""
    return sum(-(-path.lstat().st_size // 4096) * 4 for path in folder.rglob("*"))


def full_disk(server: crash.Warm, ends: Ends, scratch: Path, room_kib: int) -> Trial | None:
    """Run with so much room left on the disk; None where nothing may be mounted here."""
    problems: list[str] = []
    told = scratch / "said"

    with mounted(scratch / "disk", PLENTY_KIB) as allowed:
        if not allowed:
            return None

        def blow(tree: Path, i: int) -> int:
            told.unlink(missing_ok=True)
            resize(scratch / "disk", size_kib(tree) + room_kib)
            code = server.run([str(tree), *ends.argv], {"SAID": str(told)})
            resize(scratch / "disk", PLENTY_KIB)
            if code not in {0, 1}:
                problems.append(f"it ended with {code}, expected 1")
            if code == 1:
                problems.extend(message_problems(told.read_text("utf-8"), "disk"))
            return code

        run: crash.Run = lambda tree, env: server.run([str(tree), *ends.argv], {**env, "SAID": str(told)})  # noqa: E731
        label = f"{room_kib} KiB left on the disk"
        trial = attacks.attacked(ends.scene, scratch / "disk", label, [blow], run)
        trial.problems += problems
    return trial


def message_problems(told: str, place: str) -> list[str]:
    """Say what is wrong with what a run said that found the disk full."""
    errors = [line for line in told.splitlines() if line.startswith("error: ")]
    problems = [f"it said {word!r}: {errors}" for word in ("Traceback", "unexpected") if word in told]
    return problems if any(f"/{place}/" in line for line in errors) else [*problems, f"no error names a path: {errors}"]


def little_memory(server: crash.Warm, ends: Ends, scratch: Path, limit_mb: int) -> tuple[Trial, str]:
    """Run with so much memory above what a process has that has loaded all; give the trial, and how the run ended.

    It may fail, die or stand still (a library in need of memory may), and be killed then. What fails for a reason that it cannot tell from
    a lasting one leaves a gap in the numbers, so the end is held against the undisturbed one by ids and texts.
    """
    tree, told = scratch / f"memory-{limit_mb}", scratch / "said"
    trial, polls = crash.Trial(ends.scene.name, f"{limit_mb} MB more memory"), attacks.Polls()
    began = time.perf_counter()
    shutil.copytree(ends.scene.start, tree)
    told.unlink(missing_ok=True)
    how = ""
    with polls.watching(ends.scene, tree):
        pid = server.start([str(tree), *ends.argv], {"SAID": str(told), "LIMIT_MB": str(limit_mb)})
        while (code := server.poll(pid)) is None:
            if time.perf_counter() - began > HUNG_S:
                how = "stood still"
                crash.kill_group(pid)
            time.sleep(0.02)
    trial.codes.append(code)
    said = told.read_text("utf-8") if told.exists() else ""
    if code not in {0, 1, *ABORTED} and not how:
        trial.problems.append(f"it ended with {code}")
    if "Traceback" in said and code == 1:
        trial.problems.append("it showed a traceback")
    seen = crash.reader_problems(ends.scene, tree)
    trial.problems += [f"after it: {problem}" for problem in seen]
    trial.codes.append(server.run([str(tree), *ends.argv], {"SAID": str(told)}))
    if trial.codes[-1] != crash.FINISHED:
        trial.problems.append(f"the run in peace ended with {trial.codes[-1]}")
    trial.problems += laws.check(tree / "corpus", [tree / export for export in five.LINES])
    done = ends.scene.start.parent / f"{ends.scene.name}-done"
    found, wanted = (laws.head_rows(each / "corpus", TEXTS).sort_by("id") for each in (tree, done))
    if not found.equals(wanted):
        trial.problems.append("other texts than a run that lacked nothing")
    trial.seconds = time.perf_counter() - began
    if not trial.problems:
        shutil.rmtree(tree)
    return polls.told(trial), how or {0: "ended well", 1: "failed"}.get(code, "aborted")
