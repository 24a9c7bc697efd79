"""Snapshots: the manifest (the complete head) and the one Delta commit that makes it visible.

Not here: what goes into a snapshot (`engine`), path names (`layout.py`). Invariants: a manifest is written whole before the commit that names
its sha256; the commit happens only if the table's `gristmill` transaction version still is the manifest's parent, checked on the very handle that
commits (a fresh handle accepts replays: platform study, break 1); what no committed manifest names is garbage.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import pyarrow as pa

from gristmill.core import buckets
from gristmill.core.batch import TABLE_SCHEMA
from gristmill.core.counts import Counts
from gristmill.core.errors import StaleError, StoreError, Transient, naming
from gristmill.core.export import Ledger
from gristmill.core.failpoints import failpoint
from gristmill.core.stopping import check
from gristmill.store import deltalog, disk, formats
from gristmill.store.index import IndexRun
from gristmill.store.layout import FORMAT, Layout
from gristmill.store.mirror import FIRST_ENTRY
from gristmill.store.remote import PAUSES_S

if TYPE_CHECKING:
    from deltalake import DeltaTable

T = TypeVar("T")

APP = "gristmill"
# Commit metadata is lost when the log is cleaned up (platform study, break 2): keep the log practically for ever.
TABLE_CONFIG = {
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
}


class Shard(msgspec.Struct, frozen=True):
    """One Parquet file of the table. Its rows have first_ord <= ord <= last_ord; text_bytes before compression."""

    path: str
    rows: int
    bytes: int
    sha256: str
    first_ord: int
    last_ord: int
    text_bytes: int


class ExportState(msgspec.Struct, frozen=True):
    """What a snapshot fixes of an export: its config and which chunk holds which records."""

    part: str
    config: dict[str, Any]
    ledger: Ledger


class Manifest(msgspec.Struct, frozen=True):
    """The complete head. Holds no times, so that equal runs have equal bytes.

    parent: 0 for none. states: source name -> relative path and sha256 of its unit table. promotions: records to be
    read again because what kept them out was withdrawn (used from near-dedup on). lineage: accepted gate rules and
    config changes with their reasons. pipeline: what `config.load.describe` says.
    """

    format: int
    seq: int
    parent: int
    shards: list[Shard]
    index: list[IndexRun]
    tombstones: list[str]
    states: dict[str, dict[str, str]]
    promotions: list[dict[str, Any]]
    exports: dict[str, ExportState]
    counts: Counts
    sources: dict[str, Counts]
    summary: dict[str, Any]
    config: str
    code: str
    pipeline: dict[str, Any]
    lineage: list[dict[str, Any]]

    @property
    def rows(self) -> int:
        """Documents in the snapshot."""
        return sum(shard.rows for shard in self.shards)


EMPTY = Manifest(FORMAT, 0, 0, [], [], [], {}, [], {}, Counts(), {}, {}, "", "", {}, [])


def write_manifest(layout: Layout, path: Path, manifest: Manifest) -> str:
    """Write a manifest durably; give its sha256."""
    content = disk.to_json(manifest)
    layout.files.write_file(path, content)
    return hashlib.sha256(content).hexdigest()


class _Format(msgspec.Struct, frozen=True):
    format: Any = None


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        StoreError: it is missing, damaged or of an unknown format.
    """
    try:
        with naming(path):
            content = path.read_bytes()
        if msgspec.json.decode(content, type=_Format).format == FORMAT:
            return msgspec.json.decode(content, type=Manifest)
        return msgspec.convert(formats.lifted(path, json.loads(content)), type=Manifest)
    except FileNotFoundError:
        raise StoreError(f"{path} is missing: the dataset is damaged; restore it or start a new dataset") from None
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path} is damaged ({type(error).__name__}); restore it or start a new dataset") from error


def head_seq(layout: Layout) -> int:
    """Give the number of the newest committed snapshot, 0 when there is none."""
    if not has_table(layout):
        if any(layout.runs.glob("*/manifest.json")):  # the table is made before the first number is claimed
            raise StoreError(
                f"{layout.name}/table/_delta_log is gone, but there are snapshots in {layout.runs}; restore it from a copy"
            )
        return 0
    return _seq_of(layout, open_table(layout))


def _seq_of(layout: Layout, table: DeltaTable) -> int:
    return asked(layout, lambda: int(table.transaction_version(APP) or 0))


