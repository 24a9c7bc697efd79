"""The engine's side of the source contract: state, deletions, outcomes, landing, sources that may be left out."""

import json
import shutil
from pathlib import Path

import pytest
from tests.properties.lab import Lab, jsonl

from gristmill.core.errors import ConfigError, GateRefused, SourceError, Transient
from gristmill.core.source import Window
from gristmill.engine import landing, plan
from gristmill.engine.executors import border
from gristmill.store import snapshot
from gristmill.store.layout import Layout
from gristmill.testing import laws

HERE = Path(__file__).parent


class World(Lab):
    """A lab whose source does what it is told."""

    def __init__(self, folder, config=None):
        sources = [{"name": "s", "./scripted.py": {}} | (config or {})]
        super().__init__(folder, {"sources": sources, "steps": ["dedup.exact"]})
        shutil.copy(HERE / "scripted.py", folder / "scripted.py")

    def tell(self, *splits, **world):
        (self.folder / "world.json").write_text(json.dumps({"splits": list(splits)} | world))
        return self

    def page(self, rows=None, unit="u", **more):
        return {"unit": unit, "rows": rows or {}} | more

    def texts(self):
        rows = {row.id.removeprefix("s/"): row.text for row in self.rows()}
        assert len(rows) == len(self.rows())
        assert laws.check(self.dataset) == []
        return rows

    def state(self):
        head = snapshot.head(Layout(self.dataset))
        return plan.read_state(Layout(self.dataset), head, "s")

    def log(self):
        return (self.folder / "read.log").read_text().split()


@pytest.fixture(name="world")
def _world(tmp_path):
    return World(tmp_path)


def test_the_state_goes_in_with_a_snapshot_and_comes_out_with_the_next(world):
    world.tell([world.page({"a": "one"})], cursor=7).run()
    assert world.state().doc == {"cursor": 7}
    world.tell([world.page({"b": "two"})], cursor=9).run()
    frozen = plan.read_plan(Layout(world.dataset), 2)
    assert frozen.sources["s"].ceiling == {"cursor": 9, "seen": {"cursor": 7}}
    assert world.state().doc == {"cursor": 9}
    assert world.texts() == {"a": "one", "b": "two"}


def test_a_versioned_page_keeps_the_last_content_of_an_id(world):
    report = world.tell([world.page({"a": "one"}), world.page({"a": "two"}), world.page({"a": "two"})]).run()
    assert world.texts() == {"a": "two"}
    assert (report.counts.read, report.counts.superseded, report.counts.unchanged) == (3, 1, 1)


def test_an_unversioned_unit_keeps_the_first_content_of_an_id(world):
    pages = [world.page({"a": "one"}, versioned=False), world.page({"a": "two"}, versioned=False)]
    report = world.tell(pages).run()
    assert world.texts() == {"a": "one"}
    assert report.counts.quarantined == {"id.conflict": 1}


def test_a_deletion_withdraws_and_a_later_arrival_brings_the_record_back(world):
    world.tell([world.page({"a": "one", "b": "two"})], cursor=1).run()
    report = world.tell([world.page(deleted=["a", "unknown"])], cursor=2).run()
    assert world.texts() == {"b": "two"}
    assert (report.counts.read, report.counts.withdrawn) == (0, 1)
    report = world.tell([world.page(deleted=["a"])], cursor=3).run()
    assert report.counts.withdrawn == 0
    world.tell([world.page({"a": "one"})], cursor=4).run()
    assert world.texts() == {"a": "one", "b": "two"}


def test_deletions_and_records_of_one_run_count_in_their_order(world):
    world.tell([world.page({"a": "a1", "b": "b1", "c": "c1"})], cursor=1).run()
    pages = [
        world.page({"a": "2"}, deleted=["b", "new"]),
        world.page({"b": "3", "new": "x"}),
        world.page(deleted=["a", "c"]),
        world.page({"d": "4"}, deleted=["a"]),
    ]
    report = world.tell(pages, cursor=2).run()
    assert world.texts() == {"b": "3", "new": "x", "d": "4"}
    assert (report.counts.superseded, report.counts.withdrawn) == (1, 3)
    again = world.tell([world.page({"a": "2"}), world.page({"b": "3"})], cursor=3).run()
    assert (again.counts.published, again.counts.unchanged) == (1, 1)


def test_what_a_scan_does_not_tell_as_present_is_withdrawn(world):
    world.tell([world.page({k: f"text {k}" for k in "abcd"}, unit="rows")], units=["rows"], cursor=1).run()
    scan = [world.page(unit="scan", present=["a", "c", "never read"])]
    report = world.tell(scan, units=["rows"], replaced=["rows"], cursor=2).run()
    assert sorted(world.texts()) == ["a", "c"]
    assert (report.counts.withdrawn, report.counts.read) == (2, 0)


