"""gc removes what no kept snapshot needs, and nothing else: what is kept stays whole, what is gone says so, runs do not notice."""

import os
import shutil
import time

import pytest
from tests.oracle import Source
from tests.properties.lab import Lab, jsonl
from tests.properties.test_histories import EXPORTS, PIPELINES, config

from gristmill.core.errors import ConfigError, GateRefused, LockedError
from gristmill.engine import garbage
from gristmill.store.claim import DatasetLock

A, B = "a/1.jsonl", "a/2.jsonl"
OLD = 1_600_000_000


def rec(id_, text):
    return {"id": id_, "text": text}


@pytest.fixture(scope="module")
def past(tmp_path_factory):
    """Give two labs after three runs, without and with exports; each run withdrew what the one before had published."""
    labs = []
    for exports in ([], EXPORTS):
        lab = Lab(
            tmp_path_factory.mktemp("past"),
            config([Source("a", "id")], PIPELINES["clean, filter, dedup"], exports=exports),
        )
        for day in ("one", "two", "three"):
            lab.put(A, jsonl([rec("1", f"first {day}"), rec("2", "second")]))
            lab.put(B, jsonl([rec("3", f"third {day}")]))
            lab.run()
        labs.append(lab)
    return labs


@pytest.fixture
def three_days(past):
    """Give what makes a copy of such a lab that a test may change."""

    def copied(folder, *, exports=False):
        made = past[exports]
        shutil.copytree(made.folder, folder, dirs_exist_ok=True)
        lab = Lab(folder, made.config)
        lab.clock = made.clock
        return lab

    return copied


def collect(lab, **how):
    return lab.open().gc(lab.pipeline().config, **how)


def files(lab):
    return {p.relative_to(lab.folder).as_posix() for p in lab.folder.rglob("*") if p.is_file() and p.name != "lock"}


def named(lab, seq):
    manifest = lab.open().manifest(seq)
    return {f"set/{name}" for name in garbage._names(manifest)}


