"""The driver itself: it must see a wrong byte, a torn chunk, a foreign snapshot and a run that cannot go on."""

import json
import shutil

import pytest
from tests.soak import attacks, scenes

from gristmill.testing import crash


@pytest.fixture
def done(small, tmp_path):
    """Give a copy of day 2 as it ends, to be spoilt."""
    tree = tmp_path / "done"
    shutil.copytree(small[1].start.parent / "small-2-done", tree)
    return tree


def spoil(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_an_undisturbed_end_has_no_problems(small, done):
    assert crash.reader_problems(small[1], done) == []
    assert crash.end_problems(small[1], done) == []
    assert attacks.dataset_view(small[1], done) == []


@pytest.mark.parametrize(
    "pattern", ["corpus/state/web/2.parquet", "corpus/index/**/2.parquet", "corpus/runs/2/*/*.parquet"]
)
def test_one_wrong_bit_is_seen(pattern, small, done):
    path = min(done.glob(pattern))
    spoil(path)
    name = path.relative_to(done).as_posix()
    assert f"{name}: other bytes than a run never killed" in crash.end_problems(small[1], done)


def test_a_missing_file_and_a_foreign_one_are_seen(small, done):
    (done / "corpus/state/web/2.parquet").rename(done / "corpus/state/web/7.parquet")
    problems = crash.end_problems(small[1], done)
    assert "corpus/state/web/2.parquet: missing after the rerun" in problems
    assert "corpus/state/web/7.parquet: other bytes than a run never killed" in problems


def test_a_torn_chunk_is_seen(small, done):
    folder = done / scenes.EXPORTS[0]
    name = json.loads((folder / "manifest.json").read_bytes())["chunks"][0]["name"]
    (folder / name).write_bytes((folder / name).read_bytes()[:-1])
    assert crash.reader_problems(small[1], done) == [f"out/lines: {name} is not what the manifest says"]


def test_a_foreign_manifest_is_seen(small, done):
    path = done / scenes.EXPORTS[1] / "manifest.json"
    path.write_bytes(path.read_bytes() + b"\n")
    assert crash.reader_problems(small[1], done) == ["out/parquet: its manifest is neither the old one nor the new one"]


def test_a_foreign_snapshot_is_seen(small, done):
    assert crash.reader_problems(small[0], done) == ["a reader sees snapshot 2, expected None or 1"]


def test_a_run_that_does_nothing_is_seen(small, tmp_path):
    trial = crash.attacked(small[1], tmp_path, "idle", [], lambda tree, env: 0)
    assert any("missing after the rerun" in problem for problem in trial.problems)
    trial = crash.attacked(small[1], tmp_path, "failing", [], lambda tree, env: 1)
    assert "the run in peace ended with 1" in trial.problems


def test_a_child_that_takes_too_long_is_killed(server, small, tmp_path):
    tree = tmp_path / "tree"
    shutil.copytree(small[1].start, tree)
    pid = server.start([str(tree), "1"], crash.armed(tree, 0, "task.staged=stop"))
    with pytest.raises(TimeoutError, match=str(pid)):
        server.wait(pid, 1.0)
