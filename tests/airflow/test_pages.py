"""The pages about Airflow and Dagster say what the code says; and the verbs `airflow describe` and `airflow render`."""

import ast
import json
import re
import subprocess

import msgspec
import pytest
from tests.airflow import lab

from gristmill import Pipeline
from gristmill.config.airflow import AirflowSettings
from gristmill.console import airflow as verbs
from gristmill.core.errors import ConfigError

PAGE = (lab.ROOT / "docs" / "how-to" / "airflow.md").read_text("utf-8")
DAGSTER = lab.ROOT / "examples" / "dagster" / "definitions.py"


@pytest.fixture(name="folder")
def _folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MILL_WORD", lab.WORD)
    folder = tmp_path / "a corpus"
    folder.mkdir()
    (folder / "gristmill.yml").write_text(lab.CONFIG)
    return folder


def described(folder, text=lab.CONFIG):
    (folder / "gristmill.yml").write_text(text)
    return verbs.described(Pipeline.from_file(folder / "gristmill.yml"))


def test_the_page_names_every_key_and_its_default():
    table = PAGE.split("| key of `airflow` |")[1].split("\n\n")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines()[2:]]
    told = {key: default.strip() for keys, default in rows for key in re.findall(r"`(\w+)`", keys)}
    assert set(told) == set(AirflowSettings.__struct_fields__)
    asked = AirflowSettings()
    assert (told["schedule"], told["start_date"], told["owner"], told["smtp"]) == (
        f"`{asked.schedule}`", asked.start_date, asked.owner, asked.smtp
    )  # fmt: skip
    assert (told["groups"], told["retries"]) == (str(asked.groups), f"{asked.retries}, {asked.retry_delay}")
    assert asked.emails == asked.apprise == []


def test_the_page_of_dagster_shows_the_example_which_is_python():
    page = (lab.ROOT / "docs" / "how-to" / "dagster.md").read_text("utf-8")
    shown = re.search(r"```py\n(.*?)```", page, re.DOTALL)[1]
    text = DAGSTER.read_text("utf-8")
    assert shown in text
    calls = [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "subprocess.run"
    ]
    assert len(calls) == 1


def test_the_config_decides_how_the_dag_looks(folder):
    told = described(folder)
    assert (told["dag_id"], told["description"], told["owner"]) == (
        "gristmill_a_corpus",
        "Prose for a test",
        "corpus-team",
    )
    assert (told["schedule"], told["start_date"], told["retries"], told["retry_delay_s"]) == (
        "@daily",
        "2026-03-01",
        3,
        300,
    )
    assert told["stages"] == ["read", "reread", "identity", "merge-0", "stage-1", "withdraw"]
    assert (told["config"], told["dataset"]) == (str(folder / "gristmill.yml"), str(folder / "corpus"))
    other = described(folder, lab.CONFIG + "  schedule: null\n  retry_delay: 2h\n  dag_id: mine\n")
    assert (other["dag_id"], other["schedule"], other["retry_delay_s"]) == ("mine", None, 7200)


def test_nothing_of_it_changes_the_fingerprint_of_a_pipeline(folder):
    before = Pipeline.from_file(folder / "gristmill.yml").plan
    assert before
    first = described(folder)
    second = described(folder, lab.CONFIG.split("airflow:")[0])
    assert first["stages"] == second["stages"]
    assert (second["owner"], second["emails"], second["dag_id"]) == ("gristmill", [], "gristmill_a_corpus")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("schedule: every day", "schedule"),
        ("start_date: 2026-02-31", "start_date"),
        ("emails: [nobody]", "emails"),
        ("retry_delay: 5", "retry_delay"),
        ("apprise: ['json://user:pass@host']", "apprise"),
        ("groups: 0", "groups"),
        ("retrys: 3", "did you mean 'retries'"),
    ],
)
def test_what_cannot_be_is_told_with_its_place(folder, line, told):
    text = lab.CONFIG.split("airflow:")[0] + f"airflow:\n  {line}\n"
    with pytest.raises(ConfigError, match=rf"gristmill\.yml:\d+:\d+: .*{told}"):
        described(folder, text)


def test_a_rendered_file_is_python_that_holds_the_description_and_no_secret(folder):
    told = described(folder, lab.CONFIG.replace("Prose for a test", 'Prose \\"\\"\\" and \\\\ more'))
    text = verbs.rendered(told, "/opt/it's/gristmill")
    assert text == verbs.rendered(json.loads(json.dumps(told)), "/opt/it's/gristmill")
    tree = ast.parse(text)
    values = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    assert ast.literal_eval(values["DESCRIBED"]) == told
    assert ast.literal_eval(values["GRISTMILL"]) == "/opt/it's/gristmill"
    assert [ast.unparse(node) for node in tree.body if isinstance(node, ast.ImportFrom)] == [
        "from gristmill.airflow import make_dag"
    ]
    assert lab.WORD not in text


def test_the_verbs_write_to_standard_output_or_to_a_file(folder):
    def gristmill(*words):
        done = subprocess.run(
            [lab.GRISTMILL, "airflow", *words], cwd=folder, capture_output=True, text=True, check=True
        )
        return done.stdout

    told = json.loads(gristmill("describe"))
    assert told == described(folder)
    shown = gristmill("render", "--executable", "there")
    assert gristmill("render", "--executable", "there", "dag.py") == ""
    assert (folder / "dag.py").read_text() == shown == verbs.rendered(told, "there")
    assert msgspec.json.encode(told)
