"""Replays: records read again from units that are as they were, so that the steps can decide about them anew.

A replay says nothing new of an id: which content is current was settled when the record arrived. Of the arrivals that hold the
current content of an id the first goes on in this run, in the place of the row that stands for it, and with that row's rank: the
`ord` of the arrival that first brought it. Ranks are kept in an index of their own (`ORDER`), so that however often records are
read again, they are judged in the order in which they once came. Not here: which units are read again (`engine.refresh`), what is
current (`engine.identity`). Invariants: a replay never changes what is current; what holds it and is not read again stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gristmill.core.batch import Int64s, UInt64s
from gristmill.core.errors import StoreError, raise_of_system
from gristmill.core.failpoints import failpoint
from gristmill.engine import identity
from gristmill.engine.identity import SUPERSEDED, UNCHANGED, Known, Outcome, unique_keys
from gristmill.engine.sides import read_staged
from gristmill.store import disk, index
from gristmill.store.index import ID_SCHEMA, IndexRun, contains, find_keys
from gristmill.store.layout import Layout

REPLAY = 3  # what arrives (`identity.PUT`, ...): a record of a unit that is as it was when it was last read
REFRESHED = 3  # why a row leaves (`identity.REVISED`, ...): the same record was decided about again
ORDER = "order-1"
MOVED = pa.schema([("ord", pa.int64()), ("came", pa.int64())])
_LAST = np.iinfo(np.int64).max

Mask = npt.NDArray[np.bool_]


class Replayed(msgspec.Struct, frozen=True):
    """outcome: as of `identity.resolve`, of all arrivals. moved: (ord, was, k0) of those that go on in the place of the row `was`, by ord."""

    outcome: Outcome
    moved: pa.Table


class _Firsts:
    """The replays of one bucket of ids: the first of each id and unit, in order; and what the others are."""

    def __init__(self, replays: pa.Table) -> None:
        names = ("k0", "k1", "h0", "h1", "unit", "ord")
        k0, k1, h0, h1, unit, ord_ = (replays[name].to_numpy() for name in names)
        by = np.lexsort((ord_, unit, k1, k0))
        k0, k1, h0, h1, unit, ord_ = (column[by] for column in (k0, k1, h0, h1, unit, ord_))
        starts = np.ones(len(by), bool)
        starts[1:] = (k0[1:] != k0[:-1]) | (k1[1:] != k1[:-1]) | (unit[1:] != unit[:-1])
        leader = np.maximum.accumulate(np.where(starts, np.arange(len(by)), 0))
        same = (h0 == h0[leader]) & (h1 == h1[leader])
        kinds = np.where(same, UNCHANGED, identity.CONFLICT)[~starts]
        self.others = np.stack([ord_[~starts], kinds, ord_[leader][~starts]], axis=1)
        self.k0, self.k1, self.h0, self.h1 = k0[starts], k1[starts], h0[starts], h1[starts]
        self.unit, self.ord = unit[starts], ord_[starts]


class _Currents:
    """What is current of some ids: the ord of the row (-1: none), and the content; as of the parent, or with this run's arrivals."""

    def __init__(self, keys: UInt64s, entries: pa.Table, known: Known) -> None:
        by = np.argsort(entries["ord"].to_numpy(), kind="stable")  # a later entry overwrites an earlier one
        k0, k1, h0, h1, cur = (entries[name].to_numpy()[by] for name in ("k0", "k1", "h0", "h1", "cur"))
        row = find_keys(keys, k0, k1)
        here = row >= 0
        self.cur = np.full(len(keys), -1, np.int64)
        self.h0, self.h1 = np.zeros(len(keys), np.uint64), np.zeros(len(keys), np.uint64)
        self.cur[row[here]] = np.where(known.tombstones.dead(cur), -1, cur)[here]
        self.h0[row[here]], self.h1[row[here]] = h0[here], h1[here]


