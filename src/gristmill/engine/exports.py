"""Exports: which chunks a snapshot's exports must have, and making them so; having tables follow.

Not here: chunk formats (`exports/`), how a ledger grows (`core.export`), what changed for a table (`engine.loads`). Invariants: an export is derived from a
committed snapshot and can be made again byte for byte; swapping its `manifest.json` is its commit; chunks that no
manifest names are removed afterwards, and never where another dataset's export lies, or files that nobody has claimed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from gristmill.config.settings import BoundExport, PipelineConfig
from gristmill.core import access
from gristmill.core import export as ledgers
from gristmill.core.batch import Int64s
from gristmill.core.errors import ConfigError, GristmillError, StaleError, naming
from gristmill.core.export import Chunk, ExportManifest, FileExport, Ledger, ManifestChunk, Rows, Written
from gristmill.core.failpoints import failpoint
from gristmill.core.load import Load
from gristmill.core.stopping import check
from gristmill.engine import loads
from gristmill.engine.report import Report, error_entry
from gristmill.engine.work import Job, TaskResult, Work
from gristmill.store import claim, disk, snapshot
from gristmill.store.layout import Layout, locate
from gristmill.store.outlet import MANIFEST, OWNER, Outlet
from gristmill.store.rows import read_shard
from gristmill.store.snapshot import ExportState, Manifest, Shard

NONE: Int64s = np.zeros(0, np.int64)
Runner = Callable[[list[Job]], Iterable[TaskResult]]
Content = tuple[str, int, int, int]  # of a chunk: its name, docs, first and last ord


class Made(msgspec.Struct, frozen=True):
    """What was done for one export. written: chunks or rows, 0 if it was whole already; report: as the run's report has it.

    unfit: values that a table could not hold as they are.
    """

    written: int
    report: dict[str, Any]
    unfit: int = 0


class Reconciled(msgspec.Struct, frozen=True):
    """What came of the exports, by name: those that are whole now, and why others are not."""

    made: dict[str, Made]
    failures: dict[str, Exception]

    def or_raise(self) -> dict[str, Made]:
        """Give what was made, or raise the first failure."""
        for failure in self.failures.values():
            raise failure
        return self.made

    @property
    def waiting(self) -> Exception | None:
        """The first failure, which keeps no run from its work."""
        return next(iter(self.failures.values()), None)


def tell(done: Reconciled, report: Report) -> None:
    """Put into a report what came of the exports; the snapshot stands, what failed is repaired by the next run."""
    report.exports = {name: made.report for name, made in done.made.items()}
    if unfit := sum(made.unfit for made in done.made.values()):
        report.warnings = report.warnings | {"export.unfit": unfit}
    for name, error in done.failures.items():
        report.status = "published_export_failed"
        context = {"export": name} | ({"path": str(error.filename)} if isinstance(error, OSError) else {})
        message = f"the snapshot is published, an export failed ({why(error)}); the next run repairs it"
        report.errors.append(error_entry("export", None, "export.failed", message, claim.now(), context))


def why(failure: Exception) -> str:
    """Say in words why an export failed; what the system says, with its place."""
    if not isinstance(failure, OSError):
        return str(failure)
    place = f" {str(failure.filename)!r}" if failure.filename is not None else ""
    return f"{type(failure).__name__}: {failure.strerror}{place}"


def in_files(bound: BoundExport) -> FileExport:
    """Give an export that is no load."""
    assert isinstance(bound.export, FileExport), bound.name
    return bound.export


def outlet_of(bound: BoundExport, config: PipelineConfig) -> Outlet:
    """Give where an export is written to."""
    export = in_files(bound)
    if "://" not in export.path:
        return Outlet((config.folder / Path(export.path).expanduser()).resolve())
    lies = locate(export.path, export.storage or config.storage)
    return Outlet(lies.root, lies.remote)


def next_state(
    bound: BoundExport, layout: Layout, parent: Manifest, shards: list[Shard], withdrawn: Int64s, seq: int
) -> ExportState:
    """Give what snapshot `seq` (made of `shards`) fixes of an export; `withdrawn`: ords that left the table, sorted."""
    made_by = bound.export.fingerprint()
    if isinstance(bound.export, Load):  # its ledger lies in its target
        return ExportState(bound.part, made_by, Ledger())
    export = in_files(bound)
    before = parent.exports.get(bound.name)
    if before is not None and before.config == made_by:
        ledger = before.ledger
    else:  # new or changed: what `reconcile` made of the parent, which no manifest holds, is worked out again
        first = Ledger([], before.ledger.next_index if before is not None else 0)
        ledger = _grow(export, layout, first, parent.shards, parent.shards, NONE, parent.seq)
    if seq == parent.seq:
        return ExportState(bound.part, made_by, ledger)
    floor = max((shard.last_ord for shard in parent.shards), default=-1)
    new = [shard for shard in shards if shard.first_ord > floor]
    return ExportState(bound.part, made_by, _grow(export, layout, ledger, shards, new, withdrawn, seq))


def _grow(
    export: FileExport, layout: Layout, ledger: Ledger, live: list[Shard], new: list[Shard], removed: Int64s, seq: int
) -> Ledger:
    if export.mode == "full":
        return ledgers.deal(export, ledger, _rows(export, layout, live), removed, seq)
    return ledgers.extend(export, ledger, _rows(export, layout, new), removed, seq)


def _rows(export: FileExport, layout: Layout, shards: list[Shard]) -> Iterator[Rows]:
    for shard in sorted(shards, key=lambda shard: shard.first_ord):
        columns = ["ord"] if export.bytes_per_chunk is None else None
        for rows in read_shard(layout, shard, columns):
            ords = rows.column("ord").to_numpy()
            yield ords, None if export.bytes_per_chunk is None else export.row_bytes(rows)


def reconcile(
    config: PipelineConfig,
    layout: Layout,
    head: Manifest,
    run: Runner,
    only: str | None = None,
    *,
    thorough: bool = False,
) -> Reconciled:
    """Make every export of `head` what its ledger says; one that fails does not keep the others from being made.

    thorough: compare the values in tables too, where counts say that nothing is to do.

    Raises:
        StaleError: another run has taken the dataset over, or writes the same export.
    """
    made: dict[str, Made] = {}
    failures: dict[str, Exception] = {}
    for bound in config.exports:
        if only is None or bound.name == only:
            check()
            try:
                if isinstance(bound.export, Load):
                    made[bound.name] = _load(bound.name, bound.export, config, layout, head, thorough=thorough)
                else:
                    made[bound.name] = _make(bound, config, layout, head, run)
            except StaleError:  # another run has the dataset: nothing more is this one's to do
                raise
            except (GristmillError, OSError) as error:
                failures[bound.name] = error
    return Reconciled(made, failures)


def _load(name: str, export: Load, config: PipelineConfig, layout: Layout, head: Manifest, *, thorough: bool) -> Made:
    done = loads.load(name, export, config, layout, head, thorough=thorough)
    report = {"how": done.how, "rows": done.rows, "rows_put": done.put, "rows_taken": done.taken, "unfit": done.unfit}
    return Made(done.put + done.taken, report, sum(done.unfit.values()))


def _make(bound: BoundExport, config: PipelineConfig, layout: Layout, head: Manifest, run: Runner) -> Made:
    state = head.exports.get(bound.name)
    if state is None or state.config != bound.export.fingerprint():
        state = next_state(bound, layout, head, head.shards, NONE, head.seq)
    outlet = outlet_of(bound, config)
    disk.make_folder(outlet.folder)
    if (stranger := of_another(bound, outlet, layout)) is not None:
        raise ConfigError(stranger)
    current = outlet.manifest()
    known = _known(bound, outlet, current)
    if outlet.owner() is None and not outlet.claim(snapshot.dataset_id(layout)):
        raise ConfigError(
            f"export {bound.name}: {outlet} was taken by another dataset just now; give it a path of its own"
        )
    whole = {chunk.name: known[_content(chunk)] for chunk in state.ledger.chunks if _content(chunk) in known}
    chunks = len(state.ledger.chunks)
    todo = [i for i, chunk in enumerate(state.ledger.chunks) if chunk.name not in whole]
    if not todo and current is not None and current.snapshot == head.seq and len(current.chunks) == len(whole):
        outlet.sync()
        _sweep(outlet, {chunk.name for chunk in state.ledger.chunks}, in_files(bound), current)
        return Made(0, {"chunks_written": 0, "chunks": chunks})
    shards = sorted(head.shards, key=lambda shard: shard.first_ord)
    jobs = [_job(bound, i, state.ledger.chunks[i], shards) for i in todo]
    for result in run(jobs):
        whole[result.extra["name"]] = msgspec.convert(result.extra["written"], Written)
    failpoint("export.before_manifest")
    content = ledgers.manifest_bytes(in_files(bound), bound.name, head.seq, state.ledger, whole)
    outlet.swap(content, layout.files.check_held)
    failpoint("export.manifest_written")
    _sweep(outlet, set(whole), in_files(bound), current)
    return Made(len(todo), {"chunks_written": len(todo), "chunks": chunks})


def unlike(bound: BoundExport, outlet: Outlet, manifest: ExportManifest | None) -> str | None:
    """Say which other export of this dataset has its manifest in an export's place."""
    if manifest is None or manifest.export == bound.name:
        return None
    return f"{outlet} holds the export {manifest.export!r}; give {bound.name!r} a path of its own"


