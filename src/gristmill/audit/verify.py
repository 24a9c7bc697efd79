"""Verify: is a snapshot still what its manifest says, do the laws hold, are the exports whole.

Not here: repair (exports are repaired by `run` and `export`). Invariant: reads everything through to its end; says
what is damaged and where, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.config.settings import BoundExport, PipelineConfig
from gristmill.core.batch import TABLE_SCHEMA
from gristmill.core.errors import StoreError
from gristmill.core.export import ManifestChunk
from gristmill.core.load import Load
from gristmill.engine.exports import in_files, of_another, outlet_of, unlike
from gristmill.engine.loads import Head
from gristmill.kernels.columns import hash_columns
from gristmill.store import chain, disk, index, snapshot
from gristmill.store.layout import Layout
from gristmill.store.snapshot import Manifest, read_manifest


def verify(layout: Layout, manifest: Manifest, config: PipelineConfig | None) -> list[str]:
    """Check a snapshot whole; give one sentence for each thing that is damaged."""
    looks = (_commit, _laws, _files, _shards)
    found = list(dict.fromkeys(told for look in looks for told in _whole(look(layout, manifest))))
    if config is not None and manifest.seq == snapshot.head_seq(layout):
        for bound in config.exports:
            if isinstance(bound.export, Load):
                found += _table(bound.name, bound.export, config, layout, manifest)
            else:
                found += _export(bound, config, layout, manifest)
    return found


def _whole(found: Iterator[str]) -> Iterator[str]:
    """Give what one look finds; damage that ends it is one thing more, and does not end the others."""
    try:
        yield from found
    except StoreError as error:
        yield str(error)


def _commit(layout: Layout, manifest: Manifest) -> Iterator[str]:
    """This manifest and all before it must be those that Delta commits name, and the table must hold its shards."""
    table = snapshot.open_table(layout)
    commits = {c["gristmill.seq"]: c for c in snapshot.asked(layout, table.history) if "gristmill.seq" in c}
    for link in chain.links(layout, manifest.seq):
        committed = commits.get(str(link.seq), {}).get("gristmill.manifest_sha256")
        path = layout.manifest(link.seq)
        if committed is not None and disk.sha256_of(path) != committed:
            yield _why_another(path, layout.relative(path))
    commit = commits.get(str(manifest.seq))
    if commit is None:
        yield f"the Delta log has no commit of snapshot {manifest.seq}"
        return

    def files_then() -> list[str]:
        table.load_as_version(int(commit["version"]))
        return list(table.file_uris())

    listed = {Path(uri).name for uri in snapshot.asked(layout, files_then)}
    named = {Path(shard.path).name for shard in manifest.shards}
    if listed != named:
        yield f"the Delta table lists {len(listed - named)} files the manifest does not name, and lacks {len(named - listed)}"


def _why_another(path: Path, relative: str) -> str:
    """Say what is wrong with a manifest whose bytes are not those that were committed."""
    try:
        read_manifest(path)
    except StoreError as error:
        return str(error)
    return f"{relative} is not the one that was committed"


def _laws(layout: Layout, manifest: Manifest) -> Iterator[str]:
    for name, counts in [("the run", manifest.counts), *((f"source {n}", c) for n, c in manifest.sources.items())]:
        if not counts.balanced:
            yield f"{name}: {counts.read} read, {counts.accounted} accounted for"
    before = read_manifest(layout.manifest(manifest.parent)).rows if manifest.parent else 0
    expected = before + manifest.counts.published - manifest.counts.withdrawn
    if manifest.rows != expected:
        yield f"snapshot {manifest.seq} holds {manifest.rows} rows, not {expected} ({before} + published - withdrawn)"


def _files(layout: Layout, manifest: Manifest) -> Iterator[str]:
    named = [(run.path, run.sha256) for run in manifest.index]
    named += [(state["path"], state["sha256"]) for state in manifest.states.values()]
    named += [(each["path"], each["sha256"]) for each in manifest.summary.get("distributions", [])]
    for relative, digest in named:
        path = layout.absolute(relative)
        if not path.exists():
            yield f"{relative} is missing"
        elif disk.sha256_of(path) != digest:
            yield f"{relative} is not what the manifest says (sha256 differs)"
    for relative in manifest.tombstones:
        if not layout.absolute(relative).exists():
            yield f"{relative} is missing"
            continue
        try:  # no digest of them is kept: read through to the end, with the checksums of the pages
            index.read_tombstones(layout, [relative])
        except StoreError as error:
            yield str(error)


def _shards(layout: Layout, manifest: Manifest) -> Iterator[str]:
    hashes: list[np.ndarray[tuple[int, int], np.dtype[np.uint64]]] = []
    for shard in manifest.shards:
        path = layout.absolute(shard.path)
        if not path.exists():
            yield f"{shard.path} is missing"
            continue
        if disk.sha256_of(path) != shard.sha256:
            yield f"{shard.path} is not what the manifest says (sha256 differs)"
            continue
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                if file.schema_arrow.names != TABLE_SCHEMA.names:
                    yield f"{shard.path} has other columns than the table"
                rows = 0
                for batch in file.iter_batches(columns=["id", "ord", "seq"], use_threads=False):
                    rows += batch.num_rows
                    hashes.append(hash_columns([batch.column("id")]))
                    ords = batch.column("ord").to_numpy()
                    if len(ords) and (ords.min() < shard.first_ord or ords.max() > shard.last_ord):
                        yield f"{shard.path} holds records outside its ord range"
                if rows != shard.rows:
                    yield f"{shard.path} holds {rows} rows, the manifest says {shard.rows}"
        except (OSError, pa.ArrowException) as error:
            yield f"{shard.path} cannot be read ({type(error).__name__})"
    if hashes:
        ids = np.concatenate(hashes)
        ids = ids[np.lexsort((ids[:, 1], ids[:, 0]))]
        twice = int((ids[1:] == ids[:-1]).all(axis=1).sum())
        if twice:
            yield f"{twice} ids stand more than once in snapshot {manifest.seq}"


def _table(name: str, export: Load, config: PipelineConfig, layout: Layout, manifest: Manifest) -> Iterator[str]:
    for told in export.verify(Head(layout, manifest), config.folder):
        yield config.redact(f"export {name}: {told}; repair it with `gristmill export {name}`")


def _export(bound: BoundExport, config: PipelineConfig, layout: Layout, manifest: Manifest) -> Iterator[str]:
    outlet = outlet_of(bound, config)
    try:
        if (stranger := of_another(bound, outlet, layout)) is not None:
            yield stranger
            return
        listed = outlet.manifest()
        stranger = unlike(bound, outlet, listed)
    except StoreError as error:
        yield str(error)
        return
    except OSError as error:
        yield f"export {bound.name}: {outlet} cannot be read ({error.strerror}); mend it, and make it anew with `gristmill export {bound.name}`"
        return
    if stranger is not None:
        yield f"export {bound.name}: {stranger}"
        return
    repair = f"repair it with `gristmill export {bound.name}`"
    if listed is None:
        yield f"export {bound.name}: {outlet} has no manifest.json; {repair}"
        return
    if listed.snapshot != manifest.seq:
        yield f"export {bound.name} is of snapshot {listed.snapshot}, the newest is {manifest.seq}; {repair}"
    if listed.docs != manifest.rows:
        yield f"export {bound.name} holds {listed.docs} records, the snapshot {manifest.rows}; {repair}"
    reads = (
        listed.config == bound.export.digest()
    )  # else it was made with other parameters, and the next run makes it anew
    for chunk in listed.chunks:
        with outlet.read(chunk.name) as path:
            yield from _chunk(bound, path, chunk, repair, reads=reads)


def _chunk(bound: BoundExport, path: Path, chunk: ManifestChunk, repair: str, *, reads: bool) -> Iterator[str]:
    if not path.exists():
        yield f"export {bound.name}: {chunk.name} is missing; {repair}"
    elif disk.sha256_of(path) != chunk.sha256:
        yield f"export {bound.name}: {chunk.name} is damaged (sha256 differs); {repair}"
    elif reads:
        try:
            docs = in_files(bound).count(path)
        except StoreError as error:
            yield f"export {bound.name}: {error}"
            return
        if docs != chunk.docs:
            yield f"export {bound.name}: {chunk.name} holds {docs} records, not {chunk.docs}; {repair}"