def resolve(arrived: pa.Table, known: Known, told: Outcome, only: Int64s | None = None) -> Replayed:
    """Settle one bucket of ids in a run that reads records again.

    Args:
        arrived: all that arrived, as of `identity.resolve`.
        known: the parent's id index.
        told: what `identity.resolve` says of all of it but the replays.
        only: the ords (int64, sorted) of the rows whose places may be taken; None: all.
    """
    op = arrived["op"].to_numpy()
    first = _Firsts(arrived.filter(pa.array(op == REPLAY)))
    ords, kinds, others = (told.decided[name].to_numpy().copy() for name in ("ord", "kind", "other"))
    # Arrivals that say that what was current still is: one of them, or a replay, takes the place of the row.
    again = np.isin(arrived["ord"].to_numpy(), ords[kinds == UNCHANGED]) & (op == identity.PUT)
    put_k0, put_k1, put_ord = (arrived[name].to_numpy()[again] for name in ("k0", "k1", "ord"))
    keys = unique_keys(np.concatenate([first.k0, put_k0]), np.concatenate([first.k1, put_k1]))
    before = known.entries_of(keys)
    was = _Currents(keys, before, known)
    now = _Currents(keys, pa.concat_tables([before, told.entries]), known)
    gone = np.sort(told.withdrawn["ord"].to_numpy())
    now.cur[contains(gone, now.cur)] = -1
    stays = (now.cur >= 0) & (now.cur == was.cur)

    key = find_keys(keys, first.k0, first.k1)
    holds = (first.h0 == now.h0[key]) & (first.h1 == now.h1[key]) & (now.cur[key] >= 0)
    at = np.searchsorted(ords, put_ord)  # `told.decided` is sorted by ord
    put_key = find_keys(keys, put_k0, put_k1)
    repeats = (others[at] == was.cur[put_key]) & stays[put_key]
    winner = np.full(len(keys), _LAST, np.int64)
    np.minimum.at(winner, key[holds & stays[key]], first.ord[holds & stays[key]])
    np.minimum.at(winner, put_key[repeats], put_ord[repeats])
    stays &= winner != _LAST
    if only is not None:
        stays &= contains(only, was.cur)
        repeats &= stays[put_key]
    # What holds the content of the row is unchanged, and points at its new place.
    others[at[repeats]] = winner[put_key[repeats]]
    went_on = contains(np.sort(winner[stays]), ords)
    kept = np.stack([ords, kinds.astype(np.int64), others], axis=1)[~went_on]
    out = first.ord != np.where(stays, winner, -1)[key]
    kind = np.where(holds | (now.cur[key] < 0), UNCHANGED, SUPERSEDED)
    stands = np.where(stays, winner, now.cur)[key]
    mine = np.stack([first.ord, kind, np.where(kind == SUPERSEDED, first.ord, stands)], axis=1)[out]
    decided = np.concatenate([kept, mine, first.others])
    decided = decided[np.argsort(decided[:, 0], kind="stable")]
    moved = np.stack([winner[stays], was.cur[stays]], axis=1)
    outcome = Outcome(
        pa.table({"ord": decided[:, 0], "kind": decided[:, 1].astype(np.uint8), "other": decided[:, 2]}),
        _withdrawn(told.withdrawn, moved[:, 1]),
        _entries(told.entries, first, ~out, moved),
    )
    by = np.argsort(moved[:, 0])
    return Replayed(outcome, pa.table({"ord": moved[by, 0], "was": moved[by, 1], "k0": keys[stays, 0][by]}))


def _withdrawn(before: pa.Table, was: Int64s) -> pa.Table:
    more = pa.table({"ord": was, "reason": np.full(len(was), REFRESHED, np.uint8)}, schema=before.schema)
    return pa.concat_tables([before, more]).sort_by("ord")


def _entries(before: pa.Table, first: _Firsts, goes_on: Mask, moved: Int64s) -> pa.Table:
    """Give the rows for the id index: what says that a row stands says where it stands now; and replays that go on."""
    by = np.argsort(moved[:, 1])
    was, now = moved[by, 1], moved[by, 0]
    cur = before["cur"].to_numpy().copy()
    hit = contains(was, cur)
    cur[hit] = now[np.searchsorted(was, cur[hit])]
    before = before.set_column(before.schema.get_field_index("cur"), "cur", pa.array(cur))
    columns = [first.k0, first.k1, first.h0, first.h1, first.ord, first.ord, first.unit]
    more = pa.table([pa.array(column[goes_on]) for column in columns], schema=ID_SCHEMA)
    order = [("k0", "ascending"), ("k1", "ascending"), ("ord", "ascending")]
    return pa.concat_tables([before, more]).sort_by(order)