def of_another(bound: BoundExport, outlet: Outlet, layout: Layout) -> str | None:
    """Say whose the files in an export's place are, if not its own: they would be removed or left to nobody.

    Where nobody said whose they are, and a manifest is there, it is one of an earlier gristmill and is taken for this dataset's.
    """
    owner = outlet.owner()
    if owner is not None:
        ours = snapshot.dataset_id(layout) if snapshot.has_table(layout) else "a new one"
        if owner == ours:
            return None
        return (
            f"export {bound.name}: {outlet} holds the export of another dataset (its id is {owner}, that of {layout.name} is {ours}); "
            "give this export a path of its own, or delete that folder to have this dataset take its place"
        )
    if outlet.manifest() is not None:
        return None
    found = sorted(name for name in outlet.names() if in_files(bound).owns(name))
    if not found:
        return None
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return (
        f"export {bound.name}: {outlet} holds files with names of its chunks that no manifest lists ({found[0]}{more}), which are not this "
        "export's; empty the folder, or give the export a path of its own"
    )


def _job(bound: BoundExport, i: int, chunk: Chunk, shards: list[Shard]) -> Job:
    overlapping = [s for s in shards if s.first_ord <= chunk.last_ord and s.last_ord >= chunk.first_ord]
    return Job(f"chunk-{bound.name}-{i}", "chunk", export=bound.name, chunk=chunk, shards=overlapping)


