"""The pulse: a sign of life on disk, what progress is, and a standstill that is told once."""

import json
import time

import pytest

from gristmill.observe import pulse
from gristmill.observe.events import RunBegins, RunFailed, StageBegins, TaskDone, TaskFailed
from gristmill.observe.pulse import Live, Pulse


class Watched:
    """A pulse whose stalls and beats are kept."""

    def __init__(self, folder, stall_s=60.0, every_s=60.0):
        self.path = folder / "heartbeat.json"
        self.stalls, self.beats = [], []
        self.pulse = Pulse(lambda _: self.path, stall_s, lambda _, what: self.stalls.append(what), self.beats.append, every_s)  # fmt: skip
        self.work = folder / "staging"
        self.work.mkdir()

    def begin(self, tasks=4, slots=2):
        self.pulse.stage(StageBegins(name="plan"))
        self.pulse.run(RunBegins(run=7, dataset="/d", claimed="", folders=[self.work]))
        names = [f"r-{i}" for i in range(tasks)]
        self.pulse.stage(StageBegins(name="read", tasks=names, bytes=400, slots=slots))

    def written(self):
        return json.loads(self.path.read_bytes())


class Clock:
    """What the pulse asks for the time: on the wall, and what has passed."""

    def __init__(self, real):
        self.real, self.passed_s, self.jumped_s = real, 0.0, 0.0

    def time(self):
        return self.real.time() + self.passed_s + self.jumped_s

    def monotonic(self):
        return self.real.monotonic() + self.passed_s


@pytest.fixture
def clock(monkeypatch):
    clock = Clock(time)
    monkeypatch.setattr(pulse, "time", clock)
    return clock


@pytest.fixture(name="watched")
def _watched(tmp_path, clock):
    watched = Watched(tmp_path)
    yield watched
    watched.pulse.close()


def test_the_sign_of_life_tells_how_far_it_is(watched):
    watched.begin()
    watched.pulse.task(TaskDone(stage="read", task="r-0", bytes=100, rows_in=10, rows_out=8, peak_rss_mb=50))
    watched.pulse.again(TaskFailed(stage="read", task="r-1", tried=1, why="exit code -9", died=True))
    watched.pulse.beat()
    told = watched.written()
    assert {key: told[key] for key in ("run", "stage", "tasks", "done", "running", "waiting", "bytes_done", "bytes_total")} == {
        "run": 7, "stage": "read", "tasks": 4, "done": 1, "running": 2, "waiting": 1, "bytes_done": 100, "bytes_total": 400,
    }  # fmt: skip
    assert (told["rows_in"], told["rows_out"], told["retries"], told["worker_deaths"]) == (10, 8, 1, 1)
    assert sorted(path.name for path in watched.path.parent.iterdir()) == ["heartbeat.json", "staging"]


@pytest.mark.parametrize(
    ("end", "stays"),
    [
        (lambda one: one.report({"run": 7}), False),
        (lambda one: one.failed(RunFailed(code="StepError", message="")), False),
        (lambda one: one.done(), False),
        (lambda one: one.failed(RunFailed(code="Stopped", message="", stopped=True)), True),
    ],
)
def test_it_goes_with_the_run_and_stays_where_the_run_will_be_gone_on_with(watched, end, stays):
    watched.begin()
    assert watched.path.exists()
    end(watched.pulse)
    watched.pulse.close()
    assert watched.path.exists() == stays


def test_it_is_renewed_by_a_thread(tmp_path):
    watched = Watched(tmp_path, every_s=0.02)
    watched.begin()
    first, deadline = watched.written()["time"], time.monotonic() + 10
    while watched.written()["time"] == first and time.monotonic() < deadline:
        time.sleep(0.01)
    assert watched.written()["time"] > first
    watched.pulse.close()
    assert watched.beats[-1].run == 7


def test_a_standstill_is_told_once_until_the_run_moves(watched, clock):
    watched.begin()
    clock.passed_s += 61
    watched.pulse.beat()
    watched.pulse.beat()
    assert watched.stalls == ["no progress for 61 s in stage read: 0 of 4 tasks done; the next to end: r-0, r-1"]
    assert watched.written()["stalled"]
    watched.pulse.task(TaskDone(stage="read", task="r-0"))
    watched.pulse.beat()
    assert not watched.written()["stalled"]
    clock.passed_s += 61
    watched.pulse.beat()
    assert len(watched.stalls) == 2


@pytest.mark.parametrize("jump_s", [86_400, -86_400])
def test_a_clock_that_jumps_is_no_standstill_and_hides_none(watched, clock, jump_s):
    watched.begin()
    clock.jumped_s += jump_s
    watched.pulse.beat()
    told = pulse.told(pulse.read(watched.path), 60.0, clock.time())
    assert (watched.stalls, told["stalled"], told["still_s"] < 5) == ([], False, True)
    clock.passed_s += 61
    watched.pulse.beat()
    assert len(watched.stalls) == 1


def test_a_file_that_grows_is_progress(watched, clock):
    watched.begin()
    (watched.work / "0").mkdir()
    for content in (b"rows", b"rows, and more"):
        clock.passed_s += 31
        watched.pulse.beat()  # half of its time has gone: from now on it looks at files
        (watched.work / "0" / "000000.arrow").write_bytes(content)
        clock.passed_s += 31
        watched.pulse.beat()
        assert watched.stalls == []
    clock.passed_s += 61
    watched.pulse.beat()
    assert len(watched.stalls) == 1


def test_a_disk_that_is_full_does_not_end_a_run(tmp_path):
    watched = Watched(tmp_path)
    watched.path.mkdir()  # no file can be put in its place
    watched.begin()
    watched.pulse.beat()
    watched.pulse.close()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_is_read_of_another_process(tmp_path):
    path = tmp_path / "heartbeat.json"
    assert pulse.read(path) is None
    path.write_text("{")
    assert pulse.read(path) is None
    live = Live(run=7, time=1000.0, moved=900.0, every_s=5.0, stage="read", tasks=4, done=1)
    pulse.write_whole(path, json.dumps({"run": 7, "time": 1000.0, "later": "fields are passed over"}).encode())
    assert pulse.read(path).run == 7
    assert not pulse.told(live, stall_s=900, now=1010)["stalled"]
    assert (
        pulse.told(live, stall_s=50, now=1010)["progress"] == "no progress for 110 s in stage read: 1 of 4 tasks done"
    )
    assert pulse.told(live, stall_s=900, now=1031)["progress"] == "no sign of life for 31 s"
    assert pulse.told(live, stall_s=900, now=1010)["time"] == "1970-01-01T00:16:40Z"
