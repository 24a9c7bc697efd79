"""Drift on the command line: told in a run, refused with 3 where asked for, shown for any run."""

import random

import pytest
from tests.cli.conftest import Project, write

CONFIG = """version: 1
dataset: ./corpus
sources:
  - name: web
    files: {{path: "data/*.jsonl", id: id, lang: lang}}
gate:
  min_quality_score: 0
  drift: {{{limits}}}
"""


def records(day, lang, words):
    chance = random.Random(day)
    texts = [" ".join(chance.choices(words.split(), k=chance.randint(5, 60))) for _ in range(150)]
    return [{"id": f"{day}-{i}", "text": text, "lang": lang} for i, text in enumerate(texts)]


@pytest.fixture
def turned(tmp_path):
    """Give a project whose source was English yesterday and is German today."""
    project = Project(tmp_path).config(CONFIG.format(limits=""))
    write(tmp_path / "data/1.jsonl", records(1, "en", "the mill grinds corn and oats"))
    assert project("run").code == 0
    write(tmp_path / "data/2.jsonl", records(2, "de", "die große Mühle zermahlt Körner"))
    return project


def test_a_run_says_that_a_source_has_drifted_and_ends_well(turned):
    told = turned("run")
    assert (told.code, told.out) == (0, "")
    assert "source web: drifted from snapshot 1: " in told.err
    assert "gristmill drift" in told.err
    assert "source web: drifted" in turned("status").err
    shown = turned("show").out
    assert "drifted from snapshot 1" in shown


def test_a_table_shows_the_worst_first_and_all_of_it_as_json(turned):
    first = turned("drift")
    assert (first.code, first.out) == (
        0,
        "run 1: 0 compared, 0 over a limit\nnot judged: web: earlier snapshots have nothing of it\n",
    )
    turned("run")
    plain, coded = turned("drift"), turned("drift", "2", "--json").json
    head, names, *rows = plain.out.splitlines()
    assert (
        head == f"run 2: {len(coded['drift'])} compared, {sum(e['level'] != 'ok' for e in coded['drift'])} over a limit"
    )
    assert names.split() == ["source", "distribution", "measure", "value", "noise", "warn", "block", "level", "against"]
    assert len(rows) == len(coded["drift"]) > 10
    levels = [entry["level"] for entry in coded["drift"]]
    assert levels == sorted(levels, key=["block", "warn", "ok"].index)
    assert (coded["run"], coded["not_judged"]) == (2, [])
    assert turned("drift", "--baseline", "1", "--json").json["drift"][0]["against"] == "baseline 1"


def test_a_refusal_exits_with_3_and_names_the_worst_and_can_be_looked_at_and_accepted(turned):
    turned.config(CONFIG.format(limits="block_psi: 0.5"))
    refused = turned("run")
    assert refused.code == 3
    assert "the gate refused: web.drift is " in refused.err
    assert "limit 0.5 (psi of read." in refused.err
    assert "--accept-gate web.drift" in refused.err
    assert "web.drift" in refused.err.partition("gate ")[2].partition("\n")[0]
    assert turned("drift", "--json").json["drift"][0]["level"] == "block"
    assert turned("run", "--accept-gate", "drift").code == 2
    accepted = turned("run", "--accept-gate", "drift", "--why", "the German issue")
    assert accepted.code == 0
    assert "accepted" in accepted.err


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["drift", "7"], "there is no run with distributions 7; there are: 1"),
        (["drift", "--baseline", "1"], "baseline 1 is no snapshot with distributions that run 1 builds on"),
        (["drift", "--baseline", "9"], "baseline 9 is no snapshot with distributions that run 1 builds on"),
    ],
)
def test_what_there_is_not_cannot_be_compared(turned, argv, told):
    answer = turned(*argv)
    assert answer.code == 2
    assert told in answer.err


def test_a_dataset_without_runs_has_nothing_to_show(turned):
    (turned.path / "empty").mkdir()
    turned.config(CONFIG.format(limits="").replace("./corpus", "./empty"))
    answer = turned("drift")
    assert answer.code == 2
    assert "there is no run with distributions; there are: none" in answer.err
