"""Rollback: a new snapshot that holds the rows of an earlier one.

Its head is that of the earlier one: index, tombstones, states of sources and steps as they were, so the next run sees the world as that
snapshot left it and reads again whatever came, changed or went since. Rows, verdicts and reports of the snapshots between stay readable.
Not here: the commit (`store.snapshot`), exports (`engine.exports`). Invariants: one Delta commit, on the newest snapshot; its manifest
is a function of the manifests it is made of; no number of an export's chunks is ever used again; a rollback that died is gone on with by
the same call, with the same bytes.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import msgspec
import pyarrow as pa

from gristmill.config.settings import PipelineConfig
from gristmill.core import export as ledgers
from gristmill.core.build import code_fingerprint
from gristmill.core.counts import Counts
from gristmill.core.errors import ConfigError
from gristmill.core.export import Ledger
from gristmill.core.failpoints import failpoint
from gristmill.engine import ends, exports, gate, plan
from gristmill.engine.drive import Driver
from gristmill.engine.plan import Plan
from gristmill.engine.report import Report
from gristmill.engine.run import announce, clear_staging, timeless
from gristmill.engine.sides import VERDICT_SCHEMA, SideWriter, rows_of
from gristmill.engine.watch import Watch
from gristmill.engine.work import Setup, Work
from gristmill.observe.events import Events, StageBegins
from gristmill.store import chain, claim, collected, disk, snapshot
from gristmill.store.layout import FORMAT, Layout
from gristmill.store.rows import differing
from gristmill.store.snapshot import ExportState, Manifest, Shard

STEP = "rollback"
TAKEN_BACK, RESTORED = "withdraw", "restore"
_SIDE = "rollback"


class Rollback(msgspec.Struct, frozen=True):
    """What is asked for: the rows of snapshot `to`, and why."""

    to: int
    why: str = ""

    @property
    def digest(self) -> str:
        """What stands in the claim in the place of a config's fingerprint: only the same request goes on with it."""
        return "rollback-" + hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:32]


def rolled_back_to(manifest: Manifest) -> int | None:
    """Give the snapshot whose rows a rollback took, None if the manifest is a run's."""
    return next((entry["rolled_back_to"] for entry in manifest.lineage if "rolled_back_to" in entry), None)


def rollback(
    layout: Layout, asked: Rollback, config: PipelineConfig | None, events: Events, wait_s: float = 0.0
) -> Report:
    """Publish a snapshot with the rows of an earlier one, and make the exports of `config` follow.

    Without a config the exports follow with the next run. Asked for what the newest snapshot holds already, only what a call before
    this one left open is completed.

    Raises:
        ConfigError: there is no such snapshot, or gc has collected it.
        LockedError: a run holds the dataset.
    """
    with claim.DatasetLock(layout, wait_s):
        head = snapshot.head(layout)
        if all(link.seq != asked.to for link in chain.links(layout, head.seq)):
            raise ConfigError(f"there is no snapshot {asked.to} in {layout.name}; `gristmill log` lists what there is")
        if asked.to in (head.seq, rolled_back_to(head)):
            ends.close(layout, head)
            return _completed(layout, head, config, events)
        collected.check(layout, asked.to)
        target = snapshot.read_manifest(layout.manifest(asked.to))
        snapshot.check_files(layout, target)
        ends.close(layout, head)
        with watched(config, events) as listening:
            making = Republishing(layout, asked.digest, head, listening.events)
            making.events.stage(StageBegins(name=STEP))
            return listening.over(making.publish(_Rollback(making, asked, target).manifest(), config))


@contextmanager
def watched(config: PipelineConfig | None, events: Events) -> Iterator[Watch | Unwatched]:
    """Give what watches, as the config asks for; a call that fails is told by who made it, not by alerts."""
    watch = Watch(config, events) if config is not None else Unwatched(events)
    try:
        yield watch
    finally:
        watch.close()


