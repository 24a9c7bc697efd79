"""The pulse of a run: what is known of it while it lives, its sign of life on disk, and a look at whether it still moves.

`runs/<seq>/heartbeat.json` is renewed every few seconds by a thread of the run's process. Not here: who hears of a stall
(`observe.alerts`), numbers for machines (`observe.metrics`). Invariants: nothing of a run waits for its pulse, and no failure to
write a sign of life is a failure of the run; progress is a task that is done, or a file that grows where tasks write.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from gristmill.core import access
from gristmill.observe.events import Json, RunBegins, RunFailed, Silent, StageBegins, TaskDone, TaskFailed

BEAT_S = 5.0
LATE_BEATS = 6  # a sign of life older than so many beats is none
_NAMED = 5  # tasks that are named where a run stands still


class Live(msgspec.Struct):
    """What is known of a run that goes on. Times are seconds since 1970; running and waiting: tasks of the present stage.

    moved: when it last made progress. stalled: no progress for longer than it may take.
    """

    run: int | None = None
    pid: int = 0
    host: str = ""
    began: float = 0.0
    time: float = 0.0
    every_s: float = BEAT_S
    stage: str = ""
    tasks: int = 0
    done: int = 0
    running: int = 0
    waiting: int = 0
    bytes_total: int = 0
    bytes_done: int = 0
    rows_in: int = 0
    rows_out: int = 0
    retries: int = 0
    worker_deaths: int = 0
    peak_rss_mb: float = 0.0
    moved: float = 0.0
    stalled: bool = False


class Pulse(Silent):
    """Listens to a run and keeps its `Live`; from the first event to `close` a thread beats.

    heartbeat: where the sign of life of a run lies, by its number. stall_s: longest time without progress; at its end `on_stall` is
    called, once until the run moves again. on_beat: called with every beat.
    """

    def __init__(
        self,
        heartbeat: Callable[[int], Path],
        stall_s: float,
        on_stall: Callable[[Live, str], None],
        on_beat: Callable[[Live], None],
        every_s: float = BEAT_S,
    ) -> None:
        self._heartbeat, self._on_stall, self._on_beat = heartbeat, on_stall, on_beat
        self.stall_s, self.every_s = stall_s, min(every_s, stall_s / 3)
        self.live = Live(pid=os.getpid(), host=socket.gethostname(), every_s=self.every_s, began=time.time())
        self._folders: list[Path] = []
        self._open: dict[str, None] = {}  # the tasks of the stage that are not done, in their order
        self._slots = 1
        self._grown: int | None = None
        self._moved_at = time.monotonic()
        self._ended: list[int] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    # --- events

    def run(self, begins: RunBegins) -> None:
        """Know the run, and give its first sign of life."""
        with self._lock:
            self.live.run, self._folders = begins.run, begins.folders
        self._moved()
        self.beat()

    def stage(self, begins: StageBegins) -> None:
        """Know the stage; the first one starts the thread."""
        self._grown = None
        with self._lock:
            self._open, self._slots = dict.fromkeys(begins.tasks), begins.slots
            self.live.stage, self.live.tasks, self.live.done = begins.name, len(begins.tasks), 0
            self.live.bytes_total, self.live.bytes_done, self.live.rows_in, self.live.rows_out = begins.bytes, 0, 0, 0
            self._queue()
        self._moved()
        if self._thread is None and not self._over.is_set():
            self._thread = threading.Thread(target=self._go, name="gristmill-pulse", daemon=True)
            self._thread.start()

    def task(self, done: TaskDone) -> None:
        """Count a task."""
        self._grown = None
        with self._lock:
            self._open.pop(done.task, None)
            live = self.live
            live.done += 1
            live.bytes_done += done.bytes
            live.rows_in += done.rows_in
            live.rows_out += done.rows_out
            live.peak_rss_mb = max(live.peak_rss_mb, done.peak_rss_mb)
            self._queue()
        self._moved()

    def again(self, failed: TaskFailed) -> None:
        """Count a try that failed."""
        with self._lock:
            self.live.retries += 1
            self.live.worker_deaths += failed.died

    def report(self, report: Json) -> None:
        """The run is over: its sign of life goes."""
        self._end()

    def failed(self, failure: RunFailed) -> None:
        """The run is over; what it last did stays written if it is to be gone on with."""
        if not failure.stopped:
            self._end()

    def done(self) -> None:
        """What was asked for is done, though perhaps not the run: a scheduler goes on with it elsewhere."""
        self._end()

    def close(self) -> None:
        """Stop the thread."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        for run in self._ended:  # a beat that was under way may have brought it back
            self._remove(run)

    # --- the beat

    def beat(self) -> None:
        """Look whether the run moves, and give a sign of life."""
        if self._still_s() > self.stall_s / 2:  # else a task has ended lately; there may be a million files
            grown = sizes(self._folders)
            if self._grown is not None and grown != self._grown:
                self._moved()
            self._grown = grown
        with self._lock:
            live = self.live
            still_s = self._still_s()
            live.time = time.time()
            live.moved = live.time - still_s  # by the clock as it is now, which may have jumped
            stalls = still_s > self.stall_s and not live.stalled
            live.stalled = still_s > self.stall_s
            seen = msgspec.structs.replace(live)
            names = list(self._open)[: min(_NAMED, self._slots)]
        if seen.run is not None:
            with contextlib.suppress(OSError):
                write_whole(self._heartbeat(seen.run), msgspec.json.encode(seen))
        if stalls:
            self._on_stall(seen, standstill(seen, still_s, names))
        self._on_beat(seen)

    def _go(self) -> None:
        while not self._over.wait(self.every_s):
            self.beat()

    def _moved(self) -> None:
        with self._lock:
            self._moved_at = time.monotonic()
            self.live.moved, self.live.stalled = time.time(), False

    def _still_s(self) -> float:
        """Give for how long nothing has moved, whatever became of the clock on the wall."""
        return time.monotonic() - self._moved_at

    def _queue(self) -> None:
        left = self.live.tasks - self.live.done
        self.live.running = min(left, self._slots)
        self.live.waiting = left - self.live.running

    def _end(self) -> None:
        run, self.live.run = self.live.run, None
        if run is not None:
            self._ended.append(run)
            self._remove(run)

    def _remove(self, run: int) -> None:
        with contextlib.suppress(OSError):
            self._heartbeat(run).unlink(missing_ok=True)


