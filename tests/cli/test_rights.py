"""S3: what may not be written is told by `check`, and keeps a run from beginning; an export waits, and no snapshot for it."""

import ctypes
import os
import subprocess

import pytest
from tests.cli.conftest import CONFIG, TEXTS, Answer, command, write

_DROP, _OVERRIDE, _SEARCH = (
    24,
    1,
    2,
)  # PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH (linux/prctl.h, capability.h)


def bound_by_modes():
    """Make the modes of files hold for root too, once it starts another program."""
    if os.geteuid() == 0:
        for capability in (_OVERRIDE, _SEARCH):
            ctypes.CDLL(None).prctl(_DROP, capability)


def gristmill(folder, *argv):
    done = subprocess.run(
        command(*argv), cwd=folder, capture_output=True, timeout=120, check=False, preexec_fn=bound_by_modes
    )
    return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())


def below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def shut(fresh):
    """Give a project whose folders and one file nobody may write or read; they are opened again for the cleaning up."""
    fresh.config(CONFIG.replace("./out", "./shelf/out") + "monitoring: {textfile: ./shut/mill.prom}\n")
    write(fresh.path / "data" / "a.jsonl", [{"id": 1, "text": TEXTS[0]}])
    write(fresh.path / "data" / "b.jsonl", [{"id": 2, "text": TEXTS[1]}]).chmod(0)
    folders = [fresh.path / name for name in ("corpus/runs", "corpus", "shelf", "shut")]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        folder.chmod(0o500)
    yield fresh.path
    for folder in folders:
        folder.chmod(0o700)


def test_what_may_not_be_written_or_read_is_told_before_any_work(shut):
    before = below(shut)
    checked = gristmill(shut, "check")
    assert checked.code == 2, checked.err
    told = checked.err.splitlines()
    assert [line.partition(" may not ")[0].partition("error: ")[2] for line in told if " may not be" in line] == [
        f"gristmill.yml:2:1: dataset: the folder '{shut}/corpus'",
        f"gristmill.yml:2:1: dataset: the folder '{shut}/corpus/runs'",
        f"gristmill.yml:12:5: export 'chunks' (jsonl): the folder '{shut}/shelf'",
        f"gristmill.yml:13:1: monitoring: textfile: the folder '{shut}/shut'",
    ]
    assert "give this user the right to write there, or name another place" in told[-1]
    assert '"b.jsonl": file.unreadable' in checked.err
    for argv in (["run"], ["stage", "plan"]):
        ran = gristmill(shut, *argv)
        assert ran.code == 2, ran.err
        assert f"the folder '{shut}/corpus' may not be read and written" in ran.err
    assert below(shut) == before


def test_a_place_that_is_a_file_or_below_one_is_told(fresh):
    fresh.config(CONFIG.replace("./corpus", "./a.txt/corpus") + "monitoring: {textfile: ./none/mill.prom}\n")
    write(fresh.path / "data" / "a.jsonl", [{"id": 1, "text": TEXTS[0]}])
    (fresh.path / "a.txt").write_text("x")
    checked = fresh("check")
    assert checked.code == 2
    assert f"dataset: '{fresh.path}/a.txt' is no folder (for '{fresh.path}/a.txt/corpus')" in checked.err
    assert f"monitoring: textfile: there is no folder '{fresh.path}/none'; make it" in checked.err
    assert fresh("run").code == 2


def test_an_export_that_may_not_be_written_is_told_by_check_and_keeps_no_snapshot(fresh):
    fresh.config(CONFIG.replace("./out", "./shelf/out"))
    write(fresh.path / "data" / "a.jsonl", [{"id": 1, "text": TEXTS[0]}])
    (fresh.path / "shelf").mkdir(mode=0o500)
    checked = gristmill(fresh.path, "check")
    assert (checked.code, "shelf' may not be read and written" in checked.err) == (2, True)
    ran = gristmill(fresh.path, "run")
    assert ran.code == 1, ran.err
    assert "the snapshot is published, an export failed (PermissionError: Permission denied" in ran.err
    (fresh.path / "shelf").chmod(0o700)
    assert gristmill(fresh.path, "run").code == 0
    assert fresh("verify").code == 0
