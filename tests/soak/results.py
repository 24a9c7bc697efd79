"""The figures of a soak: collected, printed, kept in docs/reliability.json, shown in docs/reliability.md."""

import json
import platform
import re
import sys
import traceback
from collections import Counter
from importlib.metadata import version
from pathlib import Path

from gristmill.testing import crash

ROOT = Path(__file__).resolve().parents[2]
JSON, PAGE = ROOT / "docs" / "reliability.json", ROOT / "docs" / "reliability.md"
FUZZ = ROOT / "docs" / "fuzz.json"  # `python -m tests.fuzz` writes it

HEAD = """\
# Reliability, measured

Made by `make soak` from `docs/reliability.json`; do not edit. Every trial copies a dataset as it stood before a run, hurts
a run on the copy, looks at it as a reader would at that very moment, lets a run go on in peace, and compares every lasting
byte (shards, index, state, verdicts, quarantine, signals, plan, manifest, chunks and their manifests) with a run that
nobody disturbed. Then an independent checker (`gristmill.testing.laws`) reads everything again and counts.

A violation is: a reader sees anything but the old snapshot whole or the new one whole; an export's manifest names a chunk
that is not whole; other bytes than the undisturbed run; a law that does not hold; a run that cannot go on.
"""

MEANING = {
    "operations": "a run over files, SQL, REST, web, WARC and dlt with JSON lines, Parquet and a SQL table behind it is hurt at single file operations: killed before one, killed in the middle of a write, from one on on a full disk (ENOSPC), one that fails (EIO)",
    "verbs": "the same blows at `export`, `gc` and its `--pin` and `--unpin`, `rollback`, `adopt`, `quarantine retry`, `upgrade`, `run --full-refresh` and `run --redecide`",
    "pairs": "two such blows, of any two modes: at a run, and at its rerun (some reruns are done before the second)",
    "zombies": "a stage worker, and a run whose lock file was removed, are stopped at a file operation (SIGSTOP), wake when others have ended the run, and change nothing",
    "disks": "a run on a tmpfs with little room left: it ends with 1, names the place, and goes on when there is room",
    "memory": "a run under a limit of address space (RLIMIT_AS): however it ends, nothing is half published, and the next one ends with the same texts",
    "power": "power is lost at an operation of a run or of another verb: what was written and not synced is there, gone, zeros or half there, names that were not synced are there or not; readers look at each such state of the disk, the command line is called again on some, and what had ended well is there whole, also when it had been killed and called again",
    "reads": "one read of a file fails (EIO): a run that cannot read its own file ends with 1 and names it, one that cannot read a source's sets it aside and reads it next time; none takes it for the end of the file",
    "commits": "processes that commit files of their own to one dataset at the same time, while others read and collect garbage, and a nemesis stops and kills them",
    "loads": "loads of snapshots into tables, killed around COMMIT, their connection cut there, their server killed: the table holds the snapshot its ledger names, whole",
    "restarts": "PostgreSQL is killed and started again while tables in it are read and written: what was read equals the table",
    "sweep": "SIGKILL at every passing of every failpoint (of `disk.*`, which stand in each durable write, every third; twelfth with workers)",
    "double": "SIGKILL at a failpoint, then the rerun killed at another (some have passed it already: killed once)",
    "groups": "SIGKILL of the whole process group, or of the parent alone, at random moments; about a third of the reruns too",
    "workers": "SIGKILL of one worker in the middle of a task: the run ends well by itself",
    "signals": "SIGTERM and SIGINT at failpoints: exit 143 and 130, the rerun goes on with the same number",
    "locks": "a run stopped with SIGSTOP keeps the lock, a second one exits 5, a waiting one gets its turn",
    "properties": "the suites of properties (`tests/properties`) and the property tests of all others, and all cases of tests that try some (`pytest -m 'hypothesis or slice'`) with ten times the examples that stand in them, of which `make test` tries half; trials are the tests that passed",
    "malformed": "all of `../shared/data/malformed` by the table of what becomes of each file, and files made from seeds, attacks among them: each byte accounted for, no crash, no hang",
    "guards": "the tests of what attacks from outside, with all their cases: addresses, pages, secrets, networks; trials are the tests that passed",
    "limits": "bombs in six codecs and in Parquet, a line of 1 GB in UTF-8 and in UTF-16, and a million lines that are bad or empty, read under 400 MB of memory: each is stopped by its code",
    "determinism": "two days of a pipeline under other hash seeds, zones, locales, workers, executors and Pythons: one digest of all that lasts",
    "machine": "steps of a state machine over the engine (files come and go, runs are made, killed, refused, rolled back, exports get lost), each held against an oracle",
    "days": "many runs in one process, files that come and go, garbage collected each 25th day, the snapshot read after each run: memory, open files and threads do not pile up (a megabyte an hour at a run a minute), all records are there",
    "mutants": "the modules by which a snapshot is committed, wrong in one place at a time (`tests/mutants`): how many a test notices, nine in ten at least",
    "covered": "the suite under coverage.py, branches counted, with the processes it starts: how much of `core`, `engine`, `sources` and `store` it runs, 98 % at least; trials are the tests that passed",
    "adoption": "a gigabyte of Parquet is adopted, and the next run finds its duplicates in it; trials are the four sentences that must hold",
    "stores": "dataset and exports on an object store (SeaweedFS), runs killed and gone on with here or on another machine",
    "store-zombies": "a run on an object store is stopped past its lease at each failpoint, taken over, and woken: it is refused, and changes nothing",
}
STOPPED = "Stopped at its time after"  # so a note says of a room that `--resume` is to go on with


