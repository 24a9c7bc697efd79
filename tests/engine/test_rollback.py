"""A rollback is a snapshot with the rows of an earlier one, and leaves the world to the next run as that snapshot left it."""

import copy
import hashlib
import json
import re
import shutil
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples
from tests.oracle import Oracle, Source
from tests.properties.lab import Lab, flat, folder, jsonl
from tests.properties.test_histories import EXPORTS, HISTORIES, PIPELINES, bring, change, config, units

from gristmill.core.errors import ConfigError, LockedError
from gristmill.dataset import Dataset
from gristmill.engine import freshness, rollback
from gristmill.observe.events import Silent
from gristmill.observe.memory import Memory
from gristmill.store.claim import DatasetLock

ROOT = Path(__file__).resolve().parents[2]
A, B = "a/1.jsonl", "a/2.jsonl"
SOURCES = [Source("a", "id")]
STEPS = PIPELINES["clean, filter, dedup"]


def rec(id_, text):
    return {"id": id_, "text": text}


def two_days(tmp_path, **how):
    """Give a lab after two runs: in the second something came, changed, went, was dropped and was a duplicate."""
    lab = Lab(tmp_path, config(SOURCES, STEPS, **how))
    lab.put(A, jsonl([rec("1", "one"), rec("2", "two"), rec("3", "three")]))
    lab.run()
    lab.put(A, jsonl([rec("1", "uno"), rec("2", "two")]))
    lab.put(B, jsonl([rec("4", "four"), rec("5", "two"), rec("6", "x")]))
    lab.run()
    return lab


def back(lab, seq, **how):
    return lab.open().rollback(seq, config=lab.pipeline().config, **how)


def test_a_rollback_publishes_the_rows_of_the_earlier_snapshot_and_both_laws_hold(tmp_path):
    lab = two_days(tmp_path, exports=EXPORTS)
    then = lab.open().read(1)
    report = back(lab, 1)
    assert (report.status, report.run, report.snapshot, report.parent) == ("published", 3, 3, 2)
    # 1 and 3 came back, `uno` and 4 went; what comes back is read from the shards of that snapshot
    assert flat(report.counts) == {"read": 2, "published": 2, "withdrawn": 2}
    assert lab.open().read().equals(then)
    assert lab.open().manifest().shards == lab.open().manifest(1).shards
    assert lab.broken() == []


def test_the_next_run_reads_again_what_came_changed_and_went_since_and_publishes_it_once(tmp_path):
    lab = two_days(tmp_path)
    after_two, second = lab.records(), flat(lab.open().manifest(2).counts)
    back(lab, 1)
    again = lab.run()
    assert (again.run, flat(again.counts)) == (4, second)
    assert lab.records() == after_two
    assert lab.broken() == []
    assert lab.run().status == "nothing_new"


def test_what_was_mended_in_between_comes_as_it_is_now(tmp_path):
    lab = two_days(tmp_path)
    back(lab, 1)
    lab.put(A, jsonl([rec("1", "one"), rec("2", "two"), rec("3", "three"), rec("7", "seven")]))
    lab.take(B)
    counts = flat(lab.run().counts)
    assert counts == {"read": 4, "unchanged": 3, "published": 1}
    assert [row.id for row in lab.rows()] == ["a/1", "a/2", "a/3", "a/7"]


def test_a_rollback_can_be_rolled_back_and_nothing_is_read_for_it(tmp_path):
    lab = two_days(tmp_path, exports=EXPORTS)
    after_two = lab.open().read()
    back(lab, 1)
    back(lab, 2)
    assert lab.open().read().equals(after_two)
    assert lab.broken() == []
    assert lab.run().status == "nothing_new"


@settings(derandomize=True, deadline=None, max_examples=examples(4))
@given(
    HISTORIES,
    st.lists(st.integers(0, 5), min_size=1, max_size=3),
    st.sampled_from(["clean, filter, dedup", "dedup twice", "dedup within a snapshot", "two filters"]),
)
def test_any_history_goes_on_after_a_rollback_as_if_the_runs_between_had_never_been(history, backs, steps):
    with folder() as place:
        lab = Lab(place, config(SOURCES, PIPELINES[steps], exports=EXPORTS[:2]))
        oracle, files, known = Oracle(SOURCES, PIPELINES[steps]), {}, {}
        contents = {}
        for at, changes in enumerate([*history, *history[:2]]):
            before = dict(files)
            for each in changes:
                change(files, each)
            bring(lab, before, files)
            report = lab.run()
            ran, counts = +oracle.run(units(SOURCES, files)).counts, flat(report.counts)
            # a file that was changed and is as it was is read again after a rollback: to find it unchanged
            assert [counts[name] for name in ("published", "withdrawn")] == [ran["published"], ran["withdrawn"]]
            if report.status == "published":
                known[report.snapshot] = copy.deepcopy(oracle)
            if known and at + 1 in backs:
                seq = sorted(known)[at % len(known)]
                rolled = back(lab, seq)
                oracle = copy.deepcopy(known[seq])
                known[rolled.snapshot] = copy.deepcopy(oracle)
            if known:
                assert lab.rows() == oracle.table()
                no_name_was_used_twice(lab, contents)
        assert not known or lab.broken() == []


