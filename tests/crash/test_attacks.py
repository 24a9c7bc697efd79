"""Runs that are killed at any moment, shot in a worker, stopped, or asked to stop. A trial's seed replays it."""

import signal

import pytest
from tests.examples import some
from tests.soak import attacks, scenes

from gristmill.testing import crash


@pytest.fixture(scope="session")
def middling(tmp_path_factory, server):
    """Give two days of work for two workers, a second each."""
    folder = tmp_path_factory.mktemp("middling")
    return scenes.history(folder, "middling", scenes.runner(server, 2), n=1500, split=60_000, docs=300)


@pytest.mark.slice
@pytest.mark.parametrize("seed", some([1, 2], 1))
def test_killed_at_any_moment(seed, middling, server, tmp_path):
    trial = attacks.random_kill(server, middling[seed % 2], tmp_path, seed, 1.5)
    assert trial.problems == [], f"seed {seed}"
    assert trial.looks > 0


@pytest.mark.parametrize("seed", [1])
def test_a_shot_worker_is_replaced(seed, small, server, tmp_path):
    assert attacks.shot_worker(server, small[1], tmp_path, seed).problems == [], f"seed {seed}"


def test_a_stopped_run_keeps_the_lock(small, server, tmp_path):
    assert attacks.stopped_holder(server, small[1], tmp_path, "manifest.written=stop").problems == []


SIGNALLED = [("task.staged=2", signal.SIGINT, 2), ("commit.after_delta=1", signal.SIGTERM, 1)]


@pytest.mark.slice
@pytest.mark.parametrize(("point", "number", "workers"), some(SIGNALLED, 1))
def test_a_signal_stops_and_the_rerun_goes_on(point, number, workers, small, server, tmp_path):
    assert attacks.signalled(server, small[1], tmp_path, point, number, workers).problems == []


def test_a_second_run_does_not_report_on_the_first(small, server, tmp_path):
    """Two at once, then the first dies: the next one still goes on from where it was."""

    def blow(tree, i):
        pid = server.start([str(tree), "1"], crash.armed(tree, i, "task.journalled=stop@9"))
        assert attacks.until_stopped(server, pid) == pid
        assert server.run([str(tree), "1"], {}) == 5
        crash.kill_group(pid)
        return server.wait(pid)

    trial = attacks.attacked(small[1], tmp_path, "two at once", [blow], scenes.runner(server, 1))
    assert trial.problems == []
    assert trial.codes == [crash.KILLED, 0]
