"""Shards: cut by what is in them alone, named by their digest, read back in order and in part."""

import hashlib
from types import SimpleNamespace

import pytest
from tests.properties.lab import Lab, jsonl
from tests.steps.test_exact import batch_of

from gristmill.core.batch import TABLE_SCHEMA, Batch
from gristmill.core.errors import StoreError
from gristmill.engine import table
from gristmill.engine.table import TableWriter
from gristmill.store.layout import Layout
from gristmill.store.rows import read_shard

TEXTS = [f"text number {i} " * (1 + i % 7) for i in range(60)]


def write(folder, cuts):
    """Write the texts in batches; give the shards."""
    layout = Layout(folder)
    work = SimpleNamespace(layout=layout, seq=3, staged=lambda name: folder / "staging" / name)
    writer = TableWriter(work, "s1-000000", "0123456789abcdef0123")
    rows = batch_of([{"text": text} for text in TEXTS], first=3 << 45).rows
    for start, end in zip([0, *cuts], [*cuts, len(TEXTS)], strict=True):
        writer.write(Batch(rows.slice(start, end - start)))
    shards = writer.close()
    assert writer.rows == len(TEXTS)
    return layout, shards


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(table, "SHARD_TEXT_BYTES", 700)
    monkeypatch.setattr(table, "ROW_GROUP_ROWS", 4)


def test_shards_do_not_depend_on_where_batches_end(tmp_path):
    whole = write(tmp_path / "a", [])[1]
    assert len(whole) > 3
    assert write(tmp_path / "b", [1, 2, 30, 59])[1] == whole


def test_a_shard_is_what_its_name_and_entry_say(tmp_path):
    layout, shards = write(tmp_path, [17])
    seen = []
    for shard in shards:
        content = layout.absolute(shard.path).read_bytes()
        assert hashlib.sha256(content).hexdigest() == shard.sha256
        assert shard.path == f"table/0123456789abcdef-{shard.sha256[:8]}.parquet"
        assert shard.bytes == len(content)
        rows = [row for batch in read_shard(layout, shard) for row in batch.to_pylist()]
        assert (rows[0]["ord"], rows[-1]["ord"], len(rows)) == (shard.first_ord, shard.last_ord, shard.rows)
        assert sum(len(row["text"].encode()) for row in rows) == shard.text_bytes
        assert {row["seq"] for row in rows} == {3}
        assert list(rows[0]) == TABLE_SCHEMA.names
        seen += [row["text"] for row in rows]
    assert seen == TEXTS
    assert not [path for path in (tmp_path / "staging").rglob("*") if path.is_file()]


@pytest.mark.parametrize("between", [(5, 5), (0, 100), (3, 9), (7, 6), (70, 80)])
def test_a_part_of_a_shard_is_the_rows_between(tmp_path, between):
    layout, shards = write(tmp_path, [])
    lo, hi = ((3 << 45) + edge for edge in between)
    found = [
        o for shard in shards for rows in read_shard(layout, shard, ["ord"], (lo, hi)) for o in rows["ord"].to_pylist()
    ]
    assert found == [(3 << 45) + i for i in range(60) if between[0] <= i <= between[1]]


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped"])
def test_a_damaged_shard_is_named(tmp_path, damage):
    layout, shards = write(tmp_path, [])
    path = layout.absolute(shards[0].path)
    content = path.read_bytes()
    path.unlink()
    if damage != "missing":
        at = content.index(b"PAR1") + 60
        path.write_bytes(
            content[:-9] if damage == "cut" else content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :]
        )
    with pytest.raises(StoreError, match=path.name):
        list(read_shard(layout, shards[0]))


def test_no_rows_make_no_shard_but_their_hashes_are_there(tmp_path):
    work = SimpleNamespace(layout=Layout(tmp_path), seq=1, staged=lambda name: tmp_path / "staging" / name)
    writer = TableWriter(work, "s1-000000", "0" * 32)
    writer.write(batch_of([]))
    assert writer.close() == []
    assert writer.save_hashes("1/a.npy") == ["1/a.npy"]
    assert (tmp_path / "staging" / "1" / "a.npy").exists()


@pytest.mark.parametrize(
    ("folder", "word"), [("table", "is missing or cut short"), ("index", r"is missing: the dataset is damaged")]
)
def test_nothing_is_built_on_a_snapshot_that_has_lost_a_file(tmp_path, folder, word):
    lab = Lab(tmp_path, {"sources": [{"name": "s", "files": {"path": "in/*"}}], "steps": ["dedup.exact"]})
    lab.put("in/a.jsonl", jsonl([{"text": "a"}, {"text": "b"}]))
    lab.run()
    lost = max((lab.dataset / folder).rglob("*.parquet"))
    lost.rename(tmp_path / "lost")
    lab.put("in/b.jsonl", jsonl([{"text": "c"}]))
    with pytest.raises(StoreError, match=rf"{lost.name} {word}.*run `gristmill verify`, restore it, then run again"):
        lab.run()
    (tmp_path / "lost").rename(lost)
    assert lab.run().status == "published"