def test_a_unit_read_whole_again_withdraws_what_it_no_longer_holds(world):
    world.tell([world.page({"a": "1", "b": "1"}, unit="rows")], units=["rows"]).run()
    world.tell([world.page({"b": "2", "c": "1"}, unit="rows")], units=["rows"], replaced=["rows"], cursor=1).run()
    assert world.texts() == {"b": "2", "c": "1"}


@pytest.mark.parametrize("outcome", ["unchanged", "bad"])
def test_a_unit_that_ends_otherwise_keeps_its_records_and_what_is_known_of_it(world, outcome):
    world.tell([world.page({"a": "1"}, unit="x", note={"tag": "t1"})], units=["x"]).run()
    again = [world.page(unit="x", outcome=outcome, note={"tag": "t2"})]
    report = world.tell(again, units=["x"], replaced=["x"]).run()
    assert world.texts() == {"a": "1"}
    row = world.state().units.to_pylist()[0]
    assert (row["tag"], row["status"], row["seq"]) == ("t2", outcome, 1)
    assert report.counts.quarantined == ({"test.bad": 1} if outcome == "bad" else {})
    world.tell([world.page({"b": "1"}, unit="x")], units=["x"], replaced=["x"]).run()
    assert world.texts() == {"b": "1"}


def test_a_bad_unit_without_a_note_does_not_move_on(world):
    world.tell(
        [world.page({"a": "1"}, unit="x", note={"tag": "t1"}), world.page(unit="y", outcome="bad")], units=["x", "y"]
    ).run()
    assert [row["unit"] for row in world.state().units.to_pylist()] == ["x"]
    world.tell([world.page(unit="x", outcome="bad")], units=["x", "y"], replaced=["x"]).run()
    assert world.state().units.to_pylist()[0]["tag"] == "t1"
    assert world.texts() == {"a": "1"}


def test_a_unit_found_gone_is_withdrawn(world):
    world.tell([world.page({"a": "1"}, unit="x"), world.page({"b": "2"}, unit="y")], units=["x", "y"]).run()
    world.tell([world.page(unit="x", outcome="gone", note={"tag": "410"})], units=["x", "y"], replaced=["x"]).run()
    assert world.texts() == {"b": "2"}
    assert [row["status"] for row in world.state().units.to_pylist()] == ["gone", "ok"]


def test_a_run_that_finds_nothing_new_by_reading_publishes_nothing(world):
    world.tell([world.page({"a": "1"})], cursor=1).run()
    report = world.tell([world.page({"a": "1"})], cursor=1).run()
    assert (report.status, report.snapshot, report.counts.unchanged) == ("nothing_new", 1, 1)
    assert snapshot.head_seq(Layout(world.dataset)) == 1
    world.tell([world.page({"a": "1"})], cursor=2).run()
    assert world.state().doc == {"cursor": 2}
    assert world.texts() == {"a": "1"}


def test_a_unit_read_whole_again_with_nothing_changed_publishes_nothing(world):
    world.tell([world.page({"a": "1"}, unit="rows")], units=["rows"]).run()
    again = world.tell([world.page({"a": "1"}, unit="rows")], units=["rows"], replaced=["rows"]).run()
    assert (again.status, again.counts.unchanged) == ("nothing_new", 1)
    world.tell([world.page({"b": "2"}, unit="rows")], units=["rows"], replaced=["rows"]).run()
    assert world.texts() == {"b": "2"}


# --- landing -----------------------------------------------------------------------------------------------------


def test_pages_land_before_a_step_sees_them_and_are_not_read_twice(world, monkeypatch):
    monkeypatch.setattr(landing, "PART_PAGES", 2)
    pages = [world.page({f"k{i}": f"text {i}"}) for i in range(7)]
    pages[5] |= {"raise": "transient", "times": 1}
    world.tell(pages).run()
    assert world.texts() == {f"k{i}": f"text {i}" for i in range(7)}
    assert world.log() == ["0:0", "0:1", "0:2", "0:3", "0:4", "0:5", "0:4", "0:5", "0:6"]
    assert len(list((world.dataset / "landing" / "s" / "1").iterdir())) == 4


