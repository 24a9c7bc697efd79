"""What a commit writes into the Delta log, read there as it is: other readers of the table have nothing else to go by."""

import json
import time

import msgspec
import pytest
from tests.store.test_claim import manifest

from gristmill.core.errors import StaleError, StoreError
from gristmill.store import snapshot
from gristmill.store.layout import Layout
from gristmill.store.snapshot import EMPTY, Shard


@pytest.fixture(name="layout")
def _layout(tmp_path):
    return Layout(tmp_path / "set")


def shard(n, rows=2):
    return Shard(f"table/{n:06d}.parquet", rows, 100 + n, "00" * 32, n, n + rows - 1, 7)


def published(layout, seq, parent, shards=()):
    made = msgspec.structs.replace(manifest(seq, parent), shards=[*shards])
    digest = snapshot.write_manifest(layout, layout.manifest(seq), made)
    snapshot.commit(layout, made, digest, parent)
    return made, digest


def entries(layout):
    """Give the actions of each entry of the log, by kind."""
    found = []
    for path in sorted((layout.table / "_delta_log").glob("*.json")):
        actions = [json.loads(line) for line in path.read_text().splitlines()]
        found.append(
            {
                kind: [each[kind] for each in actions if kind in each]
                for kind in ("add", "remove", "txn", "commitInfo", "metaData")
            }
        )
    return found


def test_the_log_names_what_came_what_went_and_the_manifest(layout):
    began = time.time_ns() // 1_000_000
    one, first = published(layout, 1, EMPTY, [shard(0), shard(1, 5)])
    two, second = published(layout, 2, one, [shard(1, 5), shard(2)])
    made, come, changed = entries(layout)
    (about,) = made["metaData"]
    days = {
        "delta.logRetentionDuration": "interval 36500 days",
        "delta.deletedFileRetentionDuration": "interval 36500 days",
    }
    assert about["configuration"] == days
    assert [(add["path"], add["size"], json.loads(add["stats"])) for add in come["add"]] == [
        ("000000.parquet", 100, {"numRecords": 2}),
        ("000001.parquet", 101, {"numRecords": 5}),
    ]
    assert (come["remove"], [add["path"] for add in changed["add"]]) == ([], ["000002.parquet"])
    assert [(gone["path"], gone["size"]) for gone in changed["remove"]] == [("000000.parquet", 100)]
    for action in (*come["add"], *changed["add"], *changed["remove"]):
        assert action["dataChange"] is True
        assert action["partitionValues"] == {}
        assert began <= action.get("modificationTime", action.get("deletionTimestamp")) <= time.time_ns() // 1_000_000
    for entry, seq, digest in ((come, 1, first), (changed, 2, second)):
        assert [(each["appId"], each["version"]) for each in entry["txn"]] == [("gristmill", seq)]
        (told,) = entry["commitInfo"]
        assert (told["gristmill.seq"], told["gristmill.manifest_sha256"]) == (str(seq), digest)
    assert snapshot.head(layout) == two
    assert two.rows == 7


def test_a_commit_is_made_once_and_on_its_parent_alone(layout):
    one, digest = published(layout, 1, EMPTY)
    snapshot.commit(layout, one, digest, EMPTY)
    assert len(entries(layout)) == 2, "a replay of the same commit writes nothing"
    published(layout, 2, one)
    with pytest.raises(StaleError, match="snapshot 2 was committed since this run was planned on 1; run again"):
        published(layout, 3, one)
    assert len(entries(layout)) == 3


def test_the_table_is_made_once_and_has_one_name_for_ever(layout, tmp_path):
    assert not snapshot.has_table(layout)
    assert snapshot.head(layout) == EMPTY
    snapshot.create_table(layout)
    named = snapshot.dataset_id(layout)
    snapshot.create_table(layout)
    assert snapshot.has_table(layout)
    assert (snapshot.head_seq(layout), len(entries(layout))) == (0, 1)
    one, _ = published(layout, 1, EMPTY)
    published(layout, 2, one)
    assert snapshot.dataset_id(layout) == named
    other = Layout(tmp_path / "other")
    snapshot.create_table(other)
    assert snapshot.dataset_id(other) != named


def test_a_log_that_was_cleaned_up_gives_the_same_name(layout):
    published(layout, 1, EMPTY)
    named = snapshot.dataset_id(layout)
    snapshot.open_table(layout).create_checkpoint()
    (layout.table / "_delta_log" / f"{0:020}.json").unlink()
    assert snapshot.dataset_id(layout) == named
    assert snapshot.head_seq(layout) == 1


def test_a_log_that_is_gone_is_told_where_there_are_snapshots(layout):
    published(layout, 1, EMPTY)
    for path in (layout.table / "_delta_log").iterdir():
        path.unlink()
    with pytest.raises(
        StoreError, match=r"set/table/_delta_log is gone, but there are snapshots in .*runs; restore it"
    ):
        snapshot.head(layout)


def test_a_fence_on_a_disk_takes_the_place_of_what_was_prepared_and_needs_a_table_and_a_manifest(layout):
    snapshot.fence(layout)
    assert not snapshot.has_table(layout)
    snapshot.create_table(layout)
    snapshot.fence(layout)
    assert len(entries(layout)) == 1, "nothing was prepared"
    one = manifest(1, EMPTY)
    digest = snapshot.write_manifest(layout, layout.manifest(1), one)
    snapshot.commit(layout, one, digest, EMPTY)
    snapshot.fence(layout)
    assert len(entries(layout)) == 2, "what was prepared is committed"
    snapshot.write_manifest(layout, layout.manifest(10), manifest(10, one))
    snapshot.write_manifest(layout, layout.manifest(9), manifest(9, one))
    snapshot.fence(layout)
    last = entries(layout)[-1]
    assert (len(entries(layout)), last["add"], last["txn"]) == (3, [], [])
    assert last["commitInfo"][0]["gristmill.fence"] == "10"
    assert snapshot.head_seq(layout) == 1
