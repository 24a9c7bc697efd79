"""What this process may use of the machine: cores and memory, as its control groups allow, not as the host has.

A container or a batch job sees the whole host in `/proc`; what it may use stands in its cgroup and in those above it, of version 2
or 1. Not here: what workers are (`engine.executors`). Invariants: only reads, never fails: what cannot be read limits nothing; the least of
all levels counts; `root` stands for `/`, so that a tree of files can be asked instead of this machine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

# What a worker process needs, and this process beside its workers: measured with room to spare (docs/how-to/ray.md). A worker
# that merges needs MERGE_ROW_BYTES for each of `run.merge_rows` on top, where there are that many.
WORKER_MB = 512
DRIVER_MB = 256
MERGE_ROW_BYTES = 256

ROOT = Path("/")
_UNLIMITED_BYTES = 1 << 60  # cgroup v1 writes about 2**63 for no limit


def worker_count(root: Path = ROOT, cores: int | None = None) -> int:
    """Give how many workers to start: one a core, and no more than the memory holds."""
    memory = memory_mb(root)
    fit = (memory - DRIVER_MB) // WORKER_MB if memory is not None else 1 << 30
    return max(1, min(usable_cores(root, cores), fit))


def usable_cores(root: Path = ROOT, cores: int | None = None) -> int:
    """Give the cores this process may use: its affinity (or `cores`), cut by the CPU quotas of its cgroups; at least one."""
    mine = len(os.sched_getaffinity(0)) if cores is None else cores
    quotas = [*_limits(root, "", "cpu.max", _quota_2), *_limits(root, "cpu", "cpu.cfs_quota_us", _quota_1)]
    return max(1, int(min([mine, *quotas])))


def memory_mb(root: Path = ROOT) -> int | None:
    """Give the memory this process may use in MB (2**20): the machine's, cut by the limits of its cgroups; None if nobody says."""
    found = [
        *_limits(root, "", "memory.max", _bytes),
        *_limits(root, "", "memory.high", _bytes),
        *_limits(root, "memory", "memory.limit_in_bytes", _bytes),
        *_total(root),
    ]
    return int(min(found)) >> 20 if found else None


def _limits(root: Path, controller: str, name: str, read: Callable[[Path], float | None]) -> Iterator[float]:
    """Give what the files called `name` say in this process's cgroup and in all above it; controller "" is version 2."""
    for group, base in _groups(root, controller):
        levels = [group, *group.parents]
        for level in levels:
            try:
                limit = read(base / level / name)
            except (OSError, ValueError, ZeroDivisionError):
                continue  # this level has no such file: the root never has, and in a container the path may be the host's
            if limit is not None:
                yield limit


def _groups(root: Path, controller: str) -> Iterator[tuple[Path, Path]]:
    """Give this process's cgroup of one controller, and where its tree is mounted."""
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except (OSError, ValueError):
        lines = ["0::/", f"1:{controller}:/"]  # no /proc: the mounted root says what there is to say
    mounted = root / "sys/fs/cgroup"
    for line in lines:
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if controller not in names.split(","):
            continue
        group = Path(*(part for part in Path(path.removeprefix("/")).parts if part != ".."))
        bases = [mounted / names, mounted / controller] if controller else [mounted, mounted / "unified"]
        base = next((each for each in bases if each.is_dir() and (controller or _is_version_2(each))), None)
        if base is not None:
            yield group, base


def _is_version_2(base: Path) -> bool:
    return (base / "cgroup.controllers").exists()


def _quota_2(path: Path) -> float | None:
    allowed, _, period = path.read_text("utf-8").strip().partition(" ")
    return None if allowed == "max" else int(allowed) / int(period or 100_000)


def _quota_1(path: Path) -> float | None:
    allowed = int(path.read_text("utf-8"))
    return allowed / int(path.with_name("cpu.cfs_period_us").read_text("utf-8")) if allowed > 0 else None


def _bytes(path: Path) -> float | None:
    text = path.read_text("utf-8").strip()
    return None if text == "max" or int(text) >= _UNLIMITED_BYTES else int(text)


def _total(root: Path) -> Iterator[float]:
    try:
        for line in (root / "proc/meminfo").read_text("utf-8").splitlines():
            if line.startswith("MemTotal:"):
                yield int(line.split()[1]) << 10
    except (OSError, ValueError):
        return
