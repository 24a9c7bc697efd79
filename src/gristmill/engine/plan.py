"""Planning: what is new since the parent snapshot, cut into tasks in the total order, and frozen.

Not here: how a source finds out (`sources/`), doing it (`engine.run`). Invariants: nothing is written before a number
is claimed; a frozen plan is never changed, a run that died is gone on with from it; tasks are numbered as sources stand
in the config, then by sorted split, whatever the workers.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa

from gristmill.config.settings import PipelineConfig
from gristmill.core import access
from gristmill.core.batch import Int64s
from gristmill.core.counts import Counts
from gristmill.core.errors import (
    ConfigError,
    SourceError,
    SourceMisconfigured,
    StoreError,
    Transient,
    naming,
    raise_of_system,
)
from gristmill.core.failpoints import failpoint
from gristmill.core.source import NO_UNITS, WHOLE, BoundSource, PlanContext, SourcePlan, Split, State, UnitRead, Window
from gristmill.engine import described, merge, ownfiles, quarantine
from gristmill.engine.adopt import Adoption
from gristmill.engine.drive import BACKOFF_S
from gristmill.engine.work import TASK_BITS, Job, Mode, Work
from gristmill.store import disk, formats, index
from gristmill.store.layout import FORMAT, Layout
from gristmill.store.snapshot import Manifest

NOT_ASKED = "not asked for"
DOC = b"gristmill.doc"  # the key of a state's doc in its file's metadata


class SourceWork(msgspec.Struct, frozen=True):
    """What a run does about one source.

    failed: (unit, code, detail) of units that could not be opened. ceiling: the source's own, for its fold. skipped: why the
    source is left out: it could not be planned (`on_error: skip`), or is NOT_ASKED.
    """

    replaced: list[str]
    gone: list[str]
    failed: list[tuple[str, str, str]]
    ceiling: dict[str, Any] = {}
    warnings: dict[str, int] = {}
    skipped: str = ""


class Plan(msgspec.Struct, frozen=True):
    """A frozen plan: the content of `plan.json`. adopted: what goes past the steps. retried: units read for their quarantine's sake, by source."""

    format: int
    seq: int
    parent: int
    config: str
    code: str
    tasks: list[Job]
    sources: dict[str, SourceWork]
    adopted: Adoption | None = None
    retried: dict[str, list[str]] = {}
    mode: Mode = "forward"

    @property
    def stored_bytes(self) -> int:
        """The bytes to read, as stored."""
        return sum(job.split.bytes for job in self.tasks if job.split is not None)


class Replay(msgspec.Struct, frozen=True):
    """A split that is read again although nothing in it is new; the fields are those of a `Job`."""

    split: Split
    replay: Literal["units", "landing"]
    leave: list[str] = []


