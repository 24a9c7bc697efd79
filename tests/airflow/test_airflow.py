"""A real Airflow imports the DAG of a config and runs it: success, nothing new, a refusal; who is told, and what is never told."""

import contextlib
import itertools
import json
import re
import tempfile
from pathlib import Path

import pytest
from tests.airflow import lab
from tests.deploy import warm
from tests.examples import SOAK

from gristmill import Dataset

pytestmark = pytest.mark.skipif(not lab.INSTALLED, reason="no Airflow here: `make .venv-airflow/.installed` makes it")

ORDER = ["plan", "extract", "dedup", "transform", "gate", "publish", "export", "validate"]


@contextlib.contextmanager
def program():
    """Give what the tasks call: `gristmill`, in the soak; else a program that does the same without the start of one, sixteen times."""
    if SOAK:
        yield lab.GRISTMILL
        return
    with tempfile.TemporaryDirectory(prefix="gm-warm-") as name:
        folder = Path(name)
        server = warm.begun(folder)
        yield warm.stand_in(folder / "gristmill", ["-S", "-E", warm.__file__, folder / "socket"])
        warm.ended(server)


def run_once(home):
    """Run `airflow dags test` on real data, then the same again, then a config whose gate refuses."""
    with lab.airflow(home, migrated=False) as (airflow, people), program() as executable:
        airflow.project("good", executable=executable)
        strict = lab.CONFIG.replace("min_quality_score: 0.5", "min_docs: 5000").replace("groups: 2", "groups: 1")
        airflow.project("strict", strict, executable=executable)
        found = airflow.probe("test", "gristmill_good", "gristmill_strict")
        first, again = found["runs"]["gristmill_good"]
        (refused,) = found["runs"]["gristmill_strict"]
        everything = airflow.everything().decode("utf-8", "replace")
        leaks = [words for words in (lab.WORD, lab.PROSE) if words in everything]
        mails = [
            {"to": to, "type": mail.get_content_type(), "body": mail.get_content(), **dict(mail.items())}
            for to, mail in people.mails
        ]
        return {
            "home": str(home), "program": str(executable), "found": found, "first": first, "again": again, "refused": refused,
            "mails": mails, "posts": people.posts, "leaks": leaks, "size": len(everything),
        }  # fmt: skip


def project(told, name):
    return Path(told["home"]) / name


def report(told, name):
    return json.loads((project(told, name) / "corpus" / "runs" / "1" / "report.json").read_text())


def the_dag_imports_with_nothing_of_ours_but_the_factory(told):
    assert told["found"]["errors"] == {}
    assert told["found"]["gristmill_modules"] == [
        "gristmill",
        "gristmill.airflow",
        "gristmill.airflow.notifier",
        "gristmill.airflow.program",
    ]


def the_dag_has_the_defaults_and_what_the_config_says(told):
    dag = told["found"]["dags"]["gristmill_good"]
    assert (dag["schedule"], dag["catchup"], dag["max_active_runs"]) == ("@daily", False, 1)
    assert (dag["description"], dag["start_date"]) == ("Prose for a test", "2026-03-01T00:00:00+00:00")
    for task in dag["tasks"].values():
        assert (task["owner"], task["depends_on_past"]) == ("corpus-team", False)
        assert (task["retries"], task["retry_delay_s"]) == (3, 300)
        assert (task["on_failure"], task["on_retry"]) == (["Notifier"], [])


def the_tasks_stand_in_a_line_and_the_work_is_mapped(told):
    tasks = told["found"]["dags"]["gristmill_good"]["tasks"]
    assert sorted(tasks) == sorted(ORDER)
    for task, following in itertools.pairwise(ORDER[:-1]):
        assert following in tasks[task]["downstream"]
    assert [task for task in ORDER if tasks[task]["mapped"]] == ["extract", "transform"]
    assert {task: found["outlets"] for task, found in tasks.items() if found["outlets"]} == {
        "validate": [f"file://{project(told, 'good') / 'corpus'}"]
    }


