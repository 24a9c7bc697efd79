"""A seeded slice of the blows at single file operations, of zombies, full disks and little memory; `make soak` deals them all."""

import random
import shutil

import pytest
from tests.examples import some
from tests.soak import operations, scarcity, verbs, zombies

from gristmill import Dataset, cli
from gristmill.testing import crash

SEED = 20261125
SLICE = [
    ("export", "enospc"),
    ("gc", "kill"),
    ("rollback", "torn"),
    ("adopt", "eio"),
    ("retry", "kill"),
    ("refresh", "torn"),
    ("redecide", "kill"),
    ("pin", "torn"),
    ("unpin", "kill"),
    ("upgrade", "enospc"),
]


def chosen(found, modes, name):
    """Give a point for each mode: no write for some, a write for the torn one."""
    dice = random.Random(f"{SEED} {name}")
    return [(mode, dice.choice(operations.points(found, mode, 60))) for mode in modes]


def hurt(five, ends, found, tmp_path, name, modes):
    trials = []
    for blow in chosen(found, modes, name):
        trial, hit = operations.trial(five.server, ends, tmp_path / "trials", [blow])
        assert trial.problems == [], trial.attack
        assert hit, trial.attack
        trials.append(trial)
    return trials


@pytest.mark.slice
@pytest.mark.parametrize(("day", "modes"), some([(1, ["kill", "enospc"]), (2, ["torn", "eio"])], 1))
def test_a_run_that_is_hurt_at_one_operation_leaves_whole_ends_and_is_gone_on_with(day, modes, five, tmp_path):
    ends = five.on(day)
    trials = hurt(five, ends, ends.operations, tmp_path, f"day {day}", modes)
    killed, failed = (trial.codes for trial in trials)
    assert killed == [crash.KILLED, 0]
    assert failed in ([1, 0], [0]), "a look ahead that fails is made again in earnest"


def test_a_disk_that_is_full_at_the_commit_is_told_with_the_delta_log(five, tmp_path):
    ends = five.on(2)
    found = ends.operations
    at = next(each.number for each in found if "_delta_log" in each.path and each.kind == "write")
    trial, _ = operations.trial(five.server, ends, tmp_path / "trials", [("enospc", at)])
    assert trial.problems == []
    assert trial.codes == [1, 0]


def test_t6_a_report_that_cannot_be_written_leaves_the_snapshot_and_is_written_by_the_next_run(five, tmp_path):
    """It ends with 1, as whoever waits for the report has none: the snapshot and its exports are there, and stay."""
    ends = five.on(2)
    first = next(each.number for each in ends.operations if "report.json" in each.path)
    for at in (
        first,
        *range(first - 8, first),
        *range(first + 1, first + 9),
    ):  # a slow machine makes a few more or less
        trial, (hit,) = operations.trial(five.server, ends, tmp_path / str(at), [("eio", at)])
        assert trial.problems == []
        if "report.json" in hit.path:
            break
    assert (trial.codes, "report.json" in hit.path) == ([1, 0], True)


@pytest.mark.slice
@pytest.mark.parametrize(("verb", "mode"), some(SLICE, 1))
def test_so_is_every_other_verb_that_writes(verb, mode, five, tmp_path):
    five.on(2)
    (ends,) = verbs.scenes_of(five.folder, five.server, [verb])
    again = five.folder / f"{verb}-again"
    shutil.copytree(five.folder / f"{verb}-done", again)
    assert five.server.run([str(again), *ends.argv], {}) == 0
    if verb != "refresh":  # which is another one, each time it is asked for
        assert crash.look(again, "corpus", ends.scene.exports) == ends.scene.after, "called again it does more"
    hurt(five, ends, ends.operations, tmp_path, verb, [mode])


def test_a_redecision_leaves_the_texts_of_a_full_refresh_from_every_kind_of_source(five):
    five.on(2)
    texts = []
    for mode in ("--redecide", "--full-refresh"):
        tree = five.folder / f"decided{mode}"
        shutil.copytree(five.folder / "five-2-done", tree)
        argv = [mode if word == "--redecide" else word for word in verbs.VERBS["redecide"](tree)]
        assert five.server.run([str(tree), *argv], {}) == 0
        texts.append(Dataset(tree / "corpus").read(columns=["id", "text"]).sort_by("id"))
    assert texts[0] == texts[1]
    assert {name.split("/")[0] for name in texts[0]["id"].to_pylist()} >= {"pages", "articles", "api", "site", "crawl"}


def test_no_verb_that_writes_is_left_out():
    """A new verb is given a scene, or a reason why it has none."""

    def of(command, *words):
        inside = getattr(command, "commands", None)
        return (
            [" ".join(words)]
            if inside is None
            else [each for name in inside for each in of(inside[name], *words, name)]
        )

    hurt = {verbs.COMMANDS.get(name, name) for name in verbs.VERBS} | {"run"}
    assert sorted(of(cli.command())) == sorted(hurt | verbs.ELSEWHERE.keys())
    assert not hurt & verbs.ELSEWHERE.keys()
    assert {verb for verb, _ in SLICE} == verbs.VERBS.keys()


def test_a_rerun_that_is_hurt_too_changes_nothing_of_that(five, tmp_path):
    ends = five.on(2)
    blows = [("torn", 700), ("kill", 900)]
    trial, hit = operations.trial(five.server, ends, tmp_path / "trials", blows)
    assert trial.problems == []
    assert (trial.codes, len(hit)) == ([crash.KILLED, crash.KILLED, 0], 2)


def test_a_zombie_that_wakes_after_a_takeover_changes_nothing(five, tmp_path):
    ends = five.on(2)
    # 6: stopped in a quarantine file that the others commit; it once took theirs away
    kinds = [(zombies.stage_worker, 6), (zombies.lost_lock, 11, 3000)]
    for make, *numbers in some(kinds, 1):
        trial, how = make(five.server, ends, tmp_path / "trials", *numbers)
        assert trial.problems == [], trial.attack
        assert how.endswith((", refused", ", nothing left to do"))


@pytest.mark.slice
@pytest.mark.parametrize("room_kib", some([40, 450], 1))
def test_a_disk_that_fills_up_is_named_and_the_run_goes_on_when_there_is_room(room_kib, five, tmp_path):
    (tmp_path / "trials").mkdir()
    trial = scarcity.full_disk(five.server, five.on(2), tmp_path / "trials", room_kib)
    if trial is None:
        pytest.skip("nothing may be mounted here: a tmpfs needs the right to (in a container: --cap-add SYS_ADMIN)")
    assert trial.problems == []
    assert trial.codes == [1, 0]


def test_little_memory_publishes_no_half_and_the_next_run_ends_with_the_same_texts(five, tmp_path):
    (tmp_path / "trials").mkdir()
    trial, how = scarcity.little_memory(five.server, five.on(2), tmp_path / "trials", 200)
    assert trial.problems == [], how