# Rooms whose places are failpoints, of which the page has a table, or stand in the note.
BY_FAILPOINT = {"sweep", "signals", "locks", "commits"}


def say(line: str) -> None:
    """Put a line on the terminal, whole, whichever thread has it."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Trial(crash.Trial):
    """A trial at which a reader looked while runs were at work. looks: how often."""

    looks: int = 0


class Room:
    """The figures of one kind of trial."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.trials = self.runs = self.deaths = self.looks = 0
        self.seconds = 0.0
        self.violations: list[str] = []
        self.by_place: Counter[str] = Counter()
        self.note = ""
        self.command = ""  # that makes its figures again, if it is not the soak's own
        self.made_with: dict[str, object] = {}

    def take_up(self, kept: dict[str, object]) -> None:
        """Go on from the figures of a soak that was stopped at its time."""
        self.trials, self.runs, self.deaths = kept["trials"], kept["runs"], kept["killed"]
        self.looks, self.seconds, self.violations = kept["reader_looks"], kept["seconds"], kept["violations"]
        self.by_place = Counter(kept["by_place"])
        if not str(kept["command"]).startswith("python -m tests.soak"):
            self.command = f"`{kept['command']}`"

    def forget(self) -> None:
        """Begin anew."""
        self.trials = self.runs = self.deaths = self.looks = 0
        self.seconds, self.command = 0.0, ""
        self.by_place.clear()

    def add(self, trial: Trial, place: str = "") -> None:
        """Count a trial; say at once what was wrong."""
        self.trials += 1
        self.runs += len(trial.codes)
        self.deaths += trial.deaths
        self.looks += len(trial.codes) + 1 + trial.looks
        self.seconds += trial.seconds
        if place:
            self.by_place[place] += 1
        for problem in trial.problems:
            self.violate(f"{trial.scene}: {trial.attack}: {problem}")

    def violate(self, problem: str) -> None:
        """Take down a violation and say it at once."""
        self.violations.append(
            re.sub(r"/\S*?/(?:gristmill|gm)-\w+-\w+/", "", problem)
        )  # where it ran is nobody's business
        say(f"  VIOLATION {self.violations[-1]}")

    def fail(self, error: Exception) -> None:
        """Count a trial that could not be carried out: nothing is known of its promises, so it counts against them."""
        place = traceback.extract_tb(error.__traceback__)[-1]
        self.trials += 1
        self.violate(f"no verdict: {type(error).__name__} in {place.name}, line {place.lineno}: {error}")

    def as_json(self) -> dict[str, object]:
        """Give the figures."""
        return {
            "what": MEANING[self.name],
            "trials": self.trials,
            "runs": self.runs,
            "killed": self.deaths,
            "reader_looks": self.looks,
            "violations": self.violations,
            "seconds": round(self.seconds, 1),
            "by_place": dict(sorted(self.by_place.items())),
            "note": self.note,
            **self.made_with,
            **({"command": self.command} if self.command else {}),
        }


def collect(rooms: list[Room]) -> dict[str, object]:
    """Give all figures and what they were taken with; no machine path stands in them."""
    packages = ("gristmill", "pyarrow", "deltalake", "numpy", "numba", "msgspec", "psutil")
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {name: version(name) for name in packages},
        "suite": suite(),
        "rooms": {room.name: room.as_json() for room in rooms},
    }


def suite() -> dict[str, int]:
    """Give the lines of code and of tests that are not empty, and the functions that test, each of one case or of many."""
    code, tests = (
        [path.read_text("utf-8") for path in sorted((ROOT / folder).rglob("*.py"))] for folder in ("src", "tests")
    )
    return {
        "code_lines": sum(bool(line.strip()) for text in code for line in text.splitlines()),
        "test_lines": sum(bool(line.strip()) for text in tests for line in text.splitlines()),
        "test_functions": sum(len(re.findall(r"^ *def test_", text, re.MULTILINE)) for text in tests),
    }


def write(figures: dict[str, object]) -> None:
    """Write both files; rooms that were not run this time, or had no time to do anything, keep their figures."""
    if JSON.exists():
        before = json.loads(JSON.read_text("utf-8"))["rooms"]
        did = {
            name: room
            for name, room in figures["rooms"].items()
            if room["trials"] or name not in before or room["violations"]
        }
        figures = {**figures, "rooms": {**before, **did}}
    JSON.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    PAGE.write_text(page(figures), "utf-8")


