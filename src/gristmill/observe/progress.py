"""Progress: what a run says, shown to a person: bars on a terminal, a plain line now and then elsewhere.

Not here: what is said (`observe.events`), the summary at the end (`cli`). Invariants: all of it goes to the stream it
was given (standard error), never to standard output; a line of progress is no data and nothing waits for it: a stream
that cannot be written to ends the showing, not the run.
"""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any, TextIO

from gristmill.observe.events import Silent, StageBegins, TaskDone

if TYPE_CHECKING:
    from rich.progress import TaskID

HEARTBEAT_S = 30.0


class Stage:
    """What is known of the stage that goes on."""

    def __init__(self, begins: StageBegins) -> None:
        self.name, self.tasks, self.total_bytes = begins.name, len(begins.tasks), begins.bytes
        self.done, self.done_bytes, self.rows_in, self.rows_out = 0, 0, 0, 0
        self.began = time.monotonic()

    def add(self, done: TaskDone) -> None:
        """Count a task that is done."""
        self.done += 1
        self.done_bytes += done.bytes
        self.rows_in += done.rows_in
        self.rows_out += done.rows_out

    @property
    def share(self) -> float:
        """The share that is done: of the bytes where they are known, else of the tasks."""
        if self.total_bytes:
            return min(1.0, self.done_bytes / self.total_bytes)
        return self.done / self.tasks if self.tasks else 1.0

    @property
    def rate(self) -> str:
        """MB (stored) a second, or nothing."""
        seconds = time.monotonic() - self.began
        return f"{self.done_bytes / 1e6 / seconds:.1f} MB/s" if self.done_bytes and seconds > 0 else ""

    @property
    def kept(self) -> str:
        """The share of the rows that came through, or nothing."""
        return f"kept {100 * self.rows_out / self.rows_in:.1f}%" if self.rows_in else ""

    def line(self) -> str:
        """Give the stage as one line; one without tasks has its time alone."""
        facts = [f"{self.done:,} of {self.tasks:,} tasks", f"{100 * self.share:.0f}%", self.rate, self.kept]
        facts = facts if self.tasks else []
        return f"{self.name}: " + ", ".join(fact for fact in [*facts, f"{time.monotonic() - self.began:.0f} s"] if fact)


class Heartbeat(Silent):
    """A line every now and then, for logs; also one at the begin of each stage where `verbose`."""

    def __init__(self, stream: TextIO, *, every_s: float = HEARTBEAT_S, verbose: bool = False) -> None:
        self.stream, self.every_s, self.verbose = stream, every_s, verbose
        self.present: Stage | None = None
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def stage(self, begins: StageBegins) -> None:
        """Note a stage; the first one starts the heart."""
        self._end_of_stage()
        self.present = Stage(begins)
        if self.verbose and begins.tasks:
            size = f", {begins.bytes / 1e6:.1f} MB" if begins.bytes else ""
            self._write(f"{begins.name}: {len(begins.tasks):,} tasks{size}")
        if self._thread is None and not self._over.is_set():
            self._thread = threading.Thread(target=self._beat, name="gristmill-heartbeat", daemon=True)
            self._thread.start()

    def task(self, done: TaskDone) -> None:
        """Count a task."""
        if self.present is not None:
            self.present.add(done)

    def note(self, message: str) -> None:
        """Pass a note on."""
        self._write(message)

    def close(self) -> None:
        """Stop the heart."""
        self._end_of_stage()
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def _end_of_stage(self) -> None:
        if self.verbose and self.present is not None and self.present.tasks:
            self._write(self.present.line())
        self.present = None

    def _beat(self) -> None:
        while not self._over.wait(self.every_s):
            present = self.present
            if present is not None:
                self._write(present.line())

    def _write(self, line: str) -> None:
        try:
            self.stream.write(_one_line(line) + "\n")
            self.stream.flush()
        except (OSError, ValueError):  # nobody reads any more
            self._over.set()


class Bars(Silent):
    """A bar for each stage, on a terminal."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.console = Console(file=stream, highlight=False, markup=False, emoji=False, no_color=_no_color())
        columns = [
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:>3.0f}%", markup=False),
            TextColumn("{task.fields[rate]:>10}", markup=False),
            TextColumn("{task.fields[kept]:>11}", markup=False),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        ]
        self.progress = Progress(*columns, console=self.console, refresh_per_second=5, expand=True)
        self.present: Stage | None = None
        self._bar: TaskID | None = None

    def stage(self, begins: StageBegins) -> None:
        """Begin a bar; the one before is full. What has no tasks has no bar."""
        if not begins.tasks:
            return
        if self.present is None:
            self.progress.start()
        self._fill()
        self.present = Stage(begins)
        self._bar = self.progress.add_task(f"{_one_line(begins.name)[:20]:<13}", total=1.0, rate="", kept="")

    def task(self, done: TaskDone) -> None:
        """Move the bar."""
        if self.present is not None and self._bar is not None:
            self.present.add(done)
            shown: dict[str, Any] = {"rate": self.present.rate, "kept": self.present.kept}
            self.progress.update(self._bar, completed=self.present.share, **shown)

    def note(self, message: str) -> None:
        """Print a note above the bars."""
        self.console.print(_one_line(message), soft_wrap=True)

    def close(self) -> None:
        """Leave the bars as they are."""
        if self.present is not None:
            if self.present.done >= self.present.tasks:
                self._fill()
            self.progress.stop()

    def _fill(self) -> None:
        if self._bar is not None:
            self.progress.update(self._bar, completed=1.0)


def listen(stream: TextIO, *, quiet: bool = False, verbose: bool = False) -> Silent:
    """Give what listens to a run for a person at `stream`: bars, a heartbeat, or nothing."""
    if quiet:
        return Silent()
    if stream.isatty() and os.environ.get("TERM") not in {"dumb", "unknown", None}:
        return Bars(stream)
    return Heartbeat(stream, verbose=verbose)


def _no_color() -> bool:
    return bool(os.environ.get("NO_COLOR"))


def _one_line(text: str) -> str:
    """Give a text without anything that could steer a terminal."""
    return "".join(char if char.isprintable() else "�" for char in text)
