"""A full refresh by example: what is read again, what cannot be, and what must not happen on the way."""

import os
import shutil
import signal
import subprocess
import sys

import pytest
from tests.engine.test_contract import World
from tests.examples import some
from tests.properties.lab import Lab, flat, jsonl
from tests.properties.test_histories import EXACT, EXPORTS, LOWER, SHORT, config, rec
from tests.properties.test_histories import SOURCES as TWO

from gristmill.core import failpoints
from gristmill.core.errors import ConfigError, GateRefused, SourceError
from gristmill.engine import landing, plan
from gristmill.store import chain, snapshot
from gristmill.store.layout import Layout

SOURCES = TWO["own ids"]


@pytest.fixture(name="lab")
def _lab(tmp_path):
    """Two runs without dedup: three records of one text, two too short."""
    lab = Lab(tmp_path, config(SOURCES, [SHORT], exports=EXPORTS))
    lab.put("a/1.jsonl", jsonl([rec("1", "one"), rec("2", "ONE"), rec("3", "x")]))
    lab.run()
    lab.put("b/1.jsonl", jsonl([rec("1", "two"), rec("2", "one"), rec("3", "y")]))
    lab.run()
    return lab


def ids(lab):
    return [row.id for row in lab.rows()]


def states(lab):
    return {name: state["knows"] for name, state in snapshot.head(Layout(lab.dataset)).states.items()}


def test_a_dedup_step_can_be_added_to_what_is_published(lab):
    before = states(lab)
    lab.configure(config(SOURCES, [LOWER, SHORT, EXACT], exports=EXPORTS))
    with pytest.raises(ConfigError, match="--full-refresh"):
        lab.run()
    report = lab.run(mode="full-refresh")
    assert flat(report.counts) == {
        "read": 6, "published": 2, "withdrawn": 4, "duplicates/dedup.exact": 2, "dropped/filter.length:too_short": 2,
    }  # fmt: skip
    assert ids(lab) == ["a/1", "b/1"]
    assert {"mode": "full-refresh", "stand": 0} in report.lineage
    assert states(lab) == before
    assert lab.broken() == []
    assert lab.run().status == "nothing_new"
    lab.put("a/2.jsonl", jsonl([rec("9", "Two")]))
    assert flat(lab.run().counts) == {"read": 1, "duplicates/dedup.exact": 1}


def test_what_is_new_comes_in_the_same_run_behind_what_was_there(lab):
    lab.configure(config(SOURCES, [LOWER, EXACT], exports=EXPORTS))
    lab.put("a/0.jsonl", jsonl([rec("8", "one"), rec("9", "three")]))
    lab.put("a/1.jsonl", jsonl([rec("1", "one"), rec("2", "four")]))
    lab.run(mode="full-refresh")
    assert sorted(ids(lab)) == ["a/1", "a/2", "a/9", "b/1", "b/3"]
    assert lab.broken() == []


def test_what_a_withdrawn_record_kept_out_comes_in(tmp_path):
    lab = Lab(tmp_path, config(SOURCES, [EXACT]))
    lab.put("a/1.jsonl", jsonl([rec("1", "one")]))
    lab.put("b/1.jsonl", jsonl([rec("2", "one")]))
    lab.run()
    lab.take("a/1.jsonl")
    lab.run()
    assert ids(lab) == []
    lab.run(mode="full-refresh")
    assert ids(lab) == ["b/2"]


def test_a_refresh_of_nothing_is_a_run(tmp_path):
    lab = Lab(tmp_path, config(SOURCES, [EXACT]))
    lab.put("a/1.jsonl", jsonl([rec("1", "one")]))
    assert flat(lab.run(mode="full-refresh").counts) == {"read": 1, "published": 1}


def test_a_forward_run_says_so_in_the_lineage(lab):
    lab.configure(config(SOURCES, [LOWER, SHORT], exports=EXPORTS))
    lab.put("a/2.jsonl", jsonl([rec("9", "NINE")]))
    assert {"mode": "forward", "stand": 0} in lab.run().lineage
    assert "ONE" in [row.text for row in lab.rows()]


def test_a_source_whose_mapping_changed_is_read_by_the_new_one(lab):
    def renamed(told):
        told["sources"][0]["files"] |= {"text": "{text}!"}
        return told

    lab.configure(renamed(config(SOURCES, [LOWER, EXACT], exports=EXPORTS)))
    drafted, _ = lab.pipeline().plan(mode="full-refresh")
    assert drafted.found["a"].replaced == ["1.jsonl"]
    assert drafted.replays["a"] == []
    lab.run(mode="full-refresh")
    assert [(row.id, row.text) for row in lab.rows()] == [
        ("a/1", "one!"), ("a/3", "x!"), ("b/1", "two"), ("b/2", "one"), ("b/3", "y"),
    ]  # fmt: skip
    assert lab.broken() == []
    again, _ = lab.pipeline().plan(mode="full-refresh")
    assert len(again.replays["a"]) == 1


