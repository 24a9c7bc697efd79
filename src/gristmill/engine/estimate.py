"""Estimate: what a planned run will take, from doing a part of it on this machine and measuring.

A part of every source's splits goes through the whole pipeline twice, a small and a larger part, into a dataset of their own beside the real
one, which is removed again. From the processor time of each source's tasks, of all other tasks and of the rest follows the
processor time of the whole; from the two runs' wall clocks follows how much of it this machine does at a time, and what a run
takes however small it is.

Not here: prices (`engine.cost`). Not measured: the passes over an index that is already there, and waiting for remote
sources. Invariants: nothing of the real dataset or its exports is touched; no source is read that can be read only once, or that
would be asked over the network for the sake of an estimate (`Source.LANDED`): it is named as unknown.
"""

from __future__ import annotations

import contextlib
import os
import resource
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import orjson

from gristmill.config import changes, load
from gristmill.config.settings import Cost, Gate, PipelineConfig
from gristmill.core.errors import ConfigError, GateRefused, SourceError
from gristmill.core.export import FileExport
from gristmill.core.source import SourcePlan
from gristmill.engine import cost
from gristmill.engine.begin import Options
from gristmill.engine.place import layout_of
from gristmill.engine.plan import Draft
from gristmill.engine.report import Report
from gristmill.engine.run import MakeExecutor, run
from gristmill.observe.events import Silent, StageBegins, TaskDone
from gristmill.store import disk
from gristmill.store.layout import Layout

SAMPLE_BYTES = 192 << 20  # stored; half a minute of work for two cores
SMALL_SHARE = 0.25  # of the sample, for the first of the two runs
_NO_GATE = {name: None for name in Gate.__struct_fields__ if name != "sources"}


class Sampled(msgspec.Struct):
    """What one run over a part took.

    cpu_s: by source of its read and stage tasks; `rest`: of all other tasks and of the run itself. exports: stored bytes by name.
    """

    bytes: dict[str, int]
    cpu_s: dict[str, float]
    rest_cpu_s: float
    wall_s: float
    report: Report
    dataset_bytes: int
    exports: dict[str, int]
    staging_bytes: int

    @property
    def all_bytes(self) -> int:
        """Stored bytes read."""
        return sum(self.bytes.values())

    @property
    def all_cpu_s(self) -> float:
        """All processor time."""
        return sum(self.cpu_s.values()) + self.rest_cpu_s


class Estimate(msgspec.Struct, kw_only=True):
    """What a run will take.

    head, config: the snapshot and the config it was made for. bytes: stored bytes to read. seconds: on `machines` machines of
    `cores` cores. cpu_seconds: on all of them. memory_mb: on one machine. dataset_bytes, exports: what will be added, table_bytes of it in
    the table; staging_bytes: what is there for a while besides. steps: MB of text a processor second does in each. unknown: sources it says nothing of, and why.
    """

    version: int = 1
    head: int
    config: str
    bytes: int
    tasks: int
    sampled_bytes: int
    machines: int
    cores: int
    seconds: float
    cpu_seconds: float
    mb_per_s: float
    memory_mb: float
    dataset_bytes: int
    table_bytes: int
    exports: dict[str, int]
    staging_bytes: int
    steps: list[dict[str, Any]]
    sources: list[dict[str, Any]]
    cost: dict[str, Any] | None = None
    max_cost: float | None = None
    unknown: dict[str, str] = {}

    @property
    def over(self) -> bool:
        """Tell if it costs more than it may."""
        return self.max_cost is not None and self.cost is not None and self.cost["total"] > self.max_cost

    def priced(self, prices: Cost) -> Estimate:
        """Give the same at these prices and within their limit: what was measured holds whatever it costs."""
        stored = self.dataset_bytes + sum(self.exports.values())
        told = cost.in_all(prices, self.cores * self.machines, self.seconds, stored)
        return msgspec.structs.replace(self, cost=told, max_cost=prices.max_cost)


