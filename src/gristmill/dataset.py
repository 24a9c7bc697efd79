"""Dataset: what earlier runs published, opened for reading.

Not here: making snapshots (`pipeline`). Invariants: read only; a snapshot is read from its own manifest, so what is
read never depends on what is being written.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from gristmill.audit import explain
from gristmill.audit.explain import Kind
from gristmill.config.settings import BoundExport, Gate, PipelineConfig, Unresolved
from gristmill.core.errors import ConfigError, FormatError, StoreError
from gristmill.core.places import Options
from gristmill.engine import cost
from gristmill.engine.quarantine import Asked, Entry, Quarantine
from gristmill.engine.report import Report, read_report
from gristmill.observe.events import Events, Silent
from gristmill.store import chain, claim, collected, lease, snapshot
from gristmill.store.layout import Layout, locate
from gristmill.store.outlet import Outlet
from gristmill.store.rows import read_shard
from gristmill.store.snapshot import Manifest


class Dataset:
    """A dataset in a folder or on an object store, opened for reading."""

    def __init__(self, path: str | Path, *, storage: Options | None = None, work_dir: str | Path | None = None) -> None:
        """Open a dataset by its folder or URL.

        Args:
            path: the folder, or a URL such as s3://bucket/corpus.
            storage: how to reach the store of a URL, as in a config.
            work_dir: the folder through which a dataset on a store is worked on; one in the user's cache by default.

        Raises:
            ConfigError: there is none.
        """
        address = str(path) if "://" in str(path) else str(Path(path).absolute())
        self.layout = locate(address, storage or {}, Path(work_dir) if work_dir is not None else None)
        self.layout.files.refresh()  # of an object store: see what others wrote until now
        if not (self.layout.root if self.layout.remote is None else self.layout.runs).is_dir():
            raise ConfigError(f"there is no dataset at {str(path)!r}; `gristmill run` makes one")

    @classmethod
    def of(cls, config: PipelineConfig) -> Dataset:
        """Open the dataset of a config.

        Raises:
            ConfigError: nothing was ever run.
        """
        work_dir = config.folder / config.work_dir if config.work_dir is not None else None
        return cls(config.dataset, storage=config.storage, work_dir=work_dir)

    def _repr_html_(self) -> str:
        from gristmill.report import notebook  # templates load where somebody looks

        return notebook.dataset(self.layout.name, self.log())

    def seqs(self) -> list[int]:
        """Give the numbers of all published snapshots, oldest first."""
        return [link.seq for link in chain.links(self.layout, snapshot.head_seq(self.layout))][::-1]

    def manifest(self, seq: int | None = None) -> Manifest:
        """Give the manifest of snapshot `seq`, the newest by default.

        Raises:
            ConfigError: there is no such snapshot.
        """
        known = self.seqs()
        wanted = known[-1] if seq is None and known else seq
        if wanted is None or wanted not in known:
            have = ", ".join(map(str, known[-10:])) or "none yet"
            raise ConfigError(
                f"there is no snapshot{'' if wanted is None else f' {wanted}'} in {self.layout.name}; there are: {have}"
            )
        return snapshot.read_manifest(self.layout.manifest(wanted))

    def files(self, seq: int | None = None) -> list[str]:
        """Give the Parquet files of a snapshot, in the order of its records."""
        manifest = self.manifest(seq)
        collected.check(self.layout, manifest.seq)
        shards = sorted(manifest.shards, key=lambda shard: shard.first_ord)
        return [str(self.layout.absolute(shard.path)) for shard in shards]

    def delta_version(self, seq: int | None = None) -> int:
        """Give the Delta version that is snapshot `seq`, for tools that open the table themselves."""
        wanted = str(self.manifest(seq).seq)
        collected.check(self.layout, int(wanted))
        for commit in snapshot.asked(self.layout, snapshot.open_table(self.layout).history):
            if commit.get("gristmill.seq") == wanted:
                return int(commit["version"])
        raise ConfigError(
            f"the Delta log no longer names snapshot {wanted}; open its files instead: Dataset.files({wanted})"
        )

    def scan(self, seq: int | None = None, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Give the records of a snapshot batch by batch, in order; memory stays small."""
        manifest = self.manifest(seq)
        collected.check(self.layout, manifest.seq)
        for shard in sorted(manifest.shards, key=lambda shard: shard.first_ord):
            try:
                yield from read_shard(self.layout, shard, columns)
            except StoreError:
                collected.check(self.layout, manifest.seq)  # it went while it was being read
                raise

    def read(self, seq: int | None = None, columns: list[str] | None = None) -> pa.Table:
        """Give a whole snapshot as an Arrow table, the newest by default."""
        from gristmill.core.batch import TABLE_SCHEMA

        names = columns or TABLE_SCHEMA.names
        return pa.Table.from_batches(
            (rows.select(names) for rows in self.scan(seq, names)),
            pa.schema([TABLE_SCHEMA.field(name) for name in names]),
        )

    def report(self, seq: int) -> dict[str, Any]:
        """Give the report of run `seq`, published or not.

        Raises:
            ConfigError: there is no such run, or it has no report yet.
            StoreError: its report is damaged.
        """
        path = self.layout.report(seq)
        if not path.exists():
            raise ConfigError(
                f"run {seq} has no report in {self.layout.name}; runs: {', '.join(map(str, claim.claimed(self.layout))) or 'none'}"
            )
        return read_report(self.layout, seq)

    def log(self) -> list[dict[str, Any]]:
        """Give one line a run, oldest first: its number, status, time, counts and rows (none, where nothing was published of it); `problem` of one whose report is damaged."""
        lines = []
        for seq in claim.claimed(self.layout):
            taken = claim.read_claim(self.layout, seq)
            line: dict[str, Any] = {"run": seq, "started": taken.time, "status": "unfinished"}
            when = collected.when(self.layout, seq)
            line |= {"collected": when} if when else {}
            if self.layout.report(seq).exists():
                line |= self._ended(seq)
            lines.append(line)
        return lines

    def _ended(self, seq: int) -> dict[str, Any]:
        """Give what the line of a run says of its report; of a damaged one, that it is."""
        try:
            report = self.report(seq)
        except StoreError as error:
            return {"status": "damaged", "problem": str(error)}
        line: dict[str, Any] = {"status": report["status"]}
        back = next((e["rolled_back_to"] for e in report.get("lineage", []) if "rolled_back_to" in e), None)
        line |= {"rolled_back_to": back} if back is not None else {}
        line |= {name: report["counts"][name] for name in ("read", "published", "unchanged", "withdrawn")}
        out = report["status"] in {"refused", "failed"}  # its counts are of a candidate that nobody sees
        line |= {"published": 0, "withdrawn": 0} if out else {}
        return line | {
            "rows": None if out else report["dataset_rows"],
            "quality_score": report["quality"].get("quality_score"),
            "seconds": report["seconds"],
        }

    def costs(self) -> list[dict[str, Any]]:
        """Give run, total, currency and cost per GB read of the last ten runs, oldest first, of those that have a cost."""
        return cost.trend(cost.reports_before(self.layout, max(claim.claimed(self.layout), default=0) + 1))

    def explain(self, wanted: str) -> dict[str, Any]:
        """Give the whole path of the record with this id, URL or origin.

        Raises:
            ConfigError: no record with this id, URL or origin was ever seen.
            StoreError: a file that is asked is damaged.
        """
        published = self.seqs()
        others = sorted(set(claim.claimed(self.layout)).difference(published), reverse=True)
        refused = (seq for seq in others if self.layout.report(seq).exists())
        return explain.explain(self.layout, [self.manifest(seq) for seq in published], wanted, refused)

    def inspect(
        self, kind: Kind, *, step: str | None = None, reason: str | None = None, n: int = 20, seq: int | None = None
    ) -> list[dict[str, Any]]:
        """Give up to n records that were kept, dropped, duplicates or quarantined, of one run (default: the newest)."""
        wanted = self._run(seq)
        if kind == "kept" or wanted not in self.seqs():
            collected.check(self.layout, wanted)
        rows = explain.inspect(self.layout, wanted, kind, step, reason, n)
        if kind == "duplicates":
            manifests = [self.manifest(each) for each in self.seqs()]
            for row in rows:
                row["dup_of_id"] = explain.id_of(self.layout, manifests, row["dup_of"])
        return rows

    def reasons(self, kind: Kind, *, seq: int | None = None) -> list[str]:
        """Give what `inspect` may be asked for of one run (default: the newest): `<step>:<reason>`, steps or codes its report counts."""
        run = self._run(seq)
        if kind == "kept" or not self.layout.report(run).exists():
            return []
        return sorted(self.report(run)["counts"].get(kind, {}))

    def _run(self, seq: int | None) -> int:
        runs = claim.claimed(self.layout)
        wanted = seq if seq is not None else (runs[-1] if runs else None)
        if wanted is None or wanted not in runs:
            raise ConfigError(
                f"there is no run{'' if wanted is None else f' {wanted}'} in {self.layout.name}; runs: {', '.join(map(str, runs)) or 'none'}"
            )
        return wanted

    def rollback(
        self,
        seq: int,
        *,
        why: str = "",
        config: PipelineConfig | None = None,
        wait_s: float = 0.0,
        events: Events | None = None,
    ) -> Report:
        """Publish a new snapshot that holds the rows of snapshot `seq`; the next run reads again what came after that.

        The exports of `config` follow at once, without it with the next run.

        Raises:
            ConfigError: there is no such snapshot, or gc has collected it.
            LockedError: a run holds the dataset.
        """
        from gristmill.engine import rollback

        asked = rollback.Rollback(seq, why)
        return rollback.rollback(self.layout, asked, config, events or Silent(), wait_s)

    def quarantine(
        self, *, code: str | None = None, source: str | None = None, unit: str | None = None, run: int | None = None
    ) -> Iterator[Entry]:
        """Give what the runs up to the newest snapshot quarantined, newest first, each with whether it is still open."""
        return Quarantine(self.layout, snapshot.head(self.layout)).entries(Asked(code, source, unit, run))

    def quarantine_counts(
        self, *, code: str | None = None, source: str | None = None, unit: str | None = None, run: int | None = None
    ) -> list[dict[str, Any]]:
        """Give how much was quarantined by source and code, and how much of it is still open."""
        return Quarantine(self.layout, snapshot.head(self.layout)).counts(Asked(code, source, unit, run))

    def diff(self, old: int, new: int | None = None, *, n: int = 20) -> dict[str, Any]:
        """Tell what came, went and changed from one snapshot to another (default: the newest), with up to n ids of each.

        Raises:
            ConfigError: there is no such snapshot, or gc has collected it.
        """
        from gristmill.audit import compare

        before, after = self.manifest(old), self.manifest(new)
        for each in (before, after):
            collected.check(self.layout, each.seq)
        low, high = sorted((before.seq, after.seq))
        between = [snapshot.read_manifest(self.layout.manifest(seq)) for seq in self.seqs() if low < seq <= high]
        return compare.compare(self.layout, before, after, between, n)

    def collected(self, seq: int) -> str | None:
        """Give when gc collected run `seq`; None: all of it is there."""
        return collected.when(self.layout, seq)

    def gc(
        self,
        config: PipelineConfig | None = None,
        *,
        keep_last: int | None = None,
        keep_days: int | None = None,
        dry_run: bool = False,
        wait_s: float = 0.0,
    ) -> dict[str, Any]:
        """Remove what no kept snapshot needs; give what went by kind, and which snapshots stay whole.

        keep_last, keep_days: each in the place of that of the config's retention; without any all snapshots are kept. dry_run: only tell.

        Raises:
            ConfigError: a pinned snapshot is not there.
            LockedError: a run holds the dataset.
        """
        from gristmill.engine import garbage

        policy = garbage.policy(self.layout, config, keep_last, keep_days)
        found = garbage.collect(self.layout, policy, config, dry_run=dry_run, wait_s=wait_s)
        told: dict[str, Any] = msgspec.to_builtins(found)
        return told | {"total_bytes": found.total_bytes}

    def pins(self) -> dict[str, int]:
        """Give the snapshots pinned in the dataset, by name."""
        return collected.read_pins(self.layout)

    def pin(self, seq: int, name: str | None = None, *, wait_s: float = 0.0) -> dict[str, int]:
        """Have gc keep snapshot `seq` whole whatever its age; give all pins by name.

        Raises:
            ConfigError: it is not there, or the name is another's or cannot be one.
        """
        from gristmill.engine import pins

        return pins.pin(self.layout, seq, name, wait_s)

    def unpin(self, wanted: int | str, *, config: PipelineConfig | None = None, wait_s: float = 0.0) -> dict[str, int]:
        """Take a pin away, by its name or its snapshot; give those that stay. One that is gone already is no error.

        Raises:
            ConfigError: it may mean several, or `config` pins that snapshot itself.
        """
        from gristmill.engine import pins

        return pins.unpin(self.layout, str(wanted), config, wait_s)

    def upgrade(
        self, config: PipelineConfig | None = None, *, wait_s: float = 0.0, events: Events | None = None
    ) -> dict[str, Any]:
        """Bring the dataset forward to the newest format; give the formats, what was done, and the newest snapshot.

        Raises:
            StoreError: it is of a format this gristmill does not know.
            LockedError: a run holds the dataset.
        """
        from gristmill.engine import upgrade

        told: dict[str, Any] = msgspec.to_builtins(upgrade.upgrade(self.layout, config, events or Silent(), wait_s))
        return told

    def drift(self, gate: Gate, seq: int | None = None, baseline: int | None = None) -> dict[str, Any]:
        """Compare what the sources brought in a run (default: the newest judged one) with earlier snapshots, or with `baseline`.

        Raises:
            ConfigError: there is no such run or baseline.
        """
        from gristmill.engine import drift

        judged = [n for n in claim.claimed(self.layout) if self.layout.distributions(n).exists()]
        if not judged or (seq is not None and seq not in judged):
            have = ", ".join(map(str, judged[-10:])) or "none"
            raise ConfigError(
                f"there is no run with distributions{'' if seq is None else f' {seq}'}; there are: {have}"
            )
        number = seq if seq is not None else judged[-1]
        found = drift.judge_again(gate, self.layout, number, baseline)
        return {"run": number, "drift": found.ranked(), "not_judged": found.not_judged}

    def verify(self, seq: int | None = None, config: PipelineConfig | None = None) -> list[str]:
        """Check everything a snapshot names, and the exports of `config`; give what is damaged (empty: nothing).

        Raises:
            ConfigError: there is no such snapshot, or gc has collected it.
        """
        return self.verified(seq, config)[1]

    def verified(self, seq: int | None = None, config: PipelineConfig | None = None) -> tuple[int | None, list[str]]:
        """Do the same; give the snapshot too: None where the damage does not let tell which is the newest."""
        from gristmill.audit import verify

        try:
            newest = snapshot.head_seq(self.layout) or None
            seq = seq if seq is not None else newest
            # the newest one is known without the others, one of which may be what is damaged
            known = seq is not None and seq == newest
            manifest = snapshot.read_manifest(self.layout.manifest(seq)) if known and seq else self.manifest(seq)
            collected.check(self.layout, manifest.seq)
            return seq, verify.verify(self.layout, manifest, config)
        except FormatError:
            raise
        except StoreError as error:
            return seq, [str(error)]


def holder(layout: Layout) -> str | None:
    """Give who holds a dataset on an object store, as the store has it: nobody can tell at a glance if he still lives."""
    found = lease.read(layout.remote) if layout.remote is not None else None
    return str(found[0]) if found is not None and found[0].held else None


def outlet(bound: BoundExport, config: PipelineConfig) -> Outlet | None:
    """Give where an export in files lies; None where its references could not be resolved."""
    from gristmill.engine.exports import outlet_of

    if isinstance(bound.export, Unresolved):
        return None
    return outlet_of(bound, config)
