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
from gristmill.engine import merge, observed
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
        with observed.ObservedWriter(path, observed.ID_OBSERVED) as out:
            for some in np.array_split(np.arange(len(rows)), 3):
                few = ids[some]
                out.write(observed.observe_ids(few, few, ords[some], few[:, 0], np.zeros(len(some), bool)))
        got = pa.Table.from_batches(read_staged(path), observed.ID_OBSERVED)
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


def jobs_of(lab, seq):
    """Give the names of the tasks that settled ids or looked for duplicates."""
    names = [path.stem for path in (lab.dataset / "runs" / str(seq) / "tasks").glob("*.json")]
    return sorted(name for name in names if name.startswith(("ids-", "m0-")))


def history(folder):
    """Make runs of every mode: additions, changes, removals, all decided afresh, some decided anew. Give the folder, and the tasks of each."""
    steps = ["dedup.exact", {"filter.length": {"min_chars": 5}}]
    files = {"sources": [{"name": "s", "files": {"path": "in/*", "id": "id"}}], "steps": steps}
    lab = Lab(folder, files | {"run": {"merge_rows": 30}})
    for name, first in (("1", 0), ("2", 60), ("3", 120)):
        lab.put(
            f"in/{name}.jsonl",
            jsonl([{"id": f"{i}", "text": f"Text {i % 90} is here."} for i in range(first, first + 80)]),
        )
    lab.run()
    lab.take("in/2.jsonl")
    lab.put("in/4.jsonl", jsonl([{"id": f"{i}", "text": f"Revised, {i % 40}."} for i in range(40, 160, 3)]))
    lab.run()
    steps[1]["filter.length"]["min_chars"] = 14
    lab.configure(files | {"run": {"merge_rows": 30}})
    lab.run(mode="redecide")
    lab.put("in/1.jsonl", jsonl([{"id": f"{i}", "text": f"New now, {i % 50}."} for i in range(70)]))
    lab.run(mode="full-refresh")
    return lab, [jobs_of(lab, seq) for seq in range(1, 5)]


def test_however_buckets_are_dealt_to_tasks_every_byte_is_the_same(tmp_path, monkeypatch):
    together, few = history(tmp_path / "together")
    assert few[0] == ["ids-0000-000f", "m0-0000-000f"]
    assert together.broken() == []
    monkeypatch.setattr(merge, "PACKED_ROWS", 40)
    some_together, some = history(tmp_path / "some")
    monkeypatch.setattr(merge, "PACKED_ROWS", 0)
    alone, many = history(tmp_path / "alone")
    assert [len(names) for names in many] == [32] * 4
    assert all(len(a) < len(b) < len(c) for a, b, c in zip(few, some, many, strict=True))
    assert together.bytes() == some_together.bytes() == alone.bytes()


def test_a_bucket_with_a_large_index_has_a_task_of_its_own(tmp_path, monkeypatch):
    """Its rows are looked through, however few are new: tasks of that size are done side by side."""
    lab = Lab(tmp_path, {"sources": [{"name": "s", "files": {"path": "in/*", "id": "id"}}], "steps": ["dedup.exact"]})
    lab.put("in/1.jsonl", jsonl([{"id": f"{i}", "text": f"Text {i}."} for i in range(1600)]))
    lab.run()
    lab.put("in/2.jsonl", jsonl([{"id": f"n{i}", "text": f"New text {i}."} for i in range(200)]))
    monkeypatch.setattr(
        merge, "PACKED_ROWS", 50
    )  # a bucket holds about a hundred of the first and a dozen of the second
    lab.run()
    assert [len(jobs_of(lab, seq)) for seq in (1, 2)] == [2, 32]


def test_no_records_are_a_table_all_the_same():
    none = np.zeros(0, np.int64)
    got = observed.observe_ids(
        none.astype(np.uint64).reshape(0, 2),
        none.astype(np.uint64).reshape(0, 2),
        none,
        none.astype(np.uint64),
        none.astype(bool),
    )
    assert isinstance(got, pa.RecordBatch)
    assert got.num_rows == 0
