"""Scratch files of several processes never meet, though the processes may bear the same number."""

import multiprocessing
import os
import subprocess
import sys

from gristmill.store import disk


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
