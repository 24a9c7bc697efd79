"""`max_depth`: a record that is nested deeper is quarantined as `json.depth`, in every format that nests; the others stay."""

import gzip
import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.sources.files import Files

DEPTH = 5  # of the record's own braces and what is in them


def nested(levels: int) -> dict[str, object]:
    """A record of so many levels: lists and objects in turn."""
    value: object = "leaf"
    for i in range(levels - 1):
        value = [value] if i % 2 else {"a": value}
    return {"text": f"text of {levels}", "deep": value}


RECORDS = [nested(levels) for levels in (2, DEPTH, DEPTH + 1, DEPTH + 20)]
LINES = b"".join(json.dumps(record).encode() + b"\n" for record in RECORDS)


def tar(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", LINES),
        ("a.jsonl.gz", gzip.compress(LINES, mtime=0)),
        ("a.tar", tar("a.jsonl", LINES)),
        ("a.json", json.dumps(RECORDS).encode()),
    ],
    ids=["lines", "gzip", "tar", "json"],
)
def test_what_is_nested_deeper_than_it_may_be_is_quarantined(read, name, data):
    out = read({name: data}, max_depth=DEPTH)
    assert [row["text"] for row in out.rows] == ["text of 2", f"text of {DEPTH}"]
    assert [code for code, _ in out.rejects] == ["json.depth", "json.depth"]
    assert not out.failed


def test_columns_of_parquet_nest_as_json_does(read):
    deep = [{"a": [{"b": ["leaf"]}]}, None]
    out = io.BytesIO()
    pq.write_table(pa.table({"text": ["deep", "flat"], "deep": pa.array(deep)}), out)
    assert [row["text"] for row in read({"a.parquet": out.getvalue()}, max_depth=5).rows] == ["deep", "flat"]
    found = read({"a.parquet": out.getvalue()}, max_depth=4)
    assert [row["text"] for row in found.rows] == ["flat"]
    assert [code for code, _ in found.rejects] == ["json.depth"]


def test_by_default_a_record_may_be_as_deep_as_one_can_be_written(read):
    out = read({"a.jsonl": LINES + json.dumps(nested(254)).encode() + b"\n" + json.dumps(nested(255)).encode() + b"\n"})
    assert len(out.rows) == len(RECORDS) + 1
    assert [code for code, _ in out.rejects] == ["json.depth"]


@pytest.mark.parametrize("wrong", [0, 255])
def test_a_depth_that_none_can_be_is_refused(wrong):
    import msgspec

    with pytest.raises(msgspec.ValidationError, match="max_depth"):
        msgspec.convert({"path": "*", "max_depth": wrong}, Files)