def table(figures: dict[str, object]) -> list[str]:
    """Give the figures as the lines of a Markdown table."""
    lines = [
        "| room | trials | runs | killed | looks | violations | seconds | commit |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, room in figures["rooms"].items():
        numbers = [room["trials"], room["runs"], room["killed"], room["reader_looks"], len(room["violations"])]
        lines.append(
            f"| {name} | {' | '.join(f'{n:,}' for n in numbers)} | {room['seconds']:,.0f} | {room['commit']} |"
        )
    return lines


def fuzzed() -> list[str]:
    """Give what `python -m tests.fuzz` has done so far, as Markdown; nothing where it has not been run."""
    if not FUZZ.exists():
        return []
    rows = [
        f"| {name} | {had['cpu_s'] / 60:,.0f} | {had['executions']:,} | {', '.join(had['found']) or 'nothing'} | {', '.join(had['commits'])} |"
        for name, had in json.loads(FUZZ.read_text("utf-8")).items()
    ]
    return [
        "",
        "## Fuzzing",
        "",
        "Every reader of a format or a source under atheris (libFuzzer, feedback by coverage), in minutes of processor time, and five more targets that",
        "read what is ours or what a server says (values of a database, names of charsets, configs, files of a dataset, keys of a store): `python -m tests.fuzz --seconds 3600`.",
        "An error that is not ours, a byte that is not accounted for, a text that is not UTF-8, 25 s or 2 GB for an input is a finding;",
        "each stays a test (`tests/fuzz/found`).",
        "",
        "| target | minutes | executions | open findings | commits |",
        "| --- | ---: | ---: | --- | --- |",
        *rows,
    ]


def page(figures: dict[str, object]) -> str:
    """Give docs/reliability.md."""
    lines = [HEAD, *table(figures), ""]
    lines += [
        "`looks`: times a reader's view was held against both ends, while runs were at work (every quarter of a second), after each, and at the end.",
        "",
    ]
    for name, room in figures["rooms"].items():
        places = (
            ", ".join(f"{n:,} {place}" for place, n in room["by_place"].items()) if name not in BY_FAILPOINT else ""
        )
        said = [f"{room['what']}.", f"{places}." if places else "", room["note"]]
        dealt = f" seed {room['seed']}," if "tests.soak" in room["command"] else ""  # others have theirs in the command
        made = f"`{room['command']}`,{dealt} commit {room['commit']}, code `{room['code']}`."
        lines.append(f"- **{name}**: {' '.join(part for part in [*said, made] if part)}")
    lines += [
        "",
        "## Failpoints",
        "",
        "How often a process died at each (`sweep`; both executors, both days of the history; counted by the failpoint).",
        "",
    ]
    lines += ["| failpoint | deaths |", "| --- | ---: |"]
    sweep = figures["rooms"].get("sweep", {"by_place": {}})
    lines += [f"| `{name}` | {n:,} |" for name, n in sweep["by_place"].items()]
    lines += fuzzed()
    found = [problem for room in figures["rooms"].values() for problem in room["violations"]]
    lines += ["", "## Violations", "", *([f"- {problem}" for problem in found] or ["None."])]
    counted = figures["suite"]
    versions = ", ".join(f"{name} {number}" for name, number in figures["versions"].items())
    lines += [
        "",
        "## How",
        "",
        f"Python {figures['python']}, {figures['system']}; {versions}. `code` is a digest of gristmill's source, as manifests hold it.",
        "`killed` counts runs that a SIGKILL ended; a worker that dies is replaced and its run goes on, so it is not in there.",
        "A trial's name holds its seed or its failpoint; `python -m tests.soak --only ROOM --seed N` deals the same blows again.",
        "",
        "Single operations are counted and hurt by a shim that is preloaded into the processes (`tests/crash/shim.c`, built with gcc):",
        "every open that makes or empties a file, write, sync, truncation, rename, link, removal and new folder below the pipeline's folder.",
        "",
        "For power loss the shim writes down each operation with its bytes, and the disk is built again from that record (`tests/soak/remains.py`):",
        "content lasts from the file's own sync on, a name from its folder's, a rename is one change; of the names that do not last all, the newest",
        "three, or any three of the newest six are dropped. SQLite's files and the Delta log are among them. No machine was switched off: the",
        "file system's own journal and the disk's cache are taken at their word.",
        "",
        f"The suite: {counted['test_functions']:,} test functions, of one case or of many each; {counted['test_lines']:,} lines of tests beside {counted['code_lines']:,}",
        f"of code, {counted['test_lines'] / counted['code_lines']:.2f} : 1, empty ones not counted. What is not promised: [known limits](guarantees.md#known-limits).",
        "",
        "Not covered: machines that share more than an object store, what a store says that breaks its own promises.",
        "A record that kills its whole process kills a small run once: the run that goes on with its work does so in worker",
        "processes, which find the record and set it aside.",
    ]
    return "\n".join(lines) + "\n"
