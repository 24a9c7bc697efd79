"""Logs: what a run says, one line of JSON an event, in its own file or on standard error.

Every line has `time`, `level`, `event` and `run`; where they apply `stage`, `task`, `source` and numbers. Not here: lines for
people (`observe.progress`). Invariants: no document text, and no secret: messages pass through `redact` on their way in; a log
that cannot be written to is no reason to stop a run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO

import msgspec

from gristmill.core import access
from gristmill.observe.events import Json, RunBegins, RunFailed, StageBegins, TaskDone, TaskFailed

Level = Literal["info", "warning", "error"]
Redact = Callable[[str], str]

# What of a report is told in one line; the whole stands in report.json.
_TOLD = (
    "status",
    "snapshot",
    "seconds",
    "bytes_read",
    "bytes_published",
    "mb_per_s",
    "peak_rss_mb",
    "retries",
    "resumed",
)


def line(level: Level, event: str, facts: Mapping[str, Any]) -> str:
    """Give one line of a log, without its end; keys in this order: time, level, event, facts."""
    stamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    told = {"time": stamp, "level": level, "event": event, **facts}
    short = {key: round(value, 3) if isinstance(value, float) else value for key, value in told.items()}
    return msgspec.json.encode({key: value for key, value in short.items() if value not in ("", None)}).decode()


class JsonLines:
    """Turns events into lines, and hands them to `write`."""

    def __init__(self, write: Callable[[str], None], redact: Redact = str, run: int | None = None) -> None:
        self._write, self._redact = write, redact
        self.number = run
        self._stage = ""

    def run(self, begins: RunBegins) -> None:
        """Tell that a run begins."""
        self.number = begins.run
        facts = {"dataset": begins.dataset, "config": begins.config, "code": begins.code, "resumed": begins.resumed}
        self._tell("info", "run.begins", facts)

    def stage(self, begins: StageBegins) -> None:
        """Tell that a stage begins."""
        self._stage = begins.name
        facts = {"tasks": len(begins.tasks), "bytes": begins.bytes, "slots": begins.slots}
        self._tell("info", "stage.begins", facts if begins.tasks else {})

    def task(self, done: TaskDone) -> None:
        """Tell that a task is done."""
        self._tell("info", "task.done", msgspec.to_builtins(done))

    def again(self, failed: TaskFailed) -> None:
        """Tell that a try failed, with the places in the code."""
        event = "worker.died" if failed.died else "task.failed"
        self._tell("warning", event, {k: v for k, v in msgspec.to_builtins(failed).items() if k != "died"})

    def note(self, message: str) -> None:
        """Tell what a person would want to know."""
        self._tell("warning", "note", {"message": self._redact(message)})

    def report(self, report: Json) -> None:
        """Tell how the run ended: its numbers in one line, and one line for each of its errors."""
        counts = report.get("counts", {})
        totals = {k: sum(v.values()) if isinstance(v, dict) else v for k, v in counts.items()}
        told = {key: report.get(key) for key in _TOLD} | totals
        self._stage = ""
        self._tell("info", "run.ends", told)
        for error in report.get("errors", []):
            self._tell(
                "error",
                "run.error",
                {
                    "stage": error["stage"],
                    "source": error["source"],
                    "code": error["code"],
                    "message": self._redact(error["message"]),
                },
            )

    def failed(self, failure: RunFailed) -> None:
        """Tell that the run failed, and where in the code."""
        facts = {"code": failure.code, "message": self._redact(failure.message), "places": failure.places}
        self._tell("warning" if failure.stopped else "error", "run.stopped" if failure.stopped else "run.failed", facts)

    def close(self) -> None:
        """Nothing to end."""

    def _tell(self, level: Level, event: str, facts: Mapping[str, Any]) -> None:
        where = {"run": self.number, "stage": self._stage}
        self._write(line(level, event, where | dict(facts)))


class RunLog(JsonLines):
    """The log of a run, in the file that `path_of` gives for its number; before it has one, lines wait."""

    def __init__(self, path_of: Callable[[int], Path], redact: Redact = str, run: int | None = None) -> None:
        super().__init__(self._append, redact, run)
        self._path_of = path_of
        self._early: list[str] = []

    def _append(self, text: str) -> None:
        if self.number is None:
            self._early.append(text)
            return
        path = self._path_of(self.number)
        lines = [*self._early, text]
        self._early = []
        with contextlib.suppress(OSError):
            access.make_folder(path.parent, access.FOLDER)
            with access.append(path) as file:
                file.write("".join(f"{each}\n" for each in lines).encode(errors="backslashreplace"))


def on_stream(stream: TextIO, redact: Redact = str) -> JsonLines:
    """Give what writes the lines of a run to a stream; one that nobody reads any more is left alone."""

    def write(text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            stream.write(text + "\n")
            stream.flush()

    return JsonLines(write, redact)
