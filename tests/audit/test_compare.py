"""The difference of two snapshots: what came, went and changed, counted from what differs, whatever fits in memory."""

import random

import pytest
from tests.oracle import Source
from tests.properties.lab import Lab, jsonl
from tests.properties.test_histories import PIPELINES, config

from gristmill.audit import compare
from gristmill.core.errors import ConfigError

SOURCES = [Source("a", "id"), Source("b", "id")]


def rec(id_, text):
    return {"id": id_, "text": text}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """Give a lab after three runs and a rollback to the first; only for reading."""
    lab = Lab(tmp_path_factory.mktemp("lab"), config(SOURCES, PIPELINES["clean, filter, dedup"]))
    lab.put("a/1.jsonl", jsonl([rec("1", "one"), rec("2", "two"), rec("3", "three")]))
    lab.put("b/1.jsonl", jsonl([rec("9", "nine" * 100)]))
    lab.run()
    lab.put("a/1.jsonl", jsonl([rec("1", "uno"), rec("2", "two"), rec("4", "x")]))
    lab.put("b/2.jsonl", jsonl([rec("5", "fünf"), rec("6", "two")]) + b"{broken\n")
    lab.run()
    lab.configure(
        lab.config | {"steps": [*lab.config["steps"], {"name": "longest", "filter.length": {"max_chars": 1000}}]}
    )
    lab.put("b/3.jsonl", jsonl([rec("7", "seven")]))
    lab.run()
    lab.open().rollback(1, why="all wrong", config=lab.pipeline().config)
    return lab


def numbers(found):
    return {what: found[what]["records"] for what in compare.WHATS}


def test_what_came_went_and_changed_by_source_with_the_first_ids(lab):
    found = lab.open().diff(1, 2)
    assert (found["old"]["rows"], found["new"]["rows"]) == (4, 4)
    assert numbers(found) == {"added": 1, "gone": 1, "changed": 1}
    assert [found[what]["sources"] for what in compare.WHATS] == [{"b": 1}, {"a": 1}, {"a": 1}]
    assert [found[what]["ids"] for what in compare.WHATS] == [["b/5"], ["a/3"], ["a/1"]]
    assert lab.open().diff(1, 2, n=0)["added"]["ids"] == []


def test_reversing_the_two_reverses_the_answer(lab):
    there, back = lab.open().diff(1, 3), lab.open().diff(3, 1)
    assert (there["added"], there["gone"]) == (back["gone"], back["added"])
    assert there["changed"]["records"] == back["changed"]["records"]
    assert there["runs"] == back["runs"]


def test_reasons_are_those_of_the_runs_between(lab):
    reasons = lab.open().diff(1, 2)["reasons"]
    assert reasons == {
        "dropped": {"filter.length:too_short": 1},
        "duplicates": {"dedup.exact": 1},
        "quarantined": {"json.syntax": 1},
        "withdrawn": {"revised": 1, "gone": 1},
        "restored": {},
    }
    reasons = lab.open().diff(3, 4)["reasons"]
    assert (reasons["withdrawn"], reasons["restored"]) == ({"rolled back to 1": 3}, {"rolled back to 1": 2})


def test_lengths_are_of_what_differs_in_characters(lab):
    chars = lab.open().diff(1, 3)["added"]["chars"]
    assert chars["histogram"] == [[4, 5, 1], [5, 6, 1]]  # `fünf` is four characters
    assert (chars["p10"], chars["p90"]) == (4, 5)
    assert lab.open().diff(3, 3)["added"]["chars"] == {}


def test_changes_of_the_config_and_lineage_are_told(lab):
    found = lab.open().diff(1, 3)
    assert found["config"] == ["step added: longest after dedup.exact"]
    assert [run["run"] for run in found["runs"]] == [2, 3]
    assert lab.open().diff(3)["runs"][0]["lineage"] == [{"rolled_back_to": 1, "from": 3, "why": "all wrong"}]


def test_a_snapshot_and_the_rollback_to_it_do_not_differ_and_no_shard_is_read(lab, monkeypatch):
    monkeypatch.setattr("gristmill.store.rows.read_shard", lambda *_: pytest.fail("a shard is read"))
    found = lab.open().diff(1, 4)
    assert numbers(found) == {"added": 0, "gone": 0, "changed": 0}
    assert (found["shards"]["only_old"], found["shards"]["only_new"]) == (0, 0)


@pytest.mark.parametrize("pass_rows", [1, 3, 7])
def test_however_many_passes_it_takes_the_answer_is_the_same(lab, monkeypatch, pass_rows):
    whole = [lab.open().diff(*pair) for pair in ((1, 2), (1, 3), (3, 4))]
    monkeypatch.setattr(compare, "PASS_ROWS", pass_rows)
    assert [lab.open().diff(*pair) for pair in ((1, 2), (1, 3), (3, 4))] == whole


def test_it_is_what_comparing_all_rows_says(tmp_path):
    chance = random.Random(7)
    lab = Lab(tmp_path, config(SOURCES[:1], []))
    for _ in range(3):
        for name in ("a/1.jsonl", "a/2.jsonl"):
            some = chance.sample(range(60), 30)
            lab.put(name, jsonl([rec(str(i), f"text {i} {chance.randint(0, 2)}") for i in some]))
        lab.run()
    rows = {
        seq: {row["id"]: row["ord"] for row in lab.open().read(seq, ["id", "ord"]).to_pylist()} for seq in (1, 2, 3)
    }
    for old, new in ((1, 2), (1, 3), (3, 2)):
        found = numbers(lab.open().diff(old, new))
        assert found == {
            "added": len(rows[new].keys() - rows[old].keys()),
            "gone": len(rows[old].keys() - rows[new].keys()),
            "changed": sum(rows[new][each] != rows[old][each] for each in rows[old].keys() & rows[new].keys()),
        }


def test_a_snapshot_that_is_not_there_is_refused(lab):
    with pytest.raises(ConfigError, match="no snapshot 9"):
        lab.open().diff(1, 9)
    assert list((lab.dataset / "staging").iterdir()) == []  # it wrote nothing
