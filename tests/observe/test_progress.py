"""Progress: bars on a terminal, a heartbeat elsewhere, silence where asked for."""

import fcntl
import io
import os
import pty
import re
import struct
import termios
import threading
import time

import pytest

from gristmill.observe.events import Silent, StageBegins, TaskDone
from gristmill.observe.progress import Bars, Heartbeat, Stage, listen


class Terminal:
    """A pseudo-terminal of 80 columns, and what was written to it."""

    def __init__(self, columns=80):
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.stream = os.fdopen(slave, "w", encoding="utf-8")
        self.seen = b""
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        while True:
            try:
                data = os.read(self.master, 1 << 16)
            except OSError:
                return
            if not data:
                return
            self.seen += data

    def text(self):
        """Give what was shown, without escapes."""
        self.stream.close()
        self.reader.join()
        os.close(self.master)
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.seen.decode("utf-8")).replace("\r", "\n")


@pytest.fixture(autouse=True)
def _xterm(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)


def begins(name, tasks, size=0):
    return StageBegins(name=name, tasks=[f"{name}-{i}" for i in range(tasks)], bytes=size)


def play(events):
    events.stage(begins("read", 4, 40_000_000))
    for _ in range(4):
        events.task(TaskDone(stage="read", task="r", bytes=10_000_000, rows_in=1000, rows_out=900))
    events.note("a worker died \x1b[31m; trying again [bold]now[/bold]")
    events.stage(begins("stage-1", 2))
    events.task(TaskDone(stage="stage-1", task="s", rows_in=10, rows_out=10))
    events.close()


def test_bars_on_a_terminal():
    terminal = Terminal()
    events = listen(terminal.stream)
    assert isinstance(events, Bars)
    play(events)
    shown = terminal.text()
    assert re.search(r"read +━+ 100% +[\d.]+ MB/s +kept 90.0%", shown)
    assert re.search(r"stage-1 +\S+ +50% +kept 100.0%", shown)
    assert "trying again [bold]now[/bold]" in shown
    assert "�[31m" in shown  # the escape is not passed on
    assert max(map(len, shown.splitlines())) <= 80


def test_no_color_on_a_terminal(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    play(listen(terminal.stream))
    terminal.text()
    assert not re.search(rb"\x1b\[[0-9;]*3[0-9]", terminal.seen)


def test_closing_twice_and_closing_early():
    terminal = Terminal()
    for _ in range(2):
        events = listen(terminal.stream)
        events.close()
        events.close()
    assert terminal.text() == ""


def test_no_bars_where_they_cannot_be_drawn(monkeypatch):
    assert isinstance(listen(io.StringIO()), Heartbeat)
    assert isinstance(listen(io.StringIO(), quiet=True), Silent)
    terminal = Terminal()
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(listen(terminal.stream), Heartbeat)
    terminal.text()


def test_heartbeat_is_silent_until_its_time():
    stream = io.StringIO()
    play(listen(stream))
    assert stream.getvalue() == "a worker died �[31m; trying again [bold]now[/bold]\n"


def test_heartbeat_beats():
    stream = io.StringIO()
    events = Heartbeat(stream, every_s=0.02)
    events.stage(begins("read", 4, 40_000_000))
    events.task(TaskDone(stage="read", task="r", bytes=10_000_000, rows_in=1000, rows_out=900))
    deadline = time.monotonic() + 10
    while "read" not in stream.getvalue() and time.monotonic() < deadline:
        time.sleep(0.01)
    events.close()
    line = stream.getvalue().splitlines()[0]
    assert re.fullmatch(r"read: 1 of 4 tasks, 25%, [\d.]+ MB/s, kept 90.0%, 0 s", line)
    assert threading.active_count() == 1 or not any(t.name == "gristmill-heartbeat" for t in threading.enumerate())


def test_verbose_tells_begin_and_end_of_stages():
    stream = io.StringIO()
    play(listen(stream, verbose=True))
    told = stream.getvalue().splitlines()
    assert told[0] == "read: 4 tasks, 40.0 MB"
    assert told[2].startswith("read: 4 of 4 tasks, 100%")
    assert told[3] == "stage-1: 2 tasks"
    assert told[4].startswith("stage-1: 1 of 2 tasks, 50%")


def test_a_stream_that_nobody_reads_ends_the_showing_only():
    class Broken(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    play(Heartbeat(Broken(), verbose=True))


def test_an_empty_stage_is_whole():
    assert Stage(begins("x", 0)).share == 1.0
