"""A real Airflow imports the DAG of a config and runs it: success, nothing new, a refusal; who is told, and what is never told."""

import itertools
import json
import re
import time
from pathlib import Path

import pytest
from tests.airflow import lab

from gristmill import Dataset

pytestmark = pytest.mark.skipif(not lab.INSTALLED, reason="no Airflow here: `make .venv-airflow/.installed` makes it")

ORDER = ["plan", "extract", "dedup", "transform", "gate", "publish", "export", "validate"]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """Run everything once: `airflow dags test` on real data, then the same again, then a config whose gate refuses."""
    with lab.airflow(tmp_path_factory.mktemp("airflow")) as (airflow, people):
        good = airflow.project("good")
        strict = lab.CONFIG.replace("min_quality_score: 0.5", "min_docs: 5000").replace("groups: 2", "groups: 1")
        airflow.project("strict", strict)
        began = time.monotonic()
        done = airflow.airflow("dags", "test", "gristmill_good")
        seconds = time.monotonic() - began
        assert done.returncode == 0, done.stdout[-5000:]
        rest = airflow.probe("test", "gristmill_good", "gristmill_strict")
        first, again = rest["runs"]["gristmill_good"]
        (refused,) = rest["runs"]["gristmill_strict"]
        yield {
            "seconds": seconds, "first": first, "again": again, "refused": refused, "found": rest, "good": good,
            "airflow": airflow, "people": people,
        }  # fmt: skip


def report(folder, seq=1):
    return json.loads((folder / "corpus" / "runs" / str(seq) / "report.json").read_text())


def test_the_dag_imports_with_nothing_of_ours_but_the_factory(told):
    assert told["found"]["errors"] == {}
    assert told["found"]["gristmill_modules"] == [
        "gristmill",
        "gristmill.airflow",
        "gristmill.airflow.notifier",
        "gristmill.airflow.program",
    ]


def test_the_dag_has_the_defaults_and_what_the_config_says(told):
    dag = told["found"]["dags"]["gristmill_good"]
    assert (dag["schedule"], dag["catchup"], dag["max_active_runs"]) == ("@daily", False, 1)
    assert (dag["description"], dag["start_date"]) == ("Prose for a test", "2026-03-01T00:00:00+00:00")
    for task in dag["tasks"].values():
        assert (task["owner"], task["depends_on_past"]) == ("corpus-team", False)
        assert (task["retries"], task["retry_delay_s"]) == (3, 300)
        assert (task["on_failure"], task["on_retry"]) == (["Notifier"], [])


def test_the_tasks_stand_in_a_line_and_the_work_is_mapped(told):
    tasks = told["found"]["dags"]["gristmill_good"]["tasks"]
    assert sorted(tasks) == sorted(ORDER)
    for task, following in itertools.pairwise(ORDER[:-1]):
        assert following in tasks[task]["downstream"]
    assert [task for task in ORDER if tasks[task]["mapped"]] == ["extract", "transform"]
    assert {task: found["outlets"] for task, found in tasks.items() if found["outlets"]} == {
        "validate": [f"file://{told['good'] / 'corpus'}"]
    }


def test_a_run_succeeds_within_three_minutes(told):
    assert told["seconds"] < 180
    first = told["first"]
    assert first["state"] == "success"
    assert set(first["tasks"].values()) == {"success"}
    assert {name for name in first["tasks"] if "[" in name} == {
        "extract[0]",
        "extract[1]",
        "transform[0]",
        "transform[1]",
    }
    assert (report(told["good"])["status"], report(told["good"])["counts"]["read"]) == ("published", 86)
    assert json.loads((told["good"] / "out" / "manifest.json").read_text())["snapshot"] == 1


def test_nothing_new_skips_all_that_follows(told):
    again = told["again"]
    assert again["state"] == "success"
    assert set(again["tasks"].values()) == {"skipped"}
    assert again["events"] == []


def test_a_refusal_fails_without_another_try(told):
    refused = told["refused"]
    assert refused["state"] == "failed"
    assert (refused["tasks"]["gate"], refused["tries"]["gate"]) == ("failed", 1)
    assert {refused["tasks"][task] for task in ("publish", "export", "validate")} == {"upstream_failed"}
    assert report(told["airflow"].home / "strict")["status"] == "refused"


def test_only_references_go_through_xcom(told):
    assert told["first"]["xcoms"] == [
        ["plan", "return_value", [{"part": "1/2", "seq": 1}, {"part": "2/2", "seq": 1}]],
        ["publish", "return_value", 1],
    ]


def test_the_event_of_the_dataset_carries_the_snapshot(told):
    assert told["first"]["events"] == [[f"file://{told['good'] / 'corpus'}", {"snapshot": 1}]]


def test_a_failure_is_told_once_by_mail_and_by_hook(told):
    (recipients, mail), *others = told["people"].mails
    (post,) = told["people"].posts
    assert others == []
    assert recipients == ["one@example.org", "two@example.org"]
    assert (mail["From"], mail["Subject"]) == ("mill@example.org", "[gristmill] gristmill_strict: gate failed")
    assert mail.get_content_type() == "text/plain"
    body = mail.get_content()
    run = told["refused"]["run"]
    for line in (
        "DAG: gristmill_strict",
        "Task: gate",
        f"Run: {run}",
        "Try: 1 of 4",
        "Verdict: run 1 refused: 86 read, 72 published; min_docs is 72, limit 5000",
        "gristmill stage gate ended with 3: refused by the gate",
    ):
        assert line in body.splitlines()
    assert "/dags/gristmill_strict/runs/" in next(line for line in body.splitlines() if line.startswith("Log: http"))
    assert (post["title"], post["message"].split()) == (mail["Subject"], body.split())


def test_no_secret_and_no_text_of_a_document_gets_into_airflow_or_to_people(told):
    airflow = told["airflow"]
    rendered = b"".join(path.read_bytes() for path in (airflow.home / "dags").glob("*.py"))
    sent = json.dumps([told["people"].posts, [mail.as_string() for _, mail in told["people"].mails]]).encode()
    everything = airflow.everything() + rendered + sent
    assert b"gristmill_strict" in everything
    assert lab.WORD.encode() not in everything
    assert lab.PROSE.encode() not in everything
    rows = Dataset(told["good"] / "corpus").read(columns=["text", "license"])
    assert any(lab.PROSE in text for text in rows["text"].to_pylist())
    assert lab.WORD in rows["license"].to_pylist()


def test_a_rendered_file_is_the_same_each_time_and_says_where_gristmill_is(told):
    airflow = told["airflow"]
    path = airflow.home / "dags" / "good.py"
    before = path.read_text()
    airflow.render("good")
    assert path.read_text() == before
    named = re.search(r"^GRISTMILL = '(.+)'$", before, re.MULTILINE)[1]
    assert Path(named).samefile(lab.GRISTMILL)
