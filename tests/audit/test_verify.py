"""Verify finds every kind of damage, says which file it is in, and finds nothing where there is none."""

import shutil

import numpy as np
import pytest
from tests.properties.lab import Lab

from gristmill.core.errors import ConfigError, StoreError
from gristmill.store import index
from gristmill.testing import corpora

CONFIG = {
    "sources": [{"name": "s", "files": {"path": "in/*", "id": "id", "allow_empty": True}}],
    "steps": ["clean.lowercase", {"filter.length": {"min_chars": 3}}, "dedup.exact"],
    "exports": [
        {"name": "x", "jsonl": {"path": "./out", "docs_per_chunk": 40}},
        {"name": "p", "parquet": {"path": "./out-p"}},
    ],
}


@pytest.fixture(scope="module", name="made")
def _made(tmp_path_factory):
    """Give a dataset of three snapshots: added, revised and withdrawn, one more."""
    lab = Lab(tmp_path_factory.mktemp("made"), CONFIG)
    records = corpora.documents(150, duplicates=0.1)
    lab.put("in/a.jsonl", corpora.jsonl(records[:60]))
    lab.put("in/b.jsonl", corpora.jsonl(records[60:120]))
    lab.run()
    lab.put("in/b.jsonl", corpora.jsonl([r | {"text": r["text"] + " again"} for r in records[60:100]]))
    lab.run()
    lab.put("in/c.jsonl", corpora.jsonl(records[120:]))
    lab.run()
    assert lab.broken() == []
    return lab


@pytest.fixture(name="lab")
def _lab(made, tmp_path):
    """Give a copy to damage."""
    shutil.copytree(made.folder, tmp_path / "copy", symlinks=True)
    return Lab(tmp_path / "copy", CONFIG)


