"""Planning: what is new since the parent snapshot, cut into tasks in the total order, and frozen.

Not here: how a source finds out (`sources/`), doing it (`engine.run`). Invariants: nothing is written before a number
is claimed; a frozen plan is never changed, a run that died is gone on with from it; tasks are numbered as sources stand
in the config, then by sorted split, whatever the workers.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gristmill.config.settings import PipelineConfig
from gristmill.core.batch import Int64s
from gristmill.core.counts import Counts
from gristmill.core.errors import ConfigError, SourceError, StoreError
from gristmill.core.failpoints import failpoint
from gristmill.core.source import UNIT_FIELDS, SourcePlan
from gristmill.engine import merge
from gristmill.engine.work import TASK_BITS, Job, UnitRead, Work
from gristmill.store import disk, index
from gristmill.store.layout import FORMAT, Layout
from gristmill.store.snapshot import Manifest


class SourceWork(msgspec.Struct, frozen=True):
    """What a run does about one source. failed: (unit, code, detail) of units that could not be opened."""

    replaced: list[str]
    gone: list[str]
    failed: list[tuple[str, str, str]]


class Plan(msgspec.Struct, frozen=True):
    """A frozen plan: the content of `plan.json`."""

    format: int
    seq: int
    parent: int
    config: str
    code: str
    tasks: list[Job]
    sources: dict[str, SourceWork]

    @property
    def stored_bytes(self) -> int:
        """The bytes to read, as stored."""
        return sum(job.split.bytes for job in self.tasks if job.split is not None)


class Draft(msgspec.Struct, frozen=True):
    """A plan before a number is claimed for it: what each source found."""

    found: dict[str, SourcePlan]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do; that a unit still cannot be opened is no work, or every run would publish."""
        return not any(plan.splits or plan.gone for plan in self.found.values())


def draft(config: PipelineConfig, layout: Layout, head: Manifest) -> Draft:
    """Ask every source what is new since `head`; writes nothing.

    Raises:
        SourceError: a source cannot be listed.
    """
    found = {
        bound.name: bound.source.plan(read_state(layout, head, bound.name), config.folder) for bound in config.sources
    }
    for name, each in found.items():
        _check_own_output(name, each.listing, config, layout)
    return Draft(found)


def _check_own_output(source: str, listing: pa.Table, config: PipelineConfig, layout: Layout) -> None:
    """Refuse a source that reads what this pipeline writes: every run would feed the next."""
    if "path" not in listing.column_names:
        return
    for own in [layout.root, *((config.folder / bound.export.path).resolve() for bound in config.exports)]:
        for begin in {f"{own}/", f"{os.path.relpath(own, config.folder)}/"}:
            if pc.any(pc.starts_with(listing["path"], begin)).as_py():
                raise ConfigError(
                    f"source {source}: its path matches files below {begin}, which this pipeline writes itself; "
                    "move the dataset or the export out of the source's glob"
                )


def freeze(drafted: Draft, layout: Layout, head: Manifest, seq: int, config: str, code: str) -> Plan:
    """Number the tasks and write the plan and the listings durably."""
    tasks: list[Job] = []
    for name, found in drafted.found.items():
        for split in found.splits:
            tasks.append(Job(f"r-{len(tasks):06d}", "read", number=len(tasks), source=name, split=split))
        scratch = layout.staging(seq) / f"listing-{name}.parquet"
        index.write_table(scratch, found.listing, statistics=["unit"])
        disk.adopt_file(scratch, layout.listing(seq, name))
        failpoint("listing.written")
    if len(tasks) >= 1 << TASK_BITS:
        raise SourceError(
            f"{len(tasks)} tasks do not fit into one run (at most {(1 << TASK_BITS) - 1}); set a larger split_bytes"
        )
    sources = {name: SourceWork(found.replaced, found.gone, found.failed) for name, found in drafted.found.items()}
    plan = Plan(FORMAT, seq, head.seq, config, code, tasks, sources)
    disk.write_file(layout.plan(seq), msgspec.json.encode(plan) + b"\n")
    return plan


