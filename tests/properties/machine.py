"""A state machine over the real engine: files come, grow, shrink, change and go; runs are made, killed, refused; exports get lost.

After every step that touches the dataset both laws and the promises of DESIGN section 1 hold: the table is what the oracle says (1, 3),
a reader sees the old snapshot or the new one whole (2), a run that was killed ends with the bytes of one that never was (2, 6), a refused
run changes nothing (4), a rollback gives the rows of its snapshot and the next run what came since, gc and retry change no row, exports
equal the table after each run that ends well.

    python -m tests.properties.machine STEPS [SEED]

walks so many steps from a seed and says how many there were of each kind, in the last line for the soak (`tests.soak.commands`). A failure
prints the seed and the shortest walk that shows it.
"""

from __future__ import annotations

import copy
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, NamedTuple
from unittest.mock import patch

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from tests.oracle import Oracle, Ran, Unit
from tests.properties.child import SMALL
from tests.properties.lab import Lab, flat, jsonl
from tests.properties.test_histories import EXPORTS, FILES, NAMES, PIPELINES, SOURCES, config, units
from tests.soak import commands

from gristmill.core.errors import ConfigError, GateRefused
from gristmill.store import index
from gristmill.testing import crash, laws

ROOT = Path(__file__).resolve().parents[2]
NAME = st.sampled_from(NAMES)
# Those that a run over files with exports to files passes, by when it does.
EARLY = [
    "table.created",
    "claim.created",
    "listing.written",
    "plan.written",
    "task.staged",
    "disk.written",
    "disk.named",
]
MIDDLE = [
    "task.shard_written",
    "task.shard_renamed",
    "task.sides_written",
    "task.journalled",
    "merge.index_written",
    "tombstones.written",
    "state.written",
    "disk.written",
    "disk.named",
]
LATE = [
    "manifest.written",
    "commit.before_delta",
    "commit.after_delta",
    "commit.synced",
    "export.chunk_written",
    "export.before_manifest",
    "export.manifest_written",
    "report.written",
    "staging.removed",
]


def deaths(points: list[str], turns: list[int]) -> st.SearchStrategy[list[tuple[str, int]]]:
    """Draw one death or two: at which failpoint, at which passing."""
    return st.lists(st.tuples(st.sampled_from(points), st.sampled_from(turns)), min_size=1, max_size=2)


