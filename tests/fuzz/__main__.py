"""Fuzz the readers.

    python -m tests.fuzz [TARGET ...] [--seconds N] [--corpus FOLDER] [--blind]

Each target runs N seconds in a process of its own under atheris (libFuzzer), with limits on time (25 s an input) and memory (2 GB). What
is found lies in FOLDER/TARGET as crash-*, timeout-* or oom-*; a copy in tests/fuzz/found/TARGET-* stays a test for ever. Where
atheris is not installed (it has wheels for Python 3.11 to 3.13 and is in no extra; tests/fuzz/fuzz.lock pins it) the command says so and
ends; --blind then changes the seeds without feedback.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz import blind
from tests.fuzz.reading import clean

ROOT = Path(__file__).resolve().parents[2]
NO_TARGETS = {"__init__", "__main__", "blind", "reading", "run", "test_targets"}
TARGETS = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem not in NO_TARGETS)


def guided(name: str, seconds: int, corpus: Path) -> str:
    """Run a target under atheris; give what it says of it in one line."""
    folder = corpus / name
    folder.mkdir(parents=True, exist_ok=True)
    for i, seed in enumerate(importlib.import_module(f"tests.fuzz.{name}").SEEDS):
        (folder / f"seed-{i}").write_bytes(seed)
    limits = [
        f"-max_total_time={seconds}",
        "-timeout=25",
        "-rss_limit_mb=2048",
        "-max_len=65536",
        "-print_final_stats=1",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.run", name, str(folder), *limits, f"-artifact_prefix={folder}/"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT), *sys.path[1:]])},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    executed = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
    found = sorted(path.name for pattern in ("crash-*", "timeout-*", "oom-*") for path in folder.glob(pattern))
    # Raised by atheris 3 itself, over an argument of a call that it traces.
    gave_up = "Unable to convert call argument" in done.stderr and not found
    if done.returncode and not found and not gave_up:
        found = [done.stderr[-1500:]]
    (corpus / f"{name}.log").write_text(done.stderr)
    last = executed or re.search(r"#(\d+)\t(?!.*^#\d+\t)", done.stderr, re.MULTILINE | re.DOTALL)
    told = f"{last[1] if last else '?'} executions{', then atheris itself gave up' if gave_up else ''}"
    return told + ("; found " + ", ".join(found) if found else "")


def main() -> int:
    """Fuzz what is asked for; 1 where something was found."""
    asked = argparse.ArgumentParser(prog="python -m tests.fuzz", description="fuzz the readers")
    asked.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    asked.add_argument("--seconds", type=int, default=60)
    asked.add_argument("--corpus", type=Path, default=ROOT / "build" / "fuzz")
    asked.add_argument("--blind", action="store_true", help="change the seeds without feedback")
    given = asked.parse_args()
    if unknown := set(given.targets) - set(TARGETS):
        asked.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    if not given.blind and importlib.util.find_spec("atheris") is None:
        sys.stdout.write(
            "atheris is not installed here: nothing was fuzzed. `pip install -r tests/fuzz/fuzz.lock`, or --blind\n"
        )
        return 0
    bad = False
    for name in given.targets or TARGETS:
        began = time.monotonic()
        told = blindly(name, given.seconds) if given.blind else guided(name, given.seconds, given.corpus)
        bad = bad or "found" in told
        sys.stdout.write(f"{name}: {told}, {time.monotonic() - began:.0f} s\n")
        sys.stdout.flush()
    return int(bad)


def blindly(name: str, seconds: int) -> str:
    """Change the seeds of a target until the time is up."""
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
