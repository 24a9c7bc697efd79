"""The one commit of a snapshot to a store, and what it says when the store does not take it, has lost something, or lets a late one come."""

import time

import pytest
from deltalake import DeltaTable
from tests.store.test_claim import manifest, published

from gristmill.core.errors import LockedError, StaleError, StoreError, Transient
from gristmill.store import claim, lease, snapshot
from gristmill.store.layout import Layout
from gristmill.store.remote import Remote
from gristmill.store.snapshot import EMPTY

pytestmark = pytest.mark.slice
NAMES = iter(range(1000))


@pytest.fixture(name="layout")
def _layout(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(snapshot, "PAUSES_S", (0.0, 0.0))
    (tmp_path / "set").mkdir()
    remote = Remote(f"s3://{bucket.bucket}/commits-{next(NAMES)}", bucket.storage, 2.0)
    return Layout(tmp_path / "set", remote)


def prepared(layout, seq, parent):
    made = manifest(seq, parent)
    return made, snapshot.write_manifest(layout, layout.manifest(seq), made)


def test_a_commit_whose_answer_was_lost_is_found_and_not_made_twice(layout, monkeypatch):
    one = published(layout, 1, EMPTY)
    write, calls = DeltaTable.create_write_transaction, []

    def then_lost(self, *arguments, **more):
        write(self, *arguments, **more)
        calls.append(self.version())
        raise OSError("connection reset")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", then_lost)
    two, digest = prepared(layout, 2, one)
    snapshot.commit(layout, two, digest, one)
    assert len(calls) == 1
    assert snapshot.head_seq(layout) == 2
    assert snapshot.open_table(layout).version() == 2


def test_a_commit_that_comes_through_with_the_last_try_is_a_commit(layout, monkeypatch):
    write, calls = DeltaTable.create_write_transaction, []

    def seldom(self, *arguments, **more):
        calls.append("")
        if len(calls) < 3:
            raise OSError("connection reset")
        write(self, *arguments, **more)

    monkeypatch.setattr(DeltaTable, "create_write_transaction", seldom)
    published(layout, 1, EMPTY)
    assert (len(calls), snapshot.head_seq(layout)) == (3, 1)


def test_a_commit_that_the_store_does_not_take_is_a_passing_failure_and_no_snapshot(layout, monkeypatch):
    def never(*_, **__):
        raise OSError("connection reset")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", never)
    one, digest = prepared(layout, 1, EMPTY)
    with pytest.raises(Transient, match=r"the commit was not taken by the store \(OSError\); run again"):
        snapshot.commit(layout, one, digest, EMPTY)
    monkeypatch.undo()
    assert snapshot.head_seq(layout) == 0
    snapshot.commit(layout, one, digest, EMPTY)
    assert snapshot.head_seq(layout) == 1


def test_a_replay_of_a_commit_with_another_manifest_is_refused(layout):
    one = published(layout, 1, EMPTY)
    with pytest.raises(StaleError, match="snapshot 1 was committed since this run was planned on 0"):
        snapshot.commit(layout, one, "another digest", EMPTY)


def test_a_fence_takes_the_place_of_the_commit_that_was_prepared_and_is_set_once(layout):
    snapshot.fence(layout)
    assert not snapshot.has_table(layout)
    one = published(layout, 1, EMPTY)
    snapshot.fence(layout)
    assert snapshot.open_table(layout).version() == 1, "nothing is prepared"
    two, digest = prepared(layout, 2, one)
    late = snapshot.open_table(layout)
    snapshot.fence(layout)
    assert (snapshot.open_table(layout).version(), snapshot.head_seq(layout)) == (2, 1)
    assert late.version() == 1
    snapshot.commit(layout, two, digest, one)
    assert snapshot.head_seq(layout) == 2


def test_who_takes_a_dataset_over_sets_the_fence_and_who_gets_what_nobody_holds_does_not(layout, tmp_path, monkeypatch):
    prepared(layout, 2, published(layout, 1, EMPTY))
    monkeypatch.setattr(lease.Lease, "_renew", lambda self: None)

    def version_as_held_by(name):
        with claim.DatasetLock(Layout(tmp_path / name, layout.remote)) as lock:
            return snapshot.open_table(lock.layout).version()

    assert version_as_held_by("b") == 1
    lease.take(layout.root, layout.remote, "boot", 0)  # and gives no sign of life from here on
    assert version_as_held_by("c") == 2
    assert version_as_held_by("d") == 2
    assert snapshot.head_seq(layout) == 1


def test_who_waits_for_a_lease_waits_as_long_as_he_may_and_lets_the_folder_go(layout, tmp_path):
    held = lease.take(layout.root, layout.remote, "boot", 0)
    other = Layout(tmp_path / "b", layout.remote)
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(LockedError, match="is held by another run"), claim.DatasetLock(other, wait_s=0.5):
            pass
        assert 0.5 <= time.monotonic() - began < 30
    held.release()
    with claim.DatasetLock(other):
        assert lease.read(layout.remote)[0].held
    assert not lease.read(layout.remote)[0].held


def test_a_log_that_has_lost_a_part_or_is_damaged_is_told_with_the_dataset(layout):
    published(layout, 1, EMPTY)
    layout.remote.put(f"table/_delta_log/{1:020}.json", b'{"add": half of the secret line')
    with pytest.raises(StoreError, match=r"the Delta log in .*/table cannot be read \(\w+\); restore it") as told:
        snapshot.open_table(layout)
    assert "secret" not in str(told.value)