def test_the_mapping_a_unit_was_read_by_counts_and_not_that_of_the_last_run(lab):
    told = config(SOURCES, [SHORT])
    told["sources"][0]["files"] |= {"text": "{text}!"}
    lab.configure(told)
    lab.put("b/2.jsonl", jsonl([rec("7", "seven")]))
    lab.run()
    assert "one" in [row.text for row in lab.rows() if row.id == "a/1"]
    lab.run(mode="full-refresh")
    assert "one!" in [row.text for row in lab.rows() if row.id == "a/1"]


def test_rows_whose_source_left_the_config_stand_and_keep_others_out(lab):
    lab.configure(config(SOURCES[:1], [LOWER, EXACT], exports=EXPORTS))
    report = lab.run(mode="full-refresh")
    assert report.warnings["refresh.unavailable"] == 2
    assert {"mode": "full-refresh", "stand": 2} in report.lineage
    assert sorted(ids(lab)) == ["a/1", "a/3", "b/1", "b/2"]  # b/2 came after a/1, and stands all the same
    lab.put("a/2.jsonl", jsonl([rec("9", "Two")]))
    assert flat(lab.run().counts) == {"read": 1, "duplicates/dedup.exact": 1}
    assert lab.broken() == []


def test_a_dedup_step_can_be_added_where_nothing_is_left_to_read(lab):
    lab.take("a/1.jsonl")
    lab.take("b/1.jsonl")
    lab.run()
    lab.configure(config(SOURCES, [LOWER, EXACT], exports=EXPORTS))
    assert flat(lab.run(mode="full-refresh").counts) == {}
    lab.put("a/2.jsonl", jsonl([rec("9", "one"), rec("8", "One")]))
    assert flat(lab.run().counts) == {"read": 2, "published": 1, "duplicates/dedup.exact": 1}
    assert lab.broken() == []


def test_a_file_that_cannot_be_read_now_leaves_its_rows_as_they_are(lab):
    lab.configure(config(SOURCES, [LOWER], exports=EXPORTS))
    path = lab.folder / "a" / "1.jsonl"
    path.unlink()
    path.symlink_to("nowhere.jsonl")
    report = lab.run(mode="full-refresh")
    assert "ONE" in [row.text for row in lab.rows()]
    assert report.warnings["refresh.unavailable"] == 2
    assert lab.broken() == []


def test_every_source_must_be_there(lab):
    told = config(SOURCES, [LOWER])
    told["sources"][1] |= {"on_error": "skip"}
    told["sources"][1]["files"] |= {"path": "nowhere/*.jsonl", "allow_empty": False}
    lab.configure(told)
    with pytest.raises(SourceError, match="leaves no source out"):
        lab.run(mode="full-refresh")
    assert len(ids(lab)) == 4
    with pytest.raises(ConfigError, match="leave --source out"):
        lab.run(mode="full-refresh", source="a")


def test_the_gate_judges_it(lab):
    lab.configure(config(SOURCES, [("min_chars", "long", 100)]) | {"gate": {"min_kept_ratio": 0.5}})
    before = lab.rows()
    with pytest.raises(GateRefused):
        lab.run(mode="full-refresh")
    assert lab.rows() == before
    lab.configure(config(SOURCES, [LOWER]))
    lab.run(mode="full-refresh")
    assert len(ids(lab)) == 6


def test_the_plan_says_what_each_choice_touches_and_the_estimate_counts_what_is_read_again(lab):
    lab.configure(config(SOURCES, [LOWER], exports=EXPORTS))
    pipeline = lab.pipeline()
    assert [told["records"] for told in pipeline.choices().values()] == [0, None, 6]
    drafted, changed = pipeline.plan(mode="full-refresh")
    assert (drafted.empty, len(changed)) == (False, 2)
    size = sum(path.stat().st_size for path in lab.folder.glob("[ab]/*.jsonl"))
    assert pipeline.estimate(mode="full-refresh").bytes == size
    assert pipeline.plan()[0].empty


# --- what is landed ----------------------------------------------------------------------------------------------


def with_steps(world, *steps):
    world.configure(world.config | {"steps": list(steps)})
    return world


def test_landed_pages_are_read_again_and_the_source_is_not_asked_for_them(tmp_path):
    world = with_steps(World(tmp_path))
    world.tell([world.page({"a": "one", "b": "One"})], cursor=1).run()
    world.tell([world.page({"b": "two", "c": "ONE", "d": "four"}), world.page(deleted=["d"])], cursor=2).run()
    world.tell(cursor=2)
    asked = world.log()
    report = with_steps(world, "clean.lowercase", "dedup.exact").run(mode="full-refresh")
    assert world.texts() == {"a": "one", "b": "two"}
    assert flat(report.counts)["duplicates/dedup.exact"] == 1
    assert world.log() == asked
    assert world.state().doc == {"cursor": 2}
    again = world.run(mode="full-refresh")
    assert world.texts() == {"a": "one", "b": "two"}
    assert "refresh.unavailable" not in again.warnings