def head(layout: Layout) -> Manifest:
    """Give the newest committed manifest, `EMPTY` when there is none."""
    seq = head_seq(layout)
    return read_manifest(layout.manifest(seq)) if seq else EMPTY


def dataset_id(layout: Layout) -> str:
    """Give the id of the dataset's Delta table, made with it and for ever the same; a copy of the folder keeps it."""
    if layout.remote is None:
        with contextlib.suppress(FileNotFoundError):  # a log that was cleaned up begins later
            first = (layout.table / deltalog.LOG / f"{0:020}.json").stat()
            return _id_of(layout, (first.st_dev, first.st_ino, first.st_mtime_ns))
    return str(open_table(layout).metadata().id)


@functools.lru_cache(maxsize=100)  # every export asks, several times in a run
def _id_of(layout: Layout, made: tuple[int, int, int]) -> str:
    return str(open_table(layout).metadata().id)


def has_table(layout: Layout) -> bool:
    """Tell if the dataset's table was made."""
    if layout.remote is not None:
        return layout.remote.head(FIRST_ENTRY) is not None
    return deltalog.has_entries(layout.table)


def open_table(layout: Layout) -> DeltaTable:
    """Open the dataset's table as it is now, where it lies.

    Raises:
        StoreError: its log is damaged, or cannot be read.
        Transient: the store does not answer well now.
    """
    from deltalake import DeltaTable

    if layout.remote is None:
        return asked(layout, lambda: DeltaTable(str(layout.table)))
    place, options = f"{layout.remote.url}/table", layout.remote.table_options()
    return asked(layout, lambda: DeltaTable(place, storage_options=options))


def asked(layout: Layout, ask: Callable[[], T]) -> T:
    """Ask delta-rs something about the dataset's table; of a store again after what may pass, for delta-rs gives up at once.

    Raises:
        StoreError: the log is damaged, or cannot be read.
        Transient: the store does not answer well now.
    """
    from deltalake.exceptions import DeltaError

    if layout.remote is None:
        with deltalog.about(layout.table / deltalog.LOG):
            return ask()

    def once() -> T:
        try:
            return ask()
        except DeltaError as error:
            if buckets.why(error)[1]:
                raise
            raise StoreError(
                f"the Delta log in {layout.name}/table cannot be read ({type(error).__name__}); restore it from a copy"
            ) from error

    found = layout.remote.tried("table", once)
    if found is None:
        raise StoreError(f"{layout.name}/table has lost a part of its log; restore it from a copy")
    return found


def check_files(layout: Layout, manifest: Manifest) -> None:
    """Refuse to build on a snapshot that has lost a shard or an index run, or is of an earlier format; looks at sizes only.

    Raises:
        StoreError: a file is missing or has another size; the snapshot is to be brought forward first.
    """
    if manifest.seq:
        formats.check(layout.manifest(manifest.seq), formats.on_disk(layout.manifest(manifest.seq)))
    sizes = layout.files.sizes([*(shard.path for shard in manifest.shards), *(run.path for run in manifest.index)])
    for shard in manifest.shards:
        if sizes.get(shard.path) != shard.bytes:
            raise StoreError(
                f"{shard.path} is missing or cut short: the dataset is damaged; run `gristmill verify`, restore it, then run again"
            )
    for run in manifest.index:
        if run.path not in sizes:
            raise StoreError(
                f"{run.path} is missing: the dataset is damaged; run `gristmill verify`, restore it, then run again"
            )


def create_table(layout: Layout) -> None:
    """Make the empty Delta table if there is none."""
    from deltalake import DeltaTable

    if has_table(layout):
        return
    if layout.remote is not None:
        layout.files.check_held()
        place, options = f"{layout.remote.url}/table", layout.remote.table_options()
        make = functools.partial(DeltaTable.create, place, mode="ignore", configuration=TABLE_CONFIG)
        asked(layout, lambda: make(schema=pa.schema(TABLE_SCHEMA), storage_options=options))
        layout.files.refresh()
    else:
        scratch = layout.staging(0).with_name(f"table-{disk.mark()}")
        with deltalog.added_to(layout.table, scratch) as copy:
            DeltaTable.create(str(copy), schema=pa.schema(TABLE_SCHEMA), configuration=TABLE_CONFIG)


