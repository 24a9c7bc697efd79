"""Redeciding by example: who falls, who comes in, and what it refuses."""

import contextlib
import sqlite3
import subprocess
import sys

import pytest
from tests.engine.test_contract import World
from tests.engine.test_refresh import ids, with_steps
from tests.oracle import Source
from tests.properties.lab import Lab, flat, jsonl
from tests.properties.test_histories import EXACT, EXPORTS, LOWER, SOURCES, config, rec
from tests.sources.warcs import wet

from gristmill.core.errors import ConfigError, SourceError
from gristmill.store import snapshot
from gristmill.store.layout import Layout

TWO = SOURCES["own ids"]


def limit(n):
    return ("min_chars", "f", n)


@pytest.fixture(name="lab")
def _lab(tmp_path):
    """Texts of 1 to 6 characters in two files, those of 3 and more published, one of them kept out by another."""
    lab = Lab(tmp_path, config(TWO, [EXACT, limit(3)], exports=EXPORTS))
    lab.put("a/1.jsonl", jsonl([rec(str(n), "x" * n) for n in (1, 2, 3, 4)]))
    lab.put("b/1.jsonl", jsonl([rec("4", "xxxx"), rec("5", "y" * 5), rec("6", "y" * 6)]))
    lab.run()
    return lab


def again(lab, n, **how):
    lab.configure(config(TWO, [EXACT, limit(n)], exports=EXPORTS))
    return lab.run(mode="redecide", **how)


def test_what_falls_is_withdrawn_and_what_passes_comes_in_and_the_rest_is_not_touched(lab):
    before = {row["id"]: row["ord"] for row in lab.open().read(columns=["id", "ord"]).to_pylist()}
    report = again(lab, 5)
    assert ids(lab) == ["b/5", "b/6"]
    assert (report.counts.withdrawn, report.counts.published) == (2, 0)
    assert {"mode": "redecide", "stand": 0} in report.lineage
    assert lab.broken() == []
    report = again(lab, 2)
    assert sorted(ids(lab)) == ["a/2", "a/3", "a/4", "b/5", "b/6"]
    assert (report.counts.withdrawn, report.counts.published) == (0, 3)
    after = {row["id"]: row["ord"] for row in lab.open().read(columns=["id", "ord"]).to_pylist()}
    assert [after[name] == before[name] for name in ("a/3", "a/4", "b/5", "b/6")] == [False, False, True, True]
    assert lab.broken() == []
    assert lab.run().status == "nothing_new"
    lab.put("b/2.jsonl", jsonl([rec("9", "xx"), rec("8", "x")]))  # what was read again still keeps others out
    assert flat(lab.run().counts) == {"read": 2, "duplicates/dedup.exact": 2}


def test_a_full_refresh_leaves_the_same(lab):
    again(lab, 2)
    rows = sorted((row.id, row.text) for row in lab.rows())
    lab.run(mode="full-refresh")
    assert sorted((row.id, row.text) for row in lab.rows()) == rows
    again(lab, 4)
    assert sorted(ids(lab)) == ["a/4", "b/5", "b/6"]
    assert lab.broken() == []


def test_only_units_that_hold_what_moves_are_read(lab):
    lab.configure(config(TWO, [EXACT, limit(2)], exports=EXPORTS))
    drafted, _ = lab.pipeline().plan(mode="redecide")
    assert [len(drafted.replays[name]) for name in ("a", "b")] == [1, 0]
    told = lab.pipeline().choices()
    assert [told[name]["records"] for name in ("forward", "redecide", "full-refresh")] == [0, 1, 7]


def test_limits_of_require_can_be_redecided_behind_anything(lab):
    lab.configure(config(TWO, [EXACT, limit(3)], exports=EXPORTS) | {"require": {"max_chars": 5}})
    lab.run(mode="redecide")
    assert "b/6" not in ids(lab)
    assert "b/5" in ids(lab)
    assert lab.broken() == []


def test_each_run_is_judged_by_the_limits_it_had(lab):
    lab.configure(config(TWO, [EXACT, limit(6)], exports=EXPORTS))
    lab.put("b/2.jsonl", jsonl([rec("7", "z" * 5), rec("8", "z" * 7)]))
    lab.run()
    assert "b/5" in ids(lab)
    assert "b/7" not in ids(lab)
    lab.run(mode="redecide")
    assert sorted(ids(lab)) == ["b/6", "b/8"]


@pytest.mark.parametrize(
    ("steps", "word"),
    [
        ([EXACT, LOWER, limit(3)], "added, removed or moved"),
        ([("exact", "dedup.exact", "id", "dataset"), limit(3)], "more than thresholds"),
        ([limit(3)], "added, removed or moved"),
    ],
)
def test_what_is_more_than_a_limit_is_refused_with_the_way_out(lab, steps, word):
    lab.configure(config(TWO, steps, exports=EXPORTS))
    with pytest.raises(ConfigError, match=word) as told:
        lab.run(mode="redecide")
    assert "--full-refresh" in str(told.value)
    assert word in lab.pipeline().choices()["redecide"]["why_not"]
    assert snapshot.head_seq(Layout(lab.dataset)) == 1


