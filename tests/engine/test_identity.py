"""Identity alone, on many small random arrays: the array code must say what a plain loop says."""

from collections import defaultdict

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from gristmill.engine import identity
from gristmill.engine.identity import CONFLICT, GONE, REVISED, SEQ_SHIFT, SUPERSEDED, UNCHANGED
from gristmill.store.index import ID_SCHEMA, Tombstones, find_keys

ARRIVED = ["k0", "k1", "h0", "h1", "ord", "unit", "fresh"]
UINTS = {"k0", "k1", "h0", "h1", "unit"}


class Known:
    """The id index of all runs before, held in memory."""

    def __init__(self):
        self.table = ID_SCHEMA.empty_table()
        self.tombstones = Tombstones(np.zeros(0, np.int64))

    def entries_of(self, keys):
        rows = find_keys(keys, self.table["k0"].to_numpy(), self.table["k1"].to_numpy())
        return self.table.filter(pa.array(rows >= 0))

    def entries_between(self, ranges):
        ords = self.table["ord"].to_numpy()
        inside = np.zeros(len(ords), bool)
        for lo, hi in ranges.tolist():
            inside |= (ords >= lo) & (ords < hi)
        return self.table.filter(pa.array(inside))


class Plain:
    """The same by its definition, one id at a time."""

    def __init__(self):
        self.current = {}  # id -> (ord, content)
        self.holds = {}  # unit -> {id: content}

    def run(self, read, gone):
        decided, withdrawn, per_id, first = {}, {}, defaultdict(list), {}
        for unit, rows in read.items():
            first[unit] = {}
            for ord_, id_, content in rows:
                if id_ in first[unit]:
                    leader, same = first[unit][id_]
                    decided[ord_] = (UNCHANGED if same == content else CONFLICT, leader)
                else:
                    first[unit][id_] = (ord_, content)
                    per_id[id_].append((ord_, content))
        for id_, turns in per_id.items():
            turns.sort()
            cur, content = self.current.get(id_, (None, None))
            changes = [at for at, (_, c) in enumerate(turns) if c != ([content] + [t[1] for t in turns])[at]]
            last = changes[-1] if changes else len(turns)
            for at, (ord_, _) in enumerate(turns):
                if at == last:
                    continue
                if not changes or at < changes[0]:
                    decided[ord_] = (UNCHANGED, cur)
                elif at < last:
                    decided[ord_] = (SUPERSEDED, ord_)
                else:
                    decided[ord_] = (UNCHANGED, turns[last][0])
            if changes:
                if cur is not None:
                    withdrawn[cur] = REVISED
                self.current[id_] = turns[last]
        rest = {u: held for u, held in self.holds.items() if u not in read and u not in gone}
        for unit in [*read, *gone]:
            for id_ in self.holds.get(unit, {}):
                if id_ in per_id or id_ not in self.current:
                    continue
                cur, content = self.current[id_]
                if all(held.get(id_) != content for held in rest.values()):
                    withdrawn[cur] = GONE
                    del self.current[id_]
        self.holds = rest | {u: {i: c for i, (_, c) in held.items()} for u, held in first.items()}
        return decided, withdrawn


# Ids and hashes share their halves, so that an array code that looks at one half only is caught.
ID_KEYS = {0: (1, 1), 1: (1, 2), 2: (2, 1), 3: (2**64 - 1, 2**64 - 1)}
HASHES = {0: (5, 5), 1: (5, 6), 2: (6, 5)}
ROWS = st.lists(st.tuples(st.sampled_from(sorted(ID_KEYS)), st.sampled_from(sorted(HASHES))), max_size=5)
# What is done to each of three units in a run: left alone, read (again) with these rows, or gone.
RUNS = st.lists(st.tuples(*[st.one_of(st.none(), ROWS, st.just("gone"))] * 3), min_size=1, max_size=6)


@settings(derandomize=True, deadline=None, max_examples=examples(300))
@given(RUNS, st.booleans())
def test_arrays_say_what_the_definition_says(runs, fresh_where_new):
    known, plain = Known(), Plain()
    reads = {}  # live unit -> (seq, lo, hi) of its last reading
    for seq, doing in enumerate(runs, start=1):
        read, gone, arrived, ranges, new_reads = {}, [], [], [], {}
        ord_ = seq << SEQ_SHIFT
        for unit, what in enumerate(doing, start=1):
            if what is None or (what == "gone" and unit not in reads):
                continue
            if unit in reads:
                ranges.append(reads[unit][1:])
            if what == "gone":
                gone.append(unit)
                continue
            lo, read[unit] = ord_, []
            for id_, content in what:
                read[unit].append((ord_, id_, content))
                never = id_ not in {i for held in plain.holds.values() for i in held} and id_ not in plain.current
                arrived.append((*ID_KEYS[id_], *HASHES[content], ord_, unit, fresh_where_new and never and seq == 1))
                ord_ += 1
            new_reads[unit] = (seq, lo, ord_)
        live = {u: r[0] for u, r in reads.items() if u not in read and u not in gone}
        columns = list(zip(*arrived, strict=True)) or [[]] * len(ARRIVED)
        types = [pa.uint64() if n in UINTS else pa.bool_() if n == "fresh" else pa.int64() for n in ARRIVED]
        table = pa.table({n: pa.array(c, t) for n, c, t in zip(ARRIVED, columns, types, strict=True)})
        got = identity.resolve(
            table.take(pa.array(np.random.default_rng(seq).permutation(len(arrived)))),
            known,
            np.array(sorted(ranges), np.int64).reshape(-1, 2),
            np.array(sorted(live), np.uint64),
            np.array([live[u] for u in sorted(live)], np.int64),
        )
        decided, withdrawn = plain.run(read, gone)
        rows = list(zip(*(got.decided[n].to_pylist() for n in ("ord", "kind", "other")), strict=True))
        assert {o: (k, x) for o, k, x in rows} == decided
        assert [o for o, _, _ in rows] == sorted(decided)
        assert (
            dict(zip(got.withdrawn["ord"].to_pylist(), got.withdrawn["reason"].to_pylist(), strict=True)) == withdrawn
        )
        assert len(got.withdrawn) == len(withdrawn)
        known.table = pa.concat_tables([known.table, got.entries])
        known.tombstones = Tombstones(np.concatenate([known.tombstones.ords, np.array(sorted(withdrawn), np.int64)]))
        reads = {u: r for u, r in reads.items() if u in live} | new_reads


