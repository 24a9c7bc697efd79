"""Break modules in one place at a time, and see whether their tests notice.

    python -m tests.mutants [MODULE ...] [--jobs N] [--only N]

Each mutant lies in a copy of the project, and its module's tests are run there until one fails, those that are quick first; a file of tests that takes
over twice its time has noticed. The last line is for the soak (`tests.soak.commands`). Not here: the mutants (`write`). Invariant: the tests pass on the unchanged module in
the very copy before any mutant is judged, so that what fails has failed by the mutant.
"""

import argparse
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.mutants.write import Mutant, mutants
from tests.soak import commands
from tests.soak.results import say

ROOT = Path(__file__).resolve().parents[2]
# What a snapshot is committed by, and the tests of that below `tests/`, quick ones first. What only slow ones would notice (`crash/test_power`,
# `test_operations`, `test_attacks`: three minutes for each mutant that is left) counts as not noticed.
TESTS = {
    "store/deltalog.py": "store/test_deltalog store/test_snapshot engine/test_table crash/test_commits",
    "store/disk.py": "store/test_disk store/test_journal store/test_claim crash/test_failpoints",
    "store/claim.py": "store/test_claim store/test_commits_to_stores security/test_modes engine/test_rollback crash/test_cli crash/test_failpoints",
    "store/lease.py": "store/test_lease store/test_commits_to_stores store/test_remote",
    "store/snapshot.py": "store/test_snapshot store/test_commits_to_stores store/test_deltalog store/test_claim store/test_chain engine/test_table "
    "store/test_formats engine/test_rollback crash/test_failpoints",
}
LEAST = 0.9  # of the mutants must be noticed (reference/reliability-and-ux.md A.4)
MARK = "GRISTMILL_MUTANT"  # stands in the environment of all that the tests of a copy start


class Verdict(NamedTuple):
    """module: of the mutant. noticed: whether a test failed or hung."""

    module: str
    mutant: Mutant
    noticed: bool


class Copy:
    """A copy of the project, in which one mutant at a time is tried."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "main"
        self.root.mkdir(parents=True)
        for name in ("src", "tests", "docs", "examples", "bench"):
            ignored = shutil.ignore_patterns("__pycache__", "work", "corpus", "out")
            shutil.copytree(ROOT / name, self.root / name, ignore=ignored)
        for name in ("pyproject.toml", "README.md", "CHANGELOG.md"):
            shutil.copy(ROOT / name, self.root / name)
        if (ROOT.parent / "shared").exists():
            (folder / "shared").symlink_to(ROOT.parent / "shared")

    def fails(self, module: str, limits_s: Sequence[float]) -> bool:
        """Give whether a test of a module fails in the copy; `limits_s`: how long those of each file may take."""
        return any(
            not self._passes(name, limit_s) for name, limit_s in zip(TESTS[module].split(), limits_s, strict=True)
        )

    def times_s(self, module: str) -> list[float]:
        """Give how long the tests of each file take that belongs to a module.

        Raises:
            RuntimeError: they do not pass.
        """
        times = []
        for name in TESTS[module].split():
            began = time.monotonic()
            if not self._passes(name, 3600):
                said = (self.root / "said").read_text("utf-8", "replace")[-3000:]
                raise RuntimeError(f"the tests of {module} fail without any mutant:\n{said}")
            times.append(time.monotonic() - began)
        return times

    def _passes(self, name: str, limit_s: float) -> bool:
        shutil.rmtree(self.root / "tmp", ignore_errors=True)
        (self.root / "tmp").mkdir()
        # No bytecode: mutants of one second and one size would be taken for each other.
        environment = {
            "PYTHONPATH": f"{self.root}/src:{self.root}",
            "TMPDIR": f"{self.root}/tmp",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with (self.root / "said").open("wb") as out:
            try:
                return not subprocess.run(
                    [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"tests/{name}.py"],
                    cwd=self.root,
                    env={**os.environ, **environment, MARK: str(self.root)},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    timeout=limit_s,
                    check=False,
                ).returncode
            except subprocess.TimeoutExpired:
                return False
            finally:
                self._end_all()

    def _end_all(self) -> None:
        """End what the tests have started and left."""
        mark = f"{MARK}={self.root}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    os.kill(int(process.name), signal.SIGKILL)
            except OSError:
                continue

    def judge(self, module: str, mutant: Mutant, limits_s: Sequence[float]) -> Verdict:
        """Try a mutant."""
        place = self.root / "src/gristmill" / module
        kept = place.read_text("utf-8")
        try:
            place.write_text(mutant.source, "utf-8")
            return Verdict(module, mutant, self.fails(module, limits_s))
        finally:
            place.write_text(kept, "utf-8")


def trial(module: str, jobs: int, only: int) -> list[Verdict]:
    """Try the mutants of a module, or some.

    Raises:
        RuntimeError: its tests do not pass on the module itself.
    """
    found = [*mutants((ROOT / "src/gristmill" / module).read_text("utf-8"))]
    chosen = found[:: max(1, len(found) // only)] if only else found
    with tempfile.TemporaryDirectory(prefix="gristmill-mutants-") as folder:
        free: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        copies = [Copy(Path(folder) / str(n)) for n in range(jobs)]
        with ThreadPoolExecutor(jobs) as pool:  # beside each other, as mutants will be tried
            usual_s = [*pool.map(lambda copy: copy.times_s(module), copies)]
        for copy in copies:
            free.put(copy)
        limits_s = [2 * max(times) + 20 for times in zip(*usual_s, strict=True)]

        def judged(mutant: Mutant) -> Verdict:
            copy = free.get()
            try:
                verdict = copy.judge(module, mutant, limits_s)
            finally:
                free.put(copy)
            if not verdict.noticed:
                say(f"  not noticed: {module}:{mutant.line}: {mutant.what}")
            return verdict

        with ThreadPoolExecutor(jobs) as pool:
            return [*pool.map(judged, chosen)]


def main() -> int:
    """Try all; 1 if too few are noticed."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.partition("\n")[0])
    parser.add_argument("modules", nargs="*", choices=[*TESTS, []], help="below src/gristmill")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", type=int, default=0, metavar="N", help="about so many of each module")
    args = parser.parse_args()
    verdicts: list[Verdict] = []
    for module in args.modules or TESTS:
        say(f"{module} …")
        verdicts += trial(module, args.jobs, args.only)
    noticed = [each for each in verdicts if each.noticed]
    share = len(noticed) / len(verdicts)
    places = {
        f"{module}, {kind}": 0
        for module in dict.fromkeys(each.module for each in verdicts)
        for kind in ("noticed", "not noticed")
    }
    for each in verdicts:
        places[f"{each.module}, {'noticed' if each.noticed else 'not noticed'}"] += 1
    few = [] if share >= LEAST else [f"{share:.0%} of the mutants are noticed"]
    say(commands.told(len(verdicts), few, places=places, note=f"{share:.1%} noticed."))
    return 1 if few else 0


if __name__ == "__main__":
    sys.exit(main())
