"""SEC19: who may read what a run leaves behind does not depend on the umask, and nothing passes through the shared temp folder."""

import ast
import json
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.examples import some

from gristmill.core import access
from gristmill.core.errors import StoreError
from gristmill.database.dsn import parse
from gristmill.database.writing import SQLiteWriter
from gristmill.store import disk
from gristmill.store.claim import DatasetLock
from gristmill.store.layout import Layout

SRC = Path(access.__file__).parents[1]
PRIVATE = ("set/state/", "set/landing/", "set/runs/1/quarantine/", "set/runs/2/quarantine/")


@pytest.fixture
def folder(tmp_path):
    """Give a folder with a pipeline that writes a file of every kind: two sources, one of which lands; a bad line; exports."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jsonl").write_text('{"text": "one"}\n{"text": \n{"text": "two words"}\n')
    with sqlite3.connect(tmp_path / "a.db") as base:
        base.execute("create table t (id integer primary key, body text)")
        base.execute("insert into t values (1, 'three'), (2, 'four')")
    base.close()
    config = {
        "version": 1,
        "dataset": "./set",
        "sources": [
            {"name": "a", "files": {"path": "in/*.jsonl"}},
            {"name": "b", "sql": {"dsn": "sqlite:///a.db", "table": "t", "key": "id", "text": "body"}},
        ],
        "steps": ["clean.text", {"filter.length": {"min_chars": 4}}, "dedup.exact"],
        "gate": {"min_quality_score": 0, "max_quarantined_ratio": 1},
        "exports": [{"name": "x", "jsonl": {"path": "./out"}}, {"name": "p", "parquet": {"path": "./out-p"}}],
        "monitoring": {"openlineage": {"file": "./lineage.jsonl"}},
    }
    (tmp_path / "gristmill.yml").write_text(json.dumps(config))
    return tmp_path


def run(folder, umask, *argv):
    """Run the command under a umask, with a temp folder of its own: a short name, as sockets need. Gives what is left there."""
    with tempfile.TemporaryDirectory(prefix="gm-") as shared:
        done = subprocess.run(
            [sys.executable, "-m", "gristmill", *argv],
            cwd=folder,
            env=os.environ | {"TMPDIR": shared},
            umask=umask,
            capture_output=True,
            text=True,
            check=False,
        )
        return done, sorted(path.name for path in Path(shared).rglob("*"))


@pytest.mark.slice
@pytest.mark.parametrize("umask", some([0o000, 0o077], 1), ids="umask {:03o}".format)
def test_modes_are_what_they_should_be_under_any_umask(folder, umask):
    done, left = run(folder, umask, "run")
    assert done.returncode == 0, done.stderr
    with (folder / "in" / "a.jsonl").open("a") as file:
        file.write('{"text": "more of it"}\n')
    done, left = run(folder, umask, "run")
    assert done.returncode == 0, done.stderr
    assert left == []
    wrong, seen = [], set()
    made = [folder / name for name in ("set", "out", "out-p")]
    for path in [*made, *(path for root in made for path in root.rglob("*")), folder / "lineage.jsonl"]:
        name, mode = path.relative_to(folder).as_posix(), stat.S_IMODE(path.stat().st_mode)
        private = name.startswith(PRIVATE)
        seen.add("/".join(part for part in name.split("/")[:-1] if not part.isdigit()))
        folder_mode = 0o700 if name == "set/staging" else 0o750
        expected = folder_mode if path.is_dir() else 0o600 if private else 0o640
        if mode != expected and not (name == "set/lock" and mode == 0o600):
            wrong.append(f"{name}: {mode:o}, not {expected:o}")
    assert wrong == []
    assert {"set/state/a", "set/landing/b", "set/runs/quarantine", "set/runs/verdicts", "set/table/_delta_log"} <= seen
    assert {"out", "out-p", "set/index/tombstones"} & seen >= {"out", "out-p"}


def test_staging_of_a_run_that_died_is_for_its_owner_alone(folder):
    done = subprocess.run(
        [sys.executable, "-m", "gristmill", "run", "--workers", "1"],
        cwd=folder,
        env=os.environ | {"GRISTMILL_FAILPOINT": "task.shard_written=kill"},
        umask=0,
        capture_output=True,
        check=False,
    )
    assert done.returncode == -9
    assert stat.S_IMODE((folder / "set" / "staging").stat().st_mode) == 0o700
    assert any(path.is_file() for path in (folder / "set" / "staging").rglob("*"))


def test_a_planted_link_is_never_written_through(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for write in (disk.write_file, access_whole, adopt):
        link = tmp_path / "out"
        link.unlink(missing_ok=True)
        link.symlink_to(victim)
        write(link, b"data")
        assert victim.read_text() == "precious"
        assert not link.is_symlink()
        assert link.read_bytes() == b"data"
    link.unlink()
    link.symlink_to(victim)
    assert not disk.create_file(link, b"data")
    with pytest.raises(OSError, match="symbolic links"), access.append(link):
        pass
    assert victim.read_text() == "precious"


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    layout = Layout(tmp_path / "set")
    layout.root.mkdir()
    layout.lock.symlink_to(victim)
    with pytest.raises(StoreError, match=r"is a symbolic link, .*remove it"), DatasetLock(layout):
        pass
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("name", ["table", "runs", "index", "state", "landing", "staging", "monitoring"])
def test_a_link_in_the_place_of_a_folder_of_the_dataset_is_refused_and_one_to_all_of_it_is_not(tmp_path, name):
    elsewhere, layout = tmp_path / "elsewhere", Layout(tmp_path / "set")
    elsewhere.mkdir()
    layout.root.symlink_to(tmp_path / "real")
    (tmp_path / "real").mkdir()
    with DatasetLock(layout):
        pass
    (layout.root / name).symlink_to(elsewhere)
    with pytest.raises(StoreError, match=f"{name} is a symbolic link"), DatasetLock(layout):
        pass
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("name", ["runs/2", "runs/3", "runs/3/quarantine", "state/web", "table/_delta_log"])
def test_nor_is_one_further_inside_written_through(tmp_path, name):
    elsewhere, layout = tmp_path / "elsewhere", Layout(tmp_path / "set")
    elsewhere.mkdir()
    for folder in ("runs/1", "runs/10", "runs/notes"):
        (layout.root / folder).mkdir(parents=True)
    if name.startswith("runs/3/"):
        (layout.root / "runs" / "10").rename(layout.root / "runs" / "3")
    (layout.root / name).parent.mkdir(parents=True, exist_ok=True)
    with DatasetLock(layout):
        pass
    (layout.root / name).symlink_to(elsewhere)
    with pytest.raises(StoreError, match=f"{name} is a symbolic link"), DatasetLock(layout):
        pass
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("umask", [0, 0o022])
def test_a_database_file_that_is_made_is_not_for_everybody(tmp_path, umask):
    before = os.umask(umask)
    try:
        for _ in range(2):
            SQLiteWriter(parse("sqlite:///out.db", tmp_path), create=True, wait_s=1).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out.db").stat().st_mode) == 0o640


def access_whole(path, content):
    with access.create(path) as file:
        file.write(content)


def adopt(path, content):
    scratch = path.with_name("scratch")
    scratch.write_bytes(content)
    disk.adopt_file(scratch, path)


def test_a_scratch_file_has_a_name_that_nobody_can_guess_and_is_new(tmp_path):
    path = tmp_path / "f"
    with access.create(path, access.PRIVATE) as file:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        (number,) = {path.stat().st_ino}
        file.write(b"1")
    with access.create(path):
        assert path.stat().st_size == 0
    assert number  # the old file went with its name; who still held it sees the old bytes
    assert disk.mark() == disk.mark()
    assert len(disk.mark().rpartition("-")[2]) == 8


# What may use the machine's temp folder, and why: each makes a private folder or a file without a name.
TEMPORARY = {
    "cli": "`try` without a config: a throwaway config, in a folder of mode 0700",
    "console.session": "the log of a failure nobody expected, where there is no dataset to put it in: mode 0600, a new name",
    "engine.estimate": "beside the dataset, not in the shared folder",
    "core.access": "Ray's sockets need a short path: a folder of mode 0700, removed with the run; in /tmp if the others' is too long",
    "net.polite": "bodies that wait for their turn: a file without a name (O_TMPFILE)",
    "airflow.program": "the answer of a command: a file without a name (O_TMPFILE)",
}
ALLOWED = {
    "TemporaryFile",
    "TemporaryDirectory",
    "mkdtemp",
    "NamedTemporaryFile",
    "gettempdir",
}  # each that makes something is O_EXCL and for its owner alone


def test_what_uses_the_shared_temp_folder_is_known():
    found = set()
    for path in SRC.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "tempfile":
                assert node.attr in ALLOWED, f"{path}: tempfile.{node.attr}"
                found.add(".".join(path.relative_to(SRC).with_suffix("").parts))
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("/tmp"):
                assert path == SRC / "core" / "access.py", path
            assert not (isinstance(node, ast.ImportFrom) and node.module == "tempfile")
    assert found == set(TEMPORARY)
