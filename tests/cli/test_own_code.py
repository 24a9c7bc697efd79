"""A step of a user's own that would end the process: it costs a record, and its message, which may be text, is told nowhere."""

import pytest
from tests.cli.conftest import Project, write

OWN = """
import sys

def leave(record):
    if "poison" in record["text"]:
        sys.exit(record["text"])
    if "quiet" in record["text"]:
        sys.exit(0)
    return record
"""
CONFIG = """version: 1
dataset: ./corpus
sources:
  - name: s
    files: {path: "data/*.jsonl", id: id}
steps:
  - name: mine
    custom: {call: "./mine.py:leave"}
run: {max_error_ratio: 1.0, retries: 0}
tests:
  - name: gone
    given: poison, the secret
    expect: {quarantined: step.error}
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    rows = [{"id": "a", "text": "poison, the secret"}, {"id": "b", "text": "quiet"}, {"id": "c", "text": "fine"}]
    write(tmp_path / "data" / "a.jsonl", rows)
    return Project(tmp_path).config(CONFIG)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_step_that_leaves_the_process_costs_its_record_in_the_run_s_own_process_and_in_workers(project, workers):
    if workers == 2:
        for n in range(3):
            write(
                project.path / "data" / f"{n}.jsonl",
                [{"id": f"{n}-{i}", "text": f"{n} {i} " * 100_000} for i in range(2)],
            )
        project.config(CONFIG.replace("id: id}", "id: id, split_bytes: 1000000}"))
    answer = project.process("run", "--workers", str(workers), "--json")
    assert answer.code == 0, answer.err
    assert answer.json["counts"]["quarantined"] == {"step.error": 2}
    assert answer.json["snapshot"] == 1
    assert "secret" not in answer.out + answer.err


def test_trying_a_step_that_leaves_the_process_tells_of_it(project):
    answer = project.process("try", "data/a.jsonl", "--json")
    assert answer.code == 0, answer.err
    ends = [each["steps"][0]["outcome"] for each in answer.json]
    assert ends == ["quarantined", "quarantined", "kept"]
    assert "secret" not in answer.err
    tested = project.process("test")
    assert tested.code == 0, tested.err + tested.out


def test_a_module_that_leaves_the_process_while_it_is_imported_is_a_failure_and_no_success(project):
    (project.path / "mine.py").write_text("import sys\nsys.exit(0)\ndef leave(record):\n    return record\n")
    answer = project.process("run")
    assert answer.code == 2
    assert "raised SystemExit" in answer.err


RAISING = '''"""A step that works on columns, and fails."""
from gristmill.core.step import Transform

class Failing(Transform, frozen=True, kw_only=True):
    """Fails."""

    def apply(self, batch):
        raise RuntimeError(f"of {batch.rows.column('text')[0]}")
'''


def test_trying_a_step_of_columns_that_raises_tells_of_the_record_it_fails_at(project):
    (project.path / "failing.py").write_text(RAISING)
    project.config(CONFIG.replace('custom: {call: "./mine.py:leave"}', "./failing.py: {}"))
    answer = project.process("try", "data/a.jsonl", "--json")
    assert answer.code == 0, answer.err
    assert [each["steps"][0]["outcome"] for each in answer.json] == ["quarantined"] * 3
    assert "RuntimeError" in answer.out
    assert "secret" not in answer.err
