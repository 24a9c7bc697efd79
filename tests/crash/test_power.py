"""A seeded slice of power loss; `make soak` goes through many more moments, and the other verbs."""

import random

import pytest
from tests.examples import some
from tests.soak import power
from tests.soak.results import Room

SEED = 20261126


def killed_before_the_sync_of(ends, kind, path):
    """Give the number of the sync that makes a name last."""
    found = ends.operations
    named = next(each.number for each in found if each.kind == kind and each.path.endswith(path))
    return next(each.number for each in found if each.kind == "fsync" and each.number > named)


def counted(room, trial):
    """Count it as the soak does."""
    made = Room(room)
    made.add(trial)
    return made


@pytest.mark.parametrize("day", some([1, 2], 1))
def test_whatever_was_not_on_the_disk_when_power_was_lost_readers_see_the_old_end_whole_or_the_new_one(
    day, five, tmp_path
):
    made = power.recorded(five.server, five.on(day), tmp_path)
    moments = power.points(made.record, 8, random.Random(SEED))
    trial, seen = power.looked(made, tmp_path, moments, SEED)
    assert trial.problems == []
    assert len(seen.states) > 60
    assert counted("power", trial).looks > seen.looks > 0


@pytest.mark.parametrize("day", some([1, 2], 1))
def test_a_run_goes_on_from_what_a_power_loss_left_and_ends_as_if_there_had_been_none(day, five, tmp_path):
    made = power.recorded(five.server, five.on(day), tmp_path)
    commit = next(
        op for op, kind in enumerate(made.record.kinds, 1) if kind.startswith("link corpus/table/_delta_log/")
    )
    for remains in (made.record.worst(commit), made.record.worst(len(made.record) * 2 // 3)):
        trial = power.rerun(five.server, made, tmp_path / "trials", remains)
        assert trial.problems == [], trial.attack
        assert counted("power", trial).deaths == 1


NAMED = [
    ("mkdir", "/corpus/runs/1"),
    ("link", "/_delta_log/00000000000000000001.json"),
    ("rename", "/out/lines/manifest.json"),
]


@pytest.mark.slice
@pytest.mark.parametrize(("kind", "path"), some(NAMED, 1))
def test_what_a_killed_run_named_and_did_not_sync_lasts_once_the_next_one_has_ended_well(kind, path, five, tmp_path):
    ends = five.on(1)
    at = killed_before_the_sync_of(ends, kind, path)
    made = power.recorded(five.server, ends, tmp_path, kill_at=at)
    assert power.look(made, tmp_path, [len(made.record)], SEED).problems == []
