"""Identity: what each arriving record is to the records known so far. Pure functions over one bucket of ids.

Within one unit the first content of an id stands: repeats of it are unchanged, others conflict. Over units and runs
the arrivals of an id are taken in total order after what is current; the last change of content wins, what it overtook
is superseded, what repeats the current content is unchanged. A unit read again withdraws the ids that lived in it and
were not seen again, unless another live unit holds the same content. A source may also say that an id is gone, which is one more
change of content, to none, or that it is still there, which only keeps it from counting as not seen.
Not here: files and buckets (`engine.merge`). Invariant: the outcome of a record never depends on later runs, and
splitting additions over several runs leaves the same current content as one run over all of them.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gristmill.core.batch import Int64s, UInt64s
from gristmill.store.index import ID_SCHEMA, Tombstones, contains, find_keys

PUT, DELETE, PRESENT = 0, 1, 2  # what arrives: a record, the word that an id is gone, or that it is still there
UNCHANGED, SUPERSEDED, CONFLICT = 1, 2, 3
REVISED, GONE = 1, 2
SEQ_SHIFT = 45


class Known(Protocol):
    """What identity asks of the id index."""

    tombstones: Tombstones

    def entries_of(self, keys: UInt64s) -> pa.Table:
        """Give all entries of these ids."""
        ...

    def entries_between(self, ranges: Int64s) -> pa.Table:
        """Give all entries with an ord in these ranges."""
        ...


class Outcome(msgspec.Struct, frozen=True):
    """decided: (ord, kind, other) of arrivals that do not go on. withdrawn: (ord, reason). entries: the new index run."""

    decided: pa.Table
    withdrawn: pa.Table
    entries: pa.Table


class _Entries:
    """Columns of id entries as numpy arrays."""

    def __init__(self, table: pa.Table) -> None:
        self.k0, self.k1, self.h0, self.h1 = (table[name].to_numpy() for name in ("k0", "k1", "h0", "h1"))
        self.ord, self.unit = table["ord"].to_numpy(), table["unit"].to_numpy()
        self.op = table["op"].to_numpy() if "op" in table.column_names else np.zeros(len(self.ord), np.uint8)
        self.cur = table["cur"].to_numpy() if "cur" in table.column_names else self.ord

    def __len__(self) -> int:
        return len(self.ord)


def unique_keys(k0: UInt64s, k1: UInt64s) -> UInt64s:
    """Give the distinct (k0, k1), sorted, as uint64 (n, 2)."""
    by = np.lexsort((k1, k0))
    keys = np.stack([k0[by], k1[by]], axis=1)
    if len(keys) == 0:
        return keys
    distinct: UInt64s = keys[np.concatenate([[True], (keys[1:] != keys[:-1]).any(axis=1)])]
    return distinct


def resolve(
    arrived: pa.Table, known: Known, ranges: Int64s, units: UInt64s, seqs: Int64s, again: Int64s | None = None
) -> Outcome:
    """Settle one bucket.

    Args:
        arrived: (k0, k1, h0, h1, ord, unit, fresh, op) of this run's records and notices; of notices h0 and h1 are 0.
        known: the parent's id index.
        ranges: ord ranges (int64 (n, 2), half-open, sorted) of units read again or gone: their ids may have gone.
        units: the live units that are not read again (uint64, sorted).
        seqs: the run that last read each of `units` (int64).
        again: ords (int64, sorted) of quarantined records: one whose id arrives no longer counts, and what arrives goes on.
    """
    new = _Entries(arrived)
    lived = _Entries(known.entries_between(ranges))
    stale = ~arrived["fresh"].to_numpy()
    wanted = unique_keys(np.concatenate([new.k0[stale], lived.k0]), np.concatenate([new.k1[stale], lived.k1]))
    prior = _Entries(known.entries_of(wanted))
    keys = unique_keys(np.concatenate([new.k0, lived.k0]), np.concatenate([new.k1, lived.k1]))
    current = _current(keys, prior, known.tombstones)
    freed = _freed(keys, new, current, again)

    first, decided = _first_per_unit(new)
    arrivals = _Arrivals(keys, new, first, current)
    decided += arrivals.decided()
    withdrawn = [freed, arrivals.withdrawn]
    gone = _gone(keys, new, lived, prior, current, units, seqs)
    withdrawn.append(np.stack([gone, np.full(len(gone), GONE)], axis=1))

    dropped = np.concatenate(withdrawn)
    dropped = dropped[np.argsort(dropped[:, 0])]
    rows = np.concatenate(decided) if decided else np.zeros((0, 3), np.int64)
    rows = rows[np.argsort(rows[:, 0])]
    return Outcome(
        pa.table({"ord": rows[:, 0], "kind": rows[:, 1].astype(np.uint8), "other": rows[:, 2]}),
        pa.table({"ord": dropped[:, 0], "reason": dropped[:, 1].astype(np.uint8)}),
        arrivals.entries(),
    )


class _Current(msgspec.Struct):
    """The current content of each key: its row's ord (-1: none) and hash (0 where there is none, as of a deletion)."""

    cur: Int64s
    h0: UInt64s
    h1: UInt64s


