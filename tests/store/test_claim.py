"""Claims and commits: of many who race one wins, a dead run is taken over, a stale one publishes nothing."""

import json
import multiprocessing
import os
import re
import stat
import subprocess
import sys
import time
from functools import partial

import msgspec
import pytest
from tests.properties.lab import Lab, jsonl

from gristmill.core.errors import LockedError, StaleError, StoreError
from gristmill.store import claim, disk, journal, snapshot
from gristmill.store.layout import Layout
from gristmill.store.snapshot import EMPTY, Shard

FORK = multiprocessing.get_context("forkserver")


@pytest.fixture(name="layout")
def _layout(tmp_path):
    return Layout(tmp_path / "set")


def race(function, *arguments):
    """Call a function in four processes at once; give what each of them got."""
    with FORK.Pool(4) as pool:
        return pool.starmap(function, [(*arguments, i) for i in range(4)] * 5, chunksize=1)


def create(path, i):
    return disk.create_file(path, f"content of {i}".encode() * 1000)


def take(layout, _):
    with claim.DatasetLock(layout, wait_s=60):
        seq = claim.take_seq(layout, 0, "config").seq
        layout.plan(seq).write_text("{}")
    return seq


def write(layout, i):
    return journal.record(layout, 1, "task", f"by {i}", str)


def test_of_many_who_create_a_file_one_wins_and_its_content_is_whole(tmp_path):
    path = tmp_path / "deep" / "er" / "file"
    assert race(create, path).count(True) == 1
    assert path.read_bytes() in [f"content of {i}".encode() * 1000 for i in range(4)]
    assert list(path.parent.iterdir()) == [path]


def test_every_number_is_given_out_once(layout):
    assert sorted(race(take, layout)) == list(range(1, 21))
    assert claim.claimed(layout) == list(range(1, 21))


def test_all_who_finish_a_task_get_the_result_of_the_first(layout):
    assert len(set(race(write, layout))) == 1


def test_a_number_follows_all_that_were_taken_and_the_head(layout):
    assert claim.take_seq(layout, 6, "c").seq == 7
    layout.plan(7).write_text("{}")
    assert claim.take_seq(layout, 0, "c").seq == 8
    layout.run(30).mkdir()  # not a claim yet: its process died before
    layout.report(8).write_text("{}")
    assert claim.take_seq(layout, 0, "c").seq == 9


def test_a_run_that_died_before_its_plan_did_nothing_and_its_number_is_taken_again(layout):
    claim.take_seq(layout, 0, "before")
    again = claim.take_seq(layout, 0, "after")
    assert (again.seq, claim.read_claim(layout, 1).config) == (1, "after")


def test_numbers_end_with_a_clear_word(layout):
    with pytest.raises(StoreError, match="18 bits"):
        claim.take_seq(layout, (1 << 18) - 1, "c")


def test_a_claim_of_another_format_is_refused(layout):
    claim.take_seq(layout, 0, "c")
    content = json.loads(layout.claim(1).read_bytes()) | {"format": 99}
    layout.claim(1).write_text(json.dumps(content))
    with pytest.raises(StoreError, match="format 99"):
        claim.read_claim(layout, 1)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("", True),
        ("report", False),
        ("no plan", False),
        ("other config", False),
        ("other parent", False),
        ("newer head", False),
    ],
)
def test_only_a_run_that_died_with_its_plan_is_gone_on_with(layout, damage, found):
    claim.take_seq(layout, 3, "other" if damage == "other config" else "c")
    if damage != "no plan":
        layout.plan(4).write_text("{}")
    if damage == "report":
        layout.report(4).write_text("{}")
    head = {"other parent": 2, "newer head": 4}.get(damage, 3)
    assert (claim.unfinished(layout, head, "c") is not None) == found


