"""Whole pipelines over the worlds of the sources: days of changes, kills, a mass deletion. All kills: GRISTMILL_SOAK=1."""

import pytest
from tests.conformance.worlds_dlt import IncrementalDlt, WholeDlt
from tests.properties.lab import SOAK

from gristmill.core.errors import GristmillError
from gristmill.pipeline import Pipeline
from gristmill.testing import rehearsal
from gristmill.testing.world import World
from gristmill.testing.worlds import FilesWorld

# What is killed in the suite: each world another place.
CASES = [
    (FilesWorld, "task.staged=kill"),
    (IncrementalDlt, "landing.written=kill"),
    (WholeDlt, "commit.after_delta=kill"),
]


def run(folder, env):
    """Run in this process; in one of its own where it is to be killed."""
    if env:
        return rehearsal.command(folder, env)
    try:
        Pipeline.from_file(folder / "gristmill.yml").run(workers=1)
    except GristmillError as error:
        with (folder / "run.log").open("a") as log:
            log.write(f"{type(error).__name__}: {error}\n")
        return error.exit_code
    return 0


@pytest.mark.parametrize(("make", "kill"), CASES, ids=[make.__name__ for make, _ in CASES])
def test_a_pipeline_holds_what_the_world_holds_day_by_day(make, kill, tmp_path):
    world: World = make()
    kills = rehearsal.KILLS if SOAK else (kill,)
    killed = rehearsal.rehearse(world, tmp_path, run, kills)
    assert killed >= len(kills) - 1  # a source whose pages are not landed passes no landing