def test_a_run_that_died_goes_on_with_what_has_landed_though_the_source_has_changed(world, monkeypatch):
    monkeypatch.setattr(landing, "PART_PAGES", 1)
    pages = [world.page({f"k{i}": f"text {i}"}, note={"n": i}) for i in range(4)]
    pages[2] |= {"raise": "transient"}
    with pytest.raises(Transient):
        world.tell(pages).pipeline("run.retries=0").run(workers=1)
    changed = [world.page({f"k{i}": f"other {i}"}) for i in range(4)]
    world.tell(changed).run()
    first = world.open().read(1, columns=["id", "text"]).to_pylist()
    assert {row["id"]: row["text"] for row in first} == {
        "s/k0": "text 0",
        "s/k1": "text 1",
        "s/k2": "other 2",
        "s/k3": "other 3",
    }
    assert world.texts() == {
        f"k{i}": f"other {i}" for i in range(4)
    }  # the source always has something, so run 2 followed


def test_landed_pages_come_back_exactly(world, monkeypatch):
    page = world.page({"a": "1"}, deleted=["x"], present=["y"], note={"tag": "t"})
    world.tell([page, world.page(unit="v", outcome="bad"), world.page({"b": "2"})], units=["u", "v"]).run()
    path = next((world.dataset / "landing" / "s" / "1").iterdir())
    pages, last = landing.read_part(path)
    assert last
    assert [p.unit for p in pages] == ["u", "v", "u"]
    assert (pages[0].deleted, pages[0].present, pages[0].note, pages[0].versioned) == (["x"], ["y"], {"tag": "t"}, True)
    assert [r.code for r in pages[1].rejects] == ["test.bad"]
    assert [p.rows["text"].to_pylist() for p in pages] == [["1"], [], ["2"]]


def test_landed_pages_are_swept_after_their_time(world):
    world.tell([world.page({"a": "1"})]).run()
    assert (world.dataset / "landing" / "s" / "1").is_dir()
    world.configure(world.config | {"run": {"landing_days": 0}})
    world.tell([world.page({"b": "1"})], cursor=1).run()
    assert not list((world.dataset / "landing" / "s").iterdir())


def test_a_dead_worker_changes_nothing_and_lanes_hold_splits_back(world):
    splits = [[world.page({f"{s}-{i}": f"text {s} {i}"}) for i in range(3)] for s in range(6)]
    world.tell(*splits, lane="db").run_in_processes(2)
    assert len(world.texts()) == 18


def test_at_most_so_many_splits_of_a_lane_are_read_at_once():
    from collections import deque

    from gristmill.core.source import Split
    from gristmill.engine.work import Job

    def job(n, lane, cap=1):
        return Job(f"r-{n}", "read", number=n, split=Split(str(n), {}, [], 1, True, lane, cap))

    waiting = deque([job(0, "a"), job(1, "a"), job(2, "b", 2), job(3, "b", 2), job(4, "b", 2), job(5, "")])
    busy = []
    while (taken := border.next_job(waiting, busy)) is not None:
        busy.append(taken)
    assert [each.number for each in busy] == [0, 2, 3, 5]
    assert [each.number for each in waiting] == [1, 4]


# --- one failure does not stop the rest --------------------------------------------------------------------------


def two(tmp_path, on_error="skip", fresh=None):
    world = World(tmp_path, {"on_error": on_error} | ({"freshness": fresh} if fresh else {}))
    world.configure(
        world.config | {"sources": [*world.config["sources"], {"name": "f", "files": {"path": "f/*", "id": "id"}}]}
    )
    world.put("f/1.jsonl", jsonl([{"id": "1", "text": "first file"}]))
    return world


def test_a_source_that_cannot_be_planned_is_left_out_and_keeps_its_state(tmp_path):
    world = two(tmp_path)
    world.tell([world.page({"a": "1"})], cursor=3).run()
    world.put("f/2.jsonl", jsonl([{"id": "2", "text": "second file"}]))
    report = world.tell(fail="no route").run()
    assert (report.status, report.sources["s"]["read"], report.sources["f"]["published"]) == ("partial", 0, 1)
    assert [(e["source"], e["code"], e["message"]) for e in report.errors] == [("s", "source.failed", "no route")]
    assert world.state().doc == {"cursor": 3}
    assert laws.check(world.dataset) == []
    report = world.run()
    assert (report.status, report.snapshot) == ("partial", 2)
    world.tell([world.page({"b": "2"})], cursor=4).run()
    assert len(world.rows()) == 4


