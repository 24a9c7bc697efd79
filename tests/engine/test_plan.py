"""Plans: tasks in the total order, whatever the workers; a frozen plan is gone on with, a damaged one is named."""

import json

import pytest
from tests.properties.lab import Lab, flat, jsonl

from gristmill.core.errors import SourceError, StoreError
from gristmill.engine import plan
from gristmill.engine.work import TASK_BITS, first_ord
from gristmill.store import snapshot
from gristmill.store.layout import Layout


@pytest.fixture(name="lab")
def _lab(tmp_path):
    """Give a pipeline of two sources, the first of which comes later in the alphabet."""
    sources = [
        {"name": name, "files": {"path": f"{name}/*", "split_bytes": 4096, "allow_empty": True}} for name in ("z", "a")
    ]
    lab = Lab(tmp_path, {"sources": sources, "steps": ["dedup.exact"]})
    for name in ("a/2", "a/10", "z/1", "a/1"):
        lab.put(f"{name}.jsonl", jsonl([{"text": f"{name} {i} " + "x" * 100} for i in range(60)]))
    return lab


def frozen(lab, seq=1):
    return plan.read_plan(Layout(lab.dataset), seq)


def test_tasks_stand_as_sources_in_the_config_then_by_unit(lab):
    lab.run()
    tasks = frozen(lab).tasks
    assert [task.number for task in tasks] == list(range(len(tasks)))
    order = list(dict.fromkeys((task.source, *task.split.units) for task in tasks))
    assert order == [("z", "1.jsonl"), ("a", "1.jsonl"), ("a", "10.jsonl"), ("a", "2.jsonl")]
    assert len(tasks) > len(order)
    assert [row.text.split()[0] for row in lab.rows()[::60]] == ["z/1", "a/1", "a/10", "a/2"]


def test_planning_alone_writes_nothing(lab):
    drafted, changed = lab.pipeline().plan()
    assert (drafted.empty, changed) == (False, [])
    assert not lab.dataset.exists()


def test_what_changed_in_the_config_is_named_and_recorded(lab):
    lab.run()
    lab.configure(lab.config | {"require": {"min_chars": 3}})
    drafted, changed = lab.pipeline().plan()
    assert drafted.empty
    assert changed == ["require: min_chars null -> 3"]
    lab.put("a/3.jsonl", jsonl([{"text": "new one"}]))
    assert {"config_changed": changed[0]} in lab.run().lineage


@pytest.mark.parametrize(("content", "word"), [(b"{", "cannot be read"), (b"", "cannot be read")])
def test_a_damaged_plan_is_named(lab, content, word):
    lab.run()
    (lab.dataset / "runs" / "1" / "plan.json").write_bytes(content)
    with pytest.raises(StoreError, match=word):
        frozen(lab)


def test_a_plan_of_another_format_is_refused(lab):
    lab.run()
    path = lab.dataset / "runs" / "1" / "plan.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"format": 7}))
    with pytest.raises(StoreError, match="format 7"):
        frozen(lab)


def test_more_tasks_than_an_ord_can_hold_are_refused_by_name(lab, monkeypatch):
    monkeypatch.setattr(plan, "TASK_BITS", 1)
    with pytest.raises(SourceError, match="larger split_bytes"):
        lab.run()
    monkeypatch.undo()
    assert lab.run().status == "published"
    assert lab.broken() == []


def test_an_ord_is_run_task_and_row():
    assert first_ord(1, 0) == 1 << 45
    assert first_ord(5, 3) == 5 << 45 | 3 << 26
    assert first_ord(1, (1 << TASK_BITS) - 1) < first_ord(2, 0)


def test_a_source_taken_out_of_the_config_keeps_its_records_and_state(lab):
    lab.run()
    before = lab.rows()
    sources = lab.config["sources"]
    lab.configure(lab.config | {"sources": sources[1:]})
    lab.put("a/3.jsonl", jsonl([{"text": "new one"}]))
    lab.put("z/1.jsonl", jsonl([{"text": "nobody looks"}]))
    lab.run()
    assert lab.rows()[: len(before)] == before
    lab.configure(lab.config | {"sources": sources})
    report = lab.run()
    assert flat(report.counts) == {"read": 1, "published": 1, "withdrawn": 60}
    assert lab.broken() == []


def test_the_state_of_a_snapshot_names_each_file_and_where_its_records_are(lab):
    lab.run()
    head = snapshot.head(Layout(lab.dataset))
    state = plan.read_state(Layout(lab.dataset), head, "a").units.to_pylist()
    assert [row["unit"] for row in state] == ["1.jsonl", "10.jsonl", "2.jsonl"]
    assert all(sum(part["hi"] - part["lo"] for part in row["ords"]) == 60 for row in state)
