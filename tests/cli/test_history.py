"""The verbs for snapshots that are there, and waiting: what they print, which codes they end with, that they wait."""

import json
import shutil
import threading
import time

import pytest
from tests.cli.conftest import Project, write

from gristmill.dataset import Dataset
from gristmill.store.claim import DatasetLock


@pytest.fixture(scope="module")
def twice(ran, tmp_path_factory):
    """Give a copy of the project that ran once, after a second run; a test that changes it copies it again."""
    folder = tmp_path_factory.mktemp("twice")
    shutil.copytree(ran.path, folder, dirs_exist_ok=True)
    with (folder / "data" / "a.jsonl").open("a") as file:
        file.write('{"id": "late", "text": "A record that came on the second day."}\n')
    project = Project(folder)
    assert project("run", "-q").code == 0
    return project


@pytest.fixture
def own(twice, tmp_path):
    shutil.copytree(twice.path, tmp_path / "own")
    return Project(tmp_path / "own")


def test_diff_tells_people_and_programs(twice):
    shown = twice("diff", "1", "2")
    assert shown.code == 0
    for word in ("snapshot 1: 9 documents", "snapshot 2: 10 documents", "came", "web/late", "run 2: read"):
        assert word in shown.out
    found = twice("diff", "1", "--json").json
    assert (found["added"]["records"], found["added"]["ids"]) == (1, ["web/late"])
    assert twice("diff", "1", "7").code == 2
    assert twice("diff").code == 2


def test_rollback_publishes_and_reports_like_a_run(own):
    done = own("rollback", "1", "--why", "late was wrong", "--json")
    assert (done.code, done.json["status"], done.json["snapshot"]) == (0, "published", 3)
    assert "run 3 published: snapshot 3 holds 9 documents" in done.err
    assert "rollback to 1" in own("log").out
    assert own("verify").code == 0
    again = own("rollback", "1", "--json")
    assert (again.code, again.json["status"]) == (0, "nothing_new")
    assert own("rollback", "9").code == 2
    assert "rolled back to 1" in own("explain", "web/late").out


def test_gc_says_what_would_go_then_takes_it(own):
    told = own("gc", "--dry-run", "--keep-last", "1", "--json").json
    assert (told["kept"], told["collected"], told["dry_run"]) == ([2], [1], True)
    assert "would go: " in own("gc", "--dry-run", "--keep-last", "1").out
    done = own("gc", "--keep-last", "1", "--json").json
    assert done | {"dry_run": True} == told
    assert "published, collected" in own("log").out
    assert "gc collected this snapshot" in own("show", "1").err
    for argv in (("verify", "1"), ("diff", "1", "2"), ("rollback", "1"), ("gc", "--pin", "1")):
        answer = own(*argv)
        assert answer.code == 2, argv
        assert "snapshot 1 was collected by gc on" in answer.err
    assert own("verify").code == 0


def test_gc_pins_and_unpins_and_does_one_thing_at_a_time(own):
    assert own("gc", "--pin", "1", "--name", "gold", "--json").json == {"pins": {"gold": 1}}
    assert own("gc", "--keep-last", "1").out.splitlines()[-1] == "whole: 1-2"
    assert "pinned: snapshot 1 (gold)" in own("status").out.splitlines()
    assert own("status", "--json").json["pins"] == {"gold": 1}
    assert own("gc", "--unpin", "gold").err.endswith("nothing is pinned\n")
    again = own("gc", "--unpin", "gold", "--json")
    assert (again.code, again.json, again.err.splitlines()[0]) == (0, {"pins": {}}, "note: there is no pin gold")
    for wrong in (
        ("--pin", "1", "--name", "../x"),
        ("--pin", "1", "--unpin", "1"),
        ("--pin", "1", "--dry-run"),
        ("--name", "x"),
        ("--keep-last", "0"),
    ):
        assert own("gc", *wrong).code == 2


def test_upgrade_has_nothing_to_do(twice):
    assert twice("upgrade").out == "there is nothing to do: the dataset has format 1, the newest\n"


WRITING = [
    ("run",),
    ("adopt", "data/a.jsonl"),
    ("export",),
    ("quarantine", "retry"),
    ("rollback", "1"),
    ("gc",),
    ("gc", "--pin", "1"),
    ("upgrade",),
    ("stage", "plan"),
]


@pytest.mark.parametrize("argv", WRITING, ids=" ".join)
def test_every_verb_that_writes_ends_with_5_while_the_dataset_is_held(twice, argv):
    with DatasetLock(Dataset(twice.path / "corpus").layout):
        answer = twice(*argv, "--json")
        assert answer.code == 5, answer.err
        assert "is held by another run" in answer.err
        assert "--wait" in answer.err
        began = time.monotonic()
        assert twice(*argv, "--wait", "0.3").code == 5
        assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("argv", [("rollback", "1"), ("export",), ("gc", "--keep-last", "1"), ("run",)], ids=" ".join)
def test_with_wait_it_goes_on_when_the_other_has_ended(own, argv):
    lock = DatasetLock(Dataset(own.path / "corpus").layout)
    lock.__enter__()
    timer = threading.Timer(0.5, lock.__exit__, (None, None, None))
    timer.start()
    answer = own(*argv, "--wait")
    timer.join()
    assert answer.code == 0, answer.err


def test_a_wait_that_is_no_number_of_seconds_is_a_mistake(twice):
    assert twice("gc", "--wait=soon").code == 2
    assert json.loads(twice("gc", "--wait=soon", "--json").out)["status"] == "failed"


def test_what_gc_took_of_a_refused_run_is_not_said_to_be_kept(own):
    write(own.path / "data" / "short.jsonl", [{"id": f"s{n}", "text": "short"} for n in range(30)])
    assert own("run", "--set", "gate.min_kept_ratio=0.9").code == 3
    (run,) = [line["run"] for line in json.loads(own("log", "--json").out) if line["status"] == "refused"]
    assert own("drift", str(run)).code == 0
    assert own("gc", "--set", "retention.grace=0s").code == 0
    told = own("inspect", "--dropped", "--run", str(run))
    assert told.code == 2
    assert f"run {run} was not published, and gc removed on" in told.err
    assert "or gc removed what it was refused with" in own("drift", str(run)).err
