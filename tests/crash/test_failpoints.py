"""Every failpoint is died at, in the process itself and in workers; reruns that die too; the make-test slice.

`make soak` dies at every passing of each. A trial is named by its failpoints, and they replay it.
"""

import random

import pytest
from tests.soak import attacks, scenes

from gristmill.core import failpoints
from gristmill.testing import crash

SEED = 20261123
IN_WORKERS = ("task.staged", "task.shard_renamed", "task.journalled", "merge.index_written", "export.chunk_written")


@pytest.fixture(scope="session")
def counts(small, server, tmp_path_factory):
    """Give how often day 2 passes each failpoint."""
    return crash.count_failpoints(small[1], tmp_path_factory.mktemp("count"), scenes.runner(server, 1))


def test_every_failpoint_is_passed(counts):
    assert sorted(counts) == sorted(failpoints.NAMES)


@pytest.mark.parametrize("name", failpoints.NAMES)
def test_killed_at(name, small, counts, server, tmp_path):
    n = random.Random(f"{SEED} {name}").randint(1, counts[name])
    run = scenes.runner(server, 1)
    trial = attacks.attacked(small[1], tmp_path, name, [crash.at_failpoint(f"{name}=kill@{n}", run)], run)
    assert trial.problems == [], f"{name}=kill@{n}"
    assert trial.codes == [crash.KILLED, 0]


@pytest.mark.parametrize("name", IN_WORKERS)
def test_killed_in_a_worker_the_run_goes_on_by_itself(name, small, server, tmp_path):
    run = scenes.runner(server, 2)
    trial = attacks.attacked(small[1], tmp_path, name, [crash.at_failpoint(f"{name}=kill@2", run)], run)
    assert trial.problems == []
    assert trial.codes == [0]


@pytest.mark.parametrize("name", ["claim.created", "plan.written", "commit.after_delta", "export.before_manifest"])
def test_killed_on_the_first_day(name, small, server, tmp_path):
    run = scenes.runner(server, 1)
    trial = attacks.attacked(small[0], tmp_path, name, [crash.at_failpoint(f"{name}=kill", run)], run)
    assert trial.problems == []
    assert trial.codes == [crash.KILLED, 0]


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("claim.created=kill", "claim.created=kill"),
        ("task.journalled=kill@20", "manifest.written=kill"),
        ("commit.before_delta=kill", "commit.after_delta=kill"),
        ("commit.after_delta=kill", "export.chunk_written=kill@2"),
    ],
)
def test_killed_twice(first, then, small, server, tmp_path):
    run = scenes.runner(server, 1)
    blows = [crash.at_failpoint(point, run) for point in (first, then)]
    trial = attacks.attacked(small[1], tmp_path, f"{first} {then}", blows, run)
    assert trial.problems == []
    assert trial.codes == [crash.KILLED, crash.KILLED, 0]


def test_an_unknown_failpoint_is_refused(monkeypatch):
    for wrong in ("no.such=kill", "task.staged=explode"):
        monkeypatch.setenv("GRISTMILL_FAILPOINT", wrong)
        with pytest.raises(ValueError, match="unknown failpoint or action"):
            failpoints.arm()
    monkeypatch.delenv("GRISTMILL_FAILPOINT")
    failpoints.arm()