class Unwatched(NamedTuple):
    """Nothing watches."""

    events: Events

    def over(self, report: Report) -> Report:
        """Tell nobody."""
        return report

    def close(self) -> None:
        """Nothing to end."""


def _completed(layout: Layout, head: Manifest, config: PipelineConfig | None, events: Events) -> Report:
    """Give the report of a rollback that is done already; its exports are looked at once more."""
    report = Report(
        status="nothing_new", snapshot=head.seq, dataset=layout.name, dataset_rows=head.rows, started=claim.now(),
        lineage=head.lineage,
    )  # fmt: skip
    _export(layout, head, config, report, events)
    events.report(report.to_json())
    return report


def _export(layout: Layout, head: Manifest, config: PipelineConfig | None, report: Report, events: Events) -> None:
    if config is None or not config.exports:
        return
    from gristmill.engine.executors.inline import Inline  # kernels load where work is done

    work = Work(Setup(layout.root, head.seq, head.parent, "", config.file, [], config))
    driver = Driver(work, Inline(work), events)
    done = exports.reconcile(config, layout, head, lambda jobs: driver.run("exports", jobs))
    exports.tell(done, report)


class Republishing:
    """A snapshot that is made of others, from its claim to its report. The lock is held; `digest` says what is asked for.

    One that died is gone on with, if the same is asked for.
    """

    def __init__(self, layout: Layout, digest: str, head: Manifest, events: Events) -> None:
        self.layout, self.head, self.events = layout, head, events
        self.clock, self.started = time.perf_counter(), claim.now()
        dead = claim.unfinished(layout, head.seq, digest)
        clear_staging(layout, dead)
        self.resumed = dead is not None
        if dead is None:
            dead = claim.take_seq(layout, head.seq, digest)
            failpoint("claim.created")
            frozen = Plan(FORMAT, dead.seq, head.seq, digest, code_fingerprint(), [], {})
            layout.files.write_file(layout.plan(dead.seq), msgspec.json.encode(frozen) + b"\n")
            failpoint("plan.written")
        self.seq = dead.seq
        self.plan = plan.read_plan(layout, self.seq)
        announce(events, layout, self.plan, resumed=self.resumed)

    def publish(self, manifest: Manifest, config: PipelineConfig | None, made_as: int = FORMAT) -> Report:
        """Commit `manifest`, as of this number, with its report in it; have the exports follow, and report."""
        report = self._report(manifest)
        summary = manifest.summary | {"report": timeless(report)}
        manifest = msgspec.structs.replace(
            manifest, format=made_as, seq=self.seq, parent=self.head.seq, summary=summary, code=self.plan.code
        )
        gate.check_balance(manifest.counts, manifest.sources, self.head.rows, manifest.rows)
        digest = snapshot.write_manifest(self.layout, self.layout.manifest(self.seq), manifest)
        failpoint("manifest.written")
        snapshot.commit(self.layout, manifest, digest, self.head)
        _export(self.layout, manifest, config, report, self.events)
        report.seconds = time.perf_counter() - self.clock
        ends.write_report(self.layout, report)
        failpoint("report.written")
        shutil.rmtree(self.layout.staging(self.seq), ignore_errors=True)
        failpoint("staging.removed")
        self.events.report(report.to_json())
        return report

    def _report(self, manifest: Manifest) -> Report:
        valid, judged = (manifest.summary.get(f"dataset_{name}", 0) for name in ("valid", "total"))
        return Report(
            run=self.seq, snapshot=self.seq, parent=self.head.seq, status="published", dataset=self.layout.name,
            counts=manifest.counts, balanced=manifest.counts.balanced, dataset_rows=manifest.rows,
            dataset_quality_score=valid / judged if judged else None,
            sources={name: msgspec.to_builtins(part) for name, part in manifest.sources.items()}, started=self.started,
            resumed=self.resumed, lineage=manifest.lineage,
        )  # fmt: skip