HOLD = """
import sys, time
from pathlib import Path
from gristmill.store.claim import DatasetLock
from gristmill.store.layout import Layout
with DatasetLock(Layout(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_names_its_holder_and_is_free_when_the_holder_is_killed(layout):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(layout.root)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockedError, match=f"pid {holder.pid}") as caught, claim.DatasetLock(layout):
            pass
        assert caught.value.exit_code == 5
        begun = time.monotonic()
        with pytest.raises(LockedError), claim.DatasetLock(layout, wait_s=0.5):
            pass
        assert time.monotonic() - begun >= 0.5
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    with claim.DatasetLock(layout):
        assert f"pid {os.getpid()} " in layout.lock.read_text()


def test_a_lock_says_who_holds_it_now_and_nothing_of_who_held_it_before(layout):
    layout.root.mkdir(parents=True, exist_ok=True)
    layout.lock.write_text("pid 1 on " + "a-machine-of-a-long-name" * 20)
    with claim.DatasetLock(layout):
        told = layout.lock.read_text()
    assert re.fullmatch(rf"pid {os.getpid()} on \S+ since \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ\n", told)


def test_a_lock_is_read_by_the_group_at_most_whatever_the_umask(layout):
    before = os.umask(0)
    try:
        with claim.DatasetLock(layout):
            assert stat.S_IMODE(layout.lock.stat().st_mode) == 0o640
    finally:
        os.umask(before)


def test_a_lock_that_is_no_file_is_told_as_what_the_system_says(layout):
    layout.lock.mkdir(parents=True)
    with pytest.raises(IsADirectoryError), claim.DatasetLock(layout):
        pass


def test_who_waits_for_a_lock_lets_others_work(layout):
    with claim.DatasetLock(layout):
        begun = time.process_time()
        with pytest.raises(LockedError, match="is held by another run"), claim.DatasetLock(layout, wait_s=1):
            pass
        assert time.process_time() - begun < 0.5


def test_a_lock_is_held_to_the_end_of_its_block_and_free_behind_it_also_when_that_fails(layout):
    def fail():
        with claim.DatasetLock(layout):
            with pytest.raises(LockedError), claim.DatasetLock(layout):
                pass
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with claim.DatasetLock(layout):
        pass


def test_a_run_finds_the_dataset_held_and_changes_nothing(tmp_path):
    lab = Lab(tmp_path, {"sources": [{"name": "s", "files": {"path": "in/*"}}]})
    lab.put("in/a.jsonl", jsonl([{"text": "a"}]))
    with claim.DatasetLock(Layout(lab.dataset)):
        before = sorted(lab.dataset.rglob("*"))
        with pytest.raises(LockedError):
            lab.run()
        assert sorted(lab.dataset.rglob("*")) == before
    assert lab.run().status == "published"


def manifest(seq, parent):
    """Give an empty snapshot's manifest."""
    return msgspec.structs.replace(EMPTY, seq=seq, parent=parent.seq)


def published(layout, seq, parent):
    made = manifest(seq, parent)
    snapshot.commit(layout, made, snapshot.write_manifest(layout, layout.manifest(seq), made), parent)
    return made


def test_a_commit_on_an_overtaken_parent_is_refused(layout):
    one = published(layout, 1, EMPTY)
    for parent, seq in ((EMPTY, 2), (EMPTY, 1)):  # a number of its own, and a replay
        late = manifest(seq, parent)
        with pytest.raises(StaleError, match="snapshot 1 was committed"):
            snapshot.commit(layout, late, "digest", parent)
    published(layout, 3, one)
    with pytest.raises(StaleError, match="snapshot 3"):
        snapshot.commit(layout, manifest(4, one), "digest", one)
    assert snapshot.head_seq(layout) == 3


def commit_after(layout, barrier, i):
    """Commit a number of one's own on an empty dataset."""
    made = manifest(i + 1, EMPTY)
    digest = snapshot.write_manifest(layout, layout.manifest(made.seq), made)
    barrier.wait()
    try:
        snapshot.commit(layout, made, digest, EMPTY)
    except Exception as error:  # of whatever kind: it lost
        return type(error).__name__
    return "won"


def test_of_commits_at_the_same_time_one_wins(layout):
    snapshot.create_table(layout)
    with FORK.Manager() as manager:
        barrier = manager.Barrier(4)
        with FORK.Pool(4) as pool:
            told = pool.map(partial(commit_after, layout, barrier), range(4), chunksize=1)
    assert told.count("won") == 1, told
    assert snapshot.head_seq(layout) in {1, 2, 3, 4}


def test_a_manifest_that_is_gone_damaged_or_of_the_future_is_told_apart(layout):
    published(layout, 1, EMPTY)
    path = layout.manifest(1)
    content = path.read_bytes()
    for damaged, word in (
        (content[:-20], "damaged"),
        (content.replace(b'"format": 1', b'"format": 9'), "format 9"),
        (b"\xff", "damaged"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match=word):
            snapshot.head(layout)
    path.unlink()
    with pytest.raises(StoreError, match="missing"):
        snapshot.head(layout)


def test_a_manifest_says_the_same_after_reading_as_before(layout):
    made = msgspec.structs.replace(manifest(2, EMPTY), shards=[Shard("table/a.parquet", 1, 2, "3", 4, 5, 6)])
    snapshot.write_manifest(layout, layout.manifest(2), made)
    assert snapshot.read_manifest(layout.manifest(2)) == made


def test_equal_values_have_equal_json():
    assert disk.to_json({"b": 1, "a": [2]}) == disk.to_json({"a": [2], "b": 1})


def test_a_file_is_replaced_whole_and_leaves_no_scratch(tmp_path):
    path = tmp_path / "a" / "file"
    disk.write_file(path, b"one")
    disk.write_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]
