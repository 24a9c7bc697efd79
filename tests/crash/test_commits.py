"""Processes that commit to one dataset at the same time; `make soak` makes 2,000 commits by eight of them."""

from collections import Counter

from tests.soak import commits, committer


def test_many_commit_read_and_collect_while_a_nemesis_stops_and_kills_them(tmp_path, source):
    with commits.warm(tmp_path / "warm", source) as server:
        made = commits.commits(server, tmp_path / "crowd", 3, 2, seed=5)
    assert made.problems == []
    assert (made.commits, made.lost, made.doubled) == (6, 0, 0)
    assert made.looks > 3


def test_the_reader_sees_half_a_file_a_gap_a_loss_and_a_double():
    def told(*ids, was=0, seen=0):
        return committer.problems_of([f"p0/{each}" for each in ids], {"p0": was}, Counter(p0=seen))

    whole = [f"{file:05d}-{row}" for file in range(2) for row in range(committer.ROWS)]
    assert told(*whole, was=2, seen=1) == []
    assert "half" in told(*whole[:-1])[0]
    assert "half" in told(*whole[committer.ROWS :])[0]
    assert "there were 3 told" in told(*whole, was=3)[0]
    assert "stands 2 times" in told(*whole, whole[0])[0]