class _Rollback:
    """What a rollback publishes, out of the newest manifest and the earlier one."""

    def __init__(self, making: Republishing, asked: Rollback, target: Manifest) -> None:
        self.layout, self.head, self.seq = making.layout, making.head, making.seq
        self.asked, self.target = asked, target

    def manifest(self) -> Manifest:
        """Write the verdicts; give the manifest."""
        sources = self._verdicts()
        total = Counts()
        for part in sources.values():
            total.add(part)
        lineage = [{"rolled_back_to": self.asked.to, "from": self.head.seq, "why": self.asked.why}]
        return msgspec.structs.replace(
            self.target, exports=self._exports(), counts=total, sources=sources, lineage=lineage
        )

    def _verdicts(self) -> dict[str, Counts]:
        """Write a verdict for each row that goes and each that comes back; give the counts by source.

        What comes back counts as read, from the shards of the earlier snapshot, and as published.
        """
        mine, theirs = ({shard.path: shard for shard in each.shards} for each in (self.head, self.target))
        going = [shard for path, shard in mine.items() if path not in theirs]
        coming = [shard for path, shard in theirs.items() if path not in mine]
        sources = {name: Counts() for name in sorted(self.head.sources.keys() | self.target.sources.keys())}
        side = SideWriter(self.layout.staging(self.seq) / "sides" / f"{_SIDE}-{disk.mark()}.verdicts", "verdicts")
        for rows in self._rows(going, coming):
            self._write(side, rows, TAKEN_BACK)
            for name, n in _by_source(rows):
                sources.setdefault(name, Counts()).withdrawn += n
        for rows in self._rows(coming, going):
            self._write(side, rows, RESTORED)
            for name, n in _by_source(rows):
                counts = sources.setdefault(name, Counts())
                counts.read, counts.published = counts.read + n, counts.published + n
        side.close()
        if side.rows:
            self.layout.files.adopt_file(side.path, self.layout.side(self.seq, "verdicts", _SIDE))
        return sources

    def _rows(self, shards: list[Shard], others: list[Shard]) -> Iterator[pa.RecordBatch]:
        return differing(self.layout, sorted(shards, key=lambda s: s.first_ord), others, ["ord", "id", "source"])

    def _write(self, side: SideWriter, rows: pa.RecordBatch, action: str) -> None:
        columns = {"ord": rows.column("ord"), "id": rows.column("id"), "step": STEP, "action": action}
        columns["reason"] = f"rolled back to {self.asked.to}"
        side.write(rows_of(VERDICT_SCHEMA, rows.num_rows, columns))
        side.settle()

    def _exports(self) -> dict[str, ExportState]:
        """Give the exports as the earlier snapshot fixed them; those it did not have are made anew. No used number is free again."""
        used: dict[str, int] = {}
        latest: dict[str, ExportState] = {}
        manifest = self.head
        while manifest.seq >= self.target.seq and manifest.seq:
            for name, state in manifest.exports.items():
                used[name] = max(used.get(name, 0), state.ledger.next_index)
                latest.setdefault(name, state)
            manifest = (
                snapshot.read_manifest(self.layout.manifest(manifest.parent)) if manifest.parent else snapshot.EMPTY
            )
        states = {}
        for name in sorted(latest):
            then, above = self.target.exports.get(name), Ledger([], used[name])
            if then is not None:
                states[name] = msgspec.structs.replace(then, ledger=ledgers.restore(above, then.ledger))
            else:  # another config than any: what is there is out of date as a whole
                config = latest[name].config | {"rolled_back": self.seq}
                states[name] = ExportState(latest[name].part, config, above)
        return states


def _by_source(rows: pa.RecordBatch) -> list[tuple[str, int]]:
    names, counts = rows.column("source").value_counts().flatten()
    return list(zip(names.to_pylist(), counts.to_pylist(), strict=True))