def memory() -> str | None:
    """Give a folder in memory: runs sync every file they write."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class There(NamedTuple):
    """The files at some moment: what is in them, and when each was written."""

    files: dict[str, bytes]
    times: dict[str, int]


class Mill(RuleBasedStateMachine):
    """A dataset with two sources and two exports. `taken` counts steps by name over all walks of a process."""

    warm: crash.Warm
    taken: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(prefix="gristmill-machine-", dir=memory()))
        self.small = patch.multiple(index, **SMALL)
        self.small.start()

    def teardown(self) -> None:
        self.small.stop()
        shutil.rmtree(self.place, ignore_errors=True)

    @initialize(
        sources=st.sampled_from(sorted(SOURCES)),
        steps=st.sampled_from(sorted(PIPELINES)),
        split_bytes=st.sampled_from([None, 70]),
        exports=st.booleans(),
    )
    def start(self, sources: str, steps: str, split_bytes: int | None, *, exports: bool) -> None:
        self.sources = SOURCES[sources]
        how = config(self.sources, PIPELINES[steps], split_bytes=split_bytes, exports=EXPORTS[::2] if exports else [])
        how["gate"] = {"min_quality_score": 0, "drift": None}
        self.lab = Lab(self.place / "a", how)
        self.oracle = Oracle(self.sources, PIPELINES[steps])
        self.files: dict[str, bytes] = {}
        self.times: dict[
            str, int
        ] = {}  # when each was written: a file that is written anew is read anew, whatever is in it
        self.saved: dict[int, Oracle] = {}  # what each snapshot held and knew
        self.dirty = True  # something changed since the last run
        self.collected = False  # gc has been
        self.damaged = False  # an export is not what its manifest says
        self.killed: There | None = None  # the files there were when a run was planned that was killed
        self.dead = 0  # its number
        self.undisturbed: dict[str, str] | None = None  # the bytes of that run, had it not been killed

    # --- what happens to files

    def bring(self, name: str, content: bytes | None) -> None:
        if content is None:
            if self.files.pop(name, None) is not None:
                self.lab.take(name)
                self.dirty = True
        elif self.files.get(name) != content:
            self.files[name] = content
            self.lab.put(name, content)
            self.times[name] = self.lab.clock
            self.dirty = True

    @rule(name=NAME, records=FILES)
    def add(self, name: str, records: list[dict[str, Any]]) -> None:
        self.bring(name, jsonl(records))
        self.taken["add or rewrite"] += 1

    @rule(name=NAME, records=FILES)
    def grow(self, name: str, records: list[dict[str, Any]]) -> None:
        self.bring(name, self.files.get(name, b"") + jsonl(records))
        self.taken["grow"] += 1

    @precondition(lambda self: self.files)
    @rule(name=NAME, lines=st.integers(1, 3))
    def shrink(self, name: str, lines: int) -> None:
        name = self.near(name)
        self.bring(name, b"".join(self.files[name].splitlines(keepends=True)[:-lines]))
        self.taken["shrink"] += 1

    @precondition(lambda self: self.files)
    @rule(name=NAME)
    def reorder(self, name: str) -> None:
        name = self.near(name)
        self.bring(name, b"".join(reversed(self.files[name].splitlines(keepends=True))))
        self.taken["reorder"] += 1

    @precondition(lambda self: self.files)
    @rule(name=NAME, other=NAME, move=st.booleans())
    def copy_or_move(self, name: str, other: str, *, move: bool) -> None:
        name = self.near(name)
        if name != other:
            self.bring(other, self.files[name])
            if move:
                self.bring(name, None)
        self.taken["move" if move else "copy"] += 1

    @precondition(lambda self: self.files)
    @rule(name=NAME)
    def remove(self, name: str) -> None:
        self.bring(self.near(name), None)
        self.taken["remove"] += 1

    def near(self, name: str) -> str:
        """Give `name` if there is such a file, else the next that is there."""
        return min(self.files, key=lambda one: (one < name, one))

    # --- what happens to the dataset

    @precondition(lambda self: self.dirty or self.damaged)
    @rule()
    def run(self) -> None:
        report = self.lab.run()
        self.taken["run"] += 1
        self.catch_up()
        ran = self.foresee(self.oracle, self.there())
        if report.status == "published" and not report.resumed:
            assert flat(report.counts) == +ran.counts, (report.counts, ran.counts)
        elif report.status == "nothing_new":
            assert not +ran.counts, ran.counts
        self.dirty = self.damaged = False
        if self.taken["run"] % 10 == 0:
            assert self.lab.run().status == "nothing_new"
        self.holds()

    def catch_up(self) -> None:
        """Let the oracle do what a run that was killed had planned, which the engine does first."""
        if self.killed is None:
            return
        planned, self.killed = self.killed, None
        changed = {
            (number, row["origin"])
            for row in self.lab.verdicts(self.dead, "quarantine")
            if row["code"] in {"file.changed", "file.unreadable"}
            for number, source in enumerate(self.sources)
            if source.name == row["source"]
        }
        before, after = (units(self.sources, there.times) for there in (planned, self.there()))
        really = {unit for unit, time in before.items() if time != after.get(unit)}
        assert changed <= really, (changed, really)
        self.foresee(self.oracle, planned, frozenset(changed))
        if self.undisturbed is not None and planned == self.there():
            told = self.lab.bytes()
            assert told == self.undisturbed, sorted(told.items() ^ self.undisturbed.items())

    def there(self) -> There:
        return There(dict(self.files), {name: self.times[name] for name in self.files})

    def foresee(self, oracle: Oracle, there: There, unreadable: frozenset[Unit] = frozenset()) -> Ran:
        files, times = units(self.sources, there.files), units(self.sources, there.times)
        return oracle.run(files, times=times, unreadable=unreadable)

    @precondition(lambda self: self.dirty and not self.damaged)
    @rule(where=deaths(EARLY, [1, 1, 2, 3, 5]))
    def kill_early(self, where: list[tuple[str, int]]) -> None:
        self.kill(where)

    @precondition(lambda self: self.dirty and not self.damaged)
    @rule(where=deaths(MIDDLE, [1, 1, 2, 4, 8]))
    def kill_midway(self, where: list[tuple[str, int]]) -> None:
        self.kill(where)

    @precondition(lambda self: self.dirty and not self.damaged)
    @rule(where=deaths(LATE, [1]))
    def kill_late(self, where: list[tuple[str, int]]) -> None:
        self.kill(where)

    def kill(self, deaths: list[tuple[str, int]]) -> None:
        """Kill a run, perhaps twice; what it had begun is gone on with by whatever run comes next."""
        head = laws.head_seq(self.lab.dataset)
        twin = Lab(self.place / "twin", self.lab.config)
        for death in deaths:
            before = {path.parent.name for path in self.lab.dataset.glob("runs/*/plan.json")}
            first = self.killed is None
            if first:
                shutil.rmtree(twin.folder)
                shutil.copytree(self.lab.folder, twin.folder)
            hits = Path(tempfile.mkdtemp(dir=self.place))
            point = f"{death[0]}=kill@{death[1]}"
            code = self.warm.run(
                [str(self.lab.folder)], {"GRISTMILL_FAILPOINT": point, "GRISTMILL_FAILPOINT_HITS": str(hits)}
            )
            self.taken["kill" if code == -9 else "run beside a failpoint"] += 1
            assert code in {-9, 0}, f"exit code {code}; see {self.warm.log}"
            planned = {path.parent.name for path in self.lab.dataset.glob("runs/*/plan.json")} - before
            if code == 0:
                self.catch_up()
                self.foresee(self.oracle, self.there())
                self.undisturbed, self.dirty = None, False
            elif first and planned:
                self.killed, self.dead = self.there(), max(map(int, planned))
                twin.run()
                self.undisturbed = twin.bytes()
            elif planned:  # it went on with the dead one, published that, and was killed in a new one
                self.catch_up()
                self.killed, self.undisturbed, self.dead = self.there(), None, max(map(int, planned))
            self.holds(ended=code == 0)
        assert head is None or (laws.head_seq(self.lab.dataset) or 0) >= head

    @precondition(lambda self: self.dirty and self.killed is None)
    @rule()
    def refuse(self) -> None:
        """A gate that nothing passes; then the one there was."""
        oracle, rows, head = copy.deepcopy(self.oracle), self.table(), laws.head_seq(self.lab.dataset)
        kept = self.lab.config
        self.lab.configure(kept | {"gate": STRICT})
        try:
            report = self.lab.run()
        except GateRefused:
            self.taken["refused"] += 1
            assert self.table() == rows
            assert laws.head_seq(self.lab.dataset) == head
            self.oracle = oracle
        else:
            ran = self.foresee(self.oracle, self.there())
            self.dirty = False
            self.taken["not refused"] += 1
            assert ran.counts["read"] - ran.counts["unchanged"] == 0, (report.status, ran.counts)
        self.damaged = False
        self.lab.configure(kept)
        self.holds(ended=False)

    @precondition(lambda self: self.killed is None and len(self.saved) > 1)
    @rule(which=st.integers(0, 5))
    def roll_back(self, which: int) -> None:
        """Go back to an earlier snapshot: rows as they were, and what came since is read again."""
        head = laws.head_seq(self.lab.dataset)
        seq = sorted(self.saved)[which % len(self.saved)]
        if seq == head:
            return
        try:
            self.lab.open().rollback(seq, why="a walk", config=self.lab.pipeline().config)
        except ConfigError:  # gc has collected it
            assert self.collected, seq
            del self.saved[seq]
            return
        self.oracle = copy.deepcopy(self.saved[seq])
        self.dirty, self.damaged = True, False
        self.taken["roll back"] += 1
        self.holds()

    @precondition(lambda self: self.killed is None and self.saved)
    @rule(keep=st.integers(1, 3))
    def collect(self, keep: int) -> None:
        """Remove what the last snapshots do not need."""
        self.lab.open().gc(self.lab.pipeline().config, keep_last=keep)
        self.collected = True
        self.taken["collect"] += 1
        self.holds(ended=not self.damaged and not self.dirty)

    @precondition(lambda self: self.killed is None and self.saved)
    @rule()
    def retry(self) -> None:
        """Read what is quarantined again, with all that is new in its sources."""
        if self.lab.pipeline().retry(workers=1).status == "nothing_new":  # nothing is, or all of it is bad as before
            return
        there = self.there()
        self.oracle.run(units(self.sources, there.files), times=units(self.sources, there.times), retry=True)
        self.damaged = False
        self.taken["retry"] += 1
        self.holds()

    @precondition(lambda self: self.lab.exports() and laws.head_seq(self.lab.dataset))
    @rule(which=st.integers(0, 9), how=st.sampled_from(["chunk", "short", "bit", "manifest", "all"]))
    def lose(self, which: int, how: str) -> None:
        """Lose a chunk of an export, or have it damaged; the next run makes it whole."""
        folder = self.lab.exports()[which % len(self.lab.exports())]
        chunks = sorted(path for path in folder.glob("[!.]*") if path.name != "manifest.json")
        if how == "all":
            shutil.rmtree(folder, ignore_errors=True)
        elif how == "manifest":
            (folder / "manifest.json").unlink(missing_ok=True)
        elif chunks:
            path = chunks[which % len(chunks)]
            content = bytearray(path.read_bytes())
            if how == "chunk":
                path.unlink()
            elif how == "short":
                path.write_bytes(content[:-1])
            else:
                content[len(content) // 2] ^= 1
                path.write_bytes(content)
        self.damaged = True
        self.taken[f"lose: {how}"] += 1

    @precondition(lambda self: self.dirty and laws.head_seq(self.lab.dataset))
    @rule()
    def verify(self) -> None:
        """The engine's own check finds what is damaged, and nothing else."""
        found = self.lab.open().verify()
        assert found == [], found
        self.taken["verify"] += 1

    # --- what must hold

    def table(self) -> list[Any]:
        return [] if laws.head_seq(self.lab.dataset) is None else self.lab.rows()

    def holds(self, *, ended: bool = True) -> None:
        """Hold the table against the oracle, and both laws; exports too where a run has ended well."""
        rows = self.table()
        if self.killed is None:
            assert rows == self.oracle.table()
            if (head := laws.head_seq(self.lab.dataset)) is not None:
                self.saved.setdefault(head, copy.deepcopy(self.oracle))
        elif rows != self.oracle.table():  # its commit was made: all of it is there
            after = copy.deepcopy(self.oracle)
            self.foresee(after, self.killed)
            if rows != after.table():
                assert self.undisturbed is None or self.killed != self.there(), "a reader sees half a snapshot"
        if laws.head_seq(self.lab.dataset) is not None:
            found = laws.check(self.lab.dataset, self.lab.exports() if ended and self.killed is None else [])
            assert found == [], found