def a_run_succeeds_within_three_minutes(told):
    assert told["found"]["seconds"] < 180
    first = told["first"]
    assert first["state"] == "success"
    assert set(first["tasks"].values()) == {"success"}
    assert {name for name in first["tasks"] if "[" in name} == {
        "extract[0]",
        "extract[1]",
        "transform[0]",
        "transform[1]",
    }
    done = report(told, "good")
    assert (done["status"], done["counts"]["read"], done["exports"]["chunks"]["chunks"]) == ("published", 86, 1)
    assert json.loads((project(told, "good") / "out" / "manifest.json").read_text())["snapshot"] == 1


def nothing_new_skips_all_that_follows(told):
    again = told["again"]
    assert again["state"] == "success"
    assert set(again["tasks"].values()) == {"skipped"}
    assert again["events"] == []


def a_refusal_fails_without_another_try(told):
    refused = told["refused"]
    assert refused["state"] == "failed"
    assert (refused["tasks"]["gate"], refused["tries"]["gate"]) == ("failed", 1)
    assert {refused["tasks"][task] for task in ("publish", "export", "validate")} == {"upstream_failed"}
    assert report(told, "strict")["status"] == "refused"


def only_references_go_through_xcom(told):
    assert told["first"]["xcoms"] == [
        ["plan", "return_value", [{"part": "1/2", "seq": 1}, {"part": "2/2", "seq": 1}]],
        ["publish", "return_value", 1],
    ]


def the_event_of_the_dataset_carries_the_snapshot(told):
    assert told["first"]["events"] == [[f"file://{project(told, 'good') / 'corpus'}", {"snapshot": 1}]]


def a_failure_is_told_once_by_mail_and_by_hook(told):
    (mail,) = told["mails"]
    (post,) = told["posts"]
    assert mail["to"] == ["one@example.org", "two@example.org"]
    assert (mail["From"], mail["Subject"]) == ("mill@example.org", "[gristmill] gristmill_strict: gate failed")
    assert mail["type"] == "text/plain"
    body = mail["body"]
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


def no_secret_and_no_text_of_a_document_gets_into_airflow_or_to_people(told):
    dags = "".join(path.read_text() for path in (project(told, "dags")).glob("*.py"))
    sent = json.dumps([told["posts"], told["mails"]])
    assert told["size"] > 100_000
    assert told["leaks"] == []
    assert not any(words in dags + sent for words in (lab.WORD, lab.PROSE))
    rows = Dataset(project(told, "good") / "corpus").read(columns=["text", "license"])
    assert any(lab.PROSE in text for text in rows["text"].to_pylist())
    assert lab.WORD in rows["license"].to_pylist()


def a_rendered_file_says_where_the_gristmill_is_that_its_tasks_call(told):
    text = (project(told, "dags") / "good.py").read_text()
    named = re.search(r"^GRISTMILL = '(.+)'$", text, re.MULTILINE)[1]
    assert named == told["program"]


CHECKS = [
    the_dag_imports_with_nothing_of_ours_but_the_factory,
    the_dag_has_the_defaults_and_what_the_config_says,
    the_tasks_stand_in_a_line_and_the_work_is_mapped,
    a_run_succeeds_within_three_minutes,
    nothing_new_skips_all_that_follows,
    a_refusal_fails_without_another_try,
    only_references_go_through_xcom,
    the_event_of_the_dataset_carries_the_snapshot,
    a_failure_is_told_once_by_mail_and_by_hook,
    no_secret_and_no_text_of_a_document_gets_into_airflow_or_to_people,
    a_rendered_file_says_where_the_gristmill_is_that_its_tasks_call,
]


@pytest.mark.slice
def test_a_real_airflow(tmp_path, subtests):
    """One test, as the runs are made once: each check is a sentence of its own."""
    told = run_once(tmp_path / "home")
    for check in CHECKS:
        with subtests.test(check.__name__):
            check(told)
