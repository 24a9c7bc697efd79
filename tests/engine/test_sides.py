"""Side files and staged files: whole or not there, in the order of the records, the same bytes for the same rows."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples
from tests.properties.lab import Lab, folder, jsonl

from gristmill.config.load import fingerprint
from gristmill.engine import sides
from gristmill.engine.sides import SIGNAL_SCHEMA, SideWriter, StagedWriter, read_staged, rows_of
from gristmill.engine.task import run_task
from gristmill.engine.work import Job, Setup, Work
from gristmill.store.layout import Layout


def signals(ords):
    return rows_of(
        SIGNAL_SCHEMA, len(ords), {"ord": ords, "step": "s", "signal": "chars", "value": [float(o or 0) for o in ords]}
    )


@settings(derandomize=True, deadline=None, max_examples=examples(40))
@given(
    st.lists(st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=3), max_size=6), st.sampled_from([2, 1 << 16])
)
def test_rows_stand_in_the_order_of_the_records_and_groups_are_of_fixed_size(batches, group):
    with folder() as place, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sides, "ROW_GROUP_ROWS", group)
        writer = SideWriter(place / "side", "signals")
        expected = []
        for i, said in enumerate(batches):
            for ords in said:
                writer.write(signals([10 * i + o for o in ords]))
            writer.settle()
            expected += sorted(10 * i + o for ords in said for o in ords)
        writer.close()
        assert writer.rows == len(expected)
        assert writer.path.exists() == bool(expected)
        if expected:
            with pq.ParquetFile(writer.path) as file:
                assert file.read()["ord"].to_pylist() == expected
                sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            assert set(sizes[:-1]) <= {group}


def test_what_has_no_record_comes_first(tmp_path):
    writer = SideWriter(tmp_path / "side", "signals")
    writer.write(signals([3, None]))
    writer.write(signals([1, None]))
    writer.close()
    assert pq.read_table(writer.path)["ord"].to_pylist() == [None, None, 1, 3]


def test_a_writer_left_open_by_a_failed_attempt_cannot_spoil_the_next_file(tmp_path, monkeypatch):
    monkeypatch.setattr(sides, "ROW_GROUP_ROWS", 2)
    failed = SideWriter(tmp_path / "side", "signals")
    failed.write(signals([1, 2, 3, 4]))
    failed.settle()
    again = SideWriter(tmp_path / "side", "signals")
    again.write(signals([7, 8, 9]))
    again.close()
    before = again.path.read_bytes()
    failed.close()
    assert again.path.read_bytes() == before
    assert pq.read_table(again.path)["ord"].to_pylist() == [7, 8, 9]


def test_a_staged_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "deep" / "staged"

    def fail():
        with StagedWriter(path, SIGNAL_SCHEMA) as out:
            out.write(signals([1]))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(path.parent.iterdir()) == []
    with StagedWriter(path, SIGNAL_SCHEMA) as out:
        out.write(signals([]))
        out.write(signals([1, 2]))
    assert [rows["ord"].to_pylist() for rows in read_staged(path)] == [[1, 2]]
    assert list(path.parent.iterdir()) == [path]


def test_columns_may_be_arrays_lists_single_values_or_left_out():
    rows = rows_of(SIGNAL_SCHEMA, 2, {"ord": pa.array([1, 2], pa.int32()), "step": "s", "value": [0.5, None]})
    assert rows.to_pylist() == [
        {"ord": 1, "step": "s", "signal": None, "value": 0.5},
        {"ord": 2, "step": "s", "signal": None, "value": None},
    ]


def test_a_task_that_wakes_when_its_run_is_over_takes_no_side_file_away(tmp_path):
    """It finds nothing of what was staged, so nothing to say of its records; what the others said of them is published."""
    steps = [{"filter.length": {"min_chars": 8}}, "clean.text"]
    lab = Lab(tmp_path, {"sources": [{"name": "s", "files": {"path": "in/*", "id": "id"}}], "steps": steps})
    lab.put("in/a.jsonl", jsonl([{"id": "a", "text": "short"}, {"id": "b", "text": "a text that is long enough"}]))
    lab.run()
    run = lab.dataset / "runs" / "1"
    names = [path for kind in sides.SIDES for path in (run / kind).glob("*")]
    assert names
    layout = Layout(lab.dataset)
    config = lab.pipeline().config
    work = Work(Setup(layout.root, 1, 0, fingerprint(config), config.file, [], config))
    task = next(path.stem for path in sorted((run / "tasks").glob("s1-*")))
    job = Job(task, "stage", number=int(task.rpartition("-")[2]), stage=1, source="s")
    with pytest.raises(FileNotFoundError):
        run_task(work, job)
    assert [path for path in names if not path.exists()] == []