def current_ords(keys: UInt64s, entries: pa.Table, tombstones: Tombstones) -> Int64s:
    """Give the ord of what is current of each key (uint64 (n, 2), sorted, unique), -1 for none, as all its entries tell."""
    return _current(keys, _Entries(entries), tombstones).cur


def _current(keys: UInt64s, prior: _Entries, tombstones: Tombstones) -> _Current:
    state = _Current(np.full(len(keys), -1, np.int64), np.zeros(len(keys), np.uint64), np.zeros(len(keys), np.uint64))
    by = np.argsort(prior.ord, kind="stable")  # a later entry overwrites an earlier one
    row = find_keys(keys, prior.k0[by], prior.k1[by])
    alive = ~tombstones.dead(prior.cur[by])
    state.cur[row] = np.where(alive, prior.cur[by], -1)
    there = state.cur[row] >= 0
    state.h0[row], state.h1[row] = np.where(there, prior.h0[by], 0), np.where(there, prior.h1[by], 0)
    return state


def _freed(keys: UInt64s, new: _Entries, current: _Current, again: Int64s | None) -> Int64s:
    """Take what is tried again out of the current contents; give (ord, reason) of it."""
    if again is None or len(again) == 0:
        return np.zeros((0, 2), np.int64)
    put = new.op == PUT
    arrived = np.zeros(len(keys), bool)
    arrived[find_keys(keys, new.k0[put], new.k1[put])] = True
    free = arrived & contains(again, current.cur)
    ords = current.cur[free]
    current.cur[free], current.h0[free], current.h1[free] = -1, 0, 0
    return np.stack([ords, np.full(len(ords), REVISED)], axis=1)


def _first_per_unit(new: _Entries) -> tuple[npt.NDArray[np.int64], list[Int64s]]:
    """Give the rows that are the first of their id in their unit, and what the others are."""
    by = np.lexsort((new.ord, new.unit, new.k1, new.k0))
    by = by[new.op[by] != PRESENT]
    if len(by) == 0:
        return by, []
    starts = np.ones(len(by), bool)
    starts[1:] = (
        (new.k0[by][1:] != new.k0[by][:-1])
        | (new.k1[by][1:] != new.k1[by][:-1])
        | (new.unit[by][1:] != new.unit[by][:-1])
    )
    leader = by[np.maximum.accumulate(np.where(starts, np.arange(len(by)), 0))]
    rest, lead = by[~starts], leader[~starts]
    same = (new.h0[rest] == new.h0[lead]) & (new.h1[rest] == new.h1[lead])
    kind = np.where(same, UNCHANGED, CONFLICT)
    return by[starts], [np.stack([new.ord[rest], kind, new.ord[lead]], axis=1)]


