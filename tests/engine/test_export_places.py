"""P11: where one dataset's export lies nothing else is put, and what is not an export's own is not removed."""

import json
import shutil

import pytest
from tests.properties.lab import Lab

from gristmill.core.errors import ConfigError

PARTS = {"jsonl": {"path": "../out", "docs_per_chunk": 2}, "parquet": {"path": "../out"}}


def lab_in(folder, part="jsonl", texts=("one", "two", "three")):
    exports = [{"name": "chunks", part: PARTS[part]}]
    lab = Lab(folder, {"sources": [{"name": "a", "files": {"path": "a/*.jsonl", "id": "id"}}], "exports": exports})
    rows = [{"id": str(at), "text": f"{folder.name} says {text}"} for at, text in enumerate(texts)]
    lab.put("a/1.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    return lab


def seen(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("part", PARTS)
def test_two_datasets_do_not_share_a_folder(tmp_path, part):
    mine, other = lab_in(tmp_path / "mine", part), lab_in(tmp_path / "other", part)
    assert mine.run().status == "published"
    before = seen(tmp_path / "out")
    whose = json.loads(before[".dataset.json"])["dataset"]
    with pytest.raises(
        ConfigError, match=rf"holds the export of another dataset \(its id is {whose}, .*a path of its own"
    ):
        other.run()
    assert not (other.dataset / "runs").exists(), "nothing is done before it is told"
    assert any("another dataset" in told for told in other.pipeline().problems())
    assert seen(tmp_path / "out") == before
    assert mine.broken() == []


def test_of_a_dataset_that_has_snapshots_another_ones_folder_is_told_by_verify_and_left_by_gc(tmp_path):
    mine, other = lab_in(tmp_path / "mine"), lab_in(tmp_path / "other")
    mine.run()
    shutil.move(tmp_path / "out", tmp_path / "kept")
    other.run()
    before = seen(tmp_path / "out")
    assert any("another dataset" in told for told in mine.open().verify(config=mine.pipeline().config))
    with pytest.raises(ConfigError, match="another dataset"):
        mine.pipeline().export()
    mine.open().gc(config=mine.pipeline().config)
    assert seen(tmp_path / "out") == before


def test_a_dataset_that_was_moved_or_rolled_back_keeps_its_export(tmp_path):
    lab = lab_in(tmp_path / "mine")
    lab.run()
    lab.put("a/2.jsonl", b'{"id": "9", "text": "one more"}\n')
    lab.run()
    lab.open().rollback(1, why="too much", config=lab.pipeline().config)
    assert lab.broken() == []
    shutil.move(tmp_path / "mine", tmp_path / "moved")
    moved = Lab(tmp_path / "moved", lab.config)
    moved.put("a/3.jsonl", b'{"id": "8", "text": "and another"}\n')
    assert moved.run().status == "published"
    assert moved.broken() == []


def test_an_export_of_before_there_were_owners_is_taken_over(tmp_path):
    lab = lab_in(tmp_path / "mine")
    lab.run()
    before = seen(tmp_path / "out")
    (tmp_path / "out" / ".dataset.json").unlink()
    assert lab.run().status == "nothing_new"
    assert seen(tmp_path / "out") == before
    (tmp_path / "out" / "manifest.json").unlink()
    (tmp_path / "out" / "chunk_00099.jsonl.zst").write_bytes(b"of a writer that died")
    lab.run()
    assert seen(tmp_path / "out") == before


def test_files_that_only_look_like_chunks_are_not_removed(tmp_path):
    lab = lab_in(tmp_path / "mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("of somebody's")
    stranger = tmp_path / "out" / "chunk_00007.jsonl.zst"
    stranger.write_bytes(b"precious")
    with pytest.raises(ConfigError, match=r"that no manifest lists \(chunk_00007.jsonl.zst\).*empty the folder"):
        lab.run()
    assert stranger.read_bytes() == b"precious"
    stranger.unlink()
    assert lab.run().status == "published"
    assert lab.broken() == []
