"""What the machine is, and how a command is measured on it: pinned to cores, by wall clock and CPU time, with its memory."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import IO, NamedTuple

import psutil

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "bench" / "work"
LIBRARIES = ("gristmill", "deltalake", "isal", "msgspec", "numba", "numpy", "orjson", "pyarrow")
MB = 1_000_000


class Sample(NamedTuple):
    """One measured command. cpu_s: user and system time of it and its children; peak_rss_mb: of the whole tree, 0 if not asked."""

    wall_s: float
    cpu_s: float
    peak_rss_mb: float
    output: str


def cores() -> list[int]:
    """Give the cores this process may use."""
    return sorted(os.sched_getaffinity(0))


def facts() -> dict[str, object]:
    """Give what a reader needs to judge the figures."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = {line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")}
    return {
        "cpu": sorted(models),
        "cores": len(cores()),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "load_1m_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def measure(command: Sequence[str], *, cwd: Path = ROOT, pin: Sequence[int] = (), memory: bool = False) -> Sample:
    """Run a command to its end and measure it.

    Args:
        command: program and arguments.
        cwd: where it runs.
        pin: the cores it may use; all of ours when empty.
        memory: also sample the memory of the process tree (shared pages counted once), which costs some speed.

    Raises:
        RuntimeError: it did not end with 0.
    """
    ours = os.sched_getaffinity(0)
    started = time.perf_counter()
    try:  # a child inherits the cores of the thread that starts it
        os.sched_setaffinity(0, set(pin) or ours)
        process = subprocess.Popen(list(command), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    finally:
        os.sched_setaffinity(0, ours)
    streams = [_Drain(process.stdout), _Drain(process.stderr)]
    sampler = _MemorySampler(process.pid) if memory else None
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    peak = sampler.stop() if sampler else 0.0
    output, errors = (stream.text() for stream in streams)
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}\n{errors[-4000:]}")
    return Sample(wall_s, usage.ru_utime + usage.ru_stime, peak, output)


class _Drain(threading.Thread):
    """Reads a pipe to its end so that the writer never waits."""

    def __init__(self, pipe: IO[bytes] | None) -> None:
        super().__init__(daemon=True)
        assert pipe is not None
        self._pipe = pipe
        self._pieces: list[bytes] = []
        self.start()

    def run(self) -> None:
        """Read."""
        with self._pipe:
            self._pieces.append(self._pipe.read())

    def text(self) -> str:
        """Wait for the end and give what was read."""
        self.join()
        return b"".join(self._pieces).decode("utf-8", "replace")


class _MemorySampler(threading.Thread):
    """Sums the proportional memory of a process and all its children, some ten times a second."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._done = threading.Event()
        self._peak = 0
        self.start()

    def run(self) -> None:
        """Sample until told to stop."""
        while not self._done.wait(0.1):
            try:
                root = psutil.Process(self._pid)
                tree = [root, *root.children(recursive=True)]
            except psutil.Error:
                continue
            self._peak = max(self._peak, sum(map(_proportional_bytes, tree)))

    def stop(self) -> float:
        """Stop and give the peak in MB."""
        self._done.set()
        self.join()
        return round(self._peak / MB, 1)


def _proportional_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def median_cpu_s(function: Callable[[], object], repeats: int = 5) -> float:
    """Give the median seconds of CPU time of some calls in this process, after one that warms up."""
    function()
    taken = []
    for _ in range(repeats):
        started = time.process_time()
        function()
        taken.append(time.process_time() - started)
    return statistics.median(taken)


def python(*arguments: str) -> list[str]:
    """Give the command that runs this interpreter with `arguments`."""
    return [sys.executable, *arguments]