# --- ranks -------------------------------------------------------------------------------------------------------


def with_ranks(layout: Layout, runs: Sequence[IndexRun], moved: pa.Table) -> pa.Table:
    """Give (ord, came) of all rows of a bucket that stand in the place of others: those of the parent, and `moved` (ord, was)."""
    known = _read(layout, runs)
    old, came = known["ord"].to_numpy(), known["came"].to_numpy()
    now, was = moved["ord"].to_numpy(), moved["was"].to_numpy()
    stays = ~np.isin(old, was)
    ords = np.concatenate([old[stays], now])
    ranks = np.concatenate([came[stays], _ranked(was, old, came)])
    by = np.argsort(ords, kind="stable")
    return pa.table([pa.array(ords[by]), pa.array(ranks[by])], schema=MOVED)


def write_ranks(layout: Layout, bucket: int, seq: int, ranks: pa.Table) -> list[IndexRun]:
    """Write the ranks of a bucket as its one run; none if there are none."""
    if not ranks.num_rows:
        return []
    scratch = layout.staging(seq) / f"index-{ORDER}-{bucket:04x}-{disk.mark()}.parquet"
    index.write_table(scratch, ranks, statistics=["ord"])
    digest = disk.sha256_of(scratch)
    path = layout.index(ORDER, bucket, seq)
    layout.files.adopt_file(scratch, path)
    failpoint("merge.index_written")
    return [IndexRun(ORDER, bucket, seq, seq, layout.relative(path), ranks.num_rows, digest)]


def _read(layout: Layout, runs: Sequence[IndexRun]) -> pa.Table:
    found = [MOVED.empty_table()]
    for run in runs:
        try:
            found.append(index.read_table(layout.absolute(run.path)).cast(MOVED))
        except (OSError, pa.ArrowException) as error:
            raise_of_system(error, run.path)
            raise StoreError(f"{run.path} cannot be read ({type(error).__name__}); run `gristmill verify`") from error
    return pa.concat_tables(found).sort_by("ord")


def _ranked(ords: Int64s, known: Int64s, came: Int64s) -> Int64s:
    """Give the rank of each ord: what is known of it, else the ord itself. known: sorted."""
    ranks = ords.copy()
    if len(known):
        at = np.minimum(np.searchsorted(known, ords), len(known) - 1)
        hit = known[at] == ords
        ranks[hit] = came[at[hit]]
    return ranks


class Order:
    """The order in which the records of one bucket came, where some of them were read again and have a new `ord`.

    In a run without replays nothing is staged, and rank and `ord` are the same.
    """

    def __init__(self, rows: pa.Table, staged: Sequence[Path]) -> None:
        """rows: those of the bucket, with a column `ord`. staged: what the merges of ids left, `MOVED`, of all their buckets."""
        self.ords: Int64s = rows["ord"].to_numpy()
        self.ranks: Int64s = self.ords
        for batch in [batch for path in staged for batch in read_staged(path) if batch.num_rows]:
            found = _ranked(self.ords, batch.column("ord").to_numpy(), batch.column("came").to_numpy())
            self.ranks = np.where(found != self.ords, found, self.ranks)
        self._by = np.argsort(self.ranks, kind="stable")

    def by_rank(self, rows: pa.Table) -> pa.Table:
        """Give the rows with their ranks in place of their ords."""
        return rows if self.ranks is self.ords else _with_ords(rows, "ord", self.ranks)

    def by_ord(self, rows: pa.Table) -> pa.Table:
        """Give what was decided by rank (in columns `ord` and `dup_of`) with ords in place of ranks."""
        if self.ranks is self.ords or not rows.num_rows:
            return rows
        ranks = self.ranks[self._by]
        for name in [name for name in ("ord", "dup_of") if name in rows.column_names]:
            wanted = rows[name].to_numpy()
            at = np.minimum(np.searchsorted(ranks, wanted), len(ranks) - 1)
            rows = _with_ords(rows, name, np.where(ranks[at] == wanted, self.ords[self._by[at]], wanted))
        return rows


def _with_ords(rows: pa.Table, name: str, ords: Int64s) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index(name), name, pa.array(ords))
