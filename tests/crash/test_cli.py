"""The command line when it is asked to stop, and when another run holds the dataset: its exit codes."""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from tests.examples import some
from tests.soak import attacks

from gristmill.console import session
from gristmill.core.errors import naming
from gristmill.testing import crash


@contextmanager
def started(tree, source, point):
    """Start `gristmill run` and wait until it has stopped itself at a failpoint; nothing of it is left afterwards."""
    process = subprocess.Popen(command(tree), env=environment(source) | crash.armed(tree, 0, point), cwd=tree)
    try:
        deadline = time.monotonic() + attacks.PATIENCE_S
        while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
            assert process.poll() is None, "it ended before its failpoint"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield process
    finally:
        process.kill()
        process.wait()


def command(tree):
    return [sys.executable, "-m", "gristmill", "run", "-c", str(tree / "gristmill.yml"), "--workers", "1"]


def environment(source):
    return {**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}


def run(tree, source):
    done = subprocess.run(command(tree), env=environment(source), capture_output=True, timeout=60, encoding="utf-8")
    return done.returncode, done.stderr


@pytest.fixture
def tree(small, tmp_path):
    shutil.copytree(small[1].start, tmp_path / "tree")
    return tmp_path / "tree"


SIGNALLED = [(signal.SIGTERM, "task.journalled=stop@5"), (signal.SIGINT, "export.chunk_written=stop@1")]


@pytest.mark.slice
@pytest.mark.parametrize(("number", "point"), some(SIGNALLED, 1))
def test_a_signal_is_the_exit_code_and_the_rerun_ends_alike(number, point, small, tree, source):
    with started(tree, source, point) as process:
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        assert process.wait(10) == 128 + number
    assert crash.reader_problems(small[1], tree) == []
    code, told = run(tree, source)
    assert code == 0, told
    assert crash.end_problems(small[1], tree) == []


def test_a_held_dataset_is_exit_code_5(small, tree, source):
    with started(tree, source, "commit.before_delta=stop") as process:
        code, told = run(tree, source)
        assert code == 5
        assert str(process.pid) in told
        assert "Traceback" not in told
        process.send_signal(signal.SIGCONT)
        assert process.wait(60) == 0
    assert crash.end_problems(small[1], tree) == []
    assert not Path(tree, "corpus", "staging", "2").exists()


def test_too_little_memory_is_told_as_that(capsys):
    assert session.failed(MemoryError(), as_json=False) == 1
    assert re.match(
        r"error: there was not enough memory \(a process had [\d,]+ MiB at most\); give it more",
        capsys.readouterr().err,
    )


def test_a_full_disk_is_told_with_the_place_and_what_is_free(tmp_path, capsys):
    with pytest.raises(OSError, match="No space") as caught, naming(tmp_path / "file"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert session.failed(caught.value, as_json=False) == 1
    told = capsys.readouterr().err
    assert f"'{tmp_path / 'file'}'" in told
    assert "bytes are free there" in told
