"""The index: what was written is found again, in whatever runs and row groups it lies; the withdrawn own nothing."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples
from tests.properties.lab import folder

from gristmill.core.errors import StoreError
from gristmill.store import index
from gristmill.store.index import ID_SCHEMA, KEY_SCHEMA, Bucket, Tombstones
from gristmill.store.layout import Layout

# The halves are small, so that keys share them, and the greatest there are.
HALF = st.sampled_from([0, 1, 2, 2**63, 2**64 - 1])
KEY = st.tuples(HALF, HALF)


def array(keys):
    return np.array(keys, np.uint64).reshape(-1, 2)


def table(schema, rows):
    rows = sorted(rows)
    return pa.table([pa.array([row[i] for row in rows], field.type) for i, field in enumerate(schema)], schema=schema)


@settings(derandomize=True, deadline=None, max_examples=examples(200))
@given(st.sets(KEY), st.lists(KEY))
def test_keys_are_found_where_they_stand(keys, wanted):
    ordered = sorted(keys)
    found = index.find_keys(array(ordered), array(wanted)[:, 0], array(wanted)[:, 1])
    assert found.tolist() == [ordered.index(key) if key in keys else -1 for key in wanted]


RUNS = st.lists(st.sets(KEY, max_size=6), max_size=7)


@pytest.mark.parametrize("small", [False, True])
@settings(derandomize=True, deadline=None, max_examples=examples(40))
@given(RUNS, st.sets(st.integers(0, 40)), st.sets(KEY))
def test_owners_are_the_first_that_live(small, runs, dead, wanted):
    with folder() as place, pytest.MonkeyPatch.context() as patch:
        for name, value in {"ROW_GROUP_ROWS": 2, "COMPACT_RUNS": 2, "COMPACT_ROWS": 7}.items() if small else ():
            patch.setattr(index, name, value)
        layout, written, owners, ord_ = Layout(place), [], {}, 0
        for seq, keys in enumerate(runs, start=1):
            rows = []
            for key in keys:
                rows.append((*key, ord_))
                owners.setdefault(key, []).append(ord_)
                ord_ += 1
            written = index.write_run(layout, "x", 3, seq, table(KEY_SCHEMA, rows), written)
        bucket = Bucket(layout, written, Tombstones(np.array(sorted(dead), np.int64)))
        ordered = sorted(wanted)
        alive = [min((o for o in owners.get(key, []) if o not in dead), default=-1) for key in ordered]
        assert bucket.owners(array(ordered)).tolist() == alive
        assert sum(run.rows for run in written) == ord_
        filled = sum(bool(keys) for keys in runs)
        if small and filled > index.COMPACT_RUNS and ord_ <= index.COMPACT_ROWS:
            assert len(written) < filled


@pytest.mark.parametrize("small", [False, True])
@settings(derandomize=True, deadline=None, max_examples=examples(40))
@given(RUNS, st.sets(KEY), st.lists(st.tuples(st.integers(1, 7), st.integers(0, 6), st.integers(0, 6)), max_size=3))
def test_id_entries_are_found_by_key_and_by_place(small, runs, wanted, places):
    with folder() as place, pytest.MonkeyPatch.context() as patch:
        for name, value in {"ROW_GROUP_ROWS": 2, "COMPACT_RUNS": 2, "COMPACT_ROWS": 9}.items() if small else ():
            patch.setattr(index, name, value)
        layout, written, entries = Layout(place), [], []
        for seq, keys in enumerate(runs, start=1):
            rows = [(*key, 1, 2, (seq << 45) + i, (seq << 45) + i, 3) for i, key in enumerate(sorted(keys))]
            entries += rows
            written = index.write_run(layout, "x", 0, seq, table(ID_SCHEMA, rows), written)
        bucket = Bucket(layout, written, Tombstones(np.zeros(0, np.int64)))
        by_key = bucket.entries_of(array(sorted(wanted)))
        assert sorted(by_key["ord"].to_pylist()) == sorted(row[4] for row in entries if row[:2] in wanted)
        spans = {}
        for seq, lo, hi in places:
            spans[seq] = ((seq << 45) + min(lo, hi), (seq << 45) + max(lo, hi))
        ranges = np.array(sorted(spans.values()), np.int64).reshape(-1, 2)
        by_place = bucket.entries_between(ranges)
        inside = [row[4] for row in entries if any(lo <= row[4] < hi for lo, hi in spans.values())]
        assert sorted(by_place["ord"].to_pylist()) == sorted(inside)


def test_the_same_rows_give_the_same_bytes_however_they_are_chunked(tmp_path):
    rows = table(KEY_SCHEMA, [(i, i, i) for i in range(100)])
    index.write_table(tmp_path / "a", rows, ["k0"])
    index.write_table(tmp_path / "b", pa.concat_tables([rows.slice(0, 7), rows.slice(7)]), ["k0"])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_tombstones_are_a_set_over_files(tmp_path):
    layout = Layout(tmp_path)
    paths = [index.write_tombstones(layout, seq, np.array(ords, np.int64)) for seq, ords in ((1, [5, 3, 3]), (2, [9]))]
    dead = index.read_tombstones(layout, paths)
    assert dead.ords.tolist() == [3, 5, 9]
    assert dead.dead(np.array([2, 3, 9, 10])).tolist() == [False, True, True, False]
    assert not Tombstones(np.zeros(0, np.int64)).dead(np.array([0])).any()


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped"])
def test_a_damaged_run_is_named(tmp_path, damage):
    layout = Layout(tmp_path)
    (run,) = index.write_run(layout, "x", 0, 1, table(KEY_SCHEMA, [(i, i, i) for i in range(5000)]), [])
    path = layout.absolute(run.path)
    content = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(content[:-10])
    elif damage == "flipped":
        path.write_bytes(
            content[: len(content) // 3] + bytes([content[len(content) // 3] ^ 1]) + content[len(content) // 3 + 1 :]
        )
    bucket = Bucket(layout, [run], Tombstones(np.zeros(0, np.int64)))
    with pytest.raises(StoreError, match=run.path):
        bucket.owners(array([(7, 7)]))
