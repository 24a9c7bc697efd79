"""Whole pipelines over the worlds of the sources: days of changes, kills, a mass deletion. All worlds and kills: GRISTMILL_SOAK=1."""

import pytest
from tests.conformance.worlds_dlt import IncrementalDlt, WholeDlt
from tests.conformance.worlds_http import RestSince, RestWhole, WebSite
from tests.conformance.worlds_sql import PostgresByHorizon, PostgresWhole, SqliteByCursor, SqliteWhole
from tests.conformance.worlds_warc import WarcFiles
from tests.examples import SOAK, some

from gristmill.core.errors import GristmillError
from gristmill.core.find import find
from gristmill.pipeline import Pipeline
from gristmill.testing import rehearsal
from gristmill.testing.worlds import FilesWorld

# What is killed in the suite: each world another place.
CASES = [
    (FilesWorld, "task.staged=kill"),
    (IncrementalDlt, "landing.written=kill"),
    (SqliteByCursor, "commit.before_delta=kill"),
    (RestSince, "state.written=kill"),
    (WebSite, "commit.after_delta=kill"),
]
POSTGRES = [(PostgresByHorizon, "landing.written=kill")]
if SOAK:
    CASES += [(make, "") for make in (WarcFiles, WholeDlt, SqliteWhole, RestWhole)]
    POSTGRES += [(PostgresWhole, "")]


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


def rehearse(world, kill, folder):
    kills = rehearsal.KILLS if SOAK else (kill,)
    killed = rehearsal.rehearse(world, folder, run, kills)
    landed = find("sources", next(iter(world.config())), folder).LANDED
    assert killed == len([name for name in kills if landed or not name.startswith("landing")])


@pytest.mark.slice
@pytest.mark.parametrize(("make", "kill"), some([pytest.param(*each, id=each[0].__name__) for each in CASES], 3))
def test_a_pipeline_holds_what_the_world_holds_day_by_day(make, kill, tmp_path):
    rehearse(make(), kill, tmp_path)


@pytest.mark.parametrize(("make", "kill"), POSTGRES, ids=[make.__name__ for make, _ in POSTGRES])
def test_a_pipeline_holds_what_a_server_holds(make, kill, postgres, tmp_path):
    rehearse(make(postgres), kill, tmp_path)
