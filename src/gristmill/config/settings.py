"""The typed model of a config: what a pipeline is, frozen, with every part built.

Not here: reading it from a file or from Python objects (`config.load`), what decides its records (`config.changes`).
Invariants: a `PipelineConfig` that exists is valid (names unique, parts built, references resolved); the values of
references are in the parts and in `Written.secrets` alone, and no `repr` shows them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from gristmill.config.airflow import AirflowSettings
from gristmill.config.examples import Example
from gristmill.config.monitoring import Alert, Duration, Monitoring
from gristmill.core.export import Export
from gristmill.core.places import Options
from gristmill.core.source import BoundSource
from gristmill.core.step import BoundStep
from gristmill.core.yamlfile import Keys

Ratio = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]


class Drift(msgspec.Struct, frozen=True, kw_only=True):
    """How far what a source brings may be from what it brought before.

    window: how many of the source's last snapshots are taken together. baseline: number of a snapshot to compare with
    instead. min_records: records a distribution needs on both sides to be judged; of few, only what is far above chance counts.
    warn_psi, warn_ks: above it the report warns. block_psi, block_ks: above it the gate refuses. distributions: the only ones to judge, such as read.lang;
    all by default. A limit that is null is none.
    """

    window: Annotated[int, msgspec.Meta(ge=1, le=30)] = 7
    baseline: Positive | None = None
    min_records: Positive = 100
    warn_psi: NotNegative | None = 0.2
    block_psi: NotNegative | None = None
    warn_ks: Ratio | None = 0.15
    block_ks: Ratio | None = None
    distributions: list[str] | None = None

    def __post_init__(self) -> None:
        for name, warn, block in (("psi", self.warn_psi, self.block_psi), ("ks", self.warn_ks, self.block_ks)):
            if warn is not None and block is not None and warn > block:
                raise ValueError(f"warn_{name} {warn:g} is above block_{name} {block:g}: it could never warn")


class SourceGate(msgspec.Struct, frozen=True, kw_only=True):
    """Rules for what one source gave in a run.

    min_kept_ratio: published records over those read that were not unchanged. max_quarantined_ratio: quarantined
    records over those read. min_docs: records published. drift: in the place of the run's.
    """

    min_kept_ratio: Ratio | None = None
    max_quarantined_ratio: Ratio | None = None
    min_docs: Count | None = None
    drift: Drift | None = None


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """Rules a run must meet, or it publishes nothing.

    min_quality_score: valid records over those that reached `require`. min_kept_ratio: published records over those
    read that were not unchanged. max_quarantined_ratio: quarantined records over those read. min_docs: records
    published. max_gone_ratio: rows withdrawn because their source no longer has them, over the rows before: the guard
    against a listing or a table that lost its content by accident. drift: how far what a source brings may be from what it
    brought before; null: nothing is compared. sources: rules for one source, by its name.
    """

    min_quality_score: Ratio | None = 0.8
    min_kept_ratio: Ratio | None = None
    max_quarantined_ratio: Ratio | None = None
    min_docs: Count | None = None
    max_gone_ratio: Ratio | None = None
    drift: Drift | None = Drift()
    sources: dict[str, SourceGate] = {}


class RayStage(msgspec.Struct, frozen=True, kw_only=True):
    """What one task of a kind asks of a Ray node.

    cpus: cores. memory_mb: memory, null for what such a task is measured to need. resources: the cluster's own names, such as {ssd: 1}.
    """

    cpus: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    memory_mb: Positive | None = None
    resources: dict[str, float] = {}


class RayStages(msgspec.Struct, frozen=True, kw_only=True):
    """What the tasks of a run ask for, by kind.

    read: reading a split and the first steps. stage: the steps behind a barrier. identity: settling the ids of a bucket. merge: the keys of a
    bucket, for a step that looks at all records. withdraw: rewriting a shard. chunk: writing a chunk of an export.
    """

    read: RayStage = RayStage()
    stage: RayStage = RayStage()
    identity: RayStage = RayStage()
    merge: RayStage = RayStage()
    withdraw: RayStage = RayStage()
    chunk: RayStage = RayStage()


class RaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the tasks of a run go with `engine: ray`.

    address: HOST:PORT of a cluster this machine is a node of, auto for the one that runs here, null for one of this run's own, on this machine
    and on loopback only. max_in_flight: tasks handed to the cluster at a time, null for twice what it can do at once. node_wait_s: how long to wait
    for a node that can hold a task. stages: what tasks ask for, by kind.
    """

    address: Annotated[str, msgspec.Meta(pattern=r"^(auto|[^:/\s]+:\d+|\[[0-9a-fA-F:]+\]:\d+)$")] | None = None
    max_in_flight: Positive | None = None
    node_wait_s: Count = 60
    stages: RayStages = RayStages()


class RunSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a run works; nothing here changes a record.

    engine: local for processes on this machine, ray for a Ray cluster. workers: tasks at a time, null for one a core (with ray: for what the
    cluster holds). retries: further tries of a task after a passing failure. batch_bytes: text
    a batch holds, about. merge_rows: keys a merge holds in memory at once, about. max_error_ratio: share of the records that may make a step raise before the run stops.
    landing_days: how long the landed pages of sources that cannot be read again are kept after their run. lease_s: of a dataset on an object
    store, how long a run that gives no sign of life still holds it. step_timeout_s: how long a step may take for one call; a record that takes
    longer alone is quarantined, 0 is no limit. ray: where the tasks go.
    """

    engine: Literal["local", "ray"] = "local"
    workers: Positive | None = None
    retries: Count = 3
    batch_bytes: Positive = 2 << 20
    merge_rows: Positive = 1 << 18
    max_error_ratio: Ratio = 0.01
    landing_days: Annotated[int, msgspec.Meta(ge=0, le=36_500)] = 30
    lease_s: Annotated[int, msgspec.Meta(ge=2, le=10_000_000)] = 60
    step_timeout_s: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 900
    ray: RaySettings = RaySettings()


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What the config says around any part.

    name: unique among its kind; the part's name by default. description: for people. owner: who answers for it.
    """

    name: str = ""
    description: str = ""
    owner: str = ""


class StepEnvelope(Envelope, frozen=True, kw_only=True):
    """What the config says around a step.

    license: the licence of what the step brings in.
    """

    license: str = ""


