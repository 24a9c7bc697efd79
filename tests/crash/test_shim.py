"""The shim under file operations: what it sees, and what each of its modes does. Without gcc it is skipped."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from tests.crash import shim
from tests.examples import some

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


READS = """
import os, sqlite3, sys
import pyarrow.parquet as pq
from deltalake import DeltaTable
folder, which = sys.argv[1], os.environ["WHICH"]
if which == "python":
    open(f"{folder}/text", "rb").read()
if which == "arrow":
    pq.read_table(f"{folder}/t.parquet")
if which == "delta":
    DeltaTable(f"{folder}/table").version()
if which == "sqlite":
    sqlite3.connect(f"{folder}/a.db").execute("SELECT * FROM t").fetchall()
"""


@pytest.fixture(scope="module")
def readable(tmp_path_factory):
    tree = tmp_path_factory.mktemp("readable") / "tree"
    tree.mkdir()
    (tree / "text").write_bytes(b"0123456789")
    table = pa.table({"x": [1, 2]})
    pq.write_table(table, tree / "t.parquet")
    write_deltalake(tree / "table", table)
    with closing(sqlite3.connect(tree / "a.db")) as connection, connection:
        connection.execute("CREATE TABLE t (x)")
    return tree


@pytest.mark.slice
@pytest.mark.parametrize("which", some(["python", "arrow", "delta", "sqlite"], 2))
def test_a_read_fails_whoever_reads_and_reads_are_counted_apart(which, readable, library, monkeypatch):
    monkeypatch.setenv("WHICH", which)
    assert run(readable, library, "eio-read", 1 << 62, READS) == (0, "")
    found = [each for each in shim.operations(readable, 0) if each.kind == "read"]
    assert found
    code, told = run(readable, library, "eio-read", len(found) // 2 + 1, READS)
    assert [each.number for each in shim.operations(readable, 0) if each.hurt] == [len(found) // 2 + 1]
    assert (code, "Error" in told) == (1, True)
    assert run(readable, library, "eio", 1 << 62, READS) == (0, "")
    assert "read" not in {each.kind for each in shim.operations(readable, 0)}