class _Arrivals:
    """The first arrivals of each id and unit, in total order, judged after the current content."""

    def __init__(self, keys: UInt64s, new: _Entries, first: npt.NDArray[np.int64], current: _Current) -> None:
        at = find_keys(keys, new.k0[first], new.k1[first])
        by = np.lexsort((new.ord[first], at))
        rows, self.at = first[by], at[by]
        self.new, self.rows, n = new, rows, len(rows)
        self.ord = new.ord[rows]
        h0, h1 = new.h0[rows], new.h1[rows]
        starts = np.ones(n, bool)
        starts[1:] = self.at[1:] != self.at[:-1]
        cur = current.cur[self.at]
        changed = np.ones(n, bool)
        changed[1:] = (h0[1:] != h0[:-1]) | (h1[1:] != h1[:-1])
        repeats = (h0 == current.h0[self.at]) & (h1 == current.h1[self.at])
        changed = np.where(starts, ~repeats, changed)
        # Changes of content so far in the id's group: 0 repeats the current content, the last one wins.
        total = np.cumsum(changed)
        group = np.maximum.accumulate(np.where(starts, np.arange(n), 0))
        before = total[group] - changed[group] if n else total
        nth = total - before
        ends = np.append(np.flatnonzero(starts)[1:], n) - 1 if n else np.zeros(0, np.int64)
        last = np.repeat(nth[ends], np.diff(np.append(np.flatnonzero(starts), n))) if n else nth
        self.wins = changed & (nth == last)
        self.superseded = (nth != last) & (nth > 0)
        self.winner = np.maximum.accumulate(np.where(self.wins, np.arange(n), 0)) if n else np.zeros(0, np.int64)
        self.cur = np.where(nth == 0, cur, np.where(nth == last, self.ord[self.winner] if n else self.ord, self.ord))
        deletes = new.op[rows] == DELETE
        self.cur = np.where((nth == last) & (nth > 0) & deletes[self.winner], -1, self.cur) if n else self.cur
        over = self.wins & (cur >= 0)
        self.withdrawn = np.stack([cur[over], np.where(deletes[over], GONE, REVISED)], axis=1)
        self.records = ~deletes

    def decided(self) -> list[Int64s]:
        """Give (ord, kind, other) of the arrivals that do not go on."""
        out = ~self.wins & self.records
        kind = np.where(self.superseded, SUPERSEDED, UNCHANGED)
        return [np.stack([self.ord[out], kind[out], self.cur[out]], axis=1)]

    def entries(self) -> pa.Table:
        """Give the rows this run adds to the id index, sorted by key and ord."""
        new, rows = self.new, self.rows
        columns = [new.k0[rows], new.k1[rows], new.h0[rows], new.h1[rows], self.ord, self.cur, new.unit[rows]]
        return pa.table([pa.array(column) for column in columns], schema=ID_SCHEMA)


def _gone(
    keys: UInt64s, new: _Entries, lived: _Entries, prior: _Entries, current: _Current, units: UInt64s, seqs: Int64s
) -> Int64s:
    """Give the current ords of ids that lived in a retired unit, did not arrive, and live nowhere else alike."""
    arrived = np.zeros(len(keys), bool)
    arrived[find_keys(keys, new.k0, new.k1)] = True
    candidate = np.zeros(len(keys), bool)
    candidate[find_keys(keys, lived.k0, lived.k1)] = True
    candidate &= ~arrived & (current.cur >= 0)
    if len(prior):
        row = find_keys(keys, prior.k0, prior.k1)
        live = contains(units, prior.unit)
        if len(units):
            at = np.minimum(np.searchsorted(units, prior.unit), len(units) - 1)
            live &= seqs[at] == prior.ord >> SEQ_SHIFT
        alike = live & (prior.h0 == current.h0[row]) & (prior.h1 == current.h1[row])
        candidate[row[alike]] = False
    return current.cur[candidate]