def commit(layout: Layout, manifest: Manifest, digest: str, parent: Manifest) -> None:
    """Publish `manifest` (already written, with sha256 `digest`) by one Delta transaction.

    Raises:
        StaleError: the table's newest snapshot is not `parent`.
    """
    from deltalake import CommitProperties, Transaction

    create_table(layout)
    for pause_s in (0.0, *(() if layout.remote is None else PAUSES_S)):
        time.sleep(pause_s)
        with _to_commit_to(layout, manifest.seq) as table:
            if _is_committed(layout, table, manifest, digest, parent):  # by a try of ours whose answer was lost
                break
            check()
            failpoint("commit.before_delta")
            layout.files.check_held()  # after the table was opened: whoever took over before then is seen, whoever does later makes this fail
            try:
                table.create_write_transaction(
                    _actions(manifest, parent),
                    "append",
                    table.schema(),
                    commit_properties=CommitProperties(
                        custom_metadata={"gristmill.seq": str(manifest.seq), "gristmill.manifest_sha256": digest},
                        max_commit_retries=None
                        if layout.remote is None
                        else 0,  # never upon what was committed meanwhile
                        app_transactions=[Transaction(APP, manifest.seq)],
                    ),
                )
                break
            except Exception as error:
                if layout.remote is None:
                    raise
                failed = type(error).__name__
    else:
        if not _is_committed(layout, open_table(layout), manifest, digest, parent):
            raise Transient(f"{layout.name}: the commit was not taken by the store ({failed}); run again")
    failpoint("commit.after_delta")
    sync_commit(layout)


@contextlib.contextmanager
def _to_commit_to(layout: Layout, seq: int) -> Iterator[DeltaTable]:
    """Give the table as it is now, for one commit: on an object store itself, on a disk the copy that `deltalog` gives."""
    from deltalake import DeltaTable

    if layout.remote is not None:
        yield open_table(layout)
        return
    with deltalog.added_to(layout.table, layout.staging(seq) / f"table-{disk.mark()}") as copy:
        yield DeltaTable(str(copy))


def _is_committed(layout: Layout, table: DeltaTable, manifest: Manifest, digest: str, parent: Manifest) -> bool:
    """Tell if a table has the snapshot; if not, it is to be committed on the parent.

    Raises:
        StaleError: another snapshot stands there.
    """
    newest = _seq_of(layout, table)
    if newest == parent.seq:
        return False
    if newest == manifest.seq:
        told = asked(layout, lambda: table.history(3))
        if any(entry.get("gristmill.manifest_sha256") == digest for entry in told):
            return True
    raise StaleError(f"snapshot {newest} was committed since this run was planned on {parent.seq}; run again")


def fence(layout: Layout) -> None:
    """After a takeover: see that the commit of whoever held the lease before cannot come any more, if he had come that far.

    Such a commit is prepared on the table as it was; an entry without content takes the place in the log it would take.
    """
    from deltalake import CommitProperties

    if not has_table(layout) or not any(layout.runs.glob("*/manifest.json")):
        return
    newest = max(int(path.parent.name) for path in layout.runs.glob("*/manifest.json"))

    def put() -> bool:
        table = open_table(layout)
        if newest > _seq_of(layout, table):
            told = CommitProperties(custom_metadata={"gristmill.fence": str(newest)})
            table.create_write_transaction([], "append", table.schema(), commit_properties=told)
        return True

    asked(layout, put)


def sync_commit(layout: Layout) -> None:
    """Make the newest entry of the Delta log durable, of a run that died behind its commit too; before that no run reports success."""
    if layout.remote is None:  # else the store has it
        log = layout.table / deltalog.LOG
        disk.sync_file(max(log.glob("*[0-9].json")))
        disk.sync_folder(log)
    failpoint("commit.synced")


def _actions(manifest: Manifest, parent: Manifest) -> list[Any]:
    from deltalake.transaction import AddAction, RemoveAction

    now_ms = time.time_ns() // 1_000_000
    before = {shard.path: shard for shard in parent.shards}
    after = {shard.path: shard for shard in manifest.shards}
    actions: list[Any] = [
        RemoveAction(
            _in_table(path), data_change=True, deletion_timestamp=now_ms, size=shard.bytes, partition_values={}
        )
        for path, shard in before.items()
        if path not in after
    ]
    for path, shard in after.items():
        if path not in before:
            stats = json.dumps({"numRecords": shard.rows})
            actions.append(AddAction(_in_table(path), shard.bytes, {}, now_ms, data_change=True, stats=stats))
    return actions


def _in_table(path: str) -> str:
    return path.removeprefix("table/")
