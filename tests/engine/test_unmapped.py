"""A config that names a field which is not there: nothing is published as if all were well, and what it spoiled is read once it is mended."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.properties.lab import Lab, flat

from gristmill.core.errors import GateRefused
from gristmill.testing import laws


def config(**files):
    return {"sources": [{"name": "s", "files": {"path": "in/*"} | files}], "steps": ["dedup.exact"]}


def put(lab, name, kind, field):
    rows = [{"key": f"{name}-{i}", field: f"document {i} of {name}"} for i in range(3)]
    path = lab.folder / "in" / f"{name}.{kind}"
    path.parent.mkdir(exist_ok=True)
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "csv":
        path.write_text("\n".join([f"key,{field}", *(f"{row['key']},{row[field]}" for row in rows), ""]))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("wrong", [{"text": "text"}, {"text": "body", "id": "name"}])
def test_a_first_run_of_which_nothing_has_the_field_is_refused_and_the_mended_one_reads_all(tmp_path, kind, wrong):
    lab = Lab(tmp_path, config(**wrong))
    put(lab, "a", kind, "body")
    with pytest.raises(GateRefused, match=r"s\.max_quarantined_ratio .*(field|id)\.missing"):
        lab.run()
    assert laws.head_seq(lab.dataset) is None
    lab.configure(config(text="body"))
    assert flat(lab.run().counts) == {"read": 3, "published": 3}
    assert lab.broken() == []


def test_it_can_be_published_all_the_same_if_that_is_said(tmp_path):
    lab = Lab(tmp_path, config())
    put(lab, "a", "parquet", "body")
    report = lab.run(accept_gate=["s.max_quarantined_ratio"], why="it is known")
    assert flat(report.counts) == {"read": 1, "quarantined/field.missing": 1}
    assert lab.pipeline().choices()["full-refresh"]["records"] == 1
    assert lab.run().status == "nothing_new"


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_file_that_lacked_the_field_is_read_again_by_a_config_that_says_otherwise(tmp_path, kind):
    lab = Lab(tmp_path, config())
    put(lab, "a", kind, "text")
    lab.run()
    put(lab, "b", kind, "body")
    assert flat(lab.run().counts) == {"read": 1, "quarantined/field.missing": 1}
    assert lab.run().status == "nothing_new"
    lab.configure(config(text="title"))
    assert lab.pipeline().plan()[0].found["s"].replaced == [f"b.{kind}"]
    assert lab.run().status == "nothing_new", "no better, and nothing that was fine is read"
    lab.configure(config(text="body"))
    assert flat(lab.run().counts) == {"read": 3, "published": 3}
    assert len(lab.rows()) == 6
    assert lab.run().status == "nothing_new"
    assert lab.open().quarantine_counts()[0]["open"] == 0
    assert lab.broken() == []
