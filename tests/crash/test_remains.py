"""What may be left of files after a power loss, by the record of what was done to them. Without gcc it is skipped."""

import os
import random
import shutil
import subprocess
import sys

import pytest
from tests.crash import shim
from tests.soak import remains

SCRIPT = """
import os, sys
folder = sys.argv[1]
def put(name, content, sync):
    with open(f"{folder}/{name}", "wb") as file:
        file.write(content)
        file.flush()
        if sync: os.fsync(file.fileno())
def sync(path):
    handle = os.open(path, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
put("both", b"0123", True)
put("named", b"4567", False)
sync(folder)
put("full", b"89", True)
os.rename(f"{folder}/both", f"{folder}/other")
"""
LIBRARIES = """
import sqlite3, sys
import pyarrow as pa, pyarrow.parquet as pq
from deltalake import write_deltalake
folder, table = sys.argv[1], pa.table({"x": [1, 2]})
pq.write_table(table, f"{folder}/a.parquet")
for _ in range(2): write_deltalake(f"{folder}/table", table, mode="append")
db = sqlite3.connect(f"{folder}/a.db")
db.execute("CREATE TABLE t (x)")
db.execute("INSERT INTO t VALUES (1)")
db.commit()
db.close()
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    built = shim.build(tmp_path_factory.mktemp("shim"))
    if built is None:
        pytest.skip(shim.NO_COMPILER)
    return built


def recorded(tmp_path, library, script):
    start, tree = tmp_path / "start", tmp_path / "tree"
    start.mkdir()
    (start / "old").write_bytes(b"old")
    shutil.copytree(start, tree)
    inodes = remains.inodes_of(tree)
    env = {**os.environ, "LD_PRELOAD": str(library), "SHIM_RECORD": str(tmp_path / "record")} | shim.armed(tree, 0)
    subprocess.run([sys.executable, "-c", script, str(tree)], env=env, check=True, timeout=60)
    return tree, remains.Record(tree, start, inodes, tmp_path / "record")


def test_content_lasts_from_the_sync_of_the_file_and_a_name_from_that_of_its_folder(tmp_path, library):
    _, record = recorded(tmp_path, library, SCRIPT)
    assert record.worst(len(record)).files == {"old": b"old", "both": b"0123", "named": b""}
    found = [each.files for each in record.all_remains(len(record), random.Random(1))]
    assert {"old": b"old", "other": b"0123", "named": b"\0" * 4, "full": b"89"} in found
    assert {"old": b"old", "other": b"0123", "named": b"45", "full": b"89"} in found
    assert all(files["old"] == b"old" and ("both" in files) != ("other" in files) for files in found)


def test_the_record_of_what_libraries_do_played_back_is_what_they_left(tmp_path, library):
    tree, record = recorded(tmp_path, library, LIBRARIES)
    assert record.check(tree) == []
    (tree / "a.db").write_bytes(b"not seen")
    assert record.check(tree) == ["a.db: the record has other bytes"]
