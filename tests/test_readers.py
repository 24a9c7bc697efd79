"""The table is open: other tools read both of its snapshots and see the same records."""

import os
import subprocess
import sys

import polars as pl
import pyarrow.dataset as pads
import pytest
from deltalake import DeltaTable
from tests.properties.lab import Lab

from gristmill.testing import corpora


@pytest.fixture(scope="module", name="lab")
def _lab(tmp_path_factory):
    """Give a dataset with two snapshots: the second adds, revises and withdraws."""
    config = {
        "sources": [{"name": "s", "files": {"path": "in/*", "id": "id", "lang": "lang", "time": "at"}}],
        "steps": ["dedup.exact"],
    }
    lab = Lab(tmp_path_factory.mktemp("readers"), config)
    records = [
        record | {"at": "2024-05-06T07:08:09Z", "n": i}
        for i, record in enumerate(corpora.documents(300, duplicates=0.1))
    ]
    lab.put("in/a.jsonl", corpora.jsonl(records[:100]))
    lab.put("in/b.jsonl", corpora.jsonl(records[100:200]))
    lab.run()
    revised = [record | {"text": f"revised {record['id']}"} for record in records[100:110]]
    lab.put("in/b.jsonl", corpora.jsonl([*revised, *records[120:200]]))
    lab.put("in/c.jsonl", corpora.jsonl(records[200:]))
    report = lab.run()
    assert report.counts.withdrawn
    assert report.counts.published
    return lab


@pytest.fixture(params=[1, 2])
def seq(request):
    return request.param


def expected(lab, seq):
    table = lab.open().read(seq, ["id", "text"])
    assert table.num_rows > 100
    return sorted(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True))


def test_the_two_snapshots_differ(lab):
    assert expected(lab, 1) != expected(lab, 2)


def test_pyarrow_opens_the_files_of_a_snapshot(lab, seq):
    table = pads.dataset(lab.open().files(seq)).to_table(columns=["id", "text"])
    assert sorted(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True)) == expected(lab, seq)


def test_polars_opens_the_files_of_a_snapshot(lab, seq):
    frame = pl.scan_parquet(lab.open().files(seq)).select("id", "text").collect()
    assert sorted(frame.rows()) == expected(lab, seq)


def test_polars_opens_the_table_at_a_version(lab, seq):
    version = lab.open().delta_version(seq)
    frame = pl.scan_delta(str(lab.dataset / "table"), version=version).select("id", "text").collect()
    assert sorted(frame.rows()) == expected(lab, seq)


def test_deltalake_opens_the_table_at_a_version(lab, seq):
    table = DeltaTable(str(lab.dataset / "table"), version=lab.open().delta_version(seq))
    found = table.to_pyarrow_dataset().to_table(columns=["id", "text", "time", "seq"])
    assert sorted(zip(found["id"].to_pylist(), found["text"].to_pylist(), strict=True)) == expected(lab, seq)
    assert set(found["seq"].to_pylist()) <= {1, 2}
    assert {str(moment) for moment in found["time"].to_pylist()} == {"2024-05-06 07:08:09+00:00"}


HUGGING_FACE = """
import sys, warnings
warnings.simplefilter("ignore")
import datasets
datasets.disable_progress_bars()
loaded = datasets.load_dataset("parquet", data_files=sys.argv[2:], cache_dir=sys.argv[1], split="train")
print(len(loaded), len(set(loaded["id"])))
sys.stdout.write("\\n".join(sorted(loaded["id"])))
"""


def test_hugging_face_datasets_opens_the_files_of_a_snapshot(lab, seq, tmp_path):
    offline = {
        "HF_DATASETS_OFFLINE": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path),
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", HUGGING_FACE, str(tmp_path / "cache"), *lab.open().files(seq)],
        env=os.environ | offline, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    _, *ids = done.stdout.splitlines()
    assert ids == [id_ for id_, _ in expected(lab, seq)]