def test_a_limit_before_a_step_that_compares_is_refused(tmp_path):
    lab = Lab(tmp_path, config(TWO, [limit(3), EXACT]))
    lab.put("a/1.jsonl", jsonl([rec("1", "one")]))
    lab.run()
    lab.configure(config(TWO, [limit(2), EXACT]))
    with pytest.raises(ConfigError, match="compares all records stands behind it"):
        lab.run(mode="redecide")


def test_the_command_line_says_what_is_refused(lab):
    lab.configure(config(TWO, [EXACT, LOWER, limit(3)], exports=EXPORTS))
    for options, told in (["--redecide"], "--full-refresh"), (["--redecide", "--full-refresh"], "give one of"):
        words = [sys.executable, "-m", "gristmill", "run", *options, "--workers", "1"]
        done = subprocess.run(words, cwd=lab.folder, capture_output=True, text=True, timeout=120, check=False)
        assert (done.returncode, told in done.stderr) == (2, True)


def test_landed_pages_give_what_passes_now(tmp_path):
    world = with_steps(World(tmp_path), {"name": "f", "filter.length": {"min_chars": 4}})
    world.tell([world.page({"a": "one", "b": "four"})], cursor=1).run()
    world.tell(cursor=1)
    asked = world.log()
    with_steps(world, {"name": "f", "filter.length": {"min_chars": 3}}).run(mode="redecide")
    assert world.texts() == {"a": "one", "b": "four"}
    assert world.log() == asked


def test_what_a_rollback_took_back_does_not_count(lab):
    lab.run(mode="full-refresh")
    lab.open().rollback(1)
    again(lab, 5)
    assert ids(lab) == ["b/5", "b/6"]
    assert lab.broken() == []


def test_called_again_it_reads_no_table_again(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "rows.db")) as rows:
        rows.execute("CREATE TABLE docs (id INTEGER PRIMARY KEY, text TEXT)")
        rows.executemany("INSERT INTO docs VALUES (?, ?)", [(n, "x" * n) for n in range(1, 6)])
        rows.commit()
    source = {
        "name": "t",
        "sql": {"dsn": f"sqlite:///{tmp_path}/rows.db", "table": "docs", "key": "id", "cursor": "id"},
    }
    lab = Lab(tmp_path / "lab", {"sources": [source], "steps": [{"filter.length": {"min_chars": 2}}]})
    lab.run()
    lab.configure({"sources": [source], "steps": [{"filter.length": {"min_chars": 4}}]})
    assert lab.run(mode="redecide").counts.withdrawn == 2
    assert lab.run(mode="redecide").status == "nothing_new"
    assert sorted(ids(lab)) == ["t/4", "t/5"]


@pytest.mark.parametrize("where", ["a step of the source", "a step of all", "require"])
def test_what_was_overtaken_or_came_again_is_nobody_to_decide_about(tmp_path, where):
    def at(n):
        source = Source("a", "id", (limit(n),) if where == "a step of the source" else ())
        settings = config([source], [limit(n)] if where == "a step of all" else [])
        return settings | ({"require": {"min_chars": n}} if where == "require" else {})

    lab = Lab(tmp_path, at(2))
    lab.put("a/1.jsonl", jsonl([rec("1", "xxx"), rec("2", "yyyyyy"), rec("3", "zzz"), rec("3", "zzz")]))
    lab.put("a/2.jsonl", jsonl([rec("1", "xxxxxxx")]))  # overtakes what was measured in the same run
    lab.run()
    lab.put("a/1.jsonl", jsonl([rec("1", "xxx"), rec("2", "yyyyyy"), rec("3", "zzz"), rec("4", "vvvv")]))
    lab.run()
    assert set(ids(lab)) == {"a/1", "a/2", "a/3", "a/4"}
    lab.configure(at(5))
    report = lab.run(mode="redecide")
    assert set(ids(lab)) == {"a/2"}  # a/1 was revised last where it had been overtaken
    assert {"mode": "redecide", "stand": 0} in report.lineage
    assert lab.pipeline().choices()["redecide"]["records"] == 0
    assert lab.run(mode="redecide").status == "nothing_new"
    assert lab.broken() == []


