"""Fuzz the readers.

    python -m tests.fuzz [TARGET ...] [--seconds N] [--jobs N] [--corpus FOLDER] [--dry] [--blind]

Each target runs N seconds of processor time under atheris (libFuzzer), in turns of a process of its own, with limits on time (25 s an
input) and memory (2 GB). What is found lies in FOLDER/TARGET as crash-*, timeout-* or oom-*; a copy in tests/fuzz/found/TARGET-* stays a
test for ever. The time each has had is kept in docs/fuzz.json, which docs/reliability.md shows: a target that has had its time is passed
over, so that N may be reached over several sessions. Where atheris is not installed (it has wheels for Python 3.11 to 3.13 and is in no
extra; tests/fuzz/fuzz.lock pins it) the command says so and ends; --blind then changes the seeds without feedback.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz import blind
from tests.fuzz.reading import clean
from tests.soak import results

ROOT = Path(__file__).resolve().parents[2]
NO_TARGETS = {"__init__", "__main__", "blind", "reading", "run", "test_targets"}
TARGETS = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NO_TARGETS)
LEAVE_S = 30  # to leave, once the figures are told
TURN_S = 300  # of processor time, after which another target has its turn
FIGURES = ROOT / "docs" / "fuzz.json"


class Fuzzing:
    """What each target has had: its processor time, its executions, what was found, and of which commits."""

    def __init__(self, seconds: int, corpus: Path, kept: Path | None) -> None:
        self.seconds, self.corpus, self.kept = seconds, corpus, kept
        told = kept.read_text("utf-8") if kept is not None and kept.exists() else "{}"
        self.figures: dict[str, dict[str, object]] = json.loads(told)
        self.lock = threading.Lock()
        self.busy: set[str] = set()
        self.commit = subprocess.run(
            ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
        ).stdout.strip()

    def had_s(self, name: str) -> float:
        """Give the processor time a target has had."""
        return float(self.figures.get(name, {}).get("cpu_s", 0))  # type: ignore[arg-type]

    def turns(self, targets: list[str]) -> None:
        """Give turns to whichever target has had the least, until each has had its time."""
        while True:
            with self.lock:
                open_ones = [name for name in targets if name not in self.busy and self.had_s(name) < self.seconds]
                if not open_ones:
                    return
                name = min(open_ones, key=self.had_s)
                self.busy.add(name)
            had, executed, found = guided(name, min(TURN_S, self.seconds - self.had_s(name)), self.corpus)
            with self.lock:
                self.busy.remove(name)
                self._count(name, had, executed, found)
            say(f"{name}: {had:.0f} s, {executed} executions{'; found ' if found else ''}{', '.join(found)}")

    def _count(self, name: str, had: float, executed: int, found: list[str]) -> None:
        figure = self.figures.setdefault(name, {"cpu_s": 0, "executions": 0, "found": [], "commits": []})
        figure["cpu_s"] = round(self.had_s(name) + had, 1)
        figure["executions"] = int(figure["executions"]) + executed  # type: ignore[call-overload]
        figure["found"] = sorted({*figure["found"], *found})  # type: ignore[misc]
        if self.commit not in figure["commits"]:  # type: ignore[operator]
            figure["commits"].append(self.commit)  # type: ignore[attr-defined]
        if self.kept is not None:
            self.kept.write_text(json.dumps(dict(sorted(self.figures.items())), indent=1) + "\n", "utf-8")


def guided(name: str, seconds: float, corpus: Path) -> tuple[float, int, list[str]]:
    """Run a target under atheris for so much processor time; give what it took, its executions, and what was found."""
    folder = corpus / name
    folder.mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate(importlib.import_module(f"tests.fuzz.{name}").SEEDS):
        (folder / f"seed-{i}").write_bytes(seed)
    limits = [
        f"-max_total_time={max(1, round(seconds))}",
        "-timeout=25",
        "-rss_limit_mb=2048",
        "-max_len=65536",
        "-print_final_stats=1",
    ]
    with (corpus / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.run", name, str(folder), *limits, f"-artifact_prefix={folder}/"],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT), *sys.path[1:]])},
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
        status, used, is_done = _ended(process.pid, corpus / f"{name}.log")
        process.returncode = 0 if is_done else os.waitstatus_to_exitcode(status)
    told = (corpus / f"{name}.log").read_text("utf-8", errors="replace")
    found = sorted(path.name for pattern in ("crash-*", "timeout-*", "oom-*") for path in folder.glob(pattern))
    # Raised by atheris 3 itself, over an argument of a call that it traces; the next turn goes on with the same corpus.
    gave_up = "Unable to convert call argument" in told and not found
    if process.returncode and not found and not gave_up:
        found = [f"{name} ended with {process.returncode}: {told[-1500:]}"]
    counts = re.findall(r"^(?:#|stat::number_of_executed_units:\s*)(\d+)", told, re.MULTILINE)
    return used.ru_utime + used.ru_stime, int(counts[-1]) if counts else 0, found


def _ended(pid: int, log: Path) -> tuple[int, resource.struct_rusage, bool]:
    """Wait for a target's process; give its status, what it used, and if it had said all and was killed.

    libFuzzer leaves by exit(), where a thread of Arrow may wait for the interpreter for ever.
    """
    said_at = None
    while True:
        ended, status, used = os.wait4(pid, os.WNOHANG)
        if ended:
            return status, used, False
        if said_at is None and b"stat::peak_rss_mb" in log.read_bytes():
            said_at = time.monotonic()
        if said_at is not None and time.monotonic() - said_at > LEAVE_S:
            os.kill(pid, signal.SIGKILL)
            _, status, used = os.wait4(pid, 0)
            return status, used, True
        time.sleep(0.5)


def say(line: str) -> None:
    """Put a line on the terminal, whole, whichever thread has it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> int:
    """Fuzz what is asked for; 1 where something was found."""
    asked = argparse.ArgumentParser(prog="python -m tests.fuzz", description="fuzz the readers")
    asked.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    asked.add_argument("--seconds", type=int, default=60, help="of processor time, for each target")
    asked.add_argument("--jobs", type=int, default=1, help="targets at the same time")
    asked.add_argument("--corpus", type=Path, default=ROOT / "build" / "fuzz")
    asked.add_argument("--dry", action="store_true", help="leave docs/fuzz.json alone")
    asked.add_argument("--blind", action="store_true", help="change the seeds without feedback")
    given = asked.parse_args()
    if unknown := set(given.targets) - set(TARGETS):
        asked.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    targets = given.targets or TARGETS
    if given.blind:
        told = [blindly(name, given.seconds) for name in targets]
        return int(any("found" in each for each in told))
    if importlib.util.find_spec("atheris") is None:
        say("atheris is not installed here: nothing was fuzzed. `pip install -r tests/fuzz/fuzz.lock`, or --blind")
        return 0
    fuzzing = Fuzzing(given.seconds, given.corpus, None if given.dry else FIGURES)
    with ThreadPoolExecutor(given.jobs) as pool:
        for future in [pool.submit(fuzzing.turns, targets) for _ in range(given.jobs)]:
            future.result()
    if not given.dry:
        results.write(json.loads(results.JSON.read_text("utf-8")))  # the page shows what is in docs/fuzz.json
    return int(any(fuzzing.figures[name]["found"] for name in targets))


def blindly(name: str, seconds: int) -> str:
    """Change the seeds of a target until the time is up; say what came of it."""
    told = _blindly(name, seconds)
    say(f"{name}: {told}")
    return told


def _blindly(name: str, seconds: int) -> str:
    target, number, n = importlib.import_module(f"tests.fuzz.{name}"), 0, 0
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        for data in blind.cases(target, 100, number):
            n += 1
            try:
                target.one(data)
            except BaseException as error:
                return f"{n} executions; found {type(error).__name__}: {error} (seed {number}): {data!r}"
        number += 1
    clean()
    return f"{n} executions"


if __name__ == "__main__":
    sys.exit(main())
