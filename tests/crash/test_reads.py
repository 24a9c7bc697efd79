"""A slice of the reads that fail; `make soak` goes through them by the hundred."""

import shutil

import pytest
from tests.examples import some
from tests.soak import five as soak_five
from tests.soak import reads
from tests.soak.results import Room

CASES = [  # whose read, and how the run ends
    ("/corpus/table/_delta_log/00000000000000000001.json", 1),
    ("/corpus/index/ids-1/0004/1.parquet", 1),
    ("/corpus/staging/2/retired.npz", 1),
    ("/data/pages/a.jsonl", 0),
    ("/out/lines/.dataset.json", 1),
    ("/feed.py", 1),
]


@pytest.mark.slice
@pytest.mark.parametrize(("path", "code"), some(CASES, 1))
def test_a_read_that_fails_is_told_with_its_file_and_is_never_the_end_of_it(path, code, five_read, five, tmp_path):
    ends, found = five_read
    numbers = [each.number for each in found if each.path.endswith(path)]
    trial, hit = reads.trial(
        five.server, ends, tmp_path, numbers[-1]
    )  # earlier ones may be looks ahead, made again in earnest
    assert trial.problems == []
    assert hit is not None
    assert hit.path.endswith(path)
    assert trial.codes == [code, 0]
    room = Room("reads")
    room.add(trial)
    assert (room.trials, room.runs) == (1, 2)


@pytest.fixture(scope="module")
def five_read(five, tmp_path_factory):
    ends = five.on(2)
    tree = tmp_path_factory.mktemp("reads") / "tree"
    shutil.copytree(ends.scene.start, tree)
    return ends, reads.counted(tree, soak_five.runner(five.server, ends.argv))
