"""How much of what commits, keeps state and reads is run by the suite: lines, and the ways out of each branch.

    python -m tests.soak.covered [JOBS]

The whole suite but Airflow's tests (they run in an environment of their own) and `make check`'s runs under coverage.py, with all processes that it
starts. The last line is for the soak (`tests.soak.commands`). Not here: whether a test would notice that a line is wrong (`tests.mutants`). Invariant: a test
that fails is a violation, and what a process ran that was killed counts as not run, so the figure is a lower bound. Bodies that only declare (of base
classes) and lines that say of themselves that they cannot be reached (`raise AssertionError`) are not counted.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.soak.commands import told
from tests.soak.results import say

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("core", "engine", "sources", "store")
LEAST = 0.98  # of lines and branches (reference/reliability-and-ux.md A.4)
CONFIG = """[run]
branch = true
parallel = true
patch =
    subprocess
    _exit
    fork
concurrency = multiprocessing, thread
data_file = FOLDER/data/c
source_pkgs =
    SOURCES
disable_warnings = no-data-collected, module-not-measured, module-not-imported

[report]
exclude_also =
    if TYPE_CHECKING:
    @overload
    raise NotImplementedError$
    raise AssertionError\\(
    \\.\\.\\.$

[paths]
gristmill =
    ROOT
    */gristmill
"""


def main() -> int:
    """Run the suite; 1 if too little of it is run, or a test fails."""
    jobs = sys.argv[1] if len(sys.argv) > 1 else "2"
    with tempfile.TemporaryDirectory(prefix="gm-") as name:  # short, as some tests make sockets in it
        folder = Path(name)
        (folder / "data").mkdir()
        (folder / "t").mkdir()
        sources = "\n    ".join(f"gristmill.{part}" for part in PARTS)
        root = str(ROOT / "src/gristmill")  # some tests run frozen copies of it
        rc_text = CONFIG.replace("FOLDER", name).replace("SOURCES", sources).replace("ROOT", root)
        (folder / "rc").write_text(rc_text, "utf-8")
        rc = f"--rcfile={folder / 'rc'}"
        tests = ["-q", "-p", "tests.soak.covering", "-n", jobs, "--dist", "worksteal", "-p", "no:cacheprovider"]
        left_out = [f"--ignore=tests/{each}" for each in ("airflow", "test_house.py", "test_docs.py")]
        left_out.append("--deselect=tests/test_cli.py::test_is_there_at_once")  # it takes the time of a start
        said = _coverage(folder, "run", rc, "-m", "pytest", *tests, *left_out)
        say(said)
        _coverage(folder, "combine", "-q", rc)
        _coverage(folder, "json", "-q", rc, "-o", str(folder / "found.json"))
        files = json.loads((folder / "found.json").read_bytes())["files"]
    summary = [line for line in said.splitlines() if re.search(r"\d+ passed.* in ", line)]
    counts = {key: int(n) for n, key in re.findall(r"(\d+) (passed|failed|errors?)\b", (summary or [""])[-1])}
    problems = [f"{n} tests {key}" for key, n in counts.items() if key != "passed"]
    if not counts:
        problems.append("the suite did not end")
    places, notes, total = {}, [], [0, 0]
    for part in PARTS:
        own = [each["summary"] for path, each in files.items() if f"/gristmill/{part}/" in f"/{path}"]
        all_of = sum(each["num_statements"] + each["num_branches"] for each in own)
        run = sum(each["covered_lines"] + each["covered_branches"] for each in own)
        places[f"{part}: lines and ways not run"] = all_of - run
        notes.append(f"{part} {run / all_of:.1%} of {all_of:,}")
        total[0], total[1] = total[0] + run, total[1] + all_of
    for path, each in sorted(files.items()):
        if each["missing_lines"] or each["missing_branches"]:
            say(f"{path}: lines {each['missing_lines']}, ways {each['missing_branches']}")
    if total[0] < LEAST * total[1]:
        problems.append(f"{total[0] / total[1]:.2%} of the lines and branches are run")
    note = f"{total[0] / total[1]:.2%} of {total[1]:,} lines and ways out of branches: {', '.join(notes)}."
    say(told(counts.get("passed", 0), problems, places=places, note=note))
    return 1 if problems else 0


def _coverage(folder: Path, *arguments: str) -> str:
    """Run coverage.py; give what it said."""
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])  # of a soak's frozen source nothing: coverage is of files
    environment = {**os.environ, "TMPDIR": str(folder / "t"), "COVERAGE_CORE": "ctrace", "PYTHONPATH": paths}
    command = [sys.executable, "-m", "coverage", *arguments]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    ).stdout


if __name__ == "__main__":
    sys.exit(main())