def test_entries_are_sorted_as_an_index_run_must_be():
    table = pa.table(
        {
            "k0": pa.array([2, 1, 2], pa.uint64()),
            "k1": pa.array([0, 9, 0], pa.uint64()),
            "h0": pa.array([1, 1, 2], pa.uint64()),
            "h1": pa.array([1, 1, 2], pa.uint64()),
            "ord": [7, 8, 9],
            "unit": pa.array([1, 1, 2], pa.uint64()),
            "fresh": [False] * 3,
        }
    )
    none = np.zeros(0, np.int64)
    got = identity.resolve(table, Known(), none.reshape(0, 2), none.astype(np.uint64), none)
    assert got.entries.schema == ID_SCHEMA
    assert got.entries["ord"].to_pylist() == [8, 7, 9]
    assert got.decided.to_pylist() == [{"ord": 7, "kind": SUPERSEDED, "other": 7}]


# A feed: what it says of ids in order, a content or None for gone; and, at times, all ids that are still there.
SAID = st.lists(
    st.tuples(st.sampled_from(sorted(ID_KEYS)), st.one_of(st.none(), st.sampled_from(sorted(HASHES)))), max_size=6
)
FEED = st.lists(
    st.tuples(SAID, st.one_of(st.none(), st.sets(st.sampled_from(sorted(ID_KEYS))))), min_size=1, max_size=6
)


@settings(derandomize=True, deadline=None, max_examples=examples(300))
@given(FEED)
def test_a_feed_leaves_what_was_said_last(runs):
    """Versioned records, deletions and presence: after each run what is current is what a dict would hold."""
    known, held, current = Known(), {}, {}  # held: id -> content; current: id -> ord of its row
    ranges = []
    for seq, (said, present) in enumerate(runs, start=1):
        ord_, arrived, puts = seq << SEQ_SHIFT, [], {}
        for id_, content in said:
            op, hashed = (identity.DELETE, (0, 0)) if content is None else (identity.PUT, HASHES[content])
            arrived.append((*ID_KEYS[id_], *hashed, ord_, ord_, False, op))
            if content is not None:
                puts[ord_] = id_
            ord_ += 1
        for id_ in sorted(present or ()):
            arrived.append((*ID_KEYS[id_], 0, 0, ord_, ord_, False, identity.PRESENT))
            ord_ += 1
        names = [*ARRIVED, "op"]
        types = {"fresh": pa.bool_(), "ord": pa.int64(), "op": pa.uint8()}
        columns = list(zip(*arrived, strict=True)) or [[]] * len(names)
        table = pa.table({n: pa.array(c, types.get(n, pa.uint64())) for n, c in zip(names, columns, strict=True)})
        none = np.zeros(0, np.int64)
        spans = np.array(ranges if present is not None else [], np.int64).reshape(-1, 2)
        got = identity.resolve(table, known, spans, none.astype(np.uint64), none)
        after = dict(held)
        for id_, content in said:
            after |= {id_: content}
        seen = {id_ for id_, _ in said} | (present or set())
        after = {i: c for i, c in after.items() if c is not None and (present is None or i in seen)}
        decided = dict(zip(got.decided["ord"].to_pylist(), got.decided["kind"].to_pylist(), strict=True))
        assert decided.keys() <= puts.keys()
        published = {puts[o]: o for o in puts.keys() - decided.keys()}
        assert len(published) == len(puts.keys() - decided.keys())
        withdrawn = dict(zip(got.withdrawn["ord"].to_pylist(), got.withdrawn["reason"].to_pylist(), strict=True))
        expected = {
            o: REVISED if i in published else GONE for i, o in current.items() if i in published or i not in after
        }
        assert withdrawn == expected
        current = {i: o for i, o in current.items() if o not in withdrawn} | published
        assert current.keys() == after.keys()
        held = after
        ranges.append((seq << SEQ_SHIFT, ord_))
        known.table = pa.concat_tables([known.table, got.entries])
        known.tombstones = Tombstones(np.concatenate([known.tombstones.ords, np.array(sorted(withdrawn), np.int64)]))
