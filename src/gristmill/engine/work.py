"""Work: what every task of one run knows, in whichever process it runs; and the shape of jobs and results.

Not here: what the tasks do. Invariant: a job and its result are plain data; a worker process can make the same `Work`
from `Setup` alone.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import msgspec

from gristmill.config import changes
from gristmill.config import load as config_file
from gristmill.config.settings import PipelineConfig
from gristmill.core.batch import Int64s
from gristmill.core.counts import Counts, StepCounts
from gristmill.core.errors import ConfigError, naming
from gristmill.core.export import Chunk
from gristmill.core.source import BoundSource, Split, UnitRead
from gristmill.core.step import BoundStep, GlobalStep
from gristmill.engine import adopt
from gristmill.engine.adopt import Adoption
from gristmill.engine.place import layout_of
from gristmill.engine.sides import Side
from gristmill.store import index
from gristmill.store.index import IndexRun
from gristmill.store.layout import Layout
from gristmill.store.snapshot import EMPTY, Manifest, Shard, read_manifest

TASK_BITS = 19
ROW_BITS = 26

# What a run does about what is published already: nothing, the filters again over stored signals, or all again.
Mode = Literal["forward", "redecide", "full-refresh"]


class Setup(msgspec.Struct, frozen=True):
    """What a process needs to work on a run. config: the pipeline itself, or None to read `file` again. adopted: what goes past the steps.

    mode: what the run does about records that were decided before.
    """

    root: Path
    seq: int
    parent: int
    fingerprint: str
    file: Path | None
    overrides: list[str] = []
    config: PipelineConfig | None = None
    adopted: Adoption | None = None
    mode: Mode = "forward"


class Job(msgspec.Struct, frozen=True):
    """One task: `kind` says which function does it. number: the task's place in the total order (read, stage).

    skip: units that another task of the same source found bad: nothing of them is read here either. void: the source failed
    and may be left out (`on_error: skip`): nothing is read. replay: its units are as they were, and their records are to be decided about again
    (`engine.replay`): units of the source, or pages that an earlier run landed; leave: units of the split that are not meant. marker: records and units
    go one by one, each named before its turn, to find what ends the worker: (record's ord, step) or (unit, "read"). poison: such records, by ord, with step and code;
    deadly: such units; suspect: what was named at the last death. sees: how many staged files of earlier phases a machine must see (`engine.staged`).
    """

    id: str
    kind: Literal["read", "stage", "identity", "merge", "withdraw", "chunk"]
    number: int = 0
    stage: int = 0
    source: str = ""
    split: Split | None = None
    buckets: list[int] = []
    shard: Shard | None = None
    export: str = ""
    chunk: Chunk | None = None
    shards: list[Shard] = []
    marker: bool = False
    poison: dict[int, tuple[str, str]] = {}
    deadly: list[str] = []
    suspect: tuple[int | str, str] | None = None
    skip: list[UnitRead] = []
    void: str = ""
    replay: Literal["", "units", "landing"] = ""
    leave: list[str] = []
    sees: dict[str, int] = {}


class TaskResult(msgspec.Struct):
    """What one task did. bytes_read: decompressed input; staged: files it left for the next stage.

    index: of a merge, all runs its buckets have now. cpu_s: processor time, of processes it started too; process: whose. void: why nothing was read (`Job.void`).
    """

    task: str
    source: str = ""
    counts: Counts = msgspec.field(default_factory=Counts)
    steps: list[StepCounts] = []
    units: list[UnitRead] = []
    shards: list[Shard] = []
    sides: list[Side] = []
    staged: list[str] = []
    index: list[IndexRun] = []
    warnings: dict[str, int] = {}
    by_source: dict[str, int] = {}
    extra: dict[str, Any] = {}
    bytes_read: int = 0
    step_errors: int = 0
    void: str = ""
    seconds: float = 0.0
    cpu_s: float = 0.0
    process: int = 0
    peak_rss_mb: float = 0.0


class Outcome(msgspec.Struct, frozen=True):
    """What an executor hands back for a job: one of result, error, died (how its process ended)."""

    job: Job
    result: TaskResult | None = None
    error: Exception | None = None
    died: str = ""


class Work:
    """One run, as its tasks see it. asked: the config as it is written; config: with what is adopted as one more source.

    expendable: its process is a worker's, which a step that takes too long may end.
    """

    def __init__(self, setup: Setup, *, expendable: bool = False) -> None:
        self.setup = setup
        self.expendable = expendable
        self.seq = setup.seq
        self.asked = setup.config if setup.config is not None else self._load()
        located = layout_of(self.asked)
        self.layout = located if located.root == setup.root else Layout(setup.root)  # an estimate works elsewhere
        self.staging = self.layout.staging(setup.seq)
        self.config = adopt.into(self.asked, setup.adopted)

    def _load(self) -> PipelineConfig:
        if self.setup.file is None:
            raise ConfigError("this pipeline was made in Python and has no file; run it inline (workers: 1)")
        loaded = config_file.load(self.setup.file, self.setup.overrides)
        if changes.fingerprint(loaded) != self.setup.fingerprint:
            raise ConfigError(
                f"{self.setup.file}: the config or its code changed while the run was going on; run again"
            )
        return loaded

    @cached_property
    def parent(self) -> Manifest:
        """The manifest this run builds on."""
        return read_manifest(self.layout.manifest(self.setup.parent)) if self.setup.parent else EMPTY

    @property
    def afresh(self) -> bool:
        """Whether all records are decided about again, as if no step had ever seen one."""
        return self.setup.mode == "full-refresh"

    @cached_property
    def redecided(self) -> Int64s | None:
        """The ords of the records that are decided about again, sorted; None if all are that are read again."""
        if self.setup.mode != "redecide":
            return None
        path = self.layout.files.fetch(self.layout.redecided(self.seq))
        with naming(path):
            ords: Int64s = index.read_table(path)["ord"].to_numpy()
        return ords

    @property
    def folder(self) -> Path:
        """Where the config lies: relative paths in it start there."""
        return self.config.folder

    def source(self, name: str) -> BoundSource:
        """Give the source called `name`."""
        return next(source for source in self.config.sources if source.name == name)

    @cached_property
    def globals(self) -> list[BoundStep]:
        """The GlobalSteps in order: the barriers after stage 0, 1, ..."""
        return [bound for bound in self.config.steps if isinstance(bound.step, GlobalStep)]

    @property
    def stages(self) -> int:
        """Passes over the records: one more than barriers, and at least two (identity is settled at barrier 0)."""
        return max(2, len(self.globals) + 1)

    def segment(self, stage: int, source: str) -> list[BoundStep]:
        """Give the steps of one stage for records of one source; of what is adopted, none but `require`."""
        if self.setup.adopted is not None and source == self.setup.adopted.source:
            return [self.config.require] if stage == self.stages - 1 else []
        steps = list(self.source(source).steps) if stage == 0 else []
        at = 0
        for bound in self.config.steps:
            if isinstance(bound.step, GlobalStep):
                at += 1
            elif at == stage:
                steps.append(bound)
        if stage == self.stages - 1:
            steps.append(self.config.require)
        return steps

    def barrier(self, stage: int) -> BoundStep | None:
        """Give the GlobalStep that closes `stage`, if any."""
        return self.globals[stage] if stage < len(self.globals) else None

    def staged(self, name: str) -> Path:
        """Give the path of a staged file."""
        return self.staging / name


def first_ord(seq: int, number: int) -> int:
    """Give the first `ord` of task `number` in run `seq`: seq (18 bits) | task (19) | row (26)."""
    return seq << (TASK_BITS + ROW_BITS) | number << ROW_BITS
