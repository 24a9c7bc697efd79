"""Fingerprint indexes: what earlier snapshots remember of ids and of dedup keys.

An index is buckets (fixed top bits of the key) of immutable runs sorted by key, one run a snapshot that added to it.
Looking up streams the runs and keeps only what matches, so memory follows this run's records, not the corpus.
Not here: what a match means (`engine.identity`, the GlobalSteps). Invariants: a run file never changes; only runs that a committed manifest names
are read; tombstoned ords never own anything.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.core import access
from gristmill.core.batch import Int64s, UInt64s
from gristmill.core.errors import StoreError, naming, raise_of_system
from gristmill.core.failpoints import failpoint
from gristmill.store import disk
from gristmill.store.layout import Layout

ROW_GROUP_ROWS = 1 << 17
# Compaction: this many runs or more become one while that has at most so many rows (about 250 MB in memory).
COMPACT_RUNS = 8
COMPACT_ROWS = 4 << 20

KEY_SCHEMA = pa.schema([("k0", pa.uint64()), ("k1", pa.uint64()), ("ord", pa.int64())])
# k: hash of the id; h: content hash; ord: of this arrival; cur: ord of the row that holds this content; unit: hash.
ID_SCHEMA = pa.schema(
    [
        ("k0", pa.uint64()),
        ("k1", pa.uint64()),
        ("h0", pa.uint64()),
        ("h1", pa.uint64()),
        ("ord", pa.int64()),
        ("cur", pa.int64()),
        ("unit", pa.uint64()),
    ]
)
IDS = "ids-1"


class IndexRun(msgspec.Struct, frozen=True):
    """One run file as a manifest names it: what the snapshots first_seq to seq added to a bucket."""

    fingerprint: str
    bucket: int
    first_seq: int
    seq: int
    path: str
    rows: int
    sha256: str


class Tombstones:
    """The ords that no longer count."""

    def __init__(self, ords: Int64s) -> None:
        self.ords = np.unique(ords)

    def dead(self, ords: Int64s) -> npt.NDArray[np.bool_]:
        """Give, for each ord, whether it is withdrawn."""
        return contains(self.ords, ords)


def contains(sorted_values: npt.NDArray[np.generic], wanted: npt.NDArray[np.generic]) -> npt.NDArray[np.bool_]:
    """Give, for each of `wanted`, whether it stands in the sorted array."""
    if len(sorted_values) == 0:
        return np.zeros(len(wanted), bool)
    at = np.minimum(np.searchsorted(sorted_values, wanted), len(sorted_values) - 1)
    found: npt.NDArray[np.bool_] = sorted_values[at] == wanted
    return found


def find_keys(keys: UInt64s, k0: UInt64s, k1: UInt64s) -> Int64s:
    """Give the row in `keys` (uint64 (n, 2), sorted, unique) of each (k0, k1), -1 where it is not there."""
    n = len(keys)
    at = np.searchsorted(keys[:, 0], k0)
    result = np.full(len(k0), -1, np.int64)
    open_rows = np.flatnonzero(at < n)
    while len(open_rows):
        here = at[open_rows]
        same = keys[here, 0] == k0[open_rows]
        open_rows, here = open_rows[same], here[same]
        hit = keys[here, 1] == k1[open_rows]
        result[open_rows[hit]] = here[hit]
        open_rows = open_rows[~hit]
        at[open_rows] += 1
        open_rows = open_rows[at[open_rows] < n]
    return result


def write_run(
    layout: Layout, fingerprint: str, bucket: int, seq: int, rows: pa.Table, runs: list[IndexRun]
) -> list[IndexRun]:
    """Write what `seq` adds to a bucket (sorted by k0, k1, ord) beside its `runs`; give the runs there are now.

    Compaction: when the newest `COMPACT_RUNS` runs or more are small together, they and the new rows become one run, so
    that looking up opens few files. The old files stay for the snapshots that name them.
    """
    if rows.num_rows == 0:
        return runs
    kept, small = _compactable(runs, rows.num_rows)
    if small:
        rows = pa.concat_tables([*(_read_run(layout, run) for run in small), rows])
        rows = rows.sort_by([("k0", "ascending"), ("k1", "ascending"), ("ord", "ascending")])
    path = layout.index(fingerprint, bucket, seq)
    scratch = layout.staging(seq) / f"index-{fingerprint}-{bucket:04x}-{disk.mark()}.parquet"
    write_table(scratch, rows, statistics=["k0", "ord"])
    digest = disk.sha256_of(scratch)
    layout.files.adopt_file(scratch, path)
    failpoint("merge.index_written")
    first = small[0].first_seq if small else seq
    return [*kept, IndexRun(fingerprint, bucket, first, seq, layout.relative(path), rows.num_rows, digest)]


def _compactable(runs: list[IndexRun], more: int) -> tuple[list[IndexRun], list[IndexRun]]:
    """Split the runs into those to keep and the newest ones that are small together with `more` rows."""
    total, at = more, len(runs)
    while at and total + runs[at - 1].rows <= COMPACT_ROWS:
        at -= 1
        total += runs[at].rows
    return (runs[:at], runs[at:]) if len(runs) - at >= COMPACT_RUNS else (runs, [])


def _read_run(layout: Layout, run: IndexRun) -> pa.Table:
    return _read(layout, run.path)


def _read(layout: Layout, relative: str) -> pa.Table:
    try:
        return read_table(layout.absolute(relative))
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(relative, error) from error


def _unreadable(relative: str, error: Exception) -> StoreError:
    raise_of_system(error, relative)
    return StoreError(f"{relative} cannot be read ({type(error).__name__}); run gristmill verify")


def write_table(path: Path, rows: pa.Table, statistics: list[str]) -> None:
    """Write an Arrow table as Parquet: zstd, page checksums, fixed row groups; same rows, same bytes."""
    access.make_folder(path.parent)
    with (
        naming(path),
        pq.ParquetWriter(
            path,
            rows.schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=False,
            write_statistics=statistics,
            write_page_checksum=True,
            store_schema=False,
        ) as writer,
    ):
        combined = rows.combine_chunks()
        for start in range(0, max(1, combined.num_rows), ROW_GROUP_ROWS):
            writer.write_table(combined.slice(start, ROW_GROUP_ROWS), row_group_size=ROW_GROUP_ROWS)
        if rows.schema.metadata:
            writer.add_key_value_metadata(rows.schema.metadata)


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file of ours, its page checksums held against its pages: all columns, or some in the order they are named in.

    `pq.read_table` makes a dataset of each file first, which takes five times as long as a small file itself (0.55 ms, not 0.11 ms). Threads are
    not asked to help: of a small file that takes as long again (0.8 ms, not 0.5), and a task has one core for itself.

    Raises:
        OSError, pa.ArrowException: it is missing or damaged.
        KeyError: it has no such column.
    """
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        table = file.read(columns, use_threads=False)
    return table if columns is None else table.select(columns)


