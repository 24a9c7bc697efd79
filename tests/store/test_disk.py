"""What is durable is synced, name and content; modes do not hang on the umask; scratch files of several processes never meet."""

import multiprocessing
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gristmill.core import access
from gristmill.store import disk


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What was synced, by name, in order."""
    found: list[Path] = []
    really = os.fsync

    def fsync(handle: int) -> None:
        found.append(Path(f"/proc/self/fd/{handle}").readlink())
        really(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    return found


def test_content_is_synced_before_the_name_and_the_name_with_its_folder(tmp_path, synced):
    place = tmp_path / "new" / "folder"
    disk.make_folder(place)
    assert synced[-2:] == [tmp_path, tmp_path / "new"]
    synced.clear()
    disk.write_file(place / "whole", b"1")
    assert [each.name for each in synced[-2:]] == [f".whole.{disk.mark()}.tmp", "folder"]
    synced.clear()
    assert disk.create_file(place / "once", b"1")
    assert not disk.create_file(place / "once", b"2")
    assert [each.name for each in synced] == [f".once.{disk.mark()}.tmp", "folder"] * 2
    synced.clear()
    (place / "scratch").write_bytes(b"3")
    disk.adopt_file(place / "scratch", place / "lasting")
    assert [each.name for each in synced] == ["scratch", "folder"]
    assert {each.name: each.read_bytes() for each in place.iterdir()} == {"whole": b"1", "once": b"1", "lasting": b"3"}


def test_the_name_of_a_folder_that_another_made_is_synced_once_and_those_above_it(tmp_path, synced):
    """He may have died between making it and its sync."""
    place = tmp_path / "his" / "folder"
    place.mkdir(parents=True)
    disk.make_folder(place)
    assert synced[-2:] == [tmp_path, tmp_path / "his"]
    synced.clear()
    disk.make_folder(place)
    assert synced == []


def test_what_need_not_last_is_not_synced(tmp_path, synced):
    disk.make_folder(tmp_path)
    synced.clear()
    assert disk.create_file(tmp_path / "lock", b"1", durable=False)
    (tmp_path / "scratch").write_bytes(b"2")
    disk.adopt_file(tmp_path / "scratch", tmp_path / "other", durable=False)
    assert synced == []


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_modes_do_not_hang_on_the_umask(tmp_path, umask):
    before = os.umask(umask)
    try:
        disk.write_file(tmp_path / "one" / "two" / "file", b"")
        (tmp_path / "scratch").touch()
        disk.adopt_file(tmp_path / "scratch", tmp_path / "adopted")
        disk.adopt_file(tmp_path / "adopted", tmp_path / "own", mode=access.PRIVATE)
    finally:
        os.umask(before)
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.rglob("*")}
    assert modes == {"one": access.FOLDER, "two": access.FOLDER, "file": access.SHARED, "own": access.PRIVATE}


def test_no_file_stays_open(tmp_path):
    before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 (of open files)
    disk.write_file(tmp_path / "a" / "file", b"1")
    disk.create_file(tmp_path / "a" / "other", b"1")
    disk.adopt_file(tmp_path / "a" / "other", tmp_path / "a" / "lasting")
    assert disk.sha256_of(tmp_path / "a" / "lasting")
    assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_process_keeps_its_mark_and_a_forked_one_has_its_own():
    mine = disk.mark()
    assert mine == disk.mark()
    context = multiprocessing.get_context("fork")
    answer = context.SimpleQueue()
    child = context.Process(target=lambda: answer.put(disk.mark()))
    child.start()
    theirs = answer.get()
    child.join()
    assert theirs != mine


def test_processes_of_the_same_number_have_other_marks():
    """As in two containers, whose first process is number 1 in each."""
    say = "import os; os.getpid = lambda: 1; from gristmill.store import disk; print(disk.mark())"
    marks = [
        subprocess.run([sys.executable, "-c", say], capture_output=True, text=True, check=True, timeout=60).stdout
        for _ in range(2)
    ]
    assert marks[0] != marks[1]
    assert all(mark.startswith("1-") for mark in marks)
    assert not disk.mark().startswith("1-") or os.getpid() == 1
