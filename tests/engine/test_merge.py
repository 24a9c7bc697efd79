"""Barriers: names that are part of the format stay what they are; what was decided is found again by ord."""

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples
from tests.properties.lab import Lab, flat, jsonl

from gristmill.core.step import BoundStep
from gristmill.engine import merge
from gristmill.engine.sides import read_staged
from gristmill.steps.dedup.exact import Exact


def bound(name="dedup.exact", **parameters):
    return BoundStep(name=name, part="dedup.exact", step=Exact(**parameters))


def test_names_in_the_index_format_do_not_change():
    """They are in the data sets of users: a new value here means a new format."""
    assert merge.unit_hash("web", "a/b.jsonl") == 9978617532040056308
    assert merge.index_name(bound()) == "dedup.exact-e874c55a3485"


def test_other_parameters_or_another_place_are_another_index():
    steps = [bound(), bound(key="url"), bound(scope="language"), bound("dedup.exact#2")]
    assert len({merge.index_name(step) for step in steps}) == 4
    assert "#" not in merge.index_name(steps[-1])


@settings(derandomize=True, deadline=None, max_examples=examples(50))
@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 99)), max_size=30))
def test_ids_are_dealt_to_buckets_by_their_top_bits_and_lie_by_key(rows):
    ids = np.array([(key, 7) for key, _ in rows], np.uint64).reshape(-1, 2)
    ords = np.array([ord_ for _, ord_ in rows], np.int64)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.ids.arrow"
        with merge.ObservedWriter(path, merge.ID_OBSERVED) as out:
            for some in np.array_split(np.arange(len(rows)), 3):
                few = ids[some]
                out.write(merge.observe_ids(few, few, ords[some], few[:, 0], np.zeros(len(some), bool)))
        got = pa.Table.from_batches(read_staged(path), merge.ID_OBSERVED)
    expected = sorted((key >> 60, key, i) for i, (key, _) in enumerate(rows))
    assert list(zip(got["bucket"].to_pylist(), got["ord"].to_pylist(), strict=True)) == [
        (b, rows[i][1]) for b, _, i in expected
    ]


def test_a_dead_record_never_owns_a_text(tmp_path):
    """A superseded content was never there for dedup: another record with that text is kept."""
    lab = Lab(tmp_path, {"sources": [{"name": "s", "files": {"path": "in/*", "id": "id"}}], "steps": ["dedup.exact"]})
    lab.put("in/1.jsonl", jsonl([{"id": "1", "text": "first"}]))
    lab.put("in/2.jsonl", jsonl([{"id": "1", "text": "second"}, {"id": "2", "text": "first"}]))
    report = lab.run()
    assert flat(report.counts) == {"read": 3, "superseded": 1, "published": 2}
    assert [row.text for row in lab.rows()] == ["second", "first"]
    assert lab.broken() == []


def test_no_records_are_a_table_all_the_same():
    none = np.zeros(0, np.int64)
    got = merge.observe_ids(
        none.astype(np.uint64).reshape(0, 2),
        none.astype(np.uint64).reshape(0, 2),
        none,
        none.astype(np.uint64),
        none.astype(bool),
    )
    assert isinstance(got, pa.RecordBatch)
    assert got.num_rows == 0