def test_what_is_not_kept_any_more_stands(tmp_path):
    world = with_steps(World(tmp_path))
    world.tell([world.page({"a": "ONE"})], cursor=1).run()
    world.tell([world.page({"b": "One", "c": "THREE"})], cursor=2).run()
    shutil.rmtree(world.dataset / "landing" / "s" / "1")
    world.tell(cursor=2)
    report = with_steps(world, "clean.lowercase", "dedup.exact").run(mode="full-refresh")
    assert world.texts() == {"a": "ONE", "b": "one", "c": "three"}
    assert report.warnings["refresh.unavailable"] == 1
    layout = Layout(world.dataset)
    standing = chain.standing(layout, snapshot.head(layout))
    assert sorted(landing.landings(layout, "s", standing)) == [(2, "r-000000")]


# --- killed ------------------------------------------------------------------------------------------------------

POINTS = ("task.journalled", "merge.index_written", "manifest.written", "commit.after_delta", "export.chunk_written")


def command(lab, point=""):
    """Refresh in a process that dies at a failpoint; give its exit code."""
    env = os.environ | ({"GRISTMILL_FAILPOINT": point} if point else {})
    words = [sys.executable, "-m", "gristmill", "run", "--full-refresh", "--workers", "1", "-q"]
    return subprocess.run(words, cwd=lab.folder, env=env, capture_output=True, timeout=120, check=False).returncode


def killed_everywhere(lab, folder, points):
    """Refresh once as it is, and once for each point killed there and run again: the same bytes, and one refresh only."""
    lab.configure(config(SOURCES, [LOWER, SHORT, EXACT], exports=EXPORTS))
    shutil.copytree(lab.folder, folder / "start", symlinks=True)
    assert command(lab) == 0
    wanted = lab.bytes()
    for point in points:
        shutil.copytree(folder / "start", folder / point, symlinks=True)
        other = Lab.__new__(Lab)
        other.folder, other.dataset, other.config = folder / point, folder / point / "set", lab.config
        assert command(other, f"{point}=kill") in {-signal.SIGKILL, 0}, point
        assert command(other) == 0, point
        assert snapshot.head_seq(Layout(other.dataset)) in {3, 4}, point
        if snapshot.head_seq(Layout(other.dataset)) == 3:
            assert other.bytes() == wanted, point
        assert sorted((row.id, row.text) for row in other.rows()) == [("a/1", "one"), ("b/1", "two")], point
        assert other.broken() == [], point


def test_killed_and_run_again_it_gives_the_same_bytes(lab, tmp_path_factory):
    killed_everywhere(lab, tmp_path_factory.mktemp("killed"), some(POINTS, 1))


def test_workers_change_no_byte_of_it(lab, tmp_path_factory):
    lab.configure(config(SOURCES, [LOWER, SHORT, EXACT], exports=EXPORTS))
    other = Lab.__new__(Lab)
    other.folder, other.config = tmp_path_factory.mktemp("workers") / "lab", lab.config
    other.dataset = other.folder / "set"
    shutil.copytree(lab.folder, other.folder)
    lab.run(mode="full-refresh")
    other.run_in_processes(2, mode="full-refresh")
    assert other.bytes() == lab.bytes()


def test_a_run_that_goes_on_with_a_dead_refresh_does_not_begin_another(lab):
    lab.configure(config(SOURCES, [LOWER, SHORT, EXACT], exports=EXPORTS))
    assert command(lab, "manifest.written=kill") == -signal.SIGKILL
    report = lab.run(mode="full-refresh")
    assert (report.run, report.resumed) == (3, True)
    assert plan.read_plan(Layout(lab.dataset), 3).mode == "full-refresh"
    assert lab.broken() == []


if __name__ == "__main__":  # python -m tests.engine.test_refresh: every failpoint that a refresh passes
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as made:
        whole = Lab(Path(made) / "lab", config(SOURCES, [SHORT], exports=EXPORTS))
        whole.put("a/1.jsonl", jsonl([rec("1", "one"), rec("2", "ONE"), rec("3", "x")]))
        whole.run()
        whole.put("b/1.jsonl", jsonl([rec("1", "two"), rec("2", "one"), rec("3", "y")]))
        whole.run()
        names = [name for name in failpoints.NAMES if not name.startswith(("load.", "landing."))]
        killed_everywhere(whole, Path(made), names)
        sys.stdout.write(f"{len(names)} failpoints: the same bytes at each\n")


def test_files_that_keep_changing_while_it_is_planned_stop_it(lab, monkeypatch):
    ask, asked = plan.ask, []

    def meanwhile(bound, *more):
        found = ask(bound, *more)
        asked.append(bound.name)
        lab.put(f"{bound.name}/new-{len(asked)}.jsonl", jsonl([rec(f"n{len(asked)}", f"one more {len(asked)}")]))
        return found

    monkeypatch.setattr(plan, "ask", meanwhile)
    with pytest.raises(SourceError, match="files keep changing while a full refresh is planned; run it again when"):
        lab.run(mode="full-refresh")
    monkeypatch.undo()
    assert lab.run(mode="full-refresh").status == "published"
    assert len(ids(lab)) == 4 + len(asked)