def test_a_source_that_fails_while_it_is_read_leaves_nothing_of_this_run(tmp_path):
    world = two(tmp_path)
    world.tell([world.page({"a": "1"}, unit="x")], units=["x"], cursor=3).run()
    world.put("f/2.jsonl", jsonl([{"id": "2", "text": "second file"}]))
    splits = [[world.page({"a": "2"}, unit="x")], [world.page({"b": "1"}, unit="y") | {"raise": "source"}]]
    report = world.tell(*splits, units=["x", "y"], replaced=["x"], cursor=9).run()
    assert (report.status, report.counts.read, report.counts.withdrawn) == ("partial", 1, 0)
    assert {row.id: row.text for row in world.rows()}["s/a"] == "1"
    assert world.state().doc == {"cursor": 3}
    assert laws.check(world.dataset) == []
    report = world.tell([world.page({"a": "2"}, unit="x")], units=["x"], replaced=["x"], cursor=9).run()
    assert (report.status, report.counts.published) == ("published", 1)


def test_without_leave_a_source_that_fails_stops_the_run(tmp_path):
    world = two(tmp_path, on_error="fail")
    with pytest.raises(SourceError, match="no route"):
        world.tell(fail="no route").run()
    with pytest.raises(SourceError, match="page 0 fails"):
        world.tell([world.page({"a": "1"}) | {"raise": "source"}]).run()
    assert snapshot.head_seq(Layout(world.dataset)) == 0


def test_where_every_source_fails_nothing_is_published(tmp_path):
    world = World(tmp_path, {"on_error": "skip"})
    assert world.tell(fail="no route").run().status == "partial"
    report = world.tell([world.page({"a": "1"}) | {"raise": "source"}]).run()
    assert (report.status, report.snapshot) == ("partial", None)
    assert snapshot.head_seq(Layout(world.dataset)) == 0


def test_a_silent_source_is_called_stale(tmp_path, monkeypatch):
    world = two(tmp_path, fresh="2d")
    world.tell([world.page({"a": "1"})], cursor=1).run()
    claim = world.dataset / "runs" / "1" / "claim.json"
    told = json.loads(claim.read_text())
    claim.write_text(json.dumps(told | {"time": "2026-01-01T00:00:00Z"}))
    world.put("f/2.jsonl", jsonl([{"id": "2", "text": "second file"}]))
    report = world.tell().run()
    assert [(e["source"], e["code"]) for e in report.errors] == [("s", "source.stale")]
    world.tell([world.page({"c": "1"})], cursor=2)
    assert world.run().errors == []


def test_a_mass_deletion_is_held_back_by_the_gate(world):
    world.configure(world.config | {"gate": {"min_quality_score": 0, "max_gone_ratio": 0.4}})
    world.tell([world.page({k: f"text {k}" for k in "abcd"})], cursor=1).run()
    world.tell([world.page({"a": "new", "b": "newer"}, deleted=["c"])], cursor=2).run()
    assert len(world.texts()) == 3
    with pytest.raises(GateRefused, match=r"max_gone_ratio is 0\.666667, limit 0\.4"):
        world.tell([world.page(deleted=["a", "b"])], cursor=3).run()
    assert len(world.texts()) == 3
    world.run(accept_gate=["max_gone_ratio"], why="asked for")
    assert len(world.texts()) == 1


def test_a_source_that_gives_nothing_but_bad_records_is_refused_and_keeps_its_cursor(world):
    world.tell([world.page({"a": "1"}, unit="x")], units=["x"], cursor=1).run()
    bad = [world.page(unit=f"u{n:02d}", outcome="bad", note={"tag": "t"}) for n in range(10)]
    with pytest.raises(GateRefused, match=r"s\.max_quarantined_ratio is 1"):
        world.tell(bad, units=[f"u{n:02d}" for n in range(10)], cursor=2).run()
    assert world.state().doc == {"cursor": 1}
    world.run(accept_gate=["s.max_quarantined_ratio"], why="known")
    assert world.state().doc == {"cursor": 2}


def test_a_unit_that_stays_bad_makes_no_snapshot_of_its_own(world):
    world.tell([world.page({"a": "1"}, unit="x"), world.page(unit="y", outcome="bad")], units=["x", "y"]).run()
    again = world.tell([world.page(unit="y", outcome="bad")], units=["x", "y"]).run()
    assert (again.status, again.snapshot, again.counts.quarantined) == ("nothing_new", 1, {"test.bad": 1})


def test_a_source_without_a_cursor_refuses_a_window(world):
    world.tell([world.page({"a": "1"})])
    with pytest.raises(ConfigError, match="has no cursor"):
        world.pipeline().run(source="s", window=Window("1", "2"))
    with pytest.raises(ConfigError, match="name it with --source"):
        world.pipeline().run(window=Window("1", "2"))