STRICT = {"min_quality_score": 0, "drift": None, "min_docs": 10**9}


def walk(steps: int, number: int, warm: crash.Warm, *, per_walk: int = 50, mill: type[Mill] = Mill) -> None:
    """Walk about so many steps from a seed; a failure is made small and told with the seed."""
    Mill.warm = warm
    how = settings(
        max_examples=max(1, steps // per_walk),
        stateful_step_count=per_walk,
        deadline=None,
        database=None,
        print_blob=False,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(seed(number)(mill), settings=how)
    except BaseException as error:
        error.add_note(f"seed {number}: python -m tests.properties.machine {steps} {number}")
        raise


def warm_process(folder: Path) -> crash.Warm:
    """Start the process that runs to be killed are forked from; it runs the source that is imported here."""
    source = Path(crash.__file__).resolve().parents[2]
    paths = os.pathsep.join([str(source), str(ROOT)])
    env = {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    return crash.Warm([sys.executable, "-m", "tests.properties.child"], folder, env)


def main(argv: list[str]) -> int:
    """Walk until so many steps are done, 250 from each seed."""
    goal = int(argv[0]) if argv else 1000
    number = int(argv[1]) if len(argv) > 1 else random.randrange(1 << 32)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gristmill-machine-") as folder, warm_process(Path(folder)) as warm:
        while Mill.taken.total() < goal:
            walk(min(250, goal), number, warm)
            number += 1
            print(f"{Mill.taken.total()} steps, {time.monotonic() - began:.0f} s, next seed {number}", flush=True)  # noqa: T201
    for name, n in sorted(Mill.taken.items()):
        print(f"{n:8} {name}")  # noqa: T201
    print(commands.told(Mill.taken.total(), [], places=dict(sorted(Mill.taken.items()))))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