def flip(path):
    """Change a bit in the middle of a file; its size stays."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def remove(path):
    path.unlink()


def parts(lab):
    """Give a file of each kind that a snapshot hangs on."""
    head = lab.open().manifest()
    chunk = min(path for path in (lab.folder / "out").iterdir() if path.name.startswith("chunk"))
    other = min(path for path in (lab.folder / "out-p").iterdir() if path.suffix == ".parquet")
    ids = next(run for run in head.index if run.fingerprint == index.IDS)
    keys = next(run for run in head.index if run.fingerprint != index.IDS)
    relative = {
        "shard": head.shards[0].path,
        "newest shard": head.shards[-1].path,
        "ids": ids.path,
        "keys": keys.path,
        "state": head.states["s"]["path"],
        "tombstones": head.tombstones[0],
    }
    return {name: lab.dataset / path for name, path in relative.items()} | {"chunk": chunk, "Parquet chunk": other}


def verify(lab):
    return lab.open().verify(config=lab.pipeline().config)


def test_nothing_is_found_where_nothing_is_damaged(lab):
    for seq in (1, 2, 3):
        assert lab.open().verify(seq) == []
    assert verify(lab) == []


@pytest.mark.parametrize("damage", [flip, cut, remove])
@pytest.mark.parametrize(
    "part", ["shard", "newest shard", "ids", "keys", "state", "tombstones", "chunk", "Parquet chunk"]
)
def test_each_damaged_file_is_named(lab, part, damage):
    path = parts(lab)[part]
    damage(path)
    found = verify(lab)
    assert found
    assert all(path.name in sentence for sentence in found), found


def test_a_shard_is_looked_for_in_the_snapshots_that_hold_it_only(lab):
    head = lab.open().manifest()
    newest = max(head.shards, key=lambda shard: shard.first_ord)
    (lab.dataset / newest.path).unlink()
    assert lab.open().verify(1) == []
    assert lab.open().verify(3) == [f"{newest.path} is missing"]


def test_a_manifest_that_is_not_the_committed_one_is_found(lab):
    path = lab.dataset / "runs" / "3" / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"code"', b'"Code"', 1).replace(b'"Code"', b'"code"') + b"\n")
    assert verify(lab) == ["runs/3/manifest.json is not the one that was committed"]


def test_an_earlier_manifest_that_is_not_the_committed_one_is_found(lab):
    path = lab.dataset / "runs" / "1" / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"rows": ', b'"rows": 1', 1))
    assert verify(lab) == ["runs/1/manifest.json is not the one that was committed"]


@pytest.mark.parametrize("seq", [1, 3])
def test_a_manifest_that_cannot_be_read_is_named(lab, seq):
    path = lab.dataset / "runs" / str(seq) / "manifest.json"
    path.write_bytes(path.read_bytes()[:-30])
    (problem,) = verify(lab)
    assert f"runs/{seq}/manifest.json is damaged" in problem


def test_a_manifest_of_an_export_that_is_gone_or_old_is_found(lab):
    path = lab.folder / "out" / "manifest.json"
    before = path.read_bytes()
    path.unlink()
    assert [s for s in verify(lab) if "export x" in s and "no manifest.json" in s]
    path.write_bytes(before.replace(b'"snapshot": 3', b'"snapshot": 2'))
    assert [s for s in verify(lab) if "export x is of snapshot 2" in s]


def test_a_file_in_the_table_that_no_manifest_names_is_no_damage(lab):
    shutil.copy(parts(lab)["shard"], lab.dataset / "table" / "zombie-00000000.parquet")
    assert verify(lab) == []


def test_damage_of_an_export_is_repaired_by_the_next_run(lab):
    for damage in (remove, cut):
        damage(parts(lab)["chunk"])
        assert verify(lab)
        assert lab.run().status == "nothing_new"
        assert lab.broken() == []


def test_a_damaged_index_or_tombstone_file_stops_the_next_run_before_it_publishes(lab):
    lab.put("in/a.jsonl", corpora.jsonl(corpora.documents(5, seed=9)))
    for run in lab.open().manifest().index:
        flip(lab.dataset / run.path)
    with pytest.raises(StoreError, match="verify"):
        lab.run()
    assert lab.open().seqs() == [1, 2, 3]


def test_what_is_read_again_to_the_end_is_the_whole_shard(lab):
    shards = [lab.dataset / shard.path for shard in lab.open().manifest().shards]
    for at in np.random.default_rng(0).integers(0, 1 << 30, 12).tolist():
        path = shards[at % len(shards)]
        content = path.read_bytes()
        path.write_bytes(
            content[: at % len(content)] + bytes([content[at % len(content)] ^ 1]) + content[at % len(content) + 1 :]
        )
        assert any(path.name in sentence for sentence in verify(lab))
        path.write_bytes(content)
    assert verify(lab) == []


def test_a_snapshot_that_is_not_there_is_a_clear_word(lab):
    with pytest.raises(ConfigError, match="no snapshot 7"):
        lab.open().verify(7)


def test_an_export_whose_folder_is_gone_is_told_and_hides_no_damage(lab):
    shutil.rmtree(lab.folder / "out")
    shard = lab.dataset / lab.open().manifest().shards[0].path
    flip(shard)
    found = lab.broken()
    assert any("sha256 differs" in told and shard.name in told for told in found)
    assert any(told.startswith("export x: ") and "has no manifest.json" in told for told in found)


def test_chunks_that_were_made_with_other_parameters_are_not_called_damaged(lab):
    exports = [
        {"name": "x", "jsonl": {"path": "./out", "docs_per_chunk": 40, "compression": "gzip"}},
        CONFIG["exports"][1],
    ]
    lab.configure(CONFIG | {"exports": exports})
    assert lab.broken() == []
    flip(next((lab.folder / "out").glob("chunk_*")))
    assert [told for told in lab.broken() if "sha256 differs" in told]


def test_two_exports_in_one_place_by_a_link_are_refused_and_never_taken_for_each_other(lab):
    (lab.folder / "by-a-link").symlink_to("out")
    exports = [*CONFIG["exports"], {"name": "y", "jsonl": {"path": "./by-a-link"}}]
    lab.configure(CONFIG | {"exports": exports})
    with pytest.raises(ConfigError, match="two exports write to the same path"):
        lab.run()
    lab.configure(CONFIG | {"exports": [{"name": "y", "jsonl": {"path": "./by-a-link"}}]})
    assert any("holds the export 'x'" in told for told in lab.broken())


def test_a_file_in_the_place_of_an_export_is_told_and_hides_no_damage(lab):
    shutil.rmtree(lab.folder / "out")
    (lab.folder / "out").write_bytes(b"")
    shutil.rmtree(lab.folder / "out-p")
    found = lab.broken()
    assert {"export x", "export p"} <= {told.split(":")[0] for told in found}
    assert any("cannot be read (Not a directory)" in told for told in found)


def test_a_manifest_that_is_missing_hides_no_other_damage(lab):
    head, chunk = lab.open().manifest(), parts(lab)["chunk"]
    (lab.dataset / "runs" / "1" / "manifest.json").unlink()
    flip(lab.dataset / head.shards[-1].path)
    remove(chunk)
    found = verify(lab)
    for name in ("runs/1/manifest.json is missing", head.shards[-1].path, "is missing; repair it"):
        assert len([told for told in found if name in told]) == 1, found


def test_a_state_that_is_not_the_committed_one_stops_a_run_and_is_named(lab):
    path = parts(lab)["state"]
    for at in (path.stat().st_size // 2, path.stat().st_size - 40):  # in the pages, in the footer
        content = bytearray(path.read_bytes())
        content[at] ^= 0x15
        path.write_bytes(content)
        lab.put("in/d.jsonl", corpora.jsonl(corpora.documents(3)))
        with pytest.raises(StoreError, match=f"{path.name} is not what the manifest says"):
            lab.run()
