"""How a task calls gristmill: exit codes, answers, and what happens to the program when its task is killed. In Airflow's own Python."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.airflow import lab
from tests.examples import some

pytestmark = pytest.mark.skipif(not lab.INSTALLED, reason="no Airflow here: `make .venv-airflow/.installed` makes it")

# A program that does what its first word says.
PROGRAM = """#!/bin/bash
case "$1" in
  exit) echo "error: it is $2" >&2; echo "  quietly" >&2; exit "$2";;
  answer) head -c 300000 /dev/zero | tr '\\0' 'x' >&2; echo >&2; echo '{"read": 1}'; echo '{"given": "'"$*"'"}';;
  sleep) echo $$ > "$2"; exec sleep 60;;
esac
"""
CODES = """
import json, os, sys
from pathlib import Path
from gristmill.airflow.program import Gristmill, find_program
call, told = Gristmill(sys.argv[1], "some.yml"), {}
for code in ("1", "2", "3", "4", "5", "143"):
    try:
        call("exit", code)
    except Exception as error:
        told[code] = [type(error).__name__, str(error)]
told["0"] = call("exit", "0")
told["answer"] = call("answer")
try:
    Gristmill("gristmill-of-nowhere", "c")("x")
except Exception as error:
    told["nowhere"] = [type(error).__name__, str(error)]
beside = Path(sys.argv[2])  # as if this Python had a gristmill beside it, and lay first on the path
sys.executable, os.environ["PATH"] = str(beside / "python"), f"{beside}:{Path(sys.argv[1]).parent}"
told["found"] = find_program("gristmill")
os.environ["PATH"] = str(beside)
told["only"] = find_program("gristmill")
print(json.dumps(told))
"""
SLEEP = """
import sys
from gristmill.airflow.program import Gristmill
try:
    Gristmill(sys.argv[1], "some.yml")("sleep", sys.argv[2])
except Exception as error:
    print(type(error).__name__, str(error).splitlines()[0])
"""


@pytest.fixture(scope="module", name="env")
def _env(tmp_path_factory):
    return {
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("home")),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(lab.ROOT / "src"),
    }


@pytest.fixture(scope="module", name="program")
def _program(tmp_path_factory):
    path = tmp_path_factory.mktemp("program") / "gristmill"
    path.write_text(PROGRAM)
    path.chmod(0o755)
    return path


def python(env, text, *words, **more):
    return subprocess.Popen([lab.BIN / "python", "-c", text, *words], env=env | more, stdout=subprocess.PIPE, text=True)


@pytest.fixture(scope="module", name="beside")
def _beside(tmp_path_factory):
    """Give a folder with a gristmill that is there without its dependencies."""
    folder = tmp_path_factory.mktemp("beside")
    (folder / "gristmill").write_text("#!/bin/sh\nexit 1\n")
    (folder / "gristmill").chmod(0o755)
    return folder


@pytest.fixture(scope="module", name="told")
def _told(env, program, beside):
    out, _ = python(env, CODES, program, beside).communicate(timeout=120)
    return json.loads(out.splitlines()[-1])


def test_the_exit_code_decides_whether_to_try_again(told):
    for code in ("2", "3", "4"):
        assert told[code][0] == "AirflowFailException"
    for code in ("1", "5", "143"):
        assert told[code][0] == "AirflowException"


def test_a_failure_says_what_the_program_complained_of_and_nothing_else_of_its_messages(told):
    for code in ("1", "2", "3", "4", "5", "143"):
        assert told[code][1].startswith(f"gristmill exit {code} ended with {code}: ")
        assert told[code][1].endswith(f"\nit is {code}")


def test_the_answer_is_the_last_line_of_standard_output(told):
    assert told["0"] == {}
    assert told["answer"] == {"given": "answer -c some.yml --json"}


def test_a_program_that_is_not_there_is_no_reason_to_try_again(told):
    assert told["nowhere"][0] == "AirflowFailException"
    assert "--executable" in told["nowhere"][1]


def test_a_gristmill_beside_airflow_is_taken_for_the_program_only_where_there_is_no_other(told, program, beside):
    """Where the wheel is installed without its dependencies its script lies first on the path, and cannot run."""
    assert told["found"] == str(program)
    assert told["only"] == str(beside / "gristmill")


@pytest.mark.slice
@pytest.mark.parametrize("number", some([signal.SIGTERM, signal.SIGKILL], 1))
def test_the_program_ends_when_its_task_is_killed(env, program, tmp_path, number):
    met = tmp_path / "pid"
    task = python(env, SLEEP, program, met)
    wait(lambda: met.exists() and met.read_text().strip() and minds(task.pid, signal.SIGTERM))
    task.send_signal(number)
    out, _ = task.communicate(timeout=60)
    wait(lambda: gone(int(met.read_text())))
    if number == signal.SIGTERM:
        assert out.splitlines()[-1].startswith("AirflowException gristmill sleep")


def wait(done):
    until = time.monotonic() + 60
    while not done():
        assert time.monotonic() < until
        time.sleep(0.02)


def minds(pid, number):
    """Tell if a process has a handler for a signal: its program may be faster than it."""
    caught = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt:"))
    return int(caught.split()[1], 16) >> (number - 1) & 1


def gone(pid):
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"