def _known(bound: BoundExport, outlet: Outlet, manifest: ExportManifest | None) -> dict[Content, Written]:
    """Give the finished chunks that are still what the export's manifest says."""
    if manifest is None:
        return {}
    if (told := unlike(bound, outlet, manifest)) is not None:
        raise ConfigError(told)
    if manifest.config != bound.export.digest():
        return {}
    sound = outlet.whole(manifest.chunks)
    return {_content(chunk): Written(chunk.bytes, chunk.raw_bytes, chunk.sha256) for chunk in sound}


def _content(chunk: Chunk | ManifestChunk) -> Content:
    return chunk.name, chunk.docs, chunk.first_ord, chunk.last_ord


def _sweep(outlet: Outlet, keep: set[str], export: FileExport, before: ExportManifest | None) -> None:
    """Remove chunks that no manifest names any more, and scratch files of dead writers; never a file of the user's."""
    named = {chunk.name for chunk in before.chunks} if before is not None else set()
    gone = []
    for name in outlet.names():
        scratch = name.startswith(".") and name.endswith(".tmp")
        made = name[1:].rsplit(".", 2)[0] if scratch else name
        ours = made in named or export.owns(made) or (scratch and made in {MANIFEST, OWNER})
        if ours and (scratch or made not in keep):
            gone.append(name)
    outlet.remove(gone)


def chunk_task(work: Work, job: Job) -> TaskResult:
    """Write one chunk of an export."""
    bound = next(bound for bound in work.config.exports if bound.name == job.export)
    chunk = job.chunk
    assert chunk is not None
    outlet = outlet_of(bound, work.config)
    scratch = outlet.scratch(chunk.name)
    between = (chunk.first_ord, chunk.last_ord)
    with naming(outlet.folder / chunk.name), access.create(scratch) as file:
        rows = (rows for shard in job.shards for rows in read_shard(work.layout, shard, None, between))
        raw_bytes = in_files(bound).write(file, rows)
    written = Written(scratch.stat().st_size, raw_bytes, disk.sha256_of(scratch))
    outlet.adopt(scratch, chunk.name)
    failpoint("export.chunk_written")
    return TaskResult(job.id, extra={"name": chunk.name, "written": msgspec.to_builtins(written)})