def no_name_was_used_twice(lab, contents):
    """A chunk's name stands for one content for ever, over rollbacks too."""
    for folder_ in lab.exports():
        for path in folder_.glob("chunk_*"):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            assert contents.setdefault((folder_.name, path.name), digest) == digest


def test_exports_follow_at_once_with_a_config_and_with_the_next_run_without(tmp_path):
    lab = two_days(tmp_path, exports=EXPORTS)
    assert back(lab, 1).exports["x"] == {"chunks_written": 2, "chunks": 2}
    assert lab.broken() == []
    lab.open().rollback(2)
    assert any("is of snapshot 3" in told for told in lab.broken())
    assert lab.run().status == "nothing_new"
    assert lab.broken() == []


def test_an_export_that_is_younger_than_the_snapshot_is_made_anew_under_new_names(tmp_path):
    lab = two_days(tmp_path)
    lab.configure(config(SOURCES, STEPS, exports=EXPORTS[:1]))
    lab.put("a/3.jsonl", jsonl([rec("8", "eight")]))
    lab.run()
    before = {path.name for path in (tmp_path / "out").glob("chunk_*")}
    back(lab, 1)
    after = {path.name for path in (tmp_path / "out").glob("chunk_*")}
    assert before
    assert after
    assert before & after == set()
    assert lab.broken() == []
    lab.run()
    assert lab.broken() == []


def test_a_table_follows_a_rollback(tmp_path):
    table = {"name": "t", "sql": {"dsn": f"sqlite:///{tmp_path}/copy.db", "table": "docs"}}
    lab = two_days(tmp_path, exports=[table])

    def ids():
        with sqlite3.connect(tmp_path / "copy.db") as database:
            found = sorted(row[0] for row in database.execute("select id from docs"))
        database.close()
        return found

    assert ids() == ["a/1", "a/2", "a/4"]
    report = back(lab, 1)
    assert ids() == ["a/1", "a/2", "a/3"]
    assert report.exports["t"]["rows"] == 3
    assert lab.open().verify(config=lab.pipeline().config) == []


def test_why_is_in_the_report_the_lineage_the_log_and_the_path_of_each_record(tmp_path):
    lab = two_days(tmp_path)
    back(lab, 1, why="the feed was broken")
    entry = {"rolled_back_to": 1, "from": 2, "why": "the feed was broken"}
    assert lab.open().manifest().lineage == [entry]
    assert lab.open().report(3)["lineage"] == [entry]
    assert lab.open().log()[-1]["rolled_back_to"] == 1
    assert "the feed was broken" in (lab.dataset / "runs/3/report.html").read_text("utf-8")
    assert (lab.dataset / "runs/3/log.jsonl").exists()
    told = [(e["run"], e["action"], e["reason"]) for e in lab.open().explain("a/4")["history"]]
    assert told == [(3, "withdraw", "rolled back to 1")]
    told = [(e["run"], e["action"]) for e in lab.open().explain("a/3")["history"]]
    assert told == [(2, "withdraw"), (3, "restore")]


def test_asked_twice_it_publishes_once_and_asked_for_the_newest_nothing(tmp_path):
    lab = two_days(tmp_path)
    assert back(lab, 2).status == "nothing_new"
    assert back(lab, 1).snapshot == 3
    assert (back(lab, 1).status, lab.open().seqs()) == ("nothing_new", [1, 2, 3])


def test_a_snapshot_that_is_not_there_or_not_whole_is_refused_and_nothing_is_claimed(tmp_path):
    lab = two_days(tmp_path)
    for seq in (0, 3, -1):
        with pytest.raises(ConfigError, match=f"no snapshot {seq}"):
            back(lab, seq)
    lab.open().gc(keep_last=1)
    with pytest.raises(ConfigError, match="snapshot 1 was collected by gc"):
        back(lab, 1)
    assert len(list((lab.dataset / "runs").iterdir())) == 2


