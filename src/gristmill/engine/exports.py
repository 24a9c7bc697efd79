"""Exports: which chunks a snapshot's exports must have, and making them so.

Not here: chunk formats (`exports/`), how a ledger grows (`core.export`). Invariants: an export is derived from a
committed snapshot and can be made again byte for byte; swapping its `manifest.json` is its commit; chunks that no
manifest names are removed afterwards.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np

from gristmill.config.settings import BoundExport, PipelineConfig
from gristmill.core import export as ledgers
from gristmill.core.batch import Int64s
from gristmill.core.errors import ConfigError
from gristmill.core.export import Chunk, Export, ExportManifest, Ledger, Rows, Written
from gristmill.core.failpoints import failpoint
from gristmill.engine.table import read_shard
from gristmill.engine.work import Job, TaskResult, Work
from gristmill.store import disk
from gristmill.store.layout import Layout
from gristmill.store.snapshot import ExportState, Manifest, Shard

Runner = Callable[[list[Job]], Iterable[TaskResult]]


def folder_of(bound: BoundExport, config: PipelineConfig) -> Path:
    """Give the folder an export is written to."""
    return (config.folder / Path(bound.export.path).expanduser()).resolve()


def next_state(
    bound: BoundExport, layout: Layout, parent: Manifest, shards: list[Shard], withdrawn: Int64s, seq: int
) -> ExportState:
    """Give what snapshot `seq` (made of `shards`) fixes of an export; `withdrawn`: ords that left the table, sorted."""
    export = bound.export
    made_by = export.fingerprint()
    before = parent.exports.get(bound.name)
    same = before is not None and before.config == made_by
    ledger = before.ledger if before is not None and same else Ledger([], before.ledger.next_index if before else 0)
    if export.mode == "full":
        ledger = ledgers.deal(export, ledger, _rows(export, layout, shards), withdrawn, seq)
    elif same:
        old = {shard.path for shard in parent.shards}
        floor = max((shard.last_ord for shard in parent.shards), default=-1)
        new = [shard for shard in shards if shard.path not in old and shard.first_ord > floor]
        ledger = ledgers.extend(export, ledger, _rows(export, layout, new), withdrawn, seq)
    else:
        ledger = ledgers.extend(export, ledger, _rows(export, layout, shards), np.zeros(0, np.int64), seq)
    return ExportState(bound.part, made_by, ledger)


def _rows(export: Export, layout: Layout, shards: list[Shard]) -> Iterator[Rows]:
    for shard in sorted(shards, key=lambda shard: shard.first_ord):
        columns = ["ord"] if export.bytes_per_chunk is None else None
        for rows in read_shard(layout, shard, columns):
            ords = rows.column("ord").to_numpy()
            yield ords, None if export.bytes_per_chunk is None else export.row_bytes(rows)


def reconcile(
    config: PipelineConfig, layout: Layout, head: Manifest, run: Runner, only: str | None = None
) -> dict[str, int]:
    """Make every export of `head` what its ledger says; give the chunks written by export name (0: nothing to do)."""
    written = {}
    for bound in config.exports:
        if only is None or bound.name == only:
            written[bound.name] = _make(bound, config, layout, head, run)
    return written


def _make(bound: BoundExport, config: PipelineConfig, layout: Layout, head: Manifest, run: Runner) -> int:
    state = head.exports.get(bound.name)
    if state is None or state.config != bound.export.fingerprint():
        state = next_state(bound, layout, head, head.shards, np.zeros(0, np.int64), head.seq)
    folder = folder_of(bound, config)
    disk.make_folder(folder)
    known = _known(bound, folder)
    whole = {chunk.name: known[chunk.name] for chunk in state.ledger.chunks if chunk.name in known}
    todo = [i for i, chunk in enumerate(state.ledger.chunks) if chunk.name not in whole]
    current = _manifest(folder)
    if not todo and current is not None and current.snapshot == head.seq and len(current.chunks) == len(whole):
        _sweep(folder, {chunk.name for chunk in state.ledger.chunks}, bound.export)
        return 0
    shards = sorted(head.shards, key=lambda shard: shard.first_ord)
    jobs = [_job(bound, i, state.ledger.chunks[i], shards) for i in todo]
    for result in run(jobs):
        whole[result.extra["name"]] = msgspec.convert(result.extra["written"], Written)
    failpoint("export.before_manifest")
    disk.write_file(
        folder / "manifest.json", ledgers.manifest_bytes(bound.export, bound.name, head.seq, state.ledger, whole)
    )
    failpoint("export.manifest_written")
    _sweep(folder, set(whole), bound.export)
    return len(todo)


def _job(bound: BoundExport, i: int, chunk: Chunk, shards: list[Shard]) -> Job:
    overlapping = [s for s in shards if s.first_ord <= chunk.last_ord and s.last_ord >= chunk.first_ord]
    return Job(f"chunk-{bound.name}-{i}", "chunk", export=bound.name, chunk=chunk, shards=overlapping)


def _manifest(folder: Path) -> ExportManifest | None:
    return ledgers.read_manifest(folder / "manifest.json")


def _known(bound: BoundExport, folder: Path) -> dict[str, Written]:
    """Give the finished chunks that are still what the export's manifest says.

    A chunk touched after the manifest was swapped in is digested again; others are taken by their size.
    """
    manifest = _manifest(folder)
    if manifest is None:
        return {}
    if manifest.export != bound.name:
        raise ConfigError(f"{folder} holds the export {manifest.export!r}; give {bound.name!r} a path of its own")
    swapped_ns = (folder / "manifest.json").stat().st_mtime_ns
    known = {}
    for chunk in manifest.chunks:
        path = folder / chunk.name
        with contextlib.suppress(FileNotFoundError):
            found = path.stat()
            touched = found.st_mtime_ns >= swapped_ns
            if found.st_size == chunk.bytes and (not touched or disk.sha256_of(path) == chunk.sha256):
                known[chunk.name] = Written(chunk.bytes, chunk.raw_bytes, chunk.sha256)
    return known


def _sweep(folder: Path, keep: set[str], export: Export) -> None:
    """Remove chunks of this export that no manifest names, and scratch files of dead writers."""
    for path in folder.iterdir():
        ours = path.name.startswith(export.prefix) and path.name.endswith(export.suffix) and path.name not in keep
        if ours or (path.name.startswith(".") and path.name.endswith(".tmp")):
            path.unlink(missing_ok=True)


def chunk_task(work: Work, job: Job) -> TaskResult:
    """Write one chunk of an export."""
    bound = next(bound for bound in work.config.exports if bound.name == job.export)
    chunk = job.chunk
    assert chunk is not None
    folder = folder_of(bound, work.config)
    scratch = folder / f".{chunk.name}.{os.getpid()}.tmp"
    between = (chunk.first_ord, chunk.last_ord)
    with scratch.open("wb") as file:
        rows = (rows for shard in job.shards for rows in read_shard(work.layout, shard, None, between))
        raw_bytes = bound.export.write(file, rows)
    written = Written(scratch.stat().st_size, raw_bytes, disk.sha256_of(scratch))
    disk.adopt_file(scratch, folder / chunk.name)
    failpoint("export.chunk_written")
    return TaskResult(job.id, extra={"name": chunk.name, "written": msgspec.to_builtins(written)})
