"""Failpoints are died at, in the process itself and in workers; reruns that die too; the make-test slice.

A few of them here; `make soak` dies at every passing of each. A trial is named by its failpoints, and they replay it.
"""

import random
import shutil

import pytest
from tests.examples import some
from tests.soak import attacks, scenes

from gristmill.core import failpoints
from gristmill.testing import crash, laws

SEED = 20261123
# What this pipeline passes; loads into tables are died at by `tests/exports`, what gc does in `test_verbs`.
NAMES = tuple(name for name in failpoints.NAMES if not name.startswith(("load.", "gc.")))
IN_WORKERS = ("task.journalled", "export.chunk_written")


@pytest.fixture(scope="session")
def counts(small, server, tmp_path_factory):
    """Give how often day 2 passes each failpoint."""
    return crash.count_failpoints(small[1], tmp_path_factory.mktemp("count"), scenes.runner(server, 1))


def test_every_failpoint_is_passed(counts):
    assert sorted(counts) == sorted(NAMES)


@pytest.mark.slice
@pytest.mark.parametrize("name", some(NAMES, len(NAMES) // 12))
def test_killed_at(name, small, counts, server, tmp_path):
    n = random.Random(f"{SEED} {name}").randint(1, counts[name])
    run = scenes.runner(server, 1)
    trial = attacks.attacked(small[1], tmp_path, name, [crash.AtFailpoint(f"{name}=kill@{n}", run)], run)
    assert trial.problems == [], f"{name}=kill@{n}"
    assert trial.codes == [crash.KILLED, 0]


@pytest.mark.slice
@pytest.mark.parametrize("name", some(IN_WORKERS, 1))
def test_killed_in_a_worker_the_run_goes_on_by_itself(name, small, server, tmp_path):
    run = scenes.runner(server, 2)
    blow = crash.AtFailpoint(f"{name}=kill@2", run)
    trial = attacks.attacked(small[1], tmp_path, name, [blow], run)
    assert trial.problems == []
    assert trial.codes == [0]
    assert blow.reached == [True]


@pytest.mark.slice
@pytest.mark.parametrize("name", some(["plan.written", "commit.after_delta"], 1))
def test_killed_on_the_first_day(name, small, server, tmp_path):
    run = scenes.runner(server, 1)
    trial = attacks.attacked(small[0], tmp_path, name, [crash.AtFailpoint(f"{name}=kill", run)], run)
    assert trial.problems == []
    assert trial.codes == [crash.KILLED, 0]


TWICE = [
    ("task.journalled=kill@20", "manifest.written=kill"),
    ("commit.after_delta=kill", "export.chunk_written=kill@2"),
]


@pytest.mark.slice
@pytest.mark.parametrize(("first", "then"), some(TWICE, 1))
def test_killed_twice(first, then, small, server, tmp_path):
    run = scenes.runner(server, 1)
    blows = [crash.AtFailpoint(point, run) for point in (first, then)]
    trial = attacks.attacked(small[1], tmp_path, f"{first} {then}", blows, run)
    assert trial.problems == []
    assert trial.codes == [crash.KILLED, crash.KILLED, 0]


def test_a_commit_that_was_not_synced_is_synced_by_the_next_run(small, server, tmp_path):
    """Killed between the Delta commit and its fsync: the rerun, which finds nothing new, must not just say so."""
    run, synced = scenes.runner(server, 1), []

    def rerun(tree, i):
        code = run(tree, crash.armed(tree, i, ""))
        synced.append((tree / ".hits-1" / "commit.synced").exists())
        return code

    trial = attacks.attacked(
        small[1], tmp_path, "sync", [crash.AtFailpoint("commit.after_delta=kill", run), rerun], run
    )
    assert trial.problems == []
    assert trial.codes == [crash.KILLED, 0]
    assert synced == [True]


def test_killed_while_a_refusal_is_written(server, tmp_path):
    """The gate refuses: whether the candidate or the report was being written, the rerun refuses the same."""
    name, tree = "disk.named", tmp_path / "start"
    tree.mkdir()
    scenes.write_config(tree, split=4000, docs=15)
    config = tree / "gristmill.yml"
    config.write_text(config.read_text("utf-8").replace("min_quality_score: 0.1", "min_docs: 100000"), "utf-8")
    scenes.day_1(tree, 20)
    run = scenes.runner(server, 1)
    assert run(tree, crash.armed(tree, 0, "")) == 3
    writes = (tree / ".hits-0" / name).stat().st_size
    candidate = (tree / "corpus/runs/1/candidate.json").read_bytes()
    for i, back in enumerate((1, 0)):  # the last write but one is the candidate, the last the report
        shutil.rmtree(tree / "corpus")
        assert run(tree, crash.armed(tree, i + 1, f"{name}=kill@{writes - back}")) == crash.KILLED
        assert laws.head_seq(tree / "corpus") is None
        again = run(tree, {})
        assert again == 3
        newest = max((tree / "corpus" / "runs").iterdir(), key=lambda run: int(run.name))
        assert (newest.name == "1") is (back == 1)  # with its report in place the run is over: the next is another
        assert newest.name != "1" or (newest / "candidate.json").read_bytes() == candidate
        assert laws.head_seq(tree / "corpus") is None


def test_an_unknown_failpoint_is_refused(monkeypatch):
    for wrong in ("no.such=kill", "task.staged=explode"):
        monkeypatch.setenv("GRISTMILL_FAILPOINT", wrong)
        with pytest.raises(ValueError, match="unknown failpoint or action"):
            failpoints.arm()
    monkeypatch.delenv("GRISTMILL_FAILPOINT")
    failpoints.arm()