def estimate(
    config: PipelineConfig,
    overrides: list[str],
    drafted: Draft,
    head: int,
    cores: int,
    make: MakeExecutor,
    machines: int = 1,
) -> Estimate:
    """Measure parts of what `drafted` found, and say what all of it will take.

    Raises:
        ConfigError: the plan has nothing that can be measured.
        GristmillError: the part could not be done; the run itself would fail the same way.
    """
    unknown = {
        bound.name: "it is not read for an estimate: it would be asked over the network, or can be read but once"
        for bound in config.sources
        if bound.source.LANDED and drafted.found[bound.name].splits
    }
    unknown |= drafted.failures
    known = {name: found for name, found in drafted.found.items() if name not in unknown and found.splits}
    sizes = {name: sum(split.bytes for split in found.splits) for name, found in known.items()}
    if not any(sizes.values()):
        why = "; ".join(f"{name}: {said}" for name, said in unknown.items()) or "there is nothing new"
        raise ConfigError(f"there is nothing to measure for an estimate: {why}")
    wanted = min(SAMPLE_BYTES, max(sum(sizes.values()) // 2, 1))
    large_part, small_part = _part(known, wanted), _part(known, int(wanted * SMALL_SHARE))
    small = _measure(config, overrides, _only(drafted, small_part), make)
    large = _measure(config, overrides, _only(drafted, large_part), make)
    whole = _Line(small, large)
    by_source = {name: whole.of(name, size) for name, size in sizes.items()}
    stored = sum(sizes.values())
    cpu = sum(by_source.values()) + whole.at(stored, lambda sampled: sampled.rest_cpu_s)
    seconds = wall_clock(small, large, cpu, machines)
    dataset = round(whole.at(stored, lambda sampled: sampled.dataset_bytes))
    exports = {name: round(whole.at(stored, partial(_exported, name))) for name in large.exports}
    own_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Estimate(
        head=head,
        config=changes.fingerprint(config),
        bytes=stored,
        tasks=sum(len(found.splits) for found in known.values()),
        sampled_bytes=large.all_bytes,
        machines=machines,
        cores=cores,
        seconds=round(seconds, 3),
        cpu_seconds=round(cpu, 3),
        mb_per_s=round(stored / 1e6 / seconds, 3),
        memory_mb=round(large.report.peak_rss_mb * cores + own_mb),
        dataset_bytes=dataset,
        table_bytes=round(whole.at(stored, lambda sampled: sampled.report.bytes_published)),
        exports=exports,
        staging_bytes=round(whole.at(stored, lambda sampled: sampled.staging_bytes)),
        steps=[
            {"name": step.name, "mb_per_s": round(step.bytes / 1e6 / step.seconds, 1)}
            for step in large.report.steps
            if step.seconds > 0
        ],
        sources=[
            {"name": name, "bytes": size, "cpu_seconds": round(by_source[name], 3)} for name, size in sizes.items()
        ],
        unknown=unknown,
    ).priced(config.cost)


def _exported(name: str, sampled: Sampled) -> float:
    return sampled.exports[name]


class _Line:
    """The line through what two runs measured, over the bytes they read; it does not fall, and does not begin below zero.

    What a run takes however small it is (workers that load the kernels) is where the line begins, and counts once.
    """

    def __init__(self, small: Sampled, large: Sampled) -> None:
        self._small, self._large = small, large

    def at(self, stored_bytes: int, measure: Callable[[Sampled], float]) -> float:
        """Give the height at so many bytes in all."""
        ends = (self._small.all_bytes, measure(self._small)), (self._large.all_bytes, measure(self._large))
        return _height(stored_bytes, *ends)

    def of(self, source: str, stored_bytes: int) -> float:
        """Give the processor time of a source's tasks for so many bytes of it."""
        low, high = ((one.bytes[source], one.cpu_s.get(source, 0.0)) for one in (self._small, self._large))
        return _height(stored_bytes, low, high)


def _height(at: int, low: tuple[int, float], high: tuple[int, float]) -> float:
    if high[0] <= low[0]:
        return high[1] * at / max(high[0], 1)
    slope = max(0.0, (high[1] - low[1]) / (high[0] - low[0]))
    return max(0.0, high[1] - slope * high[0]) + slope * at


def wall_clock(small: Sampled, large: Sampled, cpu_s: float, machines: int) -> float:
    """Give the seconds that so much processor time takes: what every run takes, and the rest at the pace of the larger run."""
    more = large.all_cpu_s - small.all_cpu_s
    pace = (large.wall_s - small.wall_s) / more if more > 0 else large.wall_s / max(large.all_cpu_s, 1e-9)
    pace = max(0.0, min(pace, large.wall_s / max(large.all_cpu_s, 1e-9)))
    start = max(0.0, large.wall_s - pace * large.all_cpu_s)
    return start + pace * cpu_s / machines


def afford(
    config: PipelineConfig, overrides: list[str], drafted: Draft, head: int, cores: int, make: MakeExecutor
) -> None:
    """Stop a plan that would cost more than `cost.max_cost`, by the estimate that was kept for it or a new one.

    Raises:
        GateRefused: it would; nothing was claimed.
    """
    limit = config.cost.max_cost
    if limit is None or drafted.empty:
        return
    layout = layout_of(config)
    told = kept(layout, changes.fingerprint(config), head, drafted)
    if told is None:
        told = estimate(config, overrides, drafted, head, cores, make)
        keep(layout, told)
    told = told.priced(config.cost)  # one that was kept may have been made under others
    if told.over and told.cost is not None:
        raise GateRefused(
            f"the plan would cost about {told.cost['total']:.4g} {told.cost['currency']}, over cost.max_cost {limit:g}; nothing was begun. "
            "`gristmill plan --estimate` shows what it is made of; raise cost.max_cost, or plan less with --source"
        )


def keep(layout: Layout, told: Estimate) -> None:
    """Keep an estimate beside the dataset, to be compared with what is measured."""
    layout.files.write_file(layout.estimate, disk.to_json(msgspec.to_builtins(told)))


def kept(layout: Layout, fingerprint: str, head: int, drafted: Draft) -> Estimate | None:
    """Give the estimate that was kept for just this plan, if there is one."""
    try:
        told = msgspec.json.decode(layout.estimate.read_bytes(), type=Estimate)
    except (OSError, msgspec.DecodeError):
        return None
    stored = sum(
        split.bytes for name, found in drafted.found.items() if name not in told.unknown for split in found.splits
    )
    return told if (told.config, told.head, told.bytes) == (fingerprint, head, stored) else None


def _part(known: dict[str, SourcePlan], wanted: int) -> dict[str, SourcePlan]:
    """Take splits of every source, spread evenly over each, of about so many bytes in all, at least one a source."""
    total = sum(split.bytes for found in known.values() for split in found.splits)
    share = min(1.0, wanted / max(total, 1))
    taken = {}
    for name, found in known.items():
        n = min(len(found.splits), max(1, round(share * len(found.splits))))
        every = len(found.splits) / n
        splits = [found.splits[int((i + 0.5) * every)] for i in range(n)]
        taken[name] = msgspec.structs.replace(found, splits=splits, replaced=[], gone=[], failed=[])
    return taken


def _only(drafted: Draft, part: dict[str, SourcePlan]) -> Draft:
    return Draft({name: part.get(name, SourcePlan([])) for name in drafted.found})


class _Meter(Silent):
    """Adds up what the tasks of a run say, and looks at the staging folder between them."""

    def __init__(self, staging: Path) -> None:
        self.staging = staging
        self.staging_bytes = 0
        self.by_source: dict[str, float] = {}

    def stage(self, begins: StageBegins) -> None:
        """Look at what is staged."""
        self.staging_bytes = max(self.staging_bytes, _size(self.staging))

    def task(self, done: TaskDone) -> None:
        """Add a task's processor time to its source's."""
        if done.source:
            self.by_source[done.source] = self.by_source.get(done.source, 0.0) + done.cpu_s


def _measure(config: PipelineConfig, overrides: list[str], part: Draft, make: MakeExecutor) -> Sampled:
    """Run a part in a dataset of its own, and remove that."""
    beside = Path(config.dataset).absolute().parent
    while not beside.is_dir():
        beside = beside.parent
    with tempfile.TemporaryDirectory(dir=beside, prefix=".gristmill-estimate-") as made:
        folder = Path(made)
        own, settings = _moved(config, overrides, folder)
        layout = layout_of(own)
        meter = _Meter(layout.staging(0).parent)
        report = run(own, Options(overrides=settings), meter, make, part)
        if report.status not in ("published", "nothing_new"):
            raise SourceError(f"a part of the input could not be read for the estimate: {report.errors[:1]}")
        exports = {bound.name: _size(folder / "exports" / bound.name) for bound in own.exports}
        return Sampled(
            {name: sum(split.bytes for split in found.splits) for name, found in part.found.items()},
            meter.by_source,
            max(0.0, report.cpu_seconds - sum(meter.by_source.values())),
            report.seconds,
            report,
            _size(layout.root),
            exports,
            meter.staging_bytes,
        )


def _moved(config: PipelineConfig, overrides: list[str], folder: Path) -> tuple[PipelineConfig, list[str]]:
    """Give the config with dataset and exports in another folder, without gate and loads into databases; and the overrides for it."""
    files = [bound for bound in config.exports if isinstance(bound.export, FileExport)]
    if config.file is None:
        moved = [
            msgspec.structs.replace(
                bound, export=msgspec.structs.replace(bound.export, path=str(folder / "exports" / bound.name))
            )
            for bound in files
        ]
        gate = Gate(min_quality_score=None)
        return msgspec.structs.replace(config, dataset=str(folder / "dataset"), exports=moved, gate=gate), overrides
    settings = [*overrides, f"dataset={_yaml(str(folder / 'dataset'))}", f"gate={_yaml(_NO_GATE)}"]
    if len(files) < len(config.exports):
        written = load.written(config.file, overrides)[0].raw["exports"]
        kept = [item for item, bound in zip(written, config.exports, strict=True) if bound in files]
        settings = [*(one for one in settings if not one.startswith("exports.")), f"exports={_yaml(kept)}"]
    settings += [f"exports.{b.name}.path={_yaml(str(folder / 'exports' / b.name))}" for b in files]
    return load.load(config.file, settings), settings


def _yaml(value: Any) -> str:
    return orjson.dumps(value).decode()


def _size(folder: Path) -> int:
    """Give the bytes of all files in a folder; what goes while it is looked at counts nothing."""
    total = 0
    for at, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(at, name)).st_size  # noqa: PTH116, PTH118 - a path object a file would take longer
    return total
