"""The slice of the determinism matrix that every test run makes: `python -m tests.determinism` runs all of it.

And a cell in a strange world, which is made below the process (`strange.c`), so that libraries see it too.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.crash import shim
from tests.determinism import cell, matrix
from tests.properties import lab

DAY_S = 86_400


@pytest.fixture(scope="module")
def folder():
    with lab.folder() as place:
        yield place


@pytest.fixture(scope="module")
def first(folder):
    """Give what the first cell of the slice leaves."""
    return matrix.run(next(matrix.slice_of([sys.executable])), folder)


@pytest.fixture
def world(tmp_path):
    """Give the variables of the strange world."""
    library = shim.build(tmp_path, Path(__file__).with_name("strange.c"))
    if library is None:
        pytest.skip(shim.NO_COMPILER)
    return {"LD_PRELOAD": str(library), "STRANGE_ASKED": str(tmp_path / "asked")}


def test_hash_seed_time_zone_locale_and_workers_change_no_byte(folder, first):
    _, *others = matrix.slice_of([sys.executable])
    found = [first, *(matrix.run(one, folder) for one in others)]
    assert [matrix.difference(found[0]["files"], other["files"]) for other in found[1:]] == [[], []]
    assert len({one["digest"] for one in found}) == 1
    # All kinds of lasting files are compared: an empty folder would have one digest too.
    kinds = {"/".join(part for part in name.split("/")[:-1] if not part.isdigit()) for name in found[0]["files"]}
    kept = {"set/table", "set/runs", "set/runs/verdicts", "set/runs/quarantine", "out-zst", "out-gz", "out-parquet"}
    assert kept <= kinds
    assert {f"set/state/{source['name']}" for source in cell.CONFIG["sources"]} <= kinds
    assert {"set/runs/1/manifest.json", "set/runs/2/manifest.json"} <= found[0]["files"].keys()


def test_the_slice_holds_every_kind_of_circumstance():
    some = list(matrix.slice_of(["python"]))
    assert len({one.seed for one in some}) == len(matrix.SEEDS)
    assert len({one.zone for one in some}) >= 3
    assert {one.locale for one in some} == set(matrix.LOCALES)
    assert {one.workers for one in some} == set(matrix.WORKERS)
    whole = list(matrix.whole(["a", "b"]))
    assert len([one for one in whole if one.engine == "local"]) == 2 * 3 * 4 * 2 * 3
    assert {one.engine for one in whole} == ({"local", "ray"} if matrix.has_ray() else {"local"})


def test_another_byte_is_seen():
    assert matrix.difference({"a": "1", "b": "2"}, {"a": "1", "b": "3", "c": "4"}) == ["b", "c"]


def test_t1_sec23_a_clock_that_jumps_days_to_and_fro_changes_no_byte_and_nothing_is_asked_of_the_network(
    folder, first, world, monkeypatch
):
    for name, value in world.items():
        monkeypatch.setenv(name, value)
    there = matrix.run(next(matrix.slice_of([sys.executable])), folder)
    asked = Path(world["STRANGE_ASKED"])
    assert not asked.exists(), "a run without servers asked the network for something"
    look = "import socket; socket.socket(type=socket.SOCK_DGRAM).connect(('127.0.0.1', 9))"
    subprocess.run([sys.executable, "-W", "ignore", "-c", look], env={**os.environ}, check=True)
    assert asked.exists(), "it would have been seen"

    assert matrix.difference(first["files"], there["files"]) == []
    look = "import time; print([time.time() for _ in range(30)])"
    seen = json.loads(subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout)
    days = {round((stamp - time.time()) / DAY_S) for stamp in seen}
    assert days == {-1, 0, 1}, "the clock did jump"
