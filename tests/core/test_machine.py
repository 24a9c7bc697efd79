"""Workers are sized by what the cgroup allows, at whatever level and of whichever version, not by what the host has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gristmill.core import machine

GIB = 1 << 30
HOST = "MemTotal:       67108864 kB\nMemFree:  1 kB\n"  # 64 GiB


def tree(root, group, files, meminfo=HOST):
    """Write a small `/`: what /proc/self/cgroup says, and files below sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(group)
    (root / "proc/meminfo").write_text(meminfo)
    (root / "sys/fs/cgroup").mkdir(parents=True)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def v2(*levels):
    """Give the files of nested cgroups of version 2: each level is (path, cpu.max, memory.max)."""
    files = {"cgroup.controllers": "cpu memory\n"}
    for path, cpu, memory in levels:
        files |= {f"{path}/cpu.max": cpu, f"{path}/memory.max": memory}
    return files


def test_a_container_sees_its_own_limits(tmp_path):
    """A cgroup namespace: the container's cgroup is the root of what it sees."""
    root = tree(tmp_path, "0::/\n", v2((".", "250000 100000\n", f"{8 * GIB}\n")))
    assert machine.usable_cores(root, 16) == 2
    assert machine.memory_mb(root) == 8192
    assert machine.worker_count(root, 16) == 2


def test_the_least_of_all_levels_counts(tmp_path):
    files = v2(
        ("kubepods", "800000 100000", "max"),
        ("kubepods/pod1", "300000 100000", f"{4 * GIB}"),
        ("kubepods/pod1/worker", "max 100000", f"{6 * GIB}"),
        ("kubepods/pod2", "100000 100000", f"{GIB}"),
    )
    root = tree(tmp_path, "0::/kubepods/pod1/worker\n", files)
    assert machine.usable_cores(root, 16) == 3
    assert machine.memory_mb(root) == 4096


def test_memory_high_limits_too(tmp_path):
    files = v2(("job", "max 100000", "max")) | {"job/memory.high": f"{2 * GIB}\n"}
    assert machine.memory_mb(tree(tmp_path, "0::/job\n", files)) == 2048


def test_less_than_a_core_is_one_worker(tmp_path):
    root = tree(tmp_path, "0::/\n", v2((".", "50000 100000", "max")))
    assert machine.worker_count(root, 8) == 1


def test_memory_bounds_the_workers(tmp_path):
    root = tree(tmp_path, "0::/\n", v2((".", "max 100000", f"{2 * GIB}")))
    assert machine.usable_cores(root, 32) == 32
    assert machine.worker_count(root, 32) == (2048 - machine.DRIVER_MB) // machine.WORKER_MB == 3


def test_a_tiny_limit_still_gives_a_worker(tmp_path):
    root = tree(tmp_path, "0::/\n", v2((".", "max 100000", f"{64 << 20}")))
    assert machine.worker_count(root, 32) == 1


V1 = "4:memory:/slurm/job_7\n2:cpu,cpuacct:/slurm/job_7\n1:name=systemd:/x\n"


def test_version_1_with_nested_groups(tmp_path):
    files = {
        "cpu,cpuacct/slurm/cpu.cfs_quota_us": "200000\n",
        "cpu,cpuacct/slurm/cpu.cfs_period_us": "100000\n",
        "cpu,cpuacct/slurm/job_7/cpu.cfs_quota_us": "-1\n",
        "cpu,cpuacct/slurm/job_7/cpu.cfs_period_us": "100000\n",
        "memory/memory.limit_in_bytes": "9223372036854771712\n",
        "memory/slurm/job_7/memory.limit_in_bytes": f"{3 * GIB}\n",
    }
    root = tree(tmp_path, V1, files)
    assert machine.usable_cores(root, 16) == 2
    assert machine.memory_mb(root) == 3072


def test_version_1_in_a_container_that_is_shown_the_hosts_path(tmp_path):
    """Docker without a cgroup namespace: the path of /proc is the host's, the mounted root is the container's own."""
    files = {
        "cpu/cpu.cfs_quota_us": "150000",
        "cpu/cpu.cfs_period_us": "50000",
        "memory/memory.limit_in_bytes": f"{GIB}",
    }
    root = tree(tmp_path, "3:memory:/docker/abc\n2:cpu:/docker/abc\n", files)
    assert machine.usable_cores(root, 16) == 3
    assert machine.memory_mb(root) == 1024


def test_both_versions_at_once(tmp_path):
    """A hybrid host: version 2 is mounted beside the controllers of version 1."""
    files = {
        "unified/cgroup.controllers": "",
        "unified/user/cpu.max": "400000 100000",
        "cpu/user/cpu.cfs_quota_us": "100000",
        "cpu/user/cpu.cfs_period_us": "100000",
    }
    root = tree(tmp_path, "2:cpu:/user\n0::/user\n", files)
    assert machine.usable_cores(root, 16) == 1


@pytest.mark.parametrize("text", ["", "nonsense\n", "100000 0\n", "\xff"])
def test_what_cannot_be_read_limits_nothing(tmp_path, text):
    root = tree(tmp_path, "0::/../a\n", v2(("a", text, text)))
    assert machine.usable_cores(root, 5) == 5
    assert machine.memory_mb(root) == 65536


def test_nothing_to_read_limits_nothing(tmp_path):
    assert machine.usable_cores(tmp_path, 5) == 5
    assert machine.memory_mb(tmp_path) is None
    assert machine.worker_count(tmp_path, 5) == 5


def test_this_machine_is_not_asked_for_more_than_it_has():
    assert 1 <= machine.worker_count() <= machine.usable_cores() <= len(os.sched_getaffinity(0))


SAY = "from gristmill.core.machine import usable_cores, worker_count; print(usable_cores(cores=64), worker_count(cores=64))"


def test_a_real_cgroup_is_obeyed():
    """A process put into a cgroup with a quota of 1.5 and 3 cores starts so many workers."""
    for parent, write in (("cpu", {"cpu.cfs_quota_us": "{}"}), (".", {"cpu.max": "{} 100000"})):
        group = Path("/sys/fs/cgroup") / parent / f"gristmill-test-{os.getpid()}"
        if parent != "." and not group.with_name("cpu.cfs_period_us").exists():
            continue
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            for cores in (1.5, 3.0):
                try:
                    for name, value in write.items():
                        (group / name).write_text(value.format(int(cores * 100_000)))
                    put = f"echo $$ > {group}/cgroup.procs && exec {sys.executable} -c '{SAY}'"
                    done = subprocess.run(["sh", "-c", put], capture_output=True, text=True, timeout=60, check=True)
                except (OSError, subprocess.CalledProcessError):
                    pytest.skip(f"no cgroup can be used below {group.parent}")
                assert int(done.stdout.split()[0]) == int(cores)
        finally:
            group.rmdir()
        return
    pytest.skip("no cgroup can be made here: not root, or /sys/fs/cgroup is read-only")
