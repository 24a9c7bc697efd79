"""The slice of the determinism matrix that every test run makes: `python -m tests.determinism` runs all of it."""

import sys

import pytest
from tests.determinism import cell, matrix


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matrix")
    return [matrix.run(one, folder) for one in matrix.slice_of([sys.executable])]


def test_hash_seed_time_zone_locale_and_workers_change_no_byte(found):
    assert [matrix.difference(found[0]["files"], other["files"]) for other in found[1:]] == [[], []]
    assert len({one["digest"] for one in found}) == 1


def test_all_kinds_of_lasting_files_are_compared(found):
    """Else an empty folder would have one digest too."""
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
