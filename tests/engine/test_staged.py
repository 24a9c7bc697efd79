"""A phase does not begin where files of the phases before it are not to be seen: what is not seen would be lost in silence."""

import threading
import time

import pytest
from tests.engine.test_seams import opened, project, staged

from gristmill import Dataset
from gristmill.core.errors import Transient
from gristmill.engine import staged as staged_files


def hidden(folder, pattern):
    """Move one staged file of an open run away; give a function that puts it back."""
    path = max((folder / "corpus" / "staging" / "1").glob(pattern))
    aside = folder / path.name
    path.rename(aside)
    return lambda: aside.rename(path)


def read_stage(folder):
    pipeline = opened(project(folder))
    planned = pipeline.stage_plan()
    for stage in ("read", "reread"):
        pipeline.stage_work(planned["seq"], stage)
    return pipeline, planned


@pytest.mark.parametrize("pattern", ["0/*.ids.arrow", "0/*.keys.arrow"])
def test_a_staged_file_that_is_not_seen_stops_the_phase(tmp_path, monkeypatch, pattern):
    monkeypatch.setattr(staged_files, "PATIENCE_S", 0.3)
    pipeline, planned = read_stage(tmp_path)
    show = hidden(tmp_path, pattern)
    with pytest.raises(Transient, match=r"sees only 2 of 3 0/\*\." + pattern[4:]):
        pipeline.stage_work(planned["seq"], "identity")
    show()
    pipeline.stage_commit(planned["seq"])
    assert Dataset(tmp_path / "corpus").read().num_rows == 40


def test_a_staged_file_that_shows_late_is_waited_for(tmp_path):
    pipeline, planned = read_stage(tmp_path / "late")
    show = hidden(tmp_path / "late", "0/*.ids.arrow")
    later = threading.Timer(0.5, show)
    later.start()
    began = time.monotonic()
    pipeline.stage_work(planned["seq"], "identity")
    assert time.monotonic() - began >= 0.4
    later.join()
    pipeline.stage_commit(planned["seq"])
    staged(project(tmp_path / "in_peace"))
    rows = [Dataset(tmp_path / name / "corpus").read() for name in ("late", "in_peace")]
    assert rows[0].equals(rows[1])


def test_what_a_barrier_decided_must_be_seen_too(tmp_path, monkeypatch):
    monkeypatch.setattr(staged_files, "PATIENCE_S", 0.3)
    pipeline, planned = read_stage(tmp_path)
    for stage in ("identity", "merge-0"):
        pipeline.stage_work(planned["seq"], stage)
    hidden(tmp_path, "0/keys-*.decided")
    with pytest.raises(Transient, match=r"0/keys-\*\.decided"):
        pipeline.stage_work(planned["seq"], "stage-1")
