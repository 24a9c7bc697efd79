"""How much of what attacks from outside is held off, counted by kind, for the page of reliability.

    python -m tests.guards

Runs the tests of each guard with all their cases; the last line says in JSON what came of it. Not here: what the attacks are (the tests'
own modules). Invariant: a kind is counted by what its tests really go through, and one whose tests are skipped is named and not counted.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.net.test_addresses import SPELLINGS
from tests.report.payloads import payloads
from tests.security.test_secrets import config as with_secrets
from tests.soak.commands import told
from tests.sources import test_rest_faults as faults

ROOT = Path(__file__).resolve().parents[1]
SECRETS = with_secrets(0, Path())[2]
FAULTS = [*faults.PASSING, *faults.ODD, *faults.LASTING, *faults.LATER]


class Guard(NamedTuple):
    """What is gone through, and by which tests."""

    cases: int
    tests: tuple[str, ...]


GUARDS = {
    "spellings of addresses that lead inside, no connection": Guard(
        len(set(SPELLINGS)), ("tests/net/test_addresses.py",)
    ),
    "payloads on pages in a real browser, all inert": Guard(
        len(payloads()), ("tests/report/test_browser.py", "tests/ui/test_browser.py")
    ),
    "secrets planted in all fields that hold one, none told": Guard(SECRETS, ("tests/security/test_secrets.py",)),
    "kinds of network faults, each on the first, a middle and the last page": Guard(
        len(FAULTS), ("tests/sources/test_rest_faults.py",)
    ),
    "verbs of the command line, none lets data act on a terminal": Guard(0, ("tests/security/test_terminal.py",)),
}


def run(tests: tuple[str, ...]) -> tuple[int, int, list[str]]:
    """Give how many tests passed and were skipped, and what failed."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]
    env = os.environ | {"GRISTMILL_SOAK": os.environ.get("GRISTMILL_SOAK", "10")}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    passed, skipped = (
        int(found[1]) if (found := re.search(rf"(\d+) {word}", done.stdout)) else 0 for word in ("passed", "skipped")
    )
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return passed, skipped, failed or ([done.stdout[-300:]] if done.returncode else [])


def main() -> int:
    """Run all; 1 if anything got through."""
    passed, skipped, places, violations = 0, [], {}, []
    for name, guard in GUARDS.items():
        here, left_out, failed = run(guard.tests)
        passed += here
        violations += [f"{name}: {test}" for test in failed]
        if left_out:
            skipped.append(name)
        elif guard.cases and not failed:
            places[name] = guard.cases
        sys.stdout.write(f"{name}: {here} tests passed, {left_out} skipped, {len(failed)} failed\n")
        sys.stdout.flush()
    note = f"Not here, as a program is missing: {'; '.join(skipped)}." if skipped else ""
    sys.stdout.write(told(passed, violations, places=places, note=note) + "\n")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
