"""The shim under file operations: what it sees, and what each of its modes does. Without gcc it is skipped."""

import os
import subprocess
import sys

import pytest
from tests.crash import shim

from gristmill.testing import crash

SCRIPT = """
import os, shutil, sqlite3, sys
folder = sys.argv[1]
os.mkdir(f"{folder}/new")
with open(f"{folder}/new/a", "wb") as file:
    file.write(b"0123456789")
    file.flush()
    os.fsync(file.fileno())
os.replace(f"{folder}/new/a", f"{folder}/new/b")
os.link(f"{folder}/new/b", f"{folder}/new/c")
open(f"{folder}/new/b").read()
os.unlink(f"{folder}/new/c")
open(f"{folder}.outside", "w").write("not counted")
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    built = shim.build(tmp_path_factory.mktemp("shim"))
    if built is None:
        pytest.skip(shim.NO_COMPILER)
    return built


def run(tree, library, mode="", at=0, script=SCRIPT):
    tree.mkdir(exist_ok=True)
    env = {**os.environ, "LD_PRELOAD": str(library)} | shim.armed(tree, 0, mode, at)
    done = subprocess.run(
        [sys.executable, "-c", script, str(tree)], env=env, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stderr


def seen(tree):
    return [(each.kind, os.path.relpath(each.path, tree)) for each in shim.operations(tree, 0)]


def test_every_operation_below_the_folder_is_seen_in_order_and_nothing_else(tmp_path, library):
    tree = tmp_path / "tree"
    arrow = "import pyarrow as pa, pyarrow.parquet as pq\npq.write_table(pa.table({'x': [1]}), f'{folder}/t.parquet')\n"
    assert run(tree, library, script=SCRIPT + arrow) == (0, "")
    found = seen(tree)
    assert found[:7] == [
        ("mkdir", "new"),
        ("open", "new/a"),
        ("write", "new/a"),
        ("fsync", "new/a"),
        ("rename", "new/b"),
        ("link", "new/c"),
        ("unlink", "new/c"),
    ]
    assert set(found[7:]) == {("open", "t.parquet"), ("write", "t.parquet")}


def test_killed_before_the_operation(tmp_path, library):
    tree = tmp_path / "tree"
    assert run(tree, library, "kill", 5)[0] == crash.KILLED
    assert [path.name for path in (tree / "new").iterdir()] == ["a"]
    assert [each.kind for each in shim.operations(tree, 0) if each.hurt] == ["rename"]


def test_half_of_a_write_lands_and_then_it_dies(tmp_path, library):
    tree = tmp_path / "tree"
    assert run(tree, library, "torn", 1)[0] == crash.KILLED
    assert (tree / "new" / "a").read_bytes() == b"01234"


def test_a_full_disk_stays_full_for_what_needs_space(tmp_path, library):
    tree = tmp_path / "tree"
    tolerant = SCRIPT.replace(
        "    os.fsync(file.fileno())\n", "    try: os.fsync(file.fileno())\n    except OSError: pass\n"
    )
    code, told = run(tree, library, "enospc", 4, tolerant)
    assert code == 1
    assert "No space left on device" in told.splitlines()[-1]
    assert [each.kind for each in shim.operations(tree, 0) if each.hurt] == ["fsync", "link"]  # a rename needs none


def test_an_input_output_error_comes_once(tmp_path, library):
    tree = tmp_path / "tree"
    tolerant = SCRIPT.replace(
        "    os.fsync(file.fileno())\n", "    try: os.fsync(file.fileno())\n    except OSError: pass\n"
    )
    assert run(tree, library, "eio", 4, tolerant) == (0, "")
    assert [each.kind for each in shim.operations(tree, 0) if each.hurt] == ["fsync"]


def test_processes_share_the_count_and_one_of_them_is_hurt(tmp_path, library):
    tree = tmp_path / "tree"
    tree.mkdir()
    script = (
        "import os, sys\nfor n in range(4):\n    if os.fork() == 0:\n"
        "        for i in range(25): os.close(os.open(f'{sys.argv[1]}/{n}-{i}', os.O_CREAT | os.O_WRONLY))\n        os._exit(0)\n"
        "ends = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(4)]\nassert sorted(ends) == [-9, 0, 0, 0], ends"
    )
    assert run(tree, library, "kill", 60, script) == (0, "")
    found = shim.operations(tree, 0)
    assert [each.number for each in found] == [*range(1, len(found) + 1)]
    assert [each.number for each in found if each.hurt] == [60]
