"""P4, T5: a signal that comes twice, and little of what a run may expect around it: open files, memory to share, a home, a terminal, a locale."""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import pytest
from tests.cli.conftest import CONFIG, TEXTS, Answer, Project, command, write
from tests.cli.test_rights import bound_by_modes
from tests.observe.hooks import Hooks

PATIENCE_S = 30
NAMES = ["plain.jsonl", "w\u00f6rter.jsonl", "\u6c34\u8eca.jsonl"]
# Shared memory that is there and takes nothing, few open files, and no terminal to ask for its size.
POOR = 'mount -t tmpfs -o ro none /dev/shm && ulimit -n "$FILES" && exec setsid "$@"'


def until(done):
    deadline = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_free(lock):
    with lock.open("r+b") as file, contextlib.suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def test_p4_a_second_signal_ends_at_once_what_the_first_left_to_be_told(fresh):
    """The first gives the dataset back; a server that does not answer may then take 20 s, for which nobody has to wait."""
    with Hooks(slow_s=10) as hooks:  # longer than is waited for an answer, three times
        fresh.config(CONFIG + f"monitoring: {{openlineage: {{url: '{hooks.url}'}}}}\n")
        process = subprocess.Popen(
            command("run"),
            cwd=fresh.path,
            env=os.environ | {"GRISTMILL_FAILPOINT": "task.journalled=stop"},
            stderr=subprocess.PIPE,
            text=True,
        )
        until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGCONT)
        until(lambda: is_free(fresh.path / "corpus" / "lock"))
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=8)
    assert (process.returncode, "Traceback" in told) == (130, False)
    again = fresh.config(CONFIG)("run", "--json")
    assert (again.code, again.json["counts"]["published"]) == (0, 9)
    assert "going on with run 1" in again.err


@pytest.fixture
def heavy(fresh):
    """Give a project with work for two workers; not in the shared memory that is to be poor."""
    place = Path(tempfile.mkdtemp(prefix="gristmill-poor-", dir="/tmp"))
    project = Project(shutil.copytree(fresh.path, place / "project"))
    for name in NAMES:
        long = [{"id": f"{name}-{i}", "text": f"{TEXTS[0]} {name} {i} " + "grain and stone " * 500} for i in range(100)]
        write(project.path / "data" / name, long)
    yield project
    shutil.rmtree(place)


def poor(project, files, *argv):
    """Call a verb in poor surroundings."""
    home = project.path / "home"
    home.mkdir(mode=0o500, exist_ok=True)
    done = subprocess.run(
        ["unshare", "-m", "bash", "-c", POOR, "bash", *command(*argv)],
        cwd=project.path,
        env=os.environ | {"HOME": str(home), "FILES": str(files), "NO_COLOR": "1", "TERM": "dumb"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        preexec_fn=bound_by_modes,
        check=False,
    )
    return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())


def test_t5_a_run_ends_well_in_poor_surroundings_and_says_so_where_it_cannot(heavy):
    if subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/dev/shm"], capture_output=True).returncode:
        pytest.skip("nothing may be mounted here: that needs the right to (in a container: --cap-add SYS_ADMIN)")
    without = poor(heavy, 8, "run", "--json", "--workers", "2")
    assert (without.code, without.json["status"]) == (1, "failed")
    assert "'Too many open files'; raise the limit of open files (ulimit -n) and run again" in without.err
    answer = poor(heavy, 64, "run", "--json", "--workers", "2")
    assert (answer.code, answer.json["status"]) == (0, "published"), answer.err
    assert answer.json["counts"]["published"] == 309
    assert "\x1b" not in answer.err
    assert heavy("verify").code == 0
    assert list((heavy.path / "home").iterdir()) == []


def test_t5_no_run_begins_where_names_are_not_taken_for_utf_8(fresh):
    poor = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for verb in ("check", "run"):
        answer = fresh.process(verb, **poor)
        assert answer.code == 2, answer.err
        assert "takes the names of files for ascii" in answer.err
        assert "PYTHONUTF8=1" in answer.err
    assert not (fresh.path / "corpus" / "runs").exists()