def read_plan(layout: Layout, seq: int) -> Plan:
    """Read a frozen plan.

    Raises:
        StoreError: it is damaged or of an unknown format.
    """
    try:
        plan = msgspec.json.decode(layout.plan(seq).read_bytes(), type=Plan)
    except (OSError, msgspec.DecodeError) as error:
        raise StoreError(
            f"{layout.plan(seq)} cannot be read ({type(error).__name__}); remove {layout.run(seq)} and run again"
        ) from error
    if plan.format != FORMAT:
        raise StoreError(
            f"{layout.plan(seq)} has format {plan.format}, this gristmill knows {FORMAT}; upgrade gristmill"
        )
    return plan


def read_state(layout: Layout, head: Manifest, source: str) -> pa.Table | None:
    """Give the committed unit table of a source, None before its first snapshot."""
    known = head.states.get(source)
    try:
        return pq.read_table(layout.absolute(known["path"])) if known else None
    except (OSError, pa.ArrowException) as error:
        place = known["path"] if known else ""
        raise StoreError(f"{place} cannot be read ({type(error).__name__}); run `gristmill verify`") from error


def next_state(layout: Layout, head: Manifest, plan: Plan, source: str, reads: list[UnitRead]) -> pa.Table:
    """Fold what was read of a source into its next unit table: sorted by unit, fingerprints as listed at planning.

    A unit that was read moves on. One found bad keeps what is known of its earlier content, and is read again when it
    changes; one that could not be read at all (advance false) does not move on, so the next run tries again.
    """
    listing = pq.read_table(layout.listing(plan.seq, source))
    fields = [*listing.schema, *UNIT_FIELDS]
    state = read_state(layout, head, source)
    before = {row["unit"]: row for row in state.to_pylist()} if state is not None else {}
    done: dict[str, list[UnitRead]] = {}
    for read in reads:
        done.setdefault(read.unit, []).append(read)
    could_not = {unit for unit, _, _ in plan.sources[source].failed}
    rows = []
    for row in listing.to_pylist():
        old = before.pop(row["unit"], None)
        new = _moved_on(row, old, done.get(row["unit"]), plan.seq, row["unit"] in could_not)
        if new is not None:
            rows.append(new)
    rows += [row for unit, row in before.items() if unit in could_not]
    rows.sort(key=lambda row: row["unit"])
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


def _moved_on(
    row: dict[str, Any], old: dict[str, Any] | None, reads: list[UnitRead] | None, seq: int, failed: bool
) -> dict[str, Any] | None:
    if failed or reads is None or not all(read.advance for read in reads):
        return old
    ords = [{"lo": read.lo, "hi": read.hi} for read in reads if read.status == "ok" and read.hi > read.lo]
    bad = next((read.code for read in reads if read.status != "ok"), None)
    if bad is None:
        return row | {"seq": seq, "ords": ords, "status": "ok", "code": None}
    if old is not None and not ords:
        return row | {"seq": old["seq"], "ords": old["ords"], "status": "bad", "code": bad}
    return row | {"seq": seq, "ords": ords, "status": "bad", "code": bad}


def retired(work: Work, plan: Plan, reads: dict[str, list[UnitRead]]) -> merge.Retired:
    """Give the units whose ids may have gone (read again in full, or gone), and the live ones that were left alone."""
    ranges: list[tuple[int, int]] = []
    live: dict[int, int] = {}
    for source in work.parent.states:
        state = read_state(work.layout, work.parent, source)
        if state is None:
            continue
        doing = plan.sources.get(source)
        bad = {read.unit for read in reads.get(source, []) if read.status != "ok"}
        retire = (set(doing.replaced) - bad) | set(doing.gone) if doing is not None else set()
        for row in state.select(["unit", "seq", "ords"]).to_pylist():
            if row["unit"] in retire:
                ranges += [(part["lo"], part["hi"]) for part in row["ords"]]
            else:
                live[merge.unit_hash(source, row["unit"])] = row["seq"]
    units = np.array(sorted(live), np.uint64)
    seqs = np.array([live[unit] for unit in units.tolist()], np.int64)
    spans: Int64s = np.array(sorted(ranges), np.int64).reshape(-1, 2)
    return merge.Retired(spans, units, seqs)


def code_fingerprint(folder: Path) -> str:
    """Give a digest of this gristmill's own source: recorded in the manifest, never part of the config's fingerprint."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def source_rejects(plan: Plan, source: str) -> Counts:
    """Give the counts of units that could not even be opened: each is one thing read and quarantined."""
    counts = Counts()
    for _, code, _ in plan.sources[source].failed:
        counts.read += 1
        counts.quarantined[code] = counts.quarantined.get(code, 0) + 1
    return counts