def aged(path, content=b"x"):
    """Write a file that is older than any grace period."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (OLD, OLD))
    return path


def test_without_a_retention_every_snapshot_stays(tmp_path, three_days):
    lab = three_days(tmp_path)
    before = files(lab)
    found = collect(lab)
    assert (found["kept"], found["collected"], found["total_bytes"]) == ([1, 2, 3], [], 0)
    assert files(lab) == before


def test_a_dry_run_tells_the_very_bytes_that_go_and_changes_nothing(tmp_path, three_days):
    lab = three_days(tmp_path)
    before = {name: (lab.folder / name).stat().st_size for name in files(lab)}
    with DatasetLock(lab.open().layout):  # it takes no lock
        told = collect(lab, keep_last=1, dry_run=True)
    assert files(lab) == before.keys()
    done = collect(lab, keep_last=1)
    assert told | {"dry_run": False} == done
    gone = before.keys() - files(lab)
    assert sum(before[name] for name in gone) == done["total_bytes"]
    assert sum(done["files"].values()) == len(gone)


def test_what_is_kept_is_whole_and_only_what_it_does_not_need_is_gone(tmp_path, three_days):
    lab = three_days(tmp_path, exports=True)
    before, wanted = files(lab), named(lab, 3)
    dropped = (named(lab, 1) | named(lab, 2)) - wanted
    assert dropped
    found = collect(lab, keep_last=1)
    assert (found["kept"], found["collected"]) == ([3], [1, 2])
    assert before - files(lab) == dropped
    assert files(lab) - before == {f"set/runs/{seq}/collected.json" for seq in (1, 2)}
    assert lab.broken() == []
    assert collect(lab, keep_last=1)["total_bytes"] == 0


def test_runs_go_on_after_it_with_the_same_bytes(tmp_path, three_days):
    made = []
    for name in ("kept", "collected"):
        lab = three_days(tmp_path / name, exports=True)
        if name == "collected":
            collect(lab, keep_last=1)
        lab.put(A, jsonl([rec("1", "first four"), rec("2", "second"), rec("9", "third three")]))
        lab.run()
        manifest = lab.open().manifest()
        now = lab.bytes()
        made.append({each: now[each] for each in named(lab, manifest.seq) | {f"set/runs/{manifest.seq}/manifest.json"}})
        assert lab.broken() == []
    assert made[0] == made[1]


def test_a_snapshot_that_is_gone_says_so_wherever_it_is_asked_for(tmp_path, three_days):
    lab = three_days(tmp_path)
    stale = lab.open()
    reading = stale.scan(1)
    collect(lab, keep_last=1)
    opened = lab.open()
    for ask in (
        lambda: opened.read(1),
        lambda: opened.files(1),
        lambda: opened.delta_version(1),
        lambda: opened.verify(1),
        lambda: opened.diff(1, 3),
        lambda: opened.inspect("kept", seq=1),
        lambda: next(reading),
    ):
        with pytest.raises(ConfigError, match="snapshot 1 was collected by gc on 20"):
            ask()
    assert [bool(line.get("collected")) for line in opened.log()] == [True, True, False]
    assert opened.report(1)["status"] == "published"
    assert opened.manifest(1).rows == 3
    assert opened.explain("a/1")["history"][0]["run"] == 2


def test_retention_is_a_number_a_time_or_both_and_pins_win(tmp_path, three_days):
    lab = three_days(tmp_path)
    whole = lambda **how: collect(lab, dry_run=True, **how)["kept"]  # noqa: E731
    assert whole(keep_last=2) == [2, 3]
    assert whole(keep_days=1) == [1, 2, 3]
    path = lab.open().layout.claim(1)
    path.write_bytes(path.read_bytes().replace(b'"time": "20', b'"time": "19'))
    assert whole(keep_days=1) == [2, 3]
    assert whole(keep_last=1, keep_days=1) == [2, 3]
    lab.configure(lab.config | {"retention": {"keep_last": 1}})
    assert whole() == [3]
    lab.configure(lab.config | {"retention": {"keep_last": 3, "keep_days": 1}})
    assert whole(keep_last=1) == [2, 3], "the other rule holds as it is"
    lab.configure(lab.config | {"retention": {"keep_last": 1, "pinned": [1]}})
    assert whole() == [1, 3]
    assert lab.open().pin(2, "gold") == {"gold": 2}
    assert whole() == [1, 2, 3]
    assert collect(lab)["collected"] == []
    assert lab.open().unpin("gold") == {}
    assert collect(lab)["collected"] == [2]
    assert lab.open().verify(1) == []


def test_pins_are_named_once_and_must_be_there(tmp_path, three_days):
    lab = three_days(tmp_path)
    opened = lab.open()
    assert opened.pin(1) == {"1": 1}
    assert opened.pin(2, "gold") == {"1": 1, "gold": 2}
    with pytest.raises(ConfigError, match="the name 'gold' pins snapshot 2"):
        opened.pin(3, "gold")
    for seq in (0, 4):
        with pytest.raises(ConfigError, match=f"no snapshot {seq}"):
            opened.pin(seq)
    assert opened.unpin(2) == {"1": 1}
    lab.configure(lab.config | {"retention": {"pinned": [7]}})
    with pytest.raises(ConfigError, match="pinned: 7: no such snapshot"):
        collect(lab)


@pytest.mark.parametrize("name", ["", " ", "../x", "-x", "a/b", "2", "007", "n\u00e4me", "x" * 101])
def test_a_pin_has_no_name_that_is_empty_a_path_or_another_snapshots_number(tmp_path, three_days, name):
    opened = three_days(tmp_path).open()
    with pytest.raises(ConfigError, match=r"a pin cannot be called .*begin with a letter|could be taken for snapshot"):
        opened.pin(1, name)
    assert opened.pins() == {}


def test_unpin_takes_one_pin_and_the_same_call_again_takes_no_other(tmp_path, three_days):
    opened = three_days(tmp_path).open()
    for seq, name in ((1, None), (2, None), (2, "gold"), (3, "silver")):
        opened.pin(seq, name)
    with pytest.raises(ConfigError, match="'2' may mean any of the pins 2, gold; take one away by its name: gold"):
        opened.unpin(2)
    for _ in range(2):
        assert opened.unpin("gold") == {"1": 1, "2": 2, "silver": 3}
    for _ in range(2):
        assert opened.unpin(3) == {"1": 1, "2": 2}
    with pytest.raises(ConfigError, match=r"a pin cannot be called ''"):
        opened.unpin("")


def test_a_pin_of_the_config_is_taken_out_there(tmp_path, three_days):
    lab = three_days(tmp_path)
    lab.configure(lab.config | {"retention": {"pinned": [1]}})
    lab.open().pin(1)
    config = lab.pipeline().config
    with pytest.raises(ConfigError, match=r"gristmill.yml:\d+:\d+: retention.pinned holds snapshot 1; take it out"):
        lab.open().unpin(1, config=config)
    assert lab.open().unpin(2, config=config) == {"1": 1}


def test_garbage_of_dead_writers_goes_when_it_is_old_and_strangers_stay(tmp_path, three_days):
    lab = three_days(tmp_path, exports=True)
    root = lab.dataset
    dead = [
        aged(root / "table/0123456789abcdef-01234567.parquet"),
        aged(root / "index/ids-1/0003/9.parquet"),
        aged(root / "index/tombstones/9.parquet"),
        aged(root / "state/a/9.parquet"),
        aged(root / "staging/9/deep/file"),
        aged(root / "runs/3/.report.json.77-abc.tmp"),
        aged(root / ".pins.json.77-abc.tmp"),
        aged(lab.folder / "out/chunk_00077.jsonl.zst"),
        aged(lab.folder / "out/.chunk_00001.jsonl.zst.77-abc.tmp"),
    ]
    strangers = [
        aged(root / "table/mine.parquet"),
        aged(root / "table/README"),
        aged(root / "index/ids-1/0003/notes.txt"),
        aged(root / "elsewhere/9.parquet"),
        aged(lab.folder / "out/chunk.txt"),
        aged(lab.folder / "out/chunk_1.txt"),
    ]
    young = root / "table/0123456789abcdef-76543210.parquet"
    young.write_bytes(b"x")
    found = collect(lab)
    assert found["files"] == {
        "shards": 1, "index": 1, "tombstones": 1, "states": 1, "staging": 1, "landing": 0, "runs": 0, "exports": 2, "scratch": 2,
    }  # fmt: skip
    assert [path.exists() for path in dead] == [False] * len(dead)
    assert [path.exists() for path in [*strangers, young]] == [True] * 7
    lab.configure(lab.config | {"retention": {"grace": "0s"}})
    assert collect(lab)["files"]["shards"] == 1
    assert not young.exists()
    assert lab.broken() == []


def test_landed_pages_go_when_their_time_is_over(tmp_path, three_days):
    lab = three_days(tmp_path)
    for seq in (1, 3):
        aged(lab.dataset / f"landing/a/{seq}/r-000000-00000.parquet")
    path = lab.open().layout.claim(1)
    path.write_bytes(path.read_bytes().replace(b'"time": "20', b'"time": "19'))
    assert lab.open().gc()["files"]["landing"] == 0  # how long they are kept, only a config says
    assert collect(lab)["files"]["landing"] == 1
    assert not (lab.dataset / "landing/a/1").exists()
    assert (lab.dataset / "landing/a/3").exists()


def test_a_refused_candidate_can_be_looked_at_until_the_grace_period_is_over(tmp_path, three_days):
    lab = three_days(tmp_path)
    lab.configure(lab.config | {"gate": {"min_docs": 1000}})
    lab.put(B, jsonl([rec("3", "refused")]))
    with pytest.raises(GateRefused):
        lab.run()
    for path in lab.dataset.rglob("*.parquet"):
        os.utime(path, (OLD, OLD))  # copied, say: a file's age alone does not make it garbage
    assert collect(lab)["total_bytes"] == 0
    assert [row["id"] for row in lab.open().inspect("kept", seq=4)] == ["a/3"]
    lab.configure(lab.config | {"retention": {"grace": "0s"}})
    time.sleep(1.1)  # claims tell seconds
    found = collect(lab)
    assert found["files"]["runs"] > 0
    assert found["files"]["shards"] == 2  # what it published, and what it left of an older one
    with pytest.raises(ConfigError, match="run 4 was not published, and gc removed on"):
        lab.open().inspect("kept", seq=4)
    assert lab.open().report(4)["status"] == "refused"
    assert lab.broken() == []


def test_a_run_that_is_open_beside_it_loses_nothing(tmp_path, three_days):
    """A scheduler's run holds no lock between its stages; its finished tasks and what they wrote must stay, however old."""
    made = []
    for name in ("peace", "gc between"):
        lab = three_days(tmp_path / name, exports=True)
        lab.configure(lab.config | {"retention": {"keep_last": 1, "grace": "0s"}})
        lab.put(A, jsonl([rec("1", "first four"), rec("2", "second")]))
        lab.put("a/3.jsonl", jsonl([rec("7", "seven")]))
        pipeline = lab.pipeline()
        seq = pipeline.stage_plan()["seq"]
        for stage in pipeline.stages():
            if name != "peace":
                collect(lab)
            pipeline.stage_work(seq, stage)
        if name != "peace":
            assert collect(lab)["files"]["staging"] == 0
        assert pipeline.stage_gate(seq).status == "published"
        if name != "peace":
            collect(lab)
        assert pipeline.stage_commit(seq).snapshot == 4
        assert lab.broken() == []
        now = lab.bytes()
        made.append({each: now[each] for each in [*named(lab, 4), "set/runs/4/manifest.json"]})
    assert made[0] == made[1]