class Draft(msgspec.Struct, frozen=True):
    """A plan before a number is claimed for it: what each source found, and why those that are left out could not be planned.

    redecided: the ords of records that are to be decided about again, where not all are, sorted.
    """

    found: dict[str, SourcePlan]
    skipped: dict[str, str] = {}
    adopted: Adoption | None = None
    retried: dict[str, list[str]] = {}
    mode: Mode = "forward"
    replays: dict[str, list[Replay]] = {}
    redecided: list[int] = []

    @property
    def failures(self) -> dict[str, str]:
        """The sources that failed and are left out, and why."""
        return {name: why for name, why in self.skipped.items() if why != NOT_ASKED}

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do; that a unit still cannot be opened is no work, or every run would publish."""
        new = any(plan.splits or plan.gone for plan in self.found.values())
        return (
            not new and not any(self.replays.values()) and self.mode != "full-refresh"
        )  # indexes begin anew all the same

    def read_again(self, source: str) -> dict[str, int]:
        """Give how many tasks of a source read what is not new, and their stored bytes."""
        replays = self.replays.get(source, [])
        return {"tasks": len(replays), "bytes": sum(each.split.bytes for each in replays)}

    @property
    def reading(self) -> Draft:
        """The same with all that will be read told as new, for an estimate."""
        more = {
            name: [each.split for each in replays if each.replay == "units"] for name, replays in self.replays.items()
        }
        found = {
            name: msgspec.structs.replace(plan, splits=[*more.get(name, []), *plan.splits])
            for name, plan in self.found.items()
        }
        return Draft(found, self.skipped)


def draft(
    config: PipelineConfig,
    layout: Layout,
    head: Manifest,
    only: str | None = None,
    window: Window = WHOLE,
    retry: quarantine.Asked | None = None,
    forget: Mapping[str, set[str]] | None = None,
) -> Draft:
    """Ask every source, or `only` one of them, for what is new since `head`, or for a window of it; writes nothing.

    retry: ask those that hold what is meant of the quarantine, and let them read it again. forget: units that are read as if they had
    changed, by source.

    Raises:
        ConfigError: the window cannot be asked for, or a source would read what this pipeline writes.
        SourceMisconfigured: a source has not what the config asks of it, and may not be left out.
        SourceError: a source cannot be listed, and may not be left out.
    """
    found: dict[str, SourcePlan] = {}
    skipped: dict[str, str] = {}
    context = PlanContext(config.folder, window)
    retried = quarantine.Quarantine(layout, head).to_retry(retry) if retry is not None else {}
    for bound in config.sources:
        if only not in (None, bound.name) or (retry is not None and bound.name not in retried):
            found[bound.name], skipped[bound.name] = SourcePlan([]), NOT_ASKED
            continue
        if told := ownfiles.problem(bound, config, layout):
            raise ConfigError(told)
        try:
            state = read_state(layout, head, bound.name)
            if bound.name in retried:
                state = quarantine.forgetful(bound.source, bound.name, state, retried[bound.name], window)
            anew = described.mended(config, layout, bound, state) | (forget or {}).get(bound.name, set())
            if state is not None and anew:
                state = bound.source.again(state, anew)
            found[bound.name] = ask(bound, state, context, config.run.retries)
        except SourceError as error:
            if bound.on_error != "skip" and isinstance(error, SourceMisconfigured):
                raise SourceMisconfigured(_placed(error, bound, config)) from error
            if bound.on_error != "skip":
                error.args = (_placed(error, bound, config),)
                raise
            found[bound.name], skipped[bound.name] = SourcePlan([]), config.redact(str(error))
    for name, each in found.items():
        ownfiles.check_listed(name, each.listing, config, layout)
    return Draft(found, skipped, retried={name: units for name, units in retried.items() if name not in skipped})


def _placed(error: SourceError, bound: BoundSource, config: PipelineConfig) -> str:
    """Give what a source says with its name and place in the config, as `gristmill check` tells it."""
    place = config.written.places.get(f"sources.{bound.name}")
    return f"{f'{place}: ' if place else ''}source {bound.name!r} ({bound.part}): {error}"


def ask(bound: BoundSource, state: State | None, context: PlanContext, retries: int) -> SourcePlan:
    """Plan one source, again after a passing failure."""
    for wait_s in BACKOFF_S[:retries]:
        try:
            return bound.source.plan(state, context)
        except Transient:
            time.sleep(wait_s)
    return bound.source.plan(state, context)


def freeze(drafted: Draft, layout: Layout, head: Manifest, seq: int, config: str, code: str) -> Plan:
    """Number the tasks and write the plan and the listings durably."""
    tasks: list[Job] = []
    for name, found in drafted.found.items():
        for again in drafted.replays.get(name, []):
            n = len(tasks)
            tasks.append(Job(f"r-{n:06d}", "read", n, 0, name, again.split, replay=again.replay, leave=again.leave))
        for split in found.splits:
            tasks.append(Job(f"r-{len(tasks):06d}", "read", number=len(tasks), source=name, split=split))
        scratch = layout.staging(seq) / f"listing-{name}.parquet"
        index.write_table(scratch, found.listing, statistics=["unit"])
        layout.files.adopt_file(scratch, layout.listing(seq, name))
        failpoint("listing.written")
    if len(tasks) >= 1 << TASK_BITS:
        raise SourceError(
            f"{len(tasks)} tasks do not fit into one run (at most {(1 << TASK_BITS) - 1}); set a larger split_bytes"
        )
    if drafted.mode == "redecide":
        scratch = layout.staging(seq) / "redecided.parquet"
        index.write_table(scratch, pa.table({"ord": pa.array(drafted.redecided, pa.int64())}), statistics=["ord"])
        layout.files.adopt_file(scratch, layout.redecided(seq))
        failpoint("listing.written")
    sources = {
        name: SourceWork(
            found.replaced, found.gone, found.failed, found.ceiling, found.warnings, drafted.skipped.get(name, "")
        )
        for name, found in drafted.found.items()
    }
    plan = Plan(FORMAT, seq, head.seq, config, code, tasks, sources, drafted.adopted, drafted.retried, drafted.mode)
    layout.files.write_file(layout.plan(seq), msgspec.json.encode(plan) + b"\n")
    return plan


def read_plan(layout: Layout, seq: int) -> Plan:
    """Read a frozen plan.

    Raises:
        StoreError: it is damaged or of an unknown format.
    """
    try:
        plan = msgspec.json.decode(layout.plan(seq).read_bytes(), type=Plan)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise_of_system(error, layout.plan(seq))
        raise StoreError(
            f"{layout.plan(seq)} cannot be read ({type(error).__name__}); remove {layout.run(seq)} and run again"
        ) from error
    formats.check(layout.plan(seq), plan.format)
    return plan


def read_state(layout: Layout, head: Manifest, source: str) -> State | None:
    """Give the committed state of a source, None before its first snapshot.

    Raises:
        StoreError: it cannot be read.
    """
    known = head.states.get(source)
    try:
        if not known:
            return None
        path = layout.absolute(known["path"])
        if disk.sha256_of(path) != known["sha256"]:  # no checksum of Parquet is over its footer
            raise StoreError(
                f"{known['path']} is not what the manifest says (sha256 differs); run `gristmill verify`, restore it, then run again"
            )
        units = index.read_table(path)
        doc = msgspec.json.decode((units.schema.metadata or {}).get(DOC, b"{}"))
        return State(doc, units.replace_schema_metadata(None))
    except (OSError, ValueError, pa.ArrowException) as error:
        place = known["path"] if known else ""
        raise_of_system(error, place)
        raise StoreError(f"{place} cannot be read ({type(error).__name__}); run `gristmill verify`") from error


def write_state(work: Work, planned: Plan, source: str, reads: list[UnitRead]) -> dict[str, str]:
    """Let a source fold what was read of it, and write its next state: the unit table, with the doc as its metadata."""
    doing = planned.sources[source]
    path = work.layout.files.fetch(work.layout.listing(planned.seq, source))
    with naming(path):
        listing = index.read_table(path).replace_schema_metadata(None)
    found = SourcePlan([], listing, doing.replaced, doing.gone, doing.failed, doing.ceiling)
    state = work.source(source).source.fold(read_state(work.layout, work.parent, source), found, reads, planned.seq)
    units = state.units if state.units is not None else NO_UNITS
    doc = msgspec.json.encode(state.doc, order="sorted")
    scratch = work.staged(f"state-{source}.parquet")
    index.write_table(scratch, units.replace_schema_metadata({DOC: doc} if state.doc else None), statistics=["unit"])
    digest = disk.sha256_of(scratch)
    path = work.layout.state(source, work.seq)
    work.layout.files.adopt_file(scratch, path, mode=access.PRIVATE)
    return {"path": work.layout.relative(path), "sha256": digest, "knows": _knows(doc, units)}


def _knows(doc: bytes, units: pa.Table) -> str:
    """Give a digest of what a state knows of the world: all but which run read it."""
    digest = hashlib.blake2b(doc, digest_size=16)
    for name in units.column_names:
        if name not in ("seq", "ords"):
            digest.update(msgspec.json.encode([name, units[name].to_pylist()]))
    return digest.hexdigest()


def retired(work: Work, plan: Plan, reads: dict[str, list[UnitRead]], left_out: set[str]) -> merge.Retired:
    """Give the units whose ids may have gone (read again in full, or gone), and the live ones that were left alone.

    left_out: sources that failed and may be: all their units are left alone.
    """
    ranges: list[tuple[int, int]] = []
    live: dict[int, int] = {}
    for source in work.parent.states:
        state = read_state(work.layout, work.parent, source)
        if state is None or state.units is None or not len(state.units):
            continue
        doing = plan.sources.get(source) if source not in left_out else None
        retire: set[str] = set()
        if doing is not None:
            ended = {read.unit: read.status for read in reads.get(source, []) if read.status != "ok"}
            retire = (set(doing.replaced) - ended.keys()) | set(doing.gone)
            retire |= {unit for unit, status in ended.items() if status == "gone"}
        for row in state.units.select(["unit", "seq", "ords"]).to_pylist():
            if row["unit"] in retire:
                ranges += [(part["lo"], part["hi"]) for part in row["ords"]]
            else:
                live[merge.unit_hash(source, row["unit"])] = row["seq"]
    units = np.array(sorted(live), np.uint64)
    seqs = np.array([live[unit] for unit in units.tolist()], np.int64)
    spans: Int64s = np.array(sorted(ranges), np.int64).reshape(-1, 2)
    again = quarantine.Quarantine(work.layout, work.parent).records(plan.retried)
    return merge.Retired(spans, units, seqs, again)


def source_rejects(plan: Plan, source: str) -> Counts:
    """Give the counts of units that could not even be opened: each is one thing read and quarantined."""
    counts = Counts()
    for _, code, _ in plan.sources[source].failed:
        counts.read += 1
        counts.quarantined[code] = counts.quarantined.get(code, 0) + 1
    return counts