class SourceEnvelope(StepEnvelope, frozen=True, kw_only=True):
    """What the config says around a source.

    license: the licence of its texts. steps: the source's own steps, before the common ones. on_error: fail stops the run;
    skip leaves the source out of it: its cursor stays, the run is marked partial. freshness: the longest it may give nothing
    new, such as 36h or 7d; then the report and `status` call it stale.
    """

    steps: list[str | dict[str, Any]] = []
    on_error: Literal["fail", "skip"] = "fail"
    freshness: Duration | None = None

    @property
    def freshness_s(self) -> int | None:
        """The limit of `freshness` in seconds."""
        if self.freshness is None:
            return None
        return int(self.freshness[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}[self.freshness[-1]]


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What machines and storage cost. Money is in `currency`; without a price there is no cost.

    core_hour: price of a core for an hour, held or busy. gb_month: price of a stored GB (10^9 bytes) for a month.
    months: how long what a run adds is stored. max_cost: what a run may cost at most by its estimate; over it, it stops at
    plan. jump: report a run whose cost per GB read is over so many times the median of the last ten.
    """

    currency: str = "USD"
    core_hour: Annotated[float, msgspec.Meta(ge=0)] | None = None
    gb_month: Annotated[float, msgspec.Meta(ge=0)] | None = None
    months: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    max_cost: Annotated[float, msgspec.Meta(ge=0)] | None = None
    jump: Annotated[float, msgspec.Meta(gt=1)] | None = 2.0

    def __post_init__(self) -> None:
        """Refuse a limit that nothing could reach."""
        if self.max_cost is not None and self.core_hour is None and self.gb_month is None:
            raise ValueError("max_cost without a price limits nothing; set core_hour or gb_month too")


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """Which snapshots `gristmill gc` keeps whole; a run never removes one.

    keep_last: the newest so many. keep_days: those younger than so many days. What either keeps is kept; both null: all are. pinned: numbers
    of snapshots that are kept whatever their age. grace: how old a file must be that no snapshot ever named, such as 7d.
    """

    keep_last: Positive | None = None
    keep_days: Positive | None = None
    pinned: list[Positive] = []
    grace: Annotated[str, msgspec.Meta(pattern=r"^(0|[1-9]\d*)(s|m|h|d|w)$", examples=["0s", "36h", "7d", "2w"])] = "7d"


class ConfigFile(msgspec.Struct, frozen=True, kw_only=True):
    """The top of a config file.

    version: of this format. dataset: folder or object store where the snapshots live, from the config's folder.
    description: for people. sources: where records come from, in their order. steps: what is done to every record, in
    order. require: what every record must meet in the end. gate: what a run must meet. exports: copies made of each
    snapshot. include: files to lay this one over, from its folder on. overlays: by name, what is other there; overlay: which one is
    laid on if none is asked for. airflow: how its DAG is scheduled. monitoring: what watches a run. alerts: who is told when it is unwell. run: how a run works. cost: prices, and what a run may cost.
    tests: example records, and what the steps are to make of them.
    retention: which snapshots gc keeps. storage: how to reach the object store the dataset lies on, such as region, endpoint and keys; exports
    to a store that have no storage of their own are reached so too. work_dir: folder of this machine such a dataset is worked on through; by
    default one below the user's cache.
    """

    version: Literal[1]
    dataset: Annotated[str, msgspec.Meta(min_length=1)]
    sources: Annotated[list[dict[str, Any]], msgspec.Meta(min_length=1)]
    include: str | list[str] = []
    overlay: str | None = None
    overlays: dict[str, dict[str, Any]] = {}
    description: str = ""
    steps: list[str | dict[str, Any]] = []
    require: dict[str, Any] | None = None
    gate: Gate = Gate()
    exports: list[dict[str, Any]] = []
    run: RunSettings = RunSettings()
    airflow: AirflowSettings = AirflowSettings()
    monitoring: Monitoring = Monitoring()
    alerts: list[Alert] = []
    cost: Cost = Cost()
    tests: list[Example] = []
    retention: Retention = Retention()
    storage: Options = {}
    work_dir: str | None = None


class BoundExport(msgspec.Struct, frozen=True, kw_only=True):
    """An export in its place in a pipeline: its unique name, its part name, and who answers for it."""

    name: str
    part: str
    export: Export
    description: str = ""
    owner: str = ""


class Unresolved(msgspec.Struct, frozen=True):
    """Stands for a part that holds a reference which could not be resolved and need not be: nobody asks the part anything."""


class Written(msgspec.Struct, frozen=True):
    """Where a config was written, and what it holds by reference. Keys: `sources.<name>`, `steps.<name>`, `require`, ….

    places: `file:line:column` of each part, of `dataset` and `monitoring`. references: for each part, the text as written of the parameters that hold
    a reference. secrets: value -> its reference. dataset: as the config has it, from its folder on.
    """

    places: dict[str, str] = {}
    references: dict[str, dict[Keys, str]] = {}
    secrets: dict[str, str] = {}
    dataset: str = ""

    def __repr__(self) -> str:
        return f"Written({len(self.places)} places)"


class PipelineConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A whole pipeline. `dataset` is absolute or a URL, reached by `storage`; relative paths in the parts start from `folder`."""

    version: Literal[1] = 1
    dataset: str
    description: str = ""
    sources: list[BoundSource]
    steps: list[BoundStep]
    require: BoundStep
    gate: Gate
    exports: list[BoundExport]
    run: RunSettings
    airflow: AirflowSettings = AirflowSettings()
    monitoring: Monitoring = Monitoring()
    alerts: list[Alert] = []
    cost: Cost = Cost()
    tests: list[Example] = []
    retention: Retention = Retention()
    storage: Options = {}
    work_dir: str | None = None
    folder: Path
    file: Path | None = None
    written: Written = Written()

    def __repr__(self) -> str:
        return f"PipelineConfig({str(self.file) if self.file else self.dataset!r})"

    def redact(self, text: str) -> str:
        """Give a text from elsewhere (a driver's message) with the values of references replaced by the references."""
        secrets = {value: ref for value, ref in self.written.secrets.items() if len(value) > 3}
        spelled = secrets | {repr(value)[1:-1]: ref for value, ref in secrets.items()}
        if not spelled:
            return text
        longest_first = sorted(spelled, key=len, reverse=True)
        return re.sub("|".join(map(re.escape, longest_first)), lambda match: spelled[match[0]], text)