def test_a_run_that_died_before_is_a_gap_and_the_next_one_plans_anew(tmp_path, monkeypatch):
    lab = two_days(tmp_path)
    lab.put("a/3.jsonl", jsonl([rec("8", "eight")]))

    def die(*_):
        raise OSError(5, "the disk is gone")

    monkeypatch.setattr("gristmill.engine.candidate.snapshot.write_manifest", die)
    with pytest.raises(OSError, match="the disk is gone"):
        lab.run()
    monkeypatch.undo()
    assert back(lab, 1).snapshot == 4
    report = lab.run()
    assert (report.run, report.resumed) == (5, False)
    assert sorted(row.id for row in lab.rows()) == ["a/1", "a/2", "a/4", "a/8"]
    assert lab.broken() == []


def test_another_rollback_does_not_go_on_with_one_that_died(tmp_path, monkeypatch):
    lab = two_days(tmp_path)

    def die(*_):
        raise OSError(5, "the disk is gone")

    monkeypatch.setattr(rollback.snapshot, "commit", die)
    with pytest.raises(OSError, match="the disk is gone"):
        back(lab, 1, why="first")
    monkeypatch.undo()
    with DatasetLock(lab.open().layout), pytest.raises(LockedError):
        back(lab, 1, why="first")
    assert back(lab, 1, why="second").snapshot == 4
    assert lab.broken() == []


def test_the_manifest_does_not_depend_on_what_was_left_of_a_rollback_that_died(tmp_path, monkeypatch):
    made = []
    for name in ("peace", "war"):
        lab = two_days(tmp_path / name)
        if name == "war":
            monkeypatch.setattr(rollback.snapshot, "commit", lambda *_: (_ for _ in ()).throw(OSError(5, "gone")))
            with pytest.raises(OSError, match="gone"):
                back(lab, 1)
            monkeypatch.undo()
        made.append((back(lab, 1).resumed, lab.bytes()))
    assert [resumed for resumed, _ in made] == [False, True]
    assert made[0][1] == made[1][1]


def test_sources_are_not_fresh_because_of_a_rollback(tmp_path):
    lab = two_days(tmp_path)
    layout = lab.open().layout
    given = freshness.last_given(layout, lab.open().manifest(), ["a"])
    back(lab, 1)
    assert freshness.last_given(layout, lab.open().manifest(), ["a"]) == given
    remembered = Memory(given={"a": 1.0})
    remembered.learn(lab.open().report(3), started=2.0)
    assert remembered.given == {"a": 1.0}


def test_without_anything_published_there_is_nothing_to_go_back_to(tmp_path):
    (tmp_path / "set").mkdir()
    with pytest.raises(ConfigError, match="no snapshot 1"):
        rollback.rollback(Dataset(tmp_path / "set").layout, rollback.Rollback(1), None, Silent())


def test_a_full_refresh_does_not_bring_back_landed_pages_of_runs_that_were_rolled_back(tmp_path):
    shutil.copy(ROOT / "tests/soak/live.py", tmp_path / "live.py")
    lab = Lab(tmp_path, {"sources": [{"name": "live", "./live.py": {"path": "feed.jsonl"}}], "steps": ["dedup.exact"]})
    good, bad = [rec(f"good-{i}", f"a good word {i}") for i in range(3)], [rec("bad", "a word that was never said")]
    lab.put("feed.jsonl", jsonl(good))
    lab.run()
    lab.put("feed.jsonl", jsonl([*good, *bad]))
    lab.run()
    back(lab, 1)
    lab.put("feed.jsonl", jsonl(good))  # mended
    lab.run(mode="full-refresh")
    assert [row.id for row in lab.rows()] == [f"live/good-{i}" for i in range(3)]
    assert lab.broken() == []


def test_what_watches_runs_is_told_of_a_rollback(tmp_path):
    lab = two_days(tmp_path)
    lab.configure(lab.config | {"monitoring": {"textfile": "mill.prom", "openlineage": {"file": "lineage.jsonl"}}})
    back(lab, 1)
    assert re.search(
        r"^gristmill_snapshot_number\{[^}]*\} 3\.0$", (tmp_path / "mill.prom").read_text("utf-8"), re.MULTILINE
    )
    events = [json.loads(line) for line in (tmp_path / "lineage.jsonl").read_text("utf-8").splitlines()]
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"]
    assert events[1]["outputs"]
