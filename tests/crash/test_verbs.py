"""Verbs that change what is published, killed: called again, they end with the very bytes of a call that nobody disturbed.

`python -m tests.crash.verbs` kills them at every passing of every failpoint.
"""

import random

import pytest
from tests.crash import verbs
from tests.examples import some

from gristmill.testing import crash

SEED = 20261125
POINTS = {
    "rollback": [
        "claim.created",
        "plan.written",
        "manifest.written",
        "commit.after_delta",
        "export.before_manifest",
        "disk.named",
    ],
    "gc": ["gc.marked", "gc.removed", "disk.named"],
}


@pytest.fixture(scope="session")
def caller(tmp_path_factory, source):
    with verbs.warm(tmp_path_factory.mktemp("warm-verbs"), source) as server:
        yield server


@pytest.fixture(scope="session")
def scene_of(tmp_path_factory, small, caller):
    """Give the scene of a verb and how often each failpoint is passed in it, made when first asked for."""
    made = {}

    def get(verb):
        if verb not in made:
            folder = tmp_path_factory.mktemp(verb)
            scene = verbs.scene(folder, verb, small[1].start.with_name("small-2-done"), caller)
            made[verb] = scene, crash.count_failpoints(scene, folder / "count", verbs.runner(caller, verb))
        return made[verb]

    return get


@pytest.mark.slice
@pytest.mark.parametrize(("verb", "name"), some([(verb, name) for verb, names in POINTS.items() for name in names], 2))
def test_killed_at(verb, name, scene_of, caller, tmp_path):
    scene, counts = scene_of(verb)
    n = random.Random(f"{SEED} {verb} {name}").randint(1, counts[name])
    trial = verbs.killed(scene, tmp_path, f"{name}=kill@{n}", caller)
    assert trial.problems == [], f"{name}=kill@{n}"
    assert trial.codes == [crash.KILLED, 0]


def test_gc_passes_the_failpoints_no_run_passes(scene_of):
    assert {"gc.marked", "gc.removed"} <= scene_of("gc")[1].keys()
    assert scene_of("gc")[1]["gc.removed"] > 10