def test_what_a_dead_run_left_is_kept_while_it_can_be_gone_on_with(tmp_path, three_days, monkeypatch):
    lab = three_days(tmp_path)
    lab.put(B, jsonl([rec("3", "four")]))
    monkeypatch.setattr(
        "gristmill.engine.candidate.snapshot.commit", lambda *_: (_ for _ in ()).throw(OSError(5, "gone"))
    )
    with pytest.raises(OSError, match="gone"):
        lab.run()
    monkeypatch.undo()
    lab.configure(lab.config | {"retention": {"keep_last": 1, "grace": "0s"}})
    assert collect(lab)["files"]["staging"] == 0
    report = lab.run()
    assert (report.run, report.resumed) == (4, True)
    assert lab.broken() == []


def test_it_waits_for_the_lock_or_says_who_holds_it(tmp_path, three_days):
    lab = three_days(tmp_path)
    with DatasetLock(lab.open().layout), pytest.raises(LockedError, match="held by another run"):
        collect(lab, keep_last=1)
    assert lab.open().log()[0].get("collected") is None


def test_the_snapshot_a_table_was_last_brought_to_is_kept(tmp_path, three_days):
    lab = three_days(tmp_path)
    folder = tmp_path / "base"
    table = {"name": "t", "sql": {"dsn": f"sqlite:///{folder}/copy.db", "table": "docs"}}
    folder.mkdir()
    lab.configure(lab.config | {"exports": [table]})
    lab.put(B, jsonl([rec("3", "four")]))
    lab.run()
    shutil.move(folder, tmp_path / "away")
    for word in ("five", "six"):
        lab.put(B, jsonl([rec("3", word)]))
        assert lab.run().status == "published_export_failed"
    found = collect(lab, keep_last=1)
    assert found["kept"] == [4, 6]
    shutil.move(tmp_path / "away", folder)
    made = lab.pipeline().export("t")["t"]
    assert made["rows_put"] == 1  # brought on, not loaded anew
    assert collect(lab, keep_last=1)["kept"] == [6]


def test_an_old_snapshot_that_a_rollback_took_its_rows_from_may_go(tmp_path, three_days):
    lab = three_days(tmp_path)
    rows = lab.open().read(1)
    lab.open().rollback(1, config=lab.pipeline().config)
    assert collect(lab, keep_last=1)["collected"] == [1, 2, 3]
    assert lab.open().read().equals(rows)
    assert lab.broken() == []
    lab.run()
    assert lab.broken() == []