def standstill(live: Live, still_s: float, tasks: Iterable[str]) -> str:
    """Say where a run stands still."""
    named = ", ".join(tasks)
    where = f"stage {live.stage}: {live.done} of {live.tasks} tasks done" if live.stage else "before its first stage"
    return f"no progress for {still_s:.0f} s in {where}" + (f"; the next to end: {named}" if named else "")


def sizes(folders: Iterable[Path]) -> int:
    """Give the bytes in all files below some folders: what tasks write as they go."""
    total = 0
    todo = [str(folder) for folder in folders]
    while todo:
        with contextlib.suppress(OSError), os.scandir(todo.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
    return total


def write_whole(path: Path, content: bytes) -> None:
    """Put a file in place in one step: a reader sees the old one or the new one. Not durable: it holds nothing a run needs."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with access.create(scratch) as file:
            file.write(content)
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def read(path: Path) -> Live | None:
    """Read a sign of life; None where there is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Live)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def told(live: Live, stall_s: float, now: float | None = None) -> Json:
    """Give a sign of life as `status` shows it: progress, and whether the run stands still or gives no sign any more."""
    now = time.time() if now is None else now
    silent_s, still_s = max(0.0, now - live.time), max(0.0, now - live.moved)
    plain: dict[str, Any] = msgspec.to_builtins(live)
    for key in ("began", "time", "moved"):
        plain[key] = datetime.fromtimestamp(plain[key], UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    silent = silent_s > LATE_BEATS * live.every_s
    return plain | {
        "silent_s": round(silent_s, 1),
        "still_s": round(still_s, 1),
        "stalled": still_s > stall_s or silent,
        "progress": standstill(live, still_s, [])
        if still_s > stall_s
        else f"no sign of life for {silent_s:.0f} s"
        if silent
        else "",
    }