def write_tombstones(layout: Layout, seq: int, ords: Int64s) -> str:
    """Write the ords withdrawn by `seq`; give the relative path."""
    scratch = layout.staging(seq) / f"tombstones-{disk.mark()}.parquet"
    write_table(scratch, pa.table({"ord": np.unique(ords)}), statistics=["ord"])
    path = layout.tombstones(seq)
    layout.files.adopt_file(scratch, path)
    failpoint("tombstones.written")
    return layout.relative(path)


def read_tombstones(layout: Layout, paths: Iterable[str]) -> Tombstones:
    """Read the tombstones of a snapshot.

    Raises:
        StoreError: a file of them is missing or damaged.
    """
    columns = [_read(layout, path)["ord"].to_numpy() for path in paths]
    return Tombstones(np.concatenate([np.zeros(0, np.int64), *columns]))


class Bucket:
    """The runs of one bucket of an index, as of one snapshot."""

    def __init__(
        self, layout: Layout, runs: list[IndexRun], tombstones: Tombstones, low: int = 0, high: int = (1 << 64) - 1
    ) -> None:
        """Look at keys whose first 64 bits lie between low and high only."""
        self.layout = layout
        self.low, self.high = low, high
        self.runs = runs
        self.tombstones = tombstones

    def owners(self, keys: UInt64s) -> Int64s:
        """Give the live owner's `ord` of each key (uint64 (n, 2), sorted, unique), -1 where there is none."""
        owners = np.full(len(keys), -1, np.int64)
        if len(keys) == 0:
            return owners
        for group in self._groups(self.runs, int(keys[0, 0]), int(keys[-1, 0])):
            k0, k1, ords = (group[name].to_numpy() for name in ("k0", "k1", "ord"))
            row = find_keys(keys, k0, k1)
            live = (row >= 0) & ~self.tombstones.dead(ords)
            row, ords = row[live], ords[live]
            first = np.full(len(keys), np.iinfo(np.int64).max, np.int64)
            np.minimum.at(first, row, ords)
            take = (first != np.iinfo(np.int64).max) & ((owners < 0) | (first < owners))
            owners[take] = first[take]
        return owners

    def entries_of(self, keys: UInt64s) -> pa.Table:
        """Give all id entries (`ID_SCHEMA`) with one of `keys` (uint64 (n, 2), sorted, unique)."""
        found = [ID_SCHEMA.empty_table()]
        if len(keys):
            for group in self._groups(self.runs, int(keys[0, 0]), int(keys[-1, 0])):
                row = find_keys(keys, group["k0"].to_numpy(), group["k1"].to_numpy())
                found.append(group.filter(pa.array(row >= 0)))
        return pa.concat_tables(found)

    def entries_between(self, ranges: Int64s) -> pa.Table:
        """Give all id entries whose ord lies in one of `ranges` (int64 (n, 2), half-open, sorted, disjoint)."""
        found = [ID_SCHEMA.empty_table()]
        if len(ranges):
            seqs = np.unique(ranges[:, 0] >> 45)
            runs = [run for run in self.runs if ((seqs >= run.first_seq) & (seqs <= run.seq)).any()]
            for group in self._groups(runs, self.low, self.high):
                ords, keys = group["ord"].to_numpy(), group["k0"].to_numpy()
                at = np.searchsorted(ranges[:, 0], ords, side="right") - 1
                hit = (at >= 0) & (ords < ranges[np.maximum(at, 0), 1])
                found.append(
                    group.filter(pa.array(hit & (keys >= np.uint64(self.low)) & (keys <= np.uint64(self.high))))
                )
        return pa.concat_tables(found)

    def _groups(self, runs: list[IndexRun], low: int = 0, high: int = (1 << 64) - 1) -> Iterator[pa.Table]:
        for run in runs:
            try:
                file = pq.ParquetFile(self.layout.absolute(run.path), page_checksum_verification=True, pre_buffer=False)
            except (OSError, pa.ArrowException) as error:
                raise _unreadable(run.path, error) from error
            with file:
                for i in range(file.num_row_groups):
                    bounds = file.metadata.row_group(i).column(0).statistics
                    if bounds is not None and bounds.has_min_max and (bounds.max < low or bounds.min > high):
                        continue
                    try:
                        rows = file.read_row_group(i, use_threads=False)
                    except (OSError, pa.ArrowException) as error:
                        raise _unreadable(run.path, error) from error
                    yield rows
