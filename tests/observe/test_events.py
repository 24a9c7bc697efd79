"""Events reach all who listen; logs are lines of JSON with run, stage and task, and hold no secret."""

import io
import json

from gristmill.observe.events import Fan, RunBegins, RunFailed, Silent, StageBegins, TaskDone, TaskFailed
from gristmill.observe.logs import JsonLines, RunLog, on_stream

REPORT = {
    "run": 7, "status": "published", "snapshot": 7, "seconds": 1.25, "counts": {"read": 3, "dropped": {"x:y": 1, "x:z": 1}},
    "errors": [{"stage": "read", "source": "a", "code": "json.syntax", "message": "sesame", "time": "", "context": {}}],
}  # fmt: skip


def play(events):
    events.stage(StageBegins(name="plan"))
    events.run(RunBegins(run=7, dataset="/d", claimed="2026-01-01T00:00:00Z", config="c", code="k"))
    events.stage(StageBegins(name="read", tasks=["r-0", "r-1"], bytes=100, slots=2))
    events.again(TaskFailed(stage="read", task="r-0", tried=1, why="Transient", places="a.py:1"))
    events.again(TaskFailed(stage="read", task="r-1", tried=1, why="exit code -9", died=True))
    events.task(TaskDone(stage="read", task="r-0", source="a", bytes=50, rows_in=3, rows_out=1, seconds=0.12345))
    events.note("the password is sesame")
    events.report(REPORT)
    events.failed(RunFailed(code="StepError", message="sesame again", places="b.py:2"))
    events.close()


def test_every_line_names_time_level_event_and_run():
    lines = []
    play(JsonLines(lines.append, lambda text: text.replace("sesame", "${env:S}")))
    told = [json.loads(line) for line in lines]
    assert [each["event"] for each in told] == [
        "stage.begins", "run.begins", "stage.begins", "task.failed", "worker.died", "task.done", "note", "run.ends", "run.error", "run.failed",
    ]  # fmt: skip
    for each in told[1:]:
        assert each["run"] == 7
        assert each["time"].endswith("Z")
        assert each["level"] in {"info", "warning", "error"}
    assert told[3] | {"time": ""} == {"time": "", "level": "warning", "event": "task.failed", "run": 7, "stage": "read", "task": "r-0", "tried": 1, "why": "Transient", "places": "a.py:1"}  # fmt: skip
    assert (told[5]["task"], told[5]["source"], told[5]["rows_out"], told[5]["seconds"]) == ("r-0", "a", 1, 0.123)
    assert (told[7]["status"], told[7]["read"], told[7]["dropped"]) == ("published", 3, 2)
    assert "sesame" not in "".join(lines)


def test_the_log_of_a_run_has_what_was_said_before_it_had_a_number(tmp_path):
    log = RunLog(lambda run: tmp_path / "runs" / str(run) / "log.jsonl")
    play(log)
    lines = (tmp_path / "runs/7/log.jsonl").read_text().splitlines()
    assert len(lines) == 10
    assert json.loads(lines[0])["stage"] == "plan"


def test_a_log_that_cannot_be_written_stops_nothing(tmp_path):
    (tmp_path / "runs").write_text("a file where a folder should be")
    play(RunLog(lambda run: tmp_path / "runs" / str(run) / "log.jsonl"))
    closed = io.StringIO()
    closed.close()
    play(on_stream(closed))


def test_a_listener_that_fails_is_dropped_and_the_others_go_on():
    class Broken(Silent):
        heard = 0

        def stage(self, begins):
            self.heard += 1
            raise KeyError(begins.name)

    lines, broken = [], Broken()
    fan = Fan([broken, JsonLines(lines.append)])
    play(fan)
    assert len(lines) == 10
    assert broken.heard == 1
    assert fan.lost == ["Broken stopped listening (KeyError)"]