def test_records_that_are_units_of_their_own_are_found_by_where_they_were_read(tmp_path):
    """Of a crawl named by URLs the newest capture counts, and the id index knows no unit of the source."""
    source = {"name": "crawl", "warc": {"path": "crawl/*.warc.wet", "id": "url", "records": ["conversion"]}}

    def at(n):
        return {"sources": [source], "steps": [{"filter.length": {"min_chars": n}}]}

    lab = Lab(tmp_path, at(2))
    lab.put("crawl/1.warc.wet", wet(1, "x" * 3) + wet(2, "y" * 6))
    lab.put("crawl/2.warc.wet", wet(3, "z" * 6))
    lab.run()
    lab.configure(at(5))
    drafted, _ = lab.pipeline().plan(mode="redecide")
    assert [replay.leave for replay in drafted.replays["crawl"]] == [["2.warc.wet"]]
    report = lab.run(mode="redecide")
    assert (report.counts.withdrawn, sorted(ids(lab))) == (1, [f"crawl/http://site.example/{n}" for n in (2, 3)])
    assert {"mode": "redecide", "stand": 0} in report.lineage
    assert lab.run(mode="redecide").status == "nothing_new"
    assert lab.broken() == []


@pytest.mark.parametrize("landed", [True, False])
def test_what_cannot_be_read_again_stands_and_makes_no_snapshot_by_itself(tmp_path, landed):
    """What was adopted comes out otherwise for ever: landed pages are read in vain for it each time, where there are any."""
    world = World(tmp_path)
    world.configure(world.config | {"require": {"min_chars": 1}})
    world.tell([world.page({"a": "one", "b": "three"}), world.page({"a": "other"})] if landed else [], cursor=1).run()
    world.tell(cursor=1)
    world.put("clean.jsonl", jsonl([{"text": "zz"}]))
    world.pipeline().adopt(str(tmp_path / "clean.jsonl"), workers=1)
    head = snapshot.head_seq(Layout(world.dataset))
    world.configure(world.config | {"require": {"min_chars": 3}})
    for _ in range(2):
        report = world.run(mode="redecide")
        assert (report.status, report.warnings) == ("nothing_new", {"refresh.unavailable": 1})
        assert snapshot.head_seq(Layout(world.dataset)) == head
    world.configure(world.config | {"require": {"min_chars": 4}})
    report = world.run(mode="redecide")
    assert (report.status, report.counts.withdrawn) == ("nothing_new", 0)  # all texts but one have more
    assert len(world.rows()) == (3 if landed else 1)
    assert world.broken() == []


@pytest.mark.parametrize("also", ["a", "b"])
def test_a_limit_on_what_was_not_measured_of_some_records_is_refused(tmp_path, also):
    """A step without a limit measures nothing; what another step has measured before it is stored for those records alone."""
    sources = [{"name": name, "files": {"path": f"{name}/*.jsonl", "id": "id"}} for name in ("a", "b")]
    measured = [{"filter.length": {"min_chars": 1}}]
    sources = [each | ({"steps": measured} if each["name"] == also else {}) for each in sources[: 1 + (also == "b")]]
    lab = Lab(tmp_path, {"sources": sources, "steps": ["clean.lowercase"] if also == "a" else []})
    lab.put("a/1.jsonl", jsonl([rec("1", "x"), rec("2", "yyyy")]))
    lab.put("b/1.jsonl", jsonl([rec("3", "x")]))
    lab.run()
    lab.configure(lab.config | {"require": {"min_chars": 3}})
    assert "not stored" in lab.pipeline().choices()["redecide"]["why_not"]
    with pytest.raises(ConfigError, match="min_chars looks at the signal 'chars', which was not stored"):
        lab.run(mode="redecide")
    lab.run(mode="full-refresh")
    assert ids(lab) == ["a/2"]
    lab.configure(lab.config | {"require": {"min_chars": 1}})
    lab.run(mode="redecide")
    assert len(ids(lab)) == (2 if also == "a" else 3)
    assert lab.broken() == []


def test_what_is_quarantined_again_because_pages_are_read_again_is_open_once(tmp_path):
    world = with_steps(World(tmp_path), {"name": "f", "filter.length": {"min_chars": 2}})
    pages = [world.page({"a": "one", "b": "three"}, versioned=False), world.page({"a": "two"}, versioned=False)]
    world.tell(pages, [world.page(unit="v", outcome="bad")], cursor=1).run()
    world.tell(cursor=1)
    opened = [(line["code"], line["open"]) for line in world.open().quarantine_counts()]
    assert opened == [("id.conflict", 1), ("test.bad", 1)]
    for n in (4, 2):
        with_steps(world, {"name": "f", "filter.length": {"min_chars": n}}).run(mode="redecide")
        assert [(line["code"], line["open"]) for line in world.open().quarantine_counts()] == opened
    assert {entry.run for entry in world.open().quarantine() if entry.open} == {1}


def test_a_source_that_fails_stops_it_and_the_message_does_not_call_it_a_refresh(tmp_path):
    world = with_steps(World(tmp_path, {"on_error": "skip"}), {"name": "f", "filter.length": {"min_chars": 2}})
    world.tell([world.page({"a": "one"})], cursor=1).run()
    with_steps(world.tell(fail="it is away"), {"name": "f", "filter.length": {"min_chars": 4}})
    with pytest.raises(SourceError, match="source s failed, and a redecision leaves no source out: it is away"):
        world.run(mode="redecide")
    assert world.texts() == {"a": "one"}
