"""What crosses to a Ray worker and back, without a cluster: jobs and errors as plain data, and what a node must be like."""

import subprocess
import sys
from collections import deque
from pathlib import Path

import msgspec
import pytest
from tests.engine.test_seams import opened, project

from gristmill.config.settings import RunSettings
from gristmill.core import errors
from gristmill.core.build import build
from gristmill.core.source import Split
from gristmill.engine import plan
from gristmill.engine.executors import ray
from gristmill.engine.executors.border import next_job
from gristmill.engine.phases import Phases
from gristmill.engine.work import Job, Setup, TaskResult, Work


class OfADriver(errors.Transient):
    """As `net` and others have: a type of its own below one of ours."""


class OfASystem(ConnectionResetError):
    """As client libraries have."""


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (errors.Transient("the shop is shut"), errors.Transient, "the shop is shut"),
        (OfADriver("the line is busy"), errors.Transient, "the line is busy"),
        (errors.ConfigError("one", "two"), errors.ConfigError, "one\ntwo"),
        (errors.MissingExtra("no mill"), errors.MissingExtra, "no mill"),
        (errors.UnitFailed("a.gz", "file.truncated", "short"), errors.SourceError, "a.gz: file.truncated: short"),
        (FileNotFoundError(2, "No such file", "a.txt"), FileNotFoundError, "[Errno 2] No such file: 'a.txt'"),
        (OfASystem(104, "reset"), ConnectionResetError, "[Errno 104] reset"),
        (OSError("no number"), OSError, "no number"),
    ],
)
def test_an_error_crosses_with_its_type_and_words(error, kind, text):
    error.add_note("file.py, line 7")
    crossed = msgspec.json.decode(msgspec.json.encode(ray._Failure.of(error)), type=ray._Failure).error()
    assert type(crossed) is kind
    assert str(crossed) == text
    assert crossed.__notes__ == ["file.py, line 7"]


def test_a_lane_is_not_hurried_wherever_tasks_run():
    def job(name, lane, cap=1):
        return Job(name, "read", split=Split(name, {}, [], 0, True, lane, cap))

    waiting = deque([job("a1", "a"), job("a2", "a"), job("b1", "b", 2), job("b2", "b", 2), job("free", "")])
    busy = []
    while (taken := next_job(waiting, busy)) is not None:
        busy.append(taken)
    assert [each.id for each in busy] == ["a1", "b1", "b2", "free"]
    assert next_job(waiting, busy[1:]).id == "a2"


def order(pipeline, seq, **changed):
    config = pipeline.config
    frozen = plan.read_plan(pipeline.layout, seq)
    told = {
        "root": str(pipeline.layout.root),
        "seq": seq,
        "parent": 0,
        "fingerprint": frozen.config,
        "file": str(config.file),
        "overrides": [],
        "adopted": None,
        "mode": "forward",
        "build": build(),
    }
    return msgspec.json.encode(told | changed)


def jobs(pipeline, seq):
    frozen = plan.read_plan(pipeline.layout, seq)
    setup = Setup(pipeline.layout.root, seq, 0, frozen.config, pipeline.config.file, [], pipeline.config)
    return Phases(Work(setup), frozen).jobs("read", {})


def answer(order_, job):
    return msgspec.json.decode(ray.serve(order_, msgspec.json.encode(job)), type=ray._Answer)


def test_a_job_is_done_from_plain_data(tmp_path):
    pipeline = opened(project(tmp_path))
    pipeline.stage_plan()
    done = answer(order(pipeline, 1), jobs(pipeline, 1)[0])
    assert done.failure is None
    assert isinstance(done.result, TaskResult)
    assert done.result.counts.read == 10


def test_a_worker_refuses_a_node_that_is_not_like_the_drivers(tmp_path):
    pipeline = opened(project(tmp_path))
    pipeline.stage_plan()
    job = jobs(pipeline, 1)[0]
    refused = {
        "is of another build than the driver: pyarrow": {"build": build() | {"pyarrow": "1.0.0"}},
        "does not see run 1 in": {"root": str(tmp_path / "elsewhere")},
        "the config or its code changed while the run was going on": {"fingerprint": "0" * 64},
        "none.yml": {"file": str(tmp_path / "none.yml")},
    }
    for said, changed in refused.items():
        error = answer(order(pipeline, 1, **changed), job).failure.error()
        assert isinstance(error, errors.ConfigError), said
        assert said in str(error)
        assert "Ray node " in str(error)


def test_without_ray_the_run_says_what_to_install(tmp_path):
    project(tmp_path)
    script = "import sys; sys.modules['ray'] = None; from gristmill.cli import perform; sys.exit(perform(sys.argv[1:]))"
    for verb in (["run", "--engine", "ray"], ["check", "--set", "run.engine=ray"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *verb], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 2
        assert 'pip install "gristmill[ray]"' in done.stderr
    assert not (tmp_path / "corpus").exists()


def test_a_pipeline_without_a_file_cannot_go_to_other_machines(tmp_path):
    from gristmill import Pipeline, RunSettings
    from gristmill.sources.files import Files

    pipeline = Pipeline(tmp_path / "corpus", [Files(path="*.txt")], run=RunSettings(engine="ray"))
    with pytest.raises(errors.ConfigError, match=r"write the pipeline as gristmill\.yml"):
        pipeline.run()


def test_a_local_run_loads_no_ray(tmp_path):
    project(tmp_path)
    say = "import sys; from gristmill import Pipeline; Pipeline.from_file('gristmill.yml').run(); print('ray' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", say], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split()[-1] == "False"
    assert RunSettings().engine == "local"
    assert Path(ray.__file__).name == "ray.py"
